//! Names and paths inside a workspace, as people and programs send them.
//!
//! A path is relative, `/`-separated, without empty, `.` or `..` components; the empty string is the workspace itself.
//! A file's name may be any bytes but NUL and `/`, and JSON can only carry Unicode: a component that is not UTF-8, or
//! that itself starts with `base64:`, travels as `base64:` and the base64url of its bytes. Every name has exactly one
//! such form, so what a listing gives can be sent back.
//!
//! Never touches the file system.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest name, bytes. What Linux file systems hold.
pub const MAX_NAME: usize = 255;
/// Longest path, bytes, separators included.
pub const MAX_PATH: usize = 4096;
/// Most components of a path.
pub const MAX_DEPTH: usize = 64;
/// Start of a component that is not written as it is.
pub const ESCAPE: &str = "base64:";
/// The platform's own folder at the top of a workspace: trash, partial uploads, recoveries. Never reached by a path
/// from outside.
pub const PLATFORM_FOLDER: &str = ".gimp-platform";
/// ext4 keeps it at the top of a file system.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Why a path or name is refused. The words are for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("A path has no empty part: leave out a / at the start or end, and // in the middle.")]
    Empty,
    #[error("A path must not contain . or .. as a part.")]
    Dots,
    #[error("A name must not contain a slash or a NUL character.")]
    Slash,
    #[error("A name may be at most {MAX_NAME} bytes long; letters outside ASCII take two to four.")]
    LongName,
    #[error("A path may be at most {MAX_PATH} bytes long.")]
    LongPath,
    #[error("Folders may be nested at most {MAX_DEPTH} deep.")]
    Deep,
    #[error("A part that starts with {ESCAPE} must go on with the base64url form of a name that needs it.")]
    Escape,
    #[error("A new name must not contain line breaks or other control characters.")]
    Control,
    #[error("The name must be valid Unicode.")]
    NotUnicode,
    #[error("This name is kept for the platform itself. Choose another one.")]
    Reserved,
    #[error("This works on a file or folder in the workspace, not on the workspace itself.")]
    Root,
}

/// One component: 1 to 255 bytes without `/` and NUL, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// A name as the file system has it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PathError> {
        match bytes {
            [] => Err(PathError::Empty),
            b"." | b".." => Err(PathError::Dots),
            _ if bytes.contains(&b'/') || bytes.contains(&0) => Err(PathError::Slash),
            _ if bytes.len() > MAX_NAME => Err(PathError::LongName),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// A component of a path as it travels.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let Some(coded) = text.strip_prefix(ESCAPE) else { return Self::from_bytes(text.as_bytes()) };
        let bytes = URL_SAFE_NO_PAD.decode(coded).map_err(|_| PathError::Escape)?;
        let name = Self::from_bytes(&bytes)?;
        // Only one form per name, or two paths could mean one file.
        if name.needs_escape() { Ok(name) } else { Err(PathError::Escape) }
    }

    /// The component of a path as it travels; `parse` undoes it.
    #[must_use]
    pub fn escaped(&self) -> String {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !self.needs_escape() => text.to_owned(),
            _ => format!("{ESCAPE}{}", URL_SAFE_NO_PAD.encode(&self.0)),
        }
    }

    fn needs_escape(&self) -> bool {
        self.0.starts_with(ESCAPE.as_bytes()) || std::str::from_utf8(&self.0).is_err()
    }

    /// For people: what is not Unicode is replaced.
    #[must_use]
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Dotfiles, which listings leave out unless asked.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.0.starts_with(b".")
    }

    /// Whether something new may be called so. Stricter than what can exist: sessions make any names.
    pub fn check_new(&self) -> Result<(), PathError> {
        let text = std::str::from_utf8(&self.0).map_err(|_| PathError::NotUnicode)?;
        // Line and paragraph separators break lines like the control characters do.
        if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(PathError::Control);
        }
        Ok(())
    }

    /// The same name with ` (word)`, or ` (word n)` from the second attempt on, before the extension. Shortens the
    /// stem where the result would be too long.
    #[must_use]
    pub fn variant(&self, word: &str, attempt: u32) -> Self {
        let mark = if attempt < 2 { format!(" ({word})") } else { format!(" ({word} {attempt})") };
        let dot = self.0.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
        let (stem, extension) = self.0.split_at(dot.unwrap_or(self.0.len()));
        // An "extension" that leaves no room is part of the name.
        let (stem, extension) =
            if extension.len() + mark.len() < MAX_NAME { (stem, extension) } else { (&*self.0, &b""[..]) };
        let mut keep = stem.len().min(MAX_NAME - mark.len() - extension.len());
        // Not in the middle of a letter.
        while keep > 0 && keep < stem.len() && stem[keep] & 0xC0 == 0x80 {
            keep -= 1;
        }
        Self([&stem[..keep], mark.as_bytes(), extension].concat().into())
    }
}

/// Without the name: logs hold no file names.
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({} bytes)", self.0.len())
    }
}

/// A path inside a workspace that does not lead into `PLATFORM_FOLDER`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct WorkspacePath(Vec<Name>);

impl WorkspacePath {
    /// # Errors
    /// When it is not a path as the module describes, or leads into the platform's folder.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        // The escaped form of a name is at most 4/3 of it and a prefix.
        if text.len() > MAX_PATH * 2 {
            return Err(PathError::LongPath);
        }
        let names = text.split('/').take(MAX_DEPTH + 1).map(Name::parse).collect::<Result<Vec<_>, _>>()?;
        Self::from_names(names)
    }

    pub(super) fn from_names(names: Vec<Name>) -> Result<Self, PathError> {
        if names.len() > MAX_DEPTH {
            return Err(PathError::Deep);
        }
        if names.iter().map(|name| name.0.len() + 1).sum::<usize>() > MAX_PATH + 1 {
            return Err(PathError::LongPath);
        }
        if names.first().is_some_and(is_reserved) {
            return Err(PathError::Reserved);
        }
        Ok(Self(names))
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.0
    }

    /// The folders that lead to it, and its own name.
    ///
    /// # Errors
    /// `Root` for the workspace itself.
    pub fn split_names(&self) -> Result<(&[Name], &Name), PathError> {
        let (last, parents) = self.0.split_last().ok_or(PathError::Root)?;
        Ok((parents, last))
    }

    /// # Errors
    /// When it becomes too long or too deep, or is reserved.
    pub fn join(&self, name: Name) -> Result<Self, PathError> {
        let mut names = self.0.clone();
        names.push(name);
        Self::from_names(names)
    }

    /// As the file system has it, if that is Unicode: what can be named to a program in the session.
    #[must_use]
    pub fn plain(&self) -> Option<String> {
        let parts: Option<Vec<_>> = self.0.iter().map(|name| std::str::from_utf8(&name.0).ok()).collect();
        Some(parts?.join("/"))
    }
}

/// At the top of a workspace only.
#[must_use]
pub fn is_reserved(name: &Name) -> bool {
    name.as_bytes() == PLATFORM_FOLDER.as_bytes() || name.as_bytes() == LOST_AND_FOUND
}

/// As it travels; `parse` undoes it.
impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("/")?;
            }
            f.write_str(&name.escaped())?;
        }
        Ok(())
    }
}

/// Without names: logs hold no file names.
impl fmt::Debug for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkspacePath({} parts)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn refuses_what_could_lead_elsewhere() {
        for (text, error) in [
            ("/etc/passwd", PathError::Empty),
            ("a//b", PathError::Empty),
            ("a/", PathError::Empty),
            ("..", PathError::Dots),
            ("a/../../b", PathError::Dots),
            ("./a", PathError::Dots),
            ("a\0b", PathError::Slash),
            (".gimp-platform", PathError::Reserved),
            (".gimp-platform/trash", PathError::Reserved),
            ("lost+found", PathError::Reserved),
            // `..` and `.gimp-platform` in disguise.
            ("base64:Li4", PathError::Dots),
            ("base64:LmdpbXAtcGxhdGZvcm0", PathError::Escape),
            ("base64:YS9i", PathError::Slash),
            ("base64:", PathError::Empty),
            ("base64:????", PathError::Escape),
            // Plain names have no second form.
            ("base64:YQ", PathError::Escape),
        ] {
            assert_eq!(WorkspacePath::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn bounds_length_and_depth() {
        let long = "é".repeat(127);
        assert!(WorkspacePath::parse(&long).is_ok());
        assert_eq!(WorkspacePath::parse(&format!("{long}ab")), Err(PathError::LongName));
        assert_eq!(WorkspacePath::parse(&vec!["a"; 65].join("/")), Err(PathError::Deep));
        assert!(WorkspacePath::parse(&vec!["a"; 64].join("/")).is_ok());
        assert_eq!(WorkspacePath::parse(&vec!["a".repeat(200); 30].join("/")), Err(PathError::LongPath));
        assert_eq!(WorkspacePath::parse(&"a/".repeat(5000)), Err(PathError::LongPath));
    }

    #[test]
    fn new_names_are_stricter_than_existing_ones() {
        for (text, expected) in [
            ("picture.xcf", Ok(())),
            ("🎨 naïve.png", Ok(())),
            ("two\nlines", Err(PathError::Control)),
            ("tab\t", Err(PathError::Control)),
            ("\u{7f}", Err(PathError::Control)),
            ("\u{2028}", Err(PathError::Control)),
            ("base64:_w", Err(PathError::NotUnicode)),
        ] {
            assert_eq!(Name::parse(text).and_then(|name| name.check_new()), expected, "{text:?}");
        }
    }

    #[test]
    fn variants_keep_the_extension_and_stay_within_bounds() {
        let name = |text: &str| Name::parse(text).expect("a name");
        assert_eq!(name("a.png").variant("restored", 1).display(), "a (restored).png");
        assert_eq!(name("a.png").variant("restored", 3).display(), "a (restored 3).png");
        assert_eq!(name(".config").variant("restored", 1).display(), ".config (restored)");
        assert_eq!(name("folder").variant("restored", 1).display(), "folder (restored)");
        let long = format!("{}.png", "é".repeat(125));
        let variant = name(&long).variant("restored", 1);
        assert!(variant.as_bytes().len() <= MAX_NAME);
        assert!(variant.display().ends_with("é (restored).png"), "{}", variant.display());
        let all_extension = name(&format!("a.{}", "x".repeat(250)));
        assert!(all_extension.variant("restored", 12).as_bytes().len() <= MAX_NAME);
    }

    #[test]
    fn plain_is_what_a_program_in_the_session_can_open() {
        assert_eq!(WorkspacePath::parse("a/ü.png").expect("parses").plain().as_deref(), Some("a/ü.png"));
        assert_eq!(WorkspacePath::parse("base64:YmFzZTY0OmE").expect("parses").plain().as_deref(), Some("base64:a"));
        assert_eq!(WorkspacePath::parse("base64:_w").expect("parses").plain(), None);
        assert_eq!(format!("{:?}", WorkspacePath::parse("a/secret").expect("parses")), "WorkspacePath(2 parts)");
    }

    proptest! {
        #[test]
        fn any_name_of_a_file_travels_and_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = Name::from_bytes(&bytes) {
                prop_assert_eq!(name.as_bytes(), &bytes[..]);
                prop_assert_eq!(Name::parse(&name.escaped()), Ok(name.clone()));
                prop_assert!(name.variant("restored", 2).as_bytes().len() <= MAX_NAME);
                prop_assert!(Name::from_bytes(name.variant("restored", 2).as_bytes()).is_ok());
            }
        }

        #[test]
        fn every_accepted_path_is_canonical_and_inside(text in "(\\.{0,3}|/|[a-c\\x00-\\x1f]{0,3}|base64:[a-zA-Z0-9_-]{0,6}|.gimp-platform){0,8}") {
            if let Ok(path) = WorkspacePath::parse(&text) {
                prop_assert_eq!(path.to_string(), text);
                prop_assert!(path.names().len() <= MAX_DEPTH);
                for name in path.names() {
                    prop_assert!(!name.as_bytes().contains(&b'/') && !name.as_bytes().contains(&0));
                    prop_assert!(!matches!(name.as_bytes(), b"" | b"." | b".."));
                }
                prop_assert!(path.names().first().is_none_or(|name| !is_reserved(name)));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            if let Ok(path) = WorkspacePath::parse(&text) {
                prop_assert_eq!(WorkspacePath::parse(&path.to_string()), Ok(path));
            }
        }
    }
}
