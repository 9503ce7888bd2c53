//! SQL is the server's only memory: SQLite by default, PostgreSQL by URL, one schema.

pub mod entity;
pub mod migration;
pub mod transaction;

use std::time::{Duration, Instant};

use futures::FutureExt;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection, DbErr, RuntimeErr, SqlxError,
};
use sea_orm_migration::MigratorTrait;

use crate::config::Settings;

/// How long a database may be away: at start it may be starting as well.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two attempts then.
const RETRY: Duration = Duration::from_millis(200);
/// How long a request waits for a connection. Nobody waits longer for an answer, and it tells when to try again.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);
/// What PostgreSQL does about a server that was frozen, or whose machine lost power, in the middle of a transaction: the
/// others wait for its locks no longer than for a connection.
const LIMITS: &str = "SET idle_in_transaction_session_timeout = '5s'; SET lock_timeout = '5s'; \
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3";
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
    let deadline = Instant::now() + START_LIMIT;
    loop {
        match open(url, ACQUIRE_LIMIT).await {
            Err(error) if is_away(&error) && Instant::now() < deadline => tokio::time::sleep(RETRY).await,
            opened => return opened,
        }
    }
}

/// Brings the schema up to date. On SQLite no server may be running on it: see `data_dir::lock`. On PostgreSQL servers of
/// the version before may be, and others may be about to do the same.
///
/// # Errors
/// When a migration fails.
pub async fn migrate(db: &DatabaseConnection) -> Result<(), DbErr> {
    if db.get_database_backend() == DatabaseBackend::Postgres {
        // Held while the migrator works on other connections of the pool.
        let one_at_a_time = transaction::begin_migration(db).await?;
        migration::Migrator::up(db, None).await?;
        return one_at_a_time.commit().await;
    }
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

/// Whether the database, and not what was asked of it, is to blame: it can't be reached, is being started or ended, or has
/// no connection to spare. The same may work in some seconds. Whether something was written is not known.
#[must_use]
pub fn is_away(error: &DbErr) -> bool {
    let cause = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause) => cause,
        _ => return false,
    };
    let RuntimeErr::SqlxError(cause) = cause else { return false };
    match &**cause {
        SqlxError::Io(_) | SqlxError::PoolTimedOut | SqlxError::PoolClosed | SqlxError::WorkerCrashed => true,
        // Of PostgreSQL: classes 08 (connection), 53 (resources) and 57P (shutdown, start), and what follows from `LIMITS`.
        SqlxError::Database(cause) => cause.code().is_some_and(|code| {
            let causes = ["08", "53", "57P", "25P03", "55P03"];
            code.len() == 5 && causes.iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// Of every connection; `limit`: how long to wait for one.
pub(crate) fn options(url: &str, limit: Duration) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.sqlx_logging(false).acquire_timeout(limit);
    if !url.starts_with("sqlite:") {
        // sea-orm's own `after_connect` is for the first connection only.
        options.map_sqlx_postgres_pool_opts(|pool| {
            pool.after_connect(|connection, _| {
                async move { sea_orm::sqlx::raw_sql(LIMITS).execute(connection).await.map(drop) }.boxed()
            })
        });
    }
    options
}

async fn open(url: &str, limit: Duration) -> Result<DatabaseConnection, DbErr> {
    let mut options = options(url, limit);
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
