//! `/files/versions`: what files were after each save.

pub mod content;
pub mod delete;
pub mod list;
pub mod restore;
pub mod thumbnail;
