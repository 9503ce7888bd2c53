//! The moving picture: H.264 of the whole screen, of which only what is asked for is kept up to date.
//!
//! Colours are sRGB by the matrix of BT.601 in full range (as in JFIF), as the stream says of itself: what browsers turn back
//! without error. libyuv, with which Chromium does so, cuts a factor of BT.709's matrix, and blue comes out 13 levels darker.

use std::io;

use bytes::Bytes;
use protocol::stream::{Rect, VideoFormat};
use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use super::Pixels;
use super::x264::{Planes, Rate, X264};

/// Best quality while there is room; what it leaves is refined when still.
const CRF: f32 = 24.0;
/// Most for a screen of `REFERENCE_PIXELS`, 1000 bits a second; larger ones get more.
const MAX_KBIT: f64 = 4800.0;
const MIN_KBIT: f64 = 150.0;
const REFERENCE_PIXELS: f64 = 1920.0 * 1080.0;
/// Seconds of the rate that one picture may take at most.
const BUFFER_SECONDS: f64 = 0.1;
/// Pictures a second that the rate is meant for.
const FPS: u16 = 60;
/// A new rate that differs less is not worth telling.
const RATE_STEP: f64 = 0.15;

/// What chooses between encoders; hardware ones join here.
#[derive(Debug)]
pub struct VideoEncoder {
    planes: Planes,
    x264: X264,
    kbit: f64,
    encoded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    pub keyframe: bool,
    pub data: Bytes,
}

impl VideoEncoder {
    /// Of a screen of that many pixels. `link` is what the link carries, bytes a second.
    ///
    /// # Errors
    /// When the encoder refuses the size.
    pub fn open(width: u16, height: u16, format: VideoFormat, link: f64) -> io::Result<Self> {
        let even = |pixels: u16| pixels.saturating_add(1) & !1;
        let yuv444 = format == VideoFormat::H264Yuv444;
        let planes = Planes::black(even(width), even(height), yuv444);
        let kbit = wanted_kbit(&planes, link);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4);
        let threads = u8::try_from(threads).unwrap_or(1);
        let x264 = X264::open(planes.width, planes.height, yuv444, threads, FPS, rate(kbit))?;
        Ok(Self { planes, x264, kbit, encoded: false })
    }

    pub const fn name() -> &'static str {
        "libx264"
    }

    /// Follows the link, bytes a second.
    pub fn follow(&mut self, link: f64) {
        let kbit = wanted_kbit(&self.planes, link);
        if (kbit / self.kbit - 1.0).abs() > RATE_STEP && self.x264.set_rate(rate(kbit)).is_ok() {
            self.kbit = kbit;
        }
    }

    /// The next picture, in which `rects` show the pixels and all else what it showed before. The rectangles begin at
    /// even positions; the pixels go on for one more column and row where the screen's size is odd.
    ///
    /// # Errors
    /// When a rectangle is not within the pixels, or the encoder fails; the next picture must be a keyframe then.
    pub fn encode(&mut self, pixels: Pixels<'_>, rects: &[Rect], keyframe: bool) -> io::Result<AccessUnit> {
        for rect in rects {
            self.convert(pixels, *rect)?;
        }
        let keyframe = keyframe || !self.encoded;
        let data = self.x264.encode(&self.planes, keyframe)?;
        self.encoded = true;
        Ok(AccessUnit { keyframe, data })
    }

    fn convert(&mut self, pixels: Pixels<'_>, rect: Rect) -> io::Result<()> {
        let Planes { planes, strides, width, height, yuv444 } = &mut self.planes;
        let even = |pixels: u16| pixels.saturating_add(1) & !1;
        let (x, y) = (rect.x & !1, rect.y & !1);
        let right = even(rect.x.saturating_add(rect.width)).min(*width);
        let bottom = even(rect.y.saturating_add(rect.height)).min(*height);
        if x >= right || y >= bottom {
            return Ok(());
        }
        let from = usize::from(y) * pixels.stride + usize::from(x) * 4;
        let source = pixels.bytes.get(from..).ok_or(io::ErrorKind::InvalidInput)?;
        let shift = usize::from(!*yuv444);
        let at =
            |stride: u16, shift: usize| (usize::from(y) >> shift) * usize::from(stride) + (usize::from(x) >> shift);
        let [luma, first, second] = planes;
        let mut image = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut luma[at(strides[0], 0)..]),
            y_stride: strides[0].into(),
            u_plane: BufferStoreMut::Borrowed(&mut first[at(strides[1], shift)..]),
            u_stride: strides[1].into(),
            v_plane: BufferStoreMut::Borrowed(&mut second[at(strides[2], shift)..]),
            v_stride: strides[2].into(),
            width: (right - x).into(),
            height: (bottom - y).into(),
        };
        let stride = u32::try_from(pixels.stride).map_err(io::Error::other)?;
        let convert = if *yuv444 { yuv::bgra_to_yuv444 } else { yuv::bgra_to_yuv420 };
        convert(&mut image, source, stride, YuvRange::Full, YuvStandardMatrix::Bt601, YuvConversionMode::Balanced)
            .map_err(io::Error::other)
    }
}

fn wanted_kbit(planes: &Planes, link: f64) -> f64 {
    let screen = f64::from(planes.width) * f64::from(planes.height);
    let most = MAX_KBIT * (screen / REFERENCE_PIXELS).max(0.4);
    // Something is left for tiles and cursors.
    (link * 8.0 / 1000.0 * 0.85).clamp(MIN_KBIT, most)
}

fn rate(kbit: f64) -> Rate {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is within bounds")]
    let whole = |kbit: f64| kbit.round() as u16;
    Rate { kbit_per_second: whole(kbit), buffer_kbit: whole(kbit * BUFFER_SECONDS).max(1), crf: CRF }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blue, green, red, unused; a gradient that `shift` moves.
    fn screen(width: usize, height: usize, shift: usize) -> Vec<u8> {
        let pixel = |x: usize, y: usize| [(x + shift) as u8, (y * 2) as u8, (x / 2 + y) as u8, 0];
        (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
    }

    fn units(data: &[u8]) -> Vec<u8> {
        let starts = data.windows(4).enumerate().filter(|(_, window)| window[..3] == [0, 0, 1]);
        starts.map(|(_, window)| window[3] & 0x1F).collect()
    }

    #[test]
    fn the_first_picture_is_a_keyframe_with_its_parameters_and_the_next_is_small() {
        for format in [VideoFormat::H264, VideoFormat::H264Yuv444] {
            for (width, height) in [(320, 240), (321, 241), (1920, 1080)] {
                let mut encoder = VideoEncoder::open(width, height, format, 1e6).expect("opens");
                let (wide, high) = (usize::from(width) + 1, usize::from(height) + 1);
                let whole = Rect { x: 0, y: 0, width, height };
                let stride = wide * 4;
                let first = encoder.encode(Pixels { bytes: &screen(wide, high, 0), stride }, &[whole], false);
                let first = first.expect("encodes");
                assert!(first.keyframe);
                let kinds = units(&first.data);
                assert!([7, 8, 5].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
                let part = Rect { x: 16, y: 16, width: 32, height: 32 };
                let next = encoder.encode(Pixels { bytes: &screen(wide, high, 9), stride }, &[part], false);
                let next = next.expect("encodes");
                assert!(!next.keyframe && next.data.len() < first.data.len() / 2, "{}", next.data.len());
                assert!(units(&next.data).iter().all(|kind| *kind == 1));
            }
        }
    }

    #[test]
    fn pictures_fit_the_link() {
        let mut encoder = VideoEncoder::open(1280, 720, VideoFormat::H264, 100e3).expect("opens");
        let whole = Rect { x: 0, y: 0, width: 1280, height: 720 };
        let mut total = 0;
        for frame in 0..120 {
            let bytes = screen(1280, 720, frame * 37);
            let unit = encoder.encode(Pixels { bytes: &bytes, stride: 1280 * 4 }, &[whole], false).expect("encodes");
            total += unit.data.len();
        }
        assert!(total < 260_000, "{total} bytes in two seconds of 100 000");
    }
}
