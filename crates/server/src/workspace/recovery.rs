//! Copies of images that were unsaved when GIMP ended: `RECOVERY_DIR/<id>.xcf` beside `<id>.json`.
//!
//! The agent writes them from inside the sandbox, so the description is as hostile as any file of a session. A copy is
//! the user's work, though: whatever is wrong with its description, it is listed.

use protocol::session::{RECOVERY_DIR, Recovery};
use rustix::fs::{FileType, Stat};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::content::Content;
use super::entry;
use super::error::FileError;
use super::folder::Folder;
use super::path::{MAX_PATH, Name, WorkspacePath};
use super::{Workspace, platform_folder, trash};

/// Most copies listed; the newest.
const MAX_ENTRIES: usize = 1000;
/// Most names looked at.
const MAX_SCANNED: usize = 100_000;
/// Largest description, bytes.
const MAX_DESCRIPTION: u64 = 64 * 1024;
/// Longest name shown, characters.
const MAX_NAME: usize = 255;
/// What an image without a name is called.
const UNTITLED: &str = "Untitled";
const COPY: &[u8] = b".xcf";

/// The file name of a copy without its extension: `[A-Za-z0-9_-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryId(String);

impl RecoveryId {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        (plain && (1..=64).contains(&text.len())).then(|| Self(text.to_owned()))
    }

    fn of_copy(name: &Name) -> Option<Self> {
        Self::parse(std::str::from_utf8(name.as_bytes().strip_suffix(COPY)?).ok()?)
    }

    fn copy(&self) -> Result<Name, FileError> {
        Ok(Name::parse(&format!("{}.xcf", self.0))?)
    }

    fn description(&self) -> Result<Name, FileError> {
        Ok(Name::parse(&format!("{}.json", self.0))?)
    }
}

impl std::fmt::Display for RecoveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Workspace {
    /// Newest first.
    pub async fn recoveries(&self) -> Result<Vec<Recovery>, FileError> {
        self.with_root(|root| {
            let folder = recovery_folder(root)?;
            let mut found = vec![];
            for name in folder.names()?.take(MAX_SCANNED).collect::<Result<Vec<_>, _>>()? {
                if let Some((id, stat)) = identify(&folder, &name)? {
                    found.push((entry::modified(&stat), id, stat));
                }
            }
            found.sort_by_key(|(at, id, _)| (std::cmp::Reverse(*at), id.0.clone()));
            found.truncate(MAX_ENTRIES);
            Ok(found.into_iter().map(|(_, id, stat)| describe(&folder, &id, &stat)).collect())
        })
        .await
    }

    /// The copy's bytes, named after the image.
    pub async fn recovery_content(&self, id: RecoveryId) -> Result<Content, FileError> {
        self.with_root(move |root| {
            let folder = recovery_folder(root)?;
            let (file, stat) = folder.open_file(&id.copy()?).map_err(missing)?;
            let recovery = describe(&folder, &id, &stat);
            Ok(Content {
                file,
                name: file_name(&recovery, &id)?,
                size: entry::size(&stat),
                modified: entry::modified(&stat),
                version: entry::version(&stat),
            })
        })
        .await
    }

    /// Moves a copy to the trash, where it is kept like any deleted file.
    pub async fn recovery_delete(&self, id: RecoveryId) -> Result<(), FileError> {
        let now = self.all.0.clock.now();
        self.with_root(move |root| {
            let folder = recovery_folder(root)?;
            let copy = id.copy()?;
            let recovery = describe(&folder, &id, &folder.stat(&copy).map_err(missing)?);
            let path = WorkspacePath::from_names(vec![file_name(&recovery, &id)?.variant("recovered", 1)])?;
            trash::put(root, &folder, &copy, &path, now)?;
            let _ = folder.remove_file(&id.description()?);
            Ok(())
        })
        .await
    }
}

fn recovery_folder(root: &Folder) -> Result<Folder, FileError> {
    platform_folder(root, RECOVERY_DIR)
}

fn missing(error: FileError) -> FileError {
    match error {
        FileError::NotFound => FileError::NoRecovery,
        other => other,
    }
}

/// The id of a copy. One whose name is none gets one, so that it can be asked for. None: not a copy.
fn identify(folder: &Folder, name: &Name) -> Result<Option<(RecoveryId, Stat)>, FileError> {
    if !name.as_bytes().ends_with(COPY) {
        return Ok(None);
    }
    let stat = match folder.stat(name) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
        // Gone meanwhile, or nothing GIMP could have written.
        _ => return Ok(None),
    };
    if let Some(id) = RecoveryId::of_copy(name) {
        return Ok(Some((id, stat)));
    }
    let id = RecoveryId(Uuid::now_v7().simple().to_string());
    let display = name.display();
    let recovery = Recovery {
        id: id.0.clone(),
        name: clean_name(display.strip_suffix(".xcf").unwrap_or(&display)),
        original: None,
        saved_at: format_time(entry::modified(&stat)),
        size: entry::size(&stat),
        session_id: None,
    };
    // Without a description it would only lose its name.
    if let Ok(bytes) = serde_json::to_vec(&recovery) {
        let _ = folder.write_new(&id.description()?, &bytes);
    }
    match folder.rename_new(name, folder, &id.copy()?) {
        Ok(()) => Ok(Some((id, stat))),
        Err(FileError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn describe(folder: &Folder, id: &RecoveryId, stat: &Stat) -> Recovery {
    let bytes = id.description().and_then(|name| folder.read_small(&name, MAX_DESCRIPTION)).unwrap_or_default();
    let said = parse_description(&bytes);
    Recovery {
        id: id.0.clone(),
        name: said.as_ref().map_or_else(|| UNTITLED.to_owned(), |said| said.name.clone()),
        saved_at: said.as_ref().map_or_else(|| format_time(entry::modified(stat)), |said| said.saved_at.clone()),
        original: said.as_ref().and_then(|said| said.original.clone()),
        session_id: said.and_then(|said| said.session_id),
        size: entry::size(stat),
    }
}

/// What a description says, with everything that could not be so left out. None when it is no description.
#[must_use]
pub fn parse_description(bytes: &[u8]) -> Option<Recovery> {
    let said: Recovery = serde_json::from_slice(bytes).ok()?;
    let saved_at = OffsetDateTime::parse(&said.saved_at, &Rfc3339).ok()?;
    let original = said.original.filter(|path| path.len() <= MAX_PATH).and_then(|path| {
        let path = WorkspacePath::parse(&path).ok()?;
        (!path.is_root()).then(|| path.to_string())
    });
    Some(Recovery {
        name: clean_name(&said.name),
        original,
        saved_at: format_time(saved_at.to_offset(time::UtcOffset::UTC)),
        ..said
    })
}

/// One line of bounded length.
fn clean_name(name: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let line: String = name.chars().map(|c| if breaks(c) { ' ' } else { c }).take(MAX_NAME).collect();
    let line = line.trim();
    if line.is_empty() { UNTITLED.to_owned() } else { line.to_owned() }
}

fn format_time(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

/// What a downloaded or restored copy is called.
fn file_name(recovery: &Recovery, id: &RecoveryId) -> Result<Name, FileError> {
    // An image is called as its file, whatever its kind: `cat.png` was opened, the copy is an XCF file.
    let stem = recovery.name.rsplit_once('.').map_or(&*recovery.name, |(stem, _)| stem).replace(['/', '\0'], "_");
    let mut stem = stem.trim_start_matches('.').to_owned();
    while stem.len() > super::path::MAX_NAME - COPY.len() {
        stem.pop();
    }
    match Name::parse(&format!("{stem}.xcf")) {
        Ok(name) if !stem.is_empty() => Ok(name),
        _ => id.copy(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recovery(name: &str) -> Recovery {
        Recovery {
            id: "x".into(),
            name: name.into(),
            original: None,
            saved_at: String::new(),
            size: 0,
            session_id: None,
        }
    }

    #[test]
    fn ids_are_plain() {
        for good in ["a", "A-_9", &"x".repeat(64)] {
            assert_eq!(RecoveryId::parse(good).map(|id| id.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "a.b", "../x", "a/b", "ä", "a b", "a\0", &"x".repeat(65)] {
            assert_eq!(RecoveryId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_description_is_taken_apart_with_care() {
        let parse = |text: &str| parse_description(text.as_bytes());
        let good = parse(
            r#"{"id":"x","name":"a\nb","original":"p/cat.png","savedAt":"2026-01-01T01:00:00+01:00","size":1,"sessionId":null}"#,
        )
        .expect("a description");
        assert_eq!((good.name.as_str(), good.original.as_deref()), ("a b", Some("p/cat.png")));
        assert_eq!(good.saved_at, "2026-01-01T00:00:00Z");
        let away = parse(r#"{"id":"x","name":" ","original":"../../etc","savedAt":"2026-01-01T00:00:00Z","size":1}"#);
        let away = away.expect("a description");
        assert_eq!((away.name.as_str(), away.original), (UNTITLED, None));
        for broken in ["", "{", "[]", r#"{"id":"x","name":"a","savedAt":"yesterday","size":1}"#] {
            assert_eq!(parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn copies_are_named_after_the_image() {
        let id = RecoveryId::parse("x").expect("an id");
        let named = |name: &str| file_name(&recovery(name), &id).expect("a name").display();
        assert_eq!(named("cat.png"), "cat.xcf");
        assert_eq!(named("Untitled"), "Untitled.xcf");
        assert_eq!(named("../a/b.png"), "_a_b.xcf");
        assert_eq!(named(".png"), "x.xcf");
        assert_eq!(named("base64:evil"), "x.xcf");
        assert!(named(&"ä".repeat(255)).len() <= 255);
    }

    proptest! {
        #[test]
        fn any_description_gives_a_name_for_a_file(name: String, rest in "[ -~]{0,40}") {
            let id = RecoveryId::parse("x").expect("an id");
            let file = file_name(&recovery(&clean_name(&name)), &id).expect("a name");
            prop_assert!(file.check_new().is_ok());
            let _ = parse_description(rest.as_bytes());
        }
    }
}
