//! Which process a server's row is of, so that a second one with a copy of its identity is seen.
//!
//! Only adds: a server of the version before leaves it empty.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0003_runs"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// On SQLite as well: a server that was killed halfway begins anew.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, m: &SchemaManager) -> Result<(), DbErr> {
        m.alter_table(Table::alter().table("servers").add_column(uuid_null("run")).to_owned()).await
    }

    async fn down(&self, m: &SchemaManager) -> Result<(), DbErr> {
        m.alter_table(Table::alter().table("servers").drop_column("run").to_owned()).await
    }
}
