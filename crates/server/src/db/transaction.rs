//! Transactions that read before they write.

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};

/// Held by every transaction that decides by counting users. Any number would do; this one is ours.
const ACCOUNTS_LOCK: i64 = 7_138_001;

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
    let tx = begin_write(db).await?;
    if tx.get_database_backend() == DatabaseBackend::Postgres {
        tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({ACCOUNTS_LOCK})")).await?;
    }
    Ok(tx)
}
