//! `gimp-platform`: control plane and gateway. See `docs/architecture.md`.

pub mod access_log;
pub mod api;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod db;
pub mod doctor;
pub mod driver;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gateway;
pub mod ids;
pub mod mail;
pub mod replicas;
pub mod retention;
pub mod serve;
pub mod session;
pub mod state;
pub mod telemetry;
mod tree;
pub mod workspace;

#[cfg(test)]
pub(crate) mod test_app;
