//! SQL is the server's only memory: SQLite by default, PostgreSQL by URL, one schema.

pub mod entity;
pub mod migration;
pub mod transaction;

use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait;

/// Connects and brings the schema up to date. `sqlite:///path?mode=rwc` or `postgres://…`.
///
/// # Errors
/// When the database can't be reached or a migration fails.
pub async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.sqlx_logging(false).acquire_timeout(Duration::from_secs(10));
    // SQLite has one writer; more connections only wait for each other.
    options.max_connections(if url.starts_with("sqlite:") { 8 } else { 20 });
    let db = Database::connect(options).await?;
    if db.get_database_backend() == DatabaseBackend::Sqlite {
        // WAL is a property of the file; the others of each connection are sqlx's defaults (foreign keys on, 5 s busy time-out).
        db.execute_unprepared("PRAGMA journal_mode = WAL").await?;
    }
    migration::Migrator::up(&db, None).await?;
    Ok(db)
}
