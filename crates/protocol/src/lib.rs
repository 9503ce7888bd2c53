//! Every type that crosses a process boundary: server <-> agent (HTTP over a Unix socket or a pod's port) and
//! server <-> browser where the same value travels on unchanged.
//!
//! No I/O and no policy. JSON is camelCase. Unknown fields are ignored so that a server and an agent of neighbouring
//! versions understand each other; `PROTOCOL_VERSION` changes only when that is not enough.

pub mod agent;
pub mod media;
pub mod session;
pub mod stream;

/// Version of the server-agent protocol. The server refuses an agent with another major number.
pub const PROTOCOL_VERSION: u32 = 1;
