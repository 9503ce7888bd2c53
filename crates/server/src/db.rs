//! SQL is the server's only memory: SQLite by default, PostgreSQL by URL, one schema.

pub mod entity;
pub mod migration;
pub mod transaction;

use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait;

use crate::config::Settings;

/// How long a database may be away: at start it may be starting as well.
const START_LIMIT: Duration = Duration::from_secs(10);
/// The same for `doctor`.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// Connects and brings the schema up to date. `sqlite:///path?mode=rwc` or `postgres://…`.
///
/// # Errors
/// When the database can't be reached or a migration fails.
pub async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let db = connect_only(url).await?;
    migrate(&db).await?;
    Ok(db)
}

/// Connects and leaves the schema as it is: a server may be running on it.
///
/// # Errors
/// When the database can't be reached.
pub async fn connect_only(url: &str) -> Result<DatabaseConnection, DbErr> {
    open(url, START_LIMIT).await
}

/// Brings the schema up to date. No server may be running on it: see `data_dir::lock`.
///
/// # Errors
/// When a migration fails.
pub async fn migrate(db: &DatabaseConnection) -> Result<(), DbErr> {
    if db.get_database_backend() == DatabaseBackend::Sqlite {
        // WAL is a property of the file; the others of each connection are sqlx's defaults (foreign keys on, 5 s busy time-out).
        db.execute_unprepared("PRAGMA journal_mode = WAL").await?;
    }
    migration::Migrator::up(db, None).await
}

/// How many migrations `migrate` would carry out. Changes nothing.
///
/// # Errors
/// When the database can't be asked, or is of a newer version than this one.
pub async fn pending(db: &DatabaseConnection) -> Result<usize, DbErr> {
    Ok(migration::Migrator::get_pending_migrations_read_only(db).await?.len())
}

async fn open(url: &str, limit: Duration) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.sqlx_logging(false).acquire_timeout(limit);
    // SQLite has one writer; more connections only wait for each other.
    options.max_connections(if url.starts_with("sqlite:") { 8 } else { 20 });
    Database::connect(options).await
}

/// What `doctor` says of the database; changes nothing in it.
///
/// # Errors
/// When it can't be reached.
pub async fn examine(settings: &Settings) -> Result<String, DbErr> {
    if settings.database_url.is_none() && !settings.private_dir().join(Settings::DATABASE_FILE).exists() {
        return Ok("SQLite; made at the first start".to_owned());
    }
    let db = open(settings.database().expose(), LOOK_LIMIT).await?;
    let kind = match db.get_database_backend() {
        DatabaseBackend::Postgres => "PostgreSQL",
        _ => "SQLite",
    };
    let pending = pending(&db).await;
    db.close().await?;
    Ok(match pending? {
        0 => format!("{kind}; its schema is up to date"),
        all if all == migration::Migrator::migrations().len() => {
            format!("{kind}; empty, its schema is made at the first start")
        }
        some => format!("{kind}; {some} migrations follow at the next start"),
    })
}
