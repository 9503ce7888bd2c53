//! Transactions that read before they write.

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};

/// Held by every transaction that decides by counting users. Any number would do; this one is ours.
const ACCOUNTS_LOCK: i64 = 7_138_001;
/// Held by every transaction that decides by counting sessions.
const SESSIONS_LOCK: i64 = 7_138_002;
/// Held while a server decides whether it may join the others.
const SERVERS_LOCK: i64 = 7_138_003;
/// Held while the schema is changed.
const SCHEMA_LOCK: i64 = 7_138_004;

/// A transaction that will write. SQLite takes its one writer lock at once: a transaction that reads first and writes
/// later fails instead of waiting. On PostgreSQL lock the rows you decide by (`lock_exclusive`).
///
/// # Errors
/// When the database can't be reached or another writer holds the lock for seconds.
pub async fn begin_write(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    db.begin_with_options(TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    })
    .await
}

/// The same, one at a time over all servers of the database: for decisions about the set of users (who is the first,
/// who the last administrator, which uid is free).
///
/// # Errors
/// As `begin_write`.
pub async fn begin_accounts(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    begin_alone(db, ACCOUNTS_LOCK).await
}

/// The same for decisions about the set of sessions: whether there is room for another.
///
/// # Errors
/// As `begin_write`.
pub async fn begin_sessions(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    begin_alone(db, SESSIONS_LOCK).await
}

/// The same for decisions about the set of servers.
///
/// # Errors
/// As `begin_write`.
pub async fn begin_servers(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    begin_alone(db, SERVERS_LOCK).await
}

/// Until it is over nobody else changes the schema.
///
/// # Errors
/// As `begin_write`.
pub async fn begin_migration(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let tx = begin_write(db).await?;
    if tx.get_database_backend() == DatabaseBackend::Postgres {
        // It waits for others and stands still while the migrator works, see `db::LIMITS`.
        tx.execute_unprepared("SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0").await?;
    }
    lock(&tx, SCHEMA_LOCK).await?;
    Ok(tx)
}

async fn begin_alone(db: &DatabaseConnection, name: i64) -> Result<DatabaseTransaction, DbErr> {
    let tx = begin_write(db).await?;
    lock(&tx, name).await?;
    Ok(tx)
}

async fn lock(tx: &DatabaseTransaction, name: i64) -> Result<(), DbErr> {
    if tx.get_database_backend() == DatabaseBackend::Postgres {
        tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({name})")).await?;
    }
    Ok(())
}
