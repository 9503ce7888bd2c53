//! GIMP itself: its profile, how it is started, spoken to and saved from.

pub mod control;
pub mod link;
pub mod preset;
pub mod process;
pub mod profile;
pub mod recovery;
pub mod saves;
pub mod title;
pub mod unsaved;
pub mod version;
