//! Pixels to bytes: lossless tiles and video. Knows nothing of screens or clients.

pub mod tile;
pub mod video;
mod x264;

/// Pixels in memory, four bytes each: blue, green, red, unused; rows from the top.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    pub bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
}

impl<'a> Pixels<'a> {
    /// The bytes of part of a row; empty when it lies outside.
    pub fn row(&self, x: u16, y: u16, width: u16) -> &'a [u8] {
        let from = usize::from(y) * self.stride + usize::from(x) * 4;
        self.bytes.get(from..from + usize::from(width) * 4).unwrap_or_default()
    }
}
