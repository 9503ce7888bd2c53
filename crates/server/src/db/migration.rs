//! The schema, in steps that are never changed once released.

use sea_orm_migration::prelude::*;

mod m0001_first;
mod m0002_replicas;
mod m0003_runs;

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_first::Migration), Box::new(m0002_replicas::Migration), Box::new(m0003_runs::Migration)]
    }
}
