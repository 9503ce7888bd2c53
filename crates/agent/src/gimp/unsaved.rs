//! The save stage: a copy of every image with unsaved changes goes to the recovery store. The user's own files and
//! GIMP's idea of them stay as they are.
//!
//! Where the link does not answer GIMP is asked by Script-Fu, one script an image, so that one that cannot be copied does
//! not keep back the others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_core::lifecycle::SaveOutcome;
use percent_encoding::percent_decode_str;

use super::control::{Control, images};
use super::preset::quoted;
use super::recovery::RecoveryStore;
use super::version::Version;

/// What the save stage needs.
#[derive(Debug, Clone)]
pub struct Saver {
    pub control: Control,
    pub version: Version,
    pub store: RecoveryStore,
    pub home: PathBuf,
    /// For the whole stage.
    pub limit: Duration,
}

/// An image that GIMP has open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenImage {
    id: i64,
    dirty: bool,
    name: String,
    /// Files it came from or was saved to, as URI or path; empty when there is none.
    files: Vec<String>,
}

/// What the stage achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    pub outcome: SaveOutcome,
    /// Confirmed copies.
    pub copies: usize,
}

impl Saver {
    /// Copies every dirty image, and `doubtful`, whatever GIMP says of it. The caller limits the time; dropping the future stops it between two images.
    pub async fn save_all(&self, doubtful: Option<i64>) -> Saved {
        let images = match self.list().await {
            Ok(images) => images,
            Err(error) => {
                tracing::warn!(%error, "cannot ask GIMP for its images");
                return Saved { outcome: SaveOutcome::Incomplete, copies: 0 };
            }
        };
        let mut copies = 0;
        let mut outcome = SaveOutcome::AllSafe;
        for image in images.iter().filter(|image| image.dirty || doubtful == Some(image.id)) {
            match self.save(image).await {
                Ok(()) => copies += 1,
                Err(error) => {
                    tracing::warn!(%error, "an image could not be copied");
                    outcome = SaveOutcome::Incomplete;
                }
            }
        }
        Saved { outcome, copies }
    }

    async fn list(&self) -> anyhow::Result<Vec<OpenImage>> {
        let lines = self.control.evaluate(&list_script(self.version), self.limit).await?;
        parse_images(&lines).ok_or_else(|| anyhow::anyhow!("GIMP's list of images is garbled"))
    }

    async fn save(&self, image: &OpenImage) -> anyhow::Result<()> {
        let partial = self.store.partial()?;
        let script = save_script(self.version, image.id, &partial.path);
        self.control.evaluate(&script, self.limit).await?;
        let original = image.files.iter().find_map(|file| inside(&self.home, file));
        self.store.keep(&partial, &display_name(&image.name), original)?;
        Ok(())
    }
}

/// Marks images of the link's own, which are not the user's.
const OWN_MARK: &str = "gimp-link-own";

/// Per image five lines: id, dirty (1 or 0), then name, own file and imported file as Scheme strings.
fn list_script(version: Version) -> String {
    let images = images(version);
    let (own_file, imported_file, marks) = if version.is_3() {
        ("gimp-image-get-xcf-file", "gimp-image-get-imported-file", "car")
    } else {
        ("gimp-image-get-xcf-uri", "gimp-image-get-imported-uri", "cadr")
    };
    format!(
        "(let ((line (lambda (value) (write value port) (newline port))))
           (for-each
             (lambda (image)
               (if (not (member \"{OWN_MARK}\" ({marks} (gimp-image-get-parasite-list image))))
                 (begin
                   (line image)
                   (line (car (gimp-image-is-dirty image)))
                   (line (car (gimp-image-get-name image)))
                   (line (car ({own_file} image)))
                   (line (car ({imported_file} image))))))
             {images}))"
    )
}

fn save_script(version: Version, image: i64, copy: &Path) -> String {
    let copy = quoted(&copy.to_string_lossy());
    if version.is_3() {
        return format!("(gimp-xcf-save RUN-NONINTERACTIVE {image} {copy})");
    }
    // 2.10 wants a drawable although the format needs none.
    format!(
        "(let* ((layers (cadr (gimp-image-get-layers {image}))) (channels (cadr (gimp-image-get-channels {image})))
                (drawable (if (> (vector-length layers) 0) (vector-ref layers 0) (vector-ref channels 0))))
           (gimp-xcf-save RUN-NONINTERACTIVE {image} drawable {copy} {copy}))"
    )
}

fn parse_images(lines: &[String]) -> Option<Vec<OpenImage>> {
    if !lines.len().is_multiple_of(5) {
        return None;
    }
    lines
        .chunks(5)
        .map(|fields| {
            let [id, dirty, name, own, imported] = fields else { return None };
            Some(OpenImage {
                id: id.parse().ok()?,
                dirty: matches!(dirty.as_str(), "1" | "#t"),
                name: unescape(name)?,
                files: [own, imported].into_iter().filter_map(|file| unescape(file)).collect(),
            })
        })
        .collect()
}

/// Reads a string as TinyScheme's `write` prints it.
fn unescape(written: &str) -> Option<String> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = Vec::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        let value = match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'x' => {
                    let digits: String = [letters.next()?, letters.next()?].iter().collect();
                    char::from(u8::from_str_radix(&digits, 16).ok()?)
                }
                other => other,
            },
            other => other,
        };
        text.push(value);
    }
    Some(text.into_iter().collect())
}

/// GIMP wraps the names of images without own file in brackets, and may say what became of them: "[photo]",
/// "[photo] (imported)".
pub fn display_name(name: &str) -> String {
    let bare = name.strip_prefix('[').and_then(|rest| {
        let (inner, state) = rest.rsplit_once(']')?;
        (state.is_empty() || state.starts_with(" (") && state.ends_with(')')).then_some(inner)
    });
    let bare = bare.unwrap_or(name);
    if bare.is_empty() { "Untitled".to_owned() } else { bare.to_owned() }
}

/// Path inside the workspace of a file given by URI or path.
pub fn inside(home: &Path, file: &str) -> Option<String> {
    let relative = path_of(file)?.strip_prefix(home).ok()?.to_str()?.to_owned();
    (!relative.is_empty()).then_some(relative)
}

/// Path of a file given by URI or path; None: its name is no text.
pub fn path_of(file: &str) -> Option<PathBuf> {
    Some(match file.strip_prefix("file://") {
        Some(encoded) => PathBuf::from(percent_decode_str(encoded).decode_utf8().ok()?.into_owned()),
        None => PathBuf::from(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lists_of_both_versions_are_read() {
        let two =
            parse_images(&lines("7\n1\n\"[a \\\"b\\\"]\"\n\"\"\n\"file:///home/gimp/a%20b.png\"\n")).expect("parses");
        assert_eq!(two[0].name, "[a \"b\"]");
        assert!(two[0].dirty);
        assert_eq!(two[0].files.iter().find_map(|file| inside(Path::new("/home/gimp"), file)), Some("a b.png".into()));

        let three = parse_images(&lines("1\n#f\n\"x.xcf\"\n\"/home/gimp/x.xcf\"\n\"\"\n")).expect("parses");
        assert!(!three[0].dirty);
        assert_eq!(inside(Path::new("/home/gimp"), &three[0].files[0]), Some("x.xcf".into()));
    }

    #[test]
    fn a_cut_off_list_is_refused() {
        assert_eq!(parse_images(&lines("7\n1\n\"a\"")), None);
        assert_eq!(parse_images(&lines("x\n1\n\"a\"\n\"\"\n\"\"")), None);
        assert_eq!(parse_images(&[]), Some(vec![]));
    }

    #[test]
    fn names_lose_gimps_brackets() {
        assert_eq!(display_name("[Untitled]"), "Untitled");
        assert_eq!(display_name("photo.xcf"), "photo.xcf");
        assert_eq!(display_name("[]"), "Untitled");
        assert_eq!(display_name("[photo] (imported)"), "photo");
        assert_eq!(display_name("[a] b] (exported)"), "a] b");
        assert_eq!(display_name("[a] (b).xcf"), "[a] (b).xcf");
    }

    #[test]
    fn files_outside_the_workspace_are_not_named() {
        assert_eq!(inside(Path::new("/home/gimp"), "file:///etc/passwd"), None);
        assert_eq!(inside(Path::new("/home/gimp"), ""), None);
    }
}
