//! The picture stream's decisions: which damage goes to which client when, as tiles or as video, and when what went
//! lossy is refined. Only cells of the screen, bytes and times pass here; pixels only where `scroll` compares them.
//!
//! ```text
//!            capture                      drawn
//!   current --------> stale --- tiles ---> exact
//!                       |                    ^
//!                       +---- video --> lossy +--- tiles, once still (refinement)
//! ```
//!
//! A cell of a client's picture is stale (it shows something older), lossy (it shows what video made of the present
//! content) or exact. Damage makes it stale again from anywhere. Nothing is queued: what is sent is read from the screen
//! when the client is ready for it, so a slow client gets fewer updates, not older ones.
//!
//! What only moved is copied within the client's picture when what it came from is not stale there; it stays as exact or
//! lossy as that was.

mod activity;
mod cache;
mod cells;
mod copy;
mod lanes;
mod link;
mod scroll;
mod viewer;

pub use activity::Activity;
pub use cache::{TileCache, TileKey};
pub use cells::{CELL, CellSet};
pub use copy::Copy;
pub use lanes::{Behind, Lane, Lanes, Next, Turn};
pub use link::Link;
pub use scroll::{Edge, Motion, Pictures, WORTH_A_SEARCH, Way, find_motion};
pub use viewer::{Costs, Plan, SMALL_MOTION, Send, Viewer, ViewerOptions};

#[cfg(test)]
mod tests;
