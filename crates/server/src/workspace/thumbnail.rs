//! Small pictures of files, for listings. Pictures are decoded here, by decoders in safe Rust within strict limits; of
//! GIMP's own files there is what GIMP left in the thumbnail folder of the session's desktop (freedesktop.org's
//! Thumbnail Managing Standard).

use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, Cursor, Read};
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::Workspace;
use super::content::Content;
use super::error::FileError;
use super::folder::Folder;
use super::path::{Name, WorkspacePath};
use crate::ids::UserId;

/// Longest side of a thumbnail, pixels.
const SIZE: u32 = 256;
/// Most memory the pixels of one picture may take while it is decoded, bytes: 50 megapixels of a photograph.
pub const MAX_MEMORY: u64 = 192 * 1024 * 1024;
/// Largest file, bytes: some decoders hold all of it.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Longest side of a picture, pixels.
const MAX_SIDE: u32 = 32_768;
/// Longest wait for one picture, its turn included.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most memory for finished thumbnails, bytes.
const CACHE_LIMIT: usize = 8 * 1024 * 1024;
/// What a thumbnail without bytes (there is none) counts in the cache.
const ENTRY_COST: usize = 256;

/// By extension. What a file really is decides when it is decoded.
const PICTURES: [&str; 8] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff"];
const FORMATS: [ImageFormat; 6] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Tiff];

/// Where a session's GIMP leaves thumbnails, larger ones first.
const CACHES: [&[&str]; 2] = [&[".cache", "thumbnails", "large"], &[".cache", "thumbnails", "normal"]];
/// Largest of those files, bytes.
const MAX_CACHED_FILE: u64 = 2 * 1024 * 1024;
/// What GLib's `g_filename_to_uri` leaves as it is.
const URI_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'-')
    .remove(b'.')
    .remove(b'/')
    .remove(b':')
    .remove(b'=')
    .remove(b'@')
    .remove(b'_')
    .remove(b'~');

/// A finished thumbnail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    pub bytes: Bytes,
    pub media_type: &'static str,
}

/// Finished thumbnails by user and version of the file; the oldest go first. None: the picture can't be read.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<(UserId, String), Option<Thumbnail>>,
    order: VecDeque<(UserId, String)>,
    bytes: usize,
}

impl Cache {
    fn get(&self, key: &(UserId, String)) -> Option<Option<Thumbnail>> {
        self.entries.get(key).cloned()
    }

    fn insert(&mut self, key: (UserId, String), thumbnail: Option<Thumbnail>) {
        self.bytes += cost(thumbnail.as_ref());
        match self.entries.insert(key.clone(), thumbnail) {
            None => self.order.push_back(key),
            Some(before) => self.bytes -= cost(before.as_ref()),
        }
        while self.bytes > CACHE_LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.entries.remove(&oldest).map_or(0, |gone| cost(gone.as_ref()));
        }
    }
}

fn cost(thumbnail: Option<&Thumbnail>) -> usize {
    ENTRY_COST + thumbnail.map_or(0, |thumbnail| thumbnail.bytes.len())
}

/// Whether a file's name promises a picture that can be shown small.
#[must_use]
pub fn may_have(name: &Name) -> bool {
    is_picture(name) || is_gimps(name)
}

pub(super) fn is_picture(name: &Name) -> bool {
    extension(name).is_some_and(|extension| PICTURES.contains(&&*extension))
}

fn is_gimps(name: &Name) -> bool {
    extension(name).as_deref() == Some("xcf")
}

fn extension(name: &Name) -> Option<String> {
    Some(name.display().rsplit_once('.')?.1.to_ascii_lowercase())
}

impl Workspace {
    /// The thumbnail of an open file.
    ///
    /// # Errors
    /// `NoThumbnail`, `BrokenPicture`; `Busy` when too many are waited for.
    pub async fn thumbnail(&self, path: &WorkspacePath, content: Content) -> Result<Thumbnail, FileError> {
        if is_gimps(&content.name) {
            let path = path.clone();
            return self.with_root(move |root| left_by_gimp(root, &path, content.modified.unix_timestamp())).await;
        }
        self.thumbnail_of_picture(content).await
    }

    /// The same for what only a picture that is decoded here has.
    pub(super) async fn thumbnail_of_picture(&self, content: Content) -> Result<Thumbnail, FileError> {
        if !is_picture(&content.name) || content.size > MAX_FILE {
            return Err(FileError::NoThumbnail);
        }
        let key = (self.user, content.version.clone());
        let cache = || self.all.0.thumbnails.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cache().get(&key);
        if let Some(known) = known {
            return known.ok_or(FileError::BrokenPicture);
        }
        let thumbnail = match self.decoded(move || decode(content)).await {
            Ok(thumbnail) => Some(thumbnail),
            Err(FileError::BrokenPicture) => None,
            Err(error) => return Err(error),
        };
        cache().insert(key, thumbnail.clone());
        thumbnail.ok_or(FileError::BrokenPicture)
    }
}

impl Workspace {
    /// Decodes a picture when it is its turn.
    pub(super) async fn decoded(
        &self,
        decode: impl FnOnce() -> Result<Thumbnail, FileError> + Send + 'static,
    ) -> Result<Thumbnail, FileError> {
        let decoding = self.all.0.decoding.clone();
        let decoded = tokio::time::timeout(PATIENCE, async move {
            // Held by the thread: a picture that takes longer than anyone waits still counts.
            let turn = decoding.acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                decode()
            })
            .await
        })
        .await
        .map_err(|_| FileError::Busy)?;
        // The decoder panicked on it.
        decoded.unwrap_or(Err(FileError::BrokenPicture))
    }
}

fn decode(content: Content) -> Result<Thumbnail, FileError> {
    let mut bytes = Vec::new();
    content.file.take(MAX_FILE).read_to_end(&mut bytes)?;
    shrink(&bytes).map_err(|_| FileError::BrokenPicture)
}

/// A thumbnail of an encoded picture of any of `FORMATS`, the right way up.
///
/// # Errors
/// When it is broken, of another format, or larger than the limits.
pub fn shrink(bytes: &[u8]) -> image::ImageResult<Thumbnail> {
    shrink_to(bytes, SIZE)
}

/// The same, for another longest side.
///
/// # Errors
/// As `shrink`.
pub fn shrink_to(bytes: &[u8], size: u32) -> image::ImageResult<Thumbnail> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    if reader.format().is_none_or(|format| !FORMATS.contains(&format)) {
        return Err(too_large());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    // Not every decoder keeps to the limits by itself.
    let (width, height) = decoder.dimensions();
    if width > MAX_SIDE || height > MAX_SIDE || decoder.total_bytes() > MAX_MEMORY {
        return Err(too_large());
    }
    let orientation = decoder.orientation()?;
    let picture = DynamicImage::from_decoder(decoder)?;
    let mut small = if picture.width() <= size && picture.height() <= size {
        picture
    } else {
        // Quick to twice the size, then smooth.
        let twice = if picture.width().max(picture.height()) > 4 * size {
            picture.thumbnail(2 * size, 2 * size)
        } else {
            picture
        };
        twice.resize(size, size, FilterType::CatmullRom)
    };
    small.apply_orientation(orientation);
    encode(&small)
}

fn too_large() -> image::ImageError {
    image::ImageError::Limits(image::error::LimitError::from_kind(image::error::LimitErrorKind::DimensionError))
}

fn encode(picture: &DynamicImage) -> image::ImageResult<Thumbnail> {
    let mut bytes = Vec::new();
    let (width, height) = (picture.width(), picture.height());
    if picture.color().has_alpha() {
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.write_image(&picture.to_rgba8(), width, height, image::ExtendedColorType::Rgba8)?;
        return Ok(Thumbnail { bytes: bytes.into(), media_type: "image/png" });
    }
    JpegEncoder::new_with_quality(&mut bytes, 85).write_image(
        &picture.to_rgb8(),
        width,
        height,
        image::ExtendedColorType::Rgb8,
    )?;
    Ok(Thumbnail { bytes: bytes.into(), media_type: "image/jpeg" })
}

/// The standard's file for this one, if it is of the version of `modified` (seconds). Decoded and encoded again: what a
/// session wrote is not handed on.
fn left_by_gimp(root: &Folder, path: &WorkspacePath, modified: i64) -> Result<Thumbnail, FileError> {
    let file_name = Name::from_bytes(thumbnail_name(path).as_bytes())?;
    for cache in CACHES {
        let names = cache.iter().map(|name| Name::parse(name)).collect::<Result<Vec<_>, _>>()?;
        let Ok(folder) = root.descend(&names) else { continue };
        let Ok(bytes) = folder.read_small(&file_name, MAX_CACHED_FILE) else { continue };
        if is_of_time(&bytes, modified)
            && let Ok(thumbnail) = shrink(&bytes)
        {
            return Ok(thumbnail);
        }
    }
    Err(FileError::NoThumbnail)
}

/// MD5 of the file's URI as the session sees it.
fn thumbnail_name(path: &WorkspacePath) -> String {
    let mut uri = format!("file://{}", protocol::agent::paths::HOME);
    for name in path.names() {
        uri.push('/');
        uri.extend(percent_encode(name.as_bytes(), URI_PATH));
    }
    let digest = Md5::digest(uri.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).chain([".png".to_owned()]).collect()
}

/// Whether a thumbnail says that it was made of a file of this time.
fn is_of_time(png: &[u8], modified: i64) -> bool {
    let limits = png::Limits { bytes: 1 << 20 };
    let Ok(reader) = png::Decoder::new_with_limits(BufReader::new(Cursor::new(png)), limits).read_info() else {
        return false;
    };
    let texts = &reader.info().uncompressed_latin1_text;
    texts.iter().any(|chunk| chunk.keyword == "Thumb::MTime" && chunk.text == modified.to_string())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn promises_by_extension() {
        for promising in ["a.png", "a.JPG", "a.jpeg", "a.gif", "a.webp", "a.bmp", "a.TIF", "a.tiff", "a.xcf"] {
            assert!(may_have(&name(promising)), "{promising}");
        }
        for other in ["png", "a.svg", "a.psd", "a.png.txt", "a."] {
            assert!(!may_have(&name(other)), "{other}");
        }
    }

    #[test]
    fn the_name_of_a_thumbnail_is_the_standards() {
        // `printf 'file:///home/gimp/a%20b%3B%C3%A4%23.xcf' | md5sum`
        let path = WorkspacePath::parse("a b;ä#.xcf").expect("parses");
        assert_eq!(thumbnail_name(&path), "98870df64f4e80f3a7aea744a67c98bc.png");
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = Cache::default();
        let user = UserId::new();
        let thumbnail = Thumbnail { bytes: vec![0; 1 << 20].into(), media_type: "image/png" };
        for number in 0..20 {
            let mut version = String::new();
            write!(version, "{number}").expect("writes");
            cache.insert((user, version.clone()), Some(thumbnail.clone()));
            cache.insert((user, version), Some(thumbnail.clone()));
            assert!(cache.bytes <= CACHE_LIMIT);
        }
        assert_eq!(cache.get(&(user, "19".into())), Some(Some(thumbnail)));
        assert_eq!(cache.get(&(user, "0".into())), None);
        assert_eq!((cache.entries.len(), cache.order.len()), (7, 7));
    }

    #[test]
    fn broken_and_foreign_bytes_are_refused() {
        for bytes in
            [&b""[..], b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"<svg/>", b"\0\0\x01\0"]
        {
            assert!(shrink(bytes).is_err(), "{bytes:?}");
        }
    }
}
