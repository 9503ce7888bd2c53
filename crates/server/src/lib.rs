//! `gimp-platform`: control plane and gateway. See `docs/architecture.md`.

pub mod api;
pub mod auth;
pub mod clock;
pub mod config;
pub mod db;
pub mod driver;
pub mod error;
pub mod ids;
pub mod state;
pub mod workspace;
