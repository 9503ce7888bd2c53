//! `/files/trash`: what was deleted in the last thirty days.

pub mod delete;
pub mod empty;
pub mod list;
pub mod put;
pub mod restore;
