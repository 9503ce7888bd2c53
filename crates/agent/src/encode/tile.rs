//! Lossless tiles; `protocol::stream::TileCodec` says how they are packed.
//!
//! Chosen by content: one colour is an `Op::Fill`, at most 256 colours an indexed tile (icons, text, menus), all else
//! planes of differences, whose predictor is the one that leaves the least on some of the rows.

use std::io;

use bytes::Bytes;
use protocol::stream::{Rect, TileCodec};
use zstd::zstd_safe::{CParameter, ParamSwitch};

use super::Pixels;

/// Zstandard's level. A fast one: in differences of photographs there is hardly anything to find again, and what there
/// is in menus is large.
const LEVEL: i32 = -1;
/// Zstandard's steps from one place where it looks for a match to the next, so large that it finds none.
const NO_MATCHES: u32 = 1 << 17;
/// Every so many rows are looked at to choose a predictor.
const SAMPLED_ROWS: usize = 4;
/// An index is a byte.
const MAX_COLOURS: usize = 256;
/// A tile with so many may be a small or coarse part of a photograph, whose differences compress better.
const FEW_COLOURS: usize = 16;
/// Slots of the table of colours: 2^10, as `Colours::slot` takes 10 bits of a hash.
const TABLE: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    Fill([u8; 3]),
    Tile(TileCodec, Bytes),
}

/// One thread's encoder and its buffers.
pub struct TileEncoder {
    compressor: zstd::bulk::Compressor<'static>,
    /// Red, green, blue of each pixel.
    rgb: Vec<[u8; 3]>,
    planes: Vec<u8>,
    plain: Vec<u8>,
    packed: Vec<u8>,
    colours: Colours,
}

impl TileEncoder {
    /// # Errors
    /// When memory is short.
    pub fn new() -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        // Fast levels leave literals as they are, unless told: of differences those are nearly all.
        compressor.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
        Ok(Self { compressor, rgb: vec![], planes: vec![], plain: vec![], packed: vec![], colours: Colours::default() })
    }

    /// # Errors
    /// When memory is short, or the rectangle is empty or not within the pixels.
    pub fn encode(&mut self, pixels: Pixels<'_>, rect: Rect) -> io::Result<Encoded> {
        self.read(pixels, rect)?;
        // Where hardly a colour comes again, the list of them is longer than the differences.
        self.pack(rect, (self.rgb.len() / 4).clamp(FEW_COLOURS, MAX_COLOURS), &Predictor::ALL)
    }

    /// Lossy: each channel by one of 52 levels, at most 2 of 255 off, without bias, black and white as they are. A photograph's
    /// grain takes about half the bytes.
    ///
    /// # Errors
    /// As `encode`.
    pub fn encode_coarse(&mut self, pixels: Pixels<'_>, rect: Rect) -> io::Result<Encoded> {
        self.read(pixels, rect)?;
        for channel in self.rgb.as_flattened_mut() {
            *channel = u8::try_from((u16::from(*channel) + 2) / 5 * 5).unwrap_or(u8::MAX);
        }
        // What looks alike in differences this small is chance, and takes more to name than to write out.
        self.compressor.set_parameter(CParameter::TargetLength(NO_MATCHES))?;
        // An average lies between the levels: its differences are small, but of many values.
        let packed = self.pack(rect, FEW_COLOURS, &Predictor::OF_NEIGHBOURS);
        self.compressor.set_parameter(CParameter::TargetLength(0))?;
        packed
    }

    /// Only the pixels for which `differs` says so of their place on the screen; none where those are most, or the colours few.
    ///
    /// # Errors
    /// As `encode`.
    pub fn encode_partial(
        &mut self,
        pixels: Pixels<'_>,
        rect: Rect,
        differs: impl Fn(u16, u16) -> bool,
    ) -> io::Result<Option<(TileCodec, Bytes)>> {
        self.read(pixels, rect)?;
        let area = self.rgb.len();
        // Flat areas and menus take hardly more as a whole, and may come again.
        if self.colours.find(&self.rgb) && self.colours.list.len() <= FEW_COLOURS {
            return Ok(None);
        }
        self.plain.clear();
        let mut places =
            (rect.y..rect.y + rect.height).flat_map(|y| (rect.x..rect.x + rect.width).map(move |x| (x, y)));
        for row in rect.y..rect.y + rect.height {
            let left = self.plain.len();
            self.plain.resize(left + usize::from(rect.width).div_ceil(8), 0);
            for (at, _) in (rect.x..rect.x + rect.width).enumerate().filter(|(_, x)| differs(*x, row)) {
                self.plain[left + at / 8] |= 0x80 >> (at % 8);
            }
        }
        self.rgb.retain(|_| places.next().is_some_and(|(x, y)| differs(x, y)));
        let count = self.rgb.len();
        if count * 4 > area * 3 {
            return Ok(None);
        }
        let apart = count > 0 && best_apart(&self.rgb, count);
        for channel in [1, 0, 2] {
            let value = |pixel: &[u8; 3]| match channel {
                1 => pixel[1],
                _ if apart => pixel[channel],
                _ => pixel[channel].wrapping_sub(pixel[1]),
            };
            let mut before = 0;
            self.plain.extend(
                self.rgb.iter().map(|pixel| value(pixel).wrapping_sub(std::mem::replace(&mut before, value(pixel)))),
            );
        }
        self.packed.clear();
        self.packed.push(if apart { APART } else { 0 });
        self.squeeze()?;
        Ok(Some((TileCodec::Partial, Bytes::copy_from_slice(&self.packed))))
    }

    fn read(&mut self, pixels: Pixels<'_>, rect: Rect) -> io::Result<()> {
        self.rgb.clear();
        for y in rect.y..rect.y.saturating_add(rect.height) {
            let row = pixels.row(rect.x, y, rect.width);
            self.rgb.extend(row.chunks_exact(4).map(|pixel| [pixel[2], pixel[1], pixel[0]]));
        }
        if self.rgb.is_empty() || self.rgb.len() != usize::from(rect.width) * usize::from(rect.height) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }

    /// As colours where there are no more than so many.
    fn pack(&mut self, rect: Rect, colours: usize, predictors: &[Predictor]) -> io::Result<Encoded> {
        let width = usize::from(rect.width);
        if !self.colours.find(&self.rgb) || self.colours.list.len() > colours {
            return self.planes(width, predictors);
        }
        match self.colours.list[..] {
            [colour] => Ok(Encoded::Fill(colour)),
            _ => self.palette(width),
        }
    }

    fn palette(&mut self, width: usize) -> io::Result<Encoded> {
        let colours = &self.colours.list;
        let bits = match colours.len() {
            0..=2 => 1,
            3..=4 => 2,
            5..=16 => 4,
            _ => 8,
        };
        self.plain.clear();
        for row in self.rgb.chunks_exact(width) {
            for group in row.chunks(8 / bits) {
                let indices = group.iter().enumerate().map(|(at, colour)| (at, self.colours.index(*colour)));
                self.plain.push(indices.fold(0, |byte, (at, index)| byte | index << (8 - bits * (at + 1))));
            }
        }
        self.packed.clear();
        self.packed.push(u8::try_from(colours.len() - 1).unwrap_or(u8::MAX));
        self.packed.extend(colours.iter().flatten());
        self.compress(TileCodec::Palette)
    }

    fn planes(&mut self, width: usize, predictors: &[Predictor]) -> io::Result<Encoded> {
        let count = self.rgb.len();
        self.planes.resize(count * 3, 0);
        let (green, rest) = self.planes.split_at_mut(count);
        let (red, blue) = rest.split_at_mut(count);
        let apart = best_apart(&self.rgb, width);
        for (((pixel, green), red), blue) in self.rgb.iter().zip(green).zip(red).zip(blue) {
            let base = if apart { 0 } else { pixel[1] };
            *green = pixel[1];
            *red = pixel[0].wrapping_sub(base);
            *blue = pixel[2].wrapping_sub(base);
        }
        let predictor = best_predictor(&self.planes[..count], width, predictors);
        self.plain.resize(count * 3, 0);
        for (plane, out) in self.planes.chunks_exact(count).zip(self.plain.chunks_exact_mut(count)) {
            let rows = plane.chunks_exact(width).zip(out.chunks_exact_mut(width));
            let zeros = vec![0; width];
            let mut above = None;
            for (row, out) in rows {
                let here = if above.is_none() { predictor.in_first_row() } else { predictor };
                here.differences(row, above.unwrap_or(&zeros), out);
                above = Some(row);
            }
        }
        self.packed.clear();
        self.packed.push(predictor as u8 | if apart { APART } else { 0 });
        self.compress(TileCodec::Planes)
    }

    /// Appends `plain`, compressed, to `packed`.
    fn squeeze(&mut self) -> io::Result<()> {
        let head = self.packed.len();
        self.packed.resize(head + zstd::zstd_safe::compress_bound(self.plain.len()), 0);
        let length = self.compressor.compress_to_buffer(&self.plain, &mut self.packed[head..])?;
        self.packed.truncate(head + length);
        Ok(())
    }

    fn compress(&mut self, codec: TileCodec) -> io::Result<Encoded> {
        self.squeeze()?;
        if self.packed.len() >= self.rgb.len() * 3 {
            return Ok(Encoded::Tile(TileCodec::Raw, self.rgb.concat().into()));
        }
        Ok(Encoded::Tile(codec, Bytes::copy_from_slice(&self.packed)))
    }
}

impl std::fmt::Debug for TileEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TileEncoder")
    }
}

/// The numbers are those on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Predictor {
    Left = 0,
    Above = 1,
    Median = 2,
    /// Of a camera's grain it takes half, where the median keeps all of it.
    Average = 3,
}

/// Beside the predictor: the planes are red, green and blue, not differences to green.
const APART: u8 = 4;

impl Predictor {
    const ALL: [Self; 4] = [Self::Left, Self::Above, Self::Median, Self::Average];
    /// What they say is the value of a pixel beside it, or as far from one as another is.
    const OF_NEIGHBOURS: [Self; 3] = [Self::Left, Self::Above, Self::Median];

    /// Above the first row there is nothing to take the average with.
    const fn in_first_row(self) -> Self {
        match self {
            Self::Average => Self::Left,
            other => other,
        }
    }

    /// `above` is as long as the row; nothing but 0 is left of either.
    fn differences(self, row: &[u8], above: &[u8], out: &mut [u8]) {
        let (Some((pixel, _)), Some((over, right_above)), Some((first, out))) =
            (row.split_first(), above.split_first(), out.split_first_mut())
        else {
            return;
        };
        let (left, right) = (&row[..row.len() - 1], &row[1..]);
        let corner = &above[..above.len() - 1];
        // Plain slices and no branches: so all of a vector's lanes are used.
        match self {
            Self::Left => {
                *first = *pixel;
                for ((out, pixel), left) in out.iter_mut().zip(right).zip(left) {
                    *out = pixel.wrapping_sub(*left);
                }
            }
            Self::Above => {
                *first = pixel.wrapping_sub(*over);
                for ((out, pixel), above) in out.iter_mut().zip(right).zip(right_above) {
                    *out = pixel.wrapping_sub(*above);
                }
            }
            Self::Median => {
                *first = pixel.wrapping_sub(median(0, *over, 0));
                let around = left.iter().zip(right_above).zip(corner);
                for ((out, pixel), ((left, above), corner)) in out.iter_mut().zip(right).zip(around) {
                    *out = pixel.wrapping_sub(median(*left, *above, *corner));
                }
            }
            Self::Average => {
                *first = pixel.wrapping_sub(*over);
                for ((out, pixel), (left, above)) in out.iter_mut().zip(right).zip(left.iter().zip(right_above)) {
                    *out = pixel.wrapping_sub(average(*left, *above));
                }
            }
        }
    }
}

/// ITU-T T.87, A.3: the smaller one of left and above where the corner is not below the larger, the larger where it is not
/// above the smaller, else left + above - corner.
fn median(left: u8, above: u8, corner: u8) -> u8 {
    let (low, high) = (left.min(above), left.max(above));
    high - (corner.max(low).min(high) - low)
}

/// Rounded up, as SIMD instructions do.
fn average(left: u8, above: u8) -> u8 {
    #[expect(clippy::cast_possible_truncation, reason = "of two bytes")]
    let average = (u16::from(left) + u16::from(above)).div_ceil(2) as u8;
    average
}

/// Whether red and blue by themselves leave less than their differences to green do: the grain of a camera's channels may
/// have nothing in common.
fn best_apart(rgb: &[[u8; 3]], width: usize) -> bool {
    let rows = rgb.len() / width;
    let step = (rows / SAMPLED_ROWS).max(1);
    let (mut apart, mut together) = (0_usize, 0_usize);
    for row in (0..rows).step_by(step).map(|row| &rgb[row * width..(row + 1) * width]) {
        for (before, pixel) in row.iter().zip(&row[1..]) {
            let [red, green, blue] = std::array::from_fn(|channel| pixel[channel].wrapping_sub(before[channel]));
            let size = |difference: u8| usize::from(difference.cast_signed().unsigned_abs());
            apart += size(red) + size(blue);
            together += size(red.wrapping_sub(green)) + size(blue.wrapping_sub(green));
        }
    }
    apart < together
}

/// The one that leaves the smallest differences on some rows of the plane.
fn best_predictor(plane: &[u8], width: usize, candidates: &[Predictor]) -> Predictor {
    let rows = plane.len() / width;
    if rows < 2 {
        return Predictor::Left;
    }
    let step = (rows / SAMPLED_ROWS).max(1);
    let mut out = vec![0; width];
    let mut left_in = |predictor: Predictor, above: &[u8], row: &[u8]| -> usize {
        predictor.differences(row, above, &mut out);
        out.iter().map(|difference| usize::from(difference.cast_signed().unsigned_abs())).sum()
    };
    let mut left_over = |predictor: Predictor| -> usize {
        // Above the first row there is nothing, which is much of a thin tile.
        let first = left_in(predictor.in_first_row(), &vec![0; width], &plane[..width]);
        let sampled = (1..rows).step_by(step);
        let others = sampled.map(|row| {
            left_in(predictor, &plane[(row - 1) * width..row * width], &plane[row * width..(row + 1) * width])
        });
        first + step * others.sum::<usize>()
    };
    candidates.iter().copied().min_by_key(|predictor| left_over(*predictor)).unwrap_or(Predictor::Left)
}

/// The colours of a tile, if they are few: a hash table with open addressing.
#[derive(Debug)]
struct Colours {
    list: Vec<[u8; 3]>,
    /// Index into `list` plus 1; 0: free.
    table: Box<[u16; TABLE]>,
}

impl Default for Colours {
    fn default() -> Self {
        Self { list: Vec::with_capacity(MAX_COLOURS), table: Box::new([0; TABLE]) }
    }
}

impl Colours {
    /// Whether there are at most 256, which are then in `list`.
    fn find(&mut self, pixels: &[[u8; 3]]) -> bool {
        self.list.clear();
        self.table.fill(0);
        let mut last = None;
        for pixel in pixels {
            if last == Some(*pixel) {
                continue;
            }
            last = Some(*pixel);
            let slot = self.slot(*pixel);
            if self.table[slot] == 0 {
                if self.list.len() == MAX_COLOURS {
                    return false;
                }
                self.list.push(*pixel);
                self.table[slot] = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
            }
        }
        true
    }

    /// Where the colour is or belongs. The table is never more than a quarter full.
    fn slot(&self, colour: [u8; 3]) -> usize {
        let [red, green, blue] = colour.map(u32::from);
        // Fibonacci hashing: the upper bits of a product with 2^32 / phi.
        let mut slot = ((red << 16 | green << 8 | blue).wrapping_mul(0x9E37_79B9) >> 22) as usize;
        loop {
            match self.table[slot] {
                0 => return slot,
                index if self.list.get(usize::from(index) - 1) == Some(&colour) => return slot,
                _ => slot = (slot + 1) % TABLE,
            }
        }
    }

    /// Of a colour that was found.
    fn index(&self, colour: [u8; 3]) -> u8 {
        u8::try_from(self.table[self.slot(colour)].saturating_sub(1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
