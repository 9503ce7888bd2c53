//! One module per table; columns as in `db/migration`.

pub mod access_entry;
pub mod audit_entry;
pub mod invite;
pub mod login_failure;
pub mod password_reset;
pub mod session;
pub mod session_report;
pub mod sign_in;
pub mod storage_quota;
pub mod token;
pub mod user;
