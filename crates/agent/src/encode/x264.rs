//! x264 through `csrc/x264.c`. The one place of this crate's encoders with `unsafe`.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::ptr::NonNull;

use bytes::Bytes;

/// Opaque; made and freed by the C side only.
#[repr(C)]
struct SessionVideo {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn session_video_open(
        width: c_int,
        height: c_int,
        yuv444: c_int,
        threads: c_int,
        frames_per_second: c_int,
        kbit_per_second: c_int,
        buffer_kbit: c_int,
        crf: f32,
    ) -> *mut SessionVideo;
    fn session_video_encode(
        video: *mut SessionVideo,
        planes: *const *const u8,
        strides: *const c_int,
        yuv444: c_int,
        keyframe: c_int,
        bytes: *mut *const u8,
    ) -> c_int;
    fn session_video_rate(video: *mut SessionVideo, kbit_per_second: c_int, buffer_kbit: c_int, crf: f32) -> c_int;
    fn session_video_close(video: *mut SessionVideo);
}

/// What x264 may spend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Most over time, 1000 bits a second.
    pub kbit_per_second: u16,
    /// Most at once, 1000 bits.
    pub buffer_kbit: u16,
    /// Quality while there is room, x264's constant rate factor: 0 lossless to 51.
    pub crf: f32,
}

/// Three planes of one picture: luma, then the two of chroma.
#[derive(Debug, Clone)]
pub struct Planes {
    pub planes: [Vec<u8>; 3],
    pub strides: [u16; 3],
    pub width: u16,
    pub height: u16,
    /// Chroma is as large as luma, not half of it each way.
    pub yuv444: bool,
}

impl Planes {
    /// Black. Width and height must be even.
    pub fn black(width: u16, height: u16, yuv444: bool) -> Self {
        let chroma = if yuv444 { (width, height) } else { (width / 2, height / 2) };
        let plane = |(width, height): (u16, u16), value| vec![value; usize::from(width) * usize::from(height)];
        Self {
            planes: [plane((width, height), 0), plane(chroma, 128), plane(chroma, 128)],
            strides: [width, chroma.0, chroma.0],
            width,
            height,
            yuv444,
        }
    }

    fn is_whole(&self) -> bool {
        let chroma = if self.yuv444 { self.height } else { self.height / 2 };
        let rows = [self.height, chroma, chroma];
        let sizes = self.strides.iter().zip(rows).map(|(stride, rows)| usize::from(*stride) * usize::from(rows));
        self.planes.iter().zip(sizes).all(|(plane, size)| plane.len() >= size)
    }
}

#[derive(Debug)]
pub struct X264 {
    video: NonNull<SessionVideo>,
    width: u16,
    height: u16,
    yuv444: bool,
}

// SAFETY: x264's encoder has no ties to the thread that opened it; `&mut self` keeps calls apart.
unsafe impl Send for X264 {}

impl X264 {
    /// # Errors
    /// When x264 refuses the size.
    pub fn open(width: u16, height: u16, yuv444: bool, threads: u8, fps: u16, rate: Rate) -> io::Result<Self> {
        // SAFETY: plain values; the result is checked.
        let video = unsafe {
            session_video_open(
                width.into(),
                height.into(),
                yuv444.into(),
                threads.into(),
                fps.max(1).into(),
                rate.kbit_per_second.into(),
                rate.buffer_kbit.into(),
                rate.crf,
            )
        };
        let video = NonNull::new(video).ok_or_else(|| io::Error::other("x264 refuses to encode this size"))?;
        Ok(Self { video, width, height, yuv444 })
    }

    /// One access unit, in Annex B.
    ///
    /// # Errors
    /// When the planes are not of the encoder's size, or x264 fails.
    pub fn encode(&mut self, planes: &Planes, keyframe: bool) -> io::Result<Bytes> {
        if (planes.width, planes.height, planes.yuv444) != (self.width, self.height, self.yuv444) || !planes.is_whole()
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let pointers = [planes.planes[0].as_ptr(), planes.planes[1].as_ptr(), planes.planes[2].as_ptr()];
        let strides = planes.strides.map(c_int::from);
        let mut bytes = std::ptr::null();
        // SAFETY: the planes hold as many rows of these strides as x264 reads, checked above; it only reads them, and
        // has finished with them when it returns, as nothing is looked ahead.
        let length = unsafe {
            session_video_encode(
                self.video.as_ptr(),
                pointers.as_ptr(),
                strides.as_ptr(),
                self.yuv444.into(),
                keyframe.into(),
                &raw mut bytes,
            )
        };
        let length = usize::try_from(length).map_err(|_| io::Error::other("x264 failed"))?;
        if length == 0 || bytes.is_null() {
            return Err(io::Error::other("x264 kept the picture back"));
        }
        // SAFETY: x264 lays the units of one picture out one after the other, `length` bytes in all, valid until the
        // next call.
        Ok(Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(bytes, length) }))
    }

    /// # Errors
    /// When x264 refuses.
    pub fn set_rate(&mut self, rate: Rate) -> io::Result<()> {
        // SAFETY: the encoder lives.
        let refused = unsafe {
            session_video_rate(self.video.as_ptr(), rate.kbit_per_second.into(), rate.buffer_kbit.into(), rate.crf)
        };
        if refused == 0 { Ok(()) } else { Err(io::Error::other("x264 refuses this rate")) }
    }
}

impl Drop for X264 {
    fn drop(&mut self) {
        // SAFETY: made by `session_video_open`, freed once.
        unsafe { session_video_close(self.video.as_ptr()) }
    }
}
