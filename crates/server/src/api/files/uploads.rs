//! `/files/uploads`: files that arrive in parts.
//!
//! ```text
//! POST  /files/uploads {path, size}              201 {id, offset: 0, chunkSize}
//! PATCH /files/uploads/{id} Upload-Offset: 0     204 Upload-Offset: 8388608
//! PATCH /files/uploads/{id} Upload-Offset: ...   201 entry, with the last byte
//! ```
//! After a cut, `HEAD` tells where to go on. An empty file needs one `PATCH` too. A `PATCH` whose connection was cut is
//! ended by the next one.

pub mod cancel;
pub mod create;
mod headers;
pub mod progress;
pub mod receive;

pub use headers::{UPLOAD_LENGTH, UPLOAD_OFFSET, parse_offset};
