//! What a file or folder looks like to the API.

use rustix::fs::{FileType, Stat};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::path::{Name, WorkspacePath};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum EntryKind {
    Folder,
    File,
    /// A link, pipe, socket or device made in a session. Can be renamed and deleted, not opened.
    Other,
}

impl EntryKind {
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Folder,
            FileType::RegularFile => Self::File,
            _ => Self::Other,
        }
    }
}

/// A file or folder in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// For people. Characters that are not Unicode are replaced; may hold line breaks.
    pub name: String,
    /// Relative to the workspace, for use in further requests. A part whose name is not Unicode is written as
    /// `base64:` and its base64url.
    #[schema(example = "pictures/cat.xcf")]
    pub path: String,
    pub kind: EntryKind,
    /// Bytes; 0 for folders.
    pub size: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub modified_at: OffsetDateTime,
    /// Guessed from the name; null for folders and unknown names.
    pub media_type: Option<String>,
    /// Whether `GET /files/thumbnail` may have a picture of it.
    pub thumbnail: bool,
}

impl Entry {
    #[must_use]
    pub fn new(path: &WorkspacePath, name: &Name, stat: &Stat) -> Self {
        let kind = EntryKind::of(stat);
        let media_type = (kind == EntryKind::File).then(|| media_type(name)).flatten();
        Self {
            name: name.display(),
            path: path.to_string(),
            kind,
            size: if kind == EntryKind::File { size(stat) } else { 0 },
            modified_at: modified(stat),
            thumbnail: kind == EntryKind::File && super::thumbnail::may_have(name),
            media_type,
        }
    }
}

/// Bytes.
#[must_use]
pub fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Time of the last change of the content. The year 1970 where it is out of range: a session can set any.
#[must_use]
pub fn modified(stat: &Stat) -> OffsetDateTime {
    let nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    match OffsetDateTime::from_unix_timestamp_nanos(nanos) {
        // RFC 3339 has four digits.
        Ok(at) if (0..=9999).contains(&at.year()) => at,
        _ => OffsetDateTime::UNIX_EPOCH,
    }
}

/// A strong validator: which file, and its last change of content or attributes.
#[must_use]
pub fn version(stat: &Stat) -> String {
    format!(
        "{:x}-{:x}-{:x}.{:x}-{:x}.{:x}",
        stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec
    )
}

/// Guessed from the extension.
#[must_use]
pub fn media_type(name: &Name) -> Option<String> {
    let name = name.display();
    let (_, extension) = name.rsplit_once('.')?;
    let known = match extension.to_ascii_lowercase().as_str() {
        // What GIMP makes and the public list does not have.
        "xcf" => "image/x-xcf",
        "gbr" => "image/x-gimp-gbr",
        "gih" => "image/x-gimp-gih",
        "pat" => "image/x-gimp-pat",
        "ora" => "image/openraster",
        other => return mime_guess::from_ext(other).first_raw().map(str::to_owned),
    };
    Some(known.to_owned())
}
