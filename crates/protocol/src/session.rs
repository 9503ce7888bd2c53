//! What a session is and how it ends, in the words of the REST API, SQL, the agent and the logs.

use serde::{Deserialize, Serialize};

macro_rules! text_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        // Not `rename = $text` on each variant: utoipa does not see through the macro and would describe other names.
        #[serde(rename_all = "camelCase")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text { $($text => Ok(Self::$variant),)+ _ => Err(UnknownName) }
            }
        }
    };
}

/// A name that is not one of the enum's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownName;

impl std::fmt::Display for UnknownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unknown name")
    }
}

impl std::error::Error for UnknownName {}

text_enum! {
    /// `starting -> running -> stopped | error`; never goes back. `error` is an ending too.
    SessionStatus {
        Starting = "starting",
        Running = "running",
        Stopped = "stopped",
        Error = "error",
    }
}

text_enum! {
    /// Why a session ended.
    EndReason {
        /// The owner ended it, or quit GIMP.
        User = "user",
        /// `expiresAt` passed.
        Expired = "expired",
        /// No human input for the configured time.
        Idle = "idle",
        /// GIMP, the display, the agent or the sandbox died and could not be brought back.
        Crashed = "crashed",
        /// The platform was shut down, or needed the room: memory, a node drained, the quota burst.
        Evicted = "evicted",
        /// An administrator ended it.
        Admin = "admin",
    }
}

text_enum! {
    /// What a start is doing now. In this order; steps may be skipped, never repeated.
    StartStep {
        CreatingWorkspace = "creatingWorkspace",
        StartingDisplay = "startingDisplay",
        StartingGimp = "startingGimp",
        Ready = "ready",
    }
}

text_enum! {
    /// Stages of a planned end, in order. Each has a time limit; the display goes last.
    EndStage {
        /// Recoverable copies of what is unsaved.
        Save = "save",
        /// Ask GIMP to quit cleanly so that it writes its preferences.
        Quit = "quit",
        /// SIGTERM: GIMP 2.10 writes copies to its `backups/`.
        Terminate = "terminate",
        Kill = "kill",
        /// The X server, once GIMP is gone.
        Display = "display",
    }
}

/// What the browser shows and asks for: size of the picture in device pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScreenSize {
    /// Device pixels, 320..=7680, at most 4320 where the screen is higher than wide; capped by the agent.
    pub width: u16,
    /// Device pixels, 240..=4320, at most 7680 where the screen is higher than wide; capped by the agent.
    pub height: u16,
    /// `devicePixelRatio` of the browser, 0.5..=4. The agent derives the font resolution from it.
    #[serde(default = "one")]
    pub scale: f32,
}

fn one() -> f32 {
    1.0
}

impl ScreenSize {
    /// Largest screen that can be asked for, device pixels, lying; `turned` says what it is for a standing one.
    pub const LARGEST: (u16, u16) = (7680, 4320);

    /// A limit of width and height as it holds for this screen: one that is higher than wide may be as long upwards as
    /// others are sideways.
    #[must_use]
    pub const fn turned(&self, limit: (u16, u16)) -> (u16, u16) {
        if self.height > self.width { (limit.1, limit.0) } else { limit }
    }
}

impl Default for ScreenSize {
    fn default() -> Self {
        Self { width: 1280, height: 800, scale: 1.0 }
    }
}

/// An image that GIMP could not save before it ended and that was copied to the recovery store.
/// The store is `RECOVERY_DIR` in the workspace; each entry is `<id>.xcf` beside `<id>.json` holding this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// File name without extension; `[A-Za-z0-9_-]{1,64}`.
    pub id: String,
    /// What the image was called, if known ("Untitled" otherwise).
    pub name: String,
    /// Path of the user's file inside the workspace, if the image had one.
    pub original: Option<String>,
    /// RFC 3339.
    pub saved_at: String,
    /// Bytes of the copy.
    pub size: u64,
    /// The session in which it was saved.
    pub session_id: Option<uuid::Uuid>,
}

text_enum! {
    /// How a version of a file came about.
    VersionKind {
        /// GIMP saved the image: as XCF, with all that is in it.
        Save = "save",
        /// GIMP exported the image to this file.
        Export = "export",
    }
}

/// What a file was after it was saved or exported. The store is `HISTORY_DIR` in the workspace: `versions/<id>.json` holds
/// this, `objects/<sha256>` the bytes, once for all versions that are the same, `pictures/<sha256>.png` a small picture of
/// them, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileVersion {
    /// A UUID of version 7 without its dashes: later ones are greater.
    pub id: String,
    /// Path of the file inside the workspace, as the file system has it.
    pub path: String,
    pub kind: VersionKind,
    /// RFC 3339, whole seconds, UTC.
    pub saved_at: String,
    /// Bytes.
    pub size: u64,
    /// Of the bytes, in small hexadecimal digits.
    pub sha256: String,
    /// The session in which it was saved.
    pub session_id: Option<uuid::Uuid>,
}

/// How many versions of files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLimits {
    /// Of one file; 0: none are made.
    pub per_file: u32,
    /// Older ones go, except the newest of a file.
    pub days: u32,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { per_file: 50, days: 90 }
    }
}

impl HistoryLimits {
    /// Most versions of all files together.
    pub const MOST: usize = 5000;

    /// The versions that are not to be kept, of all there are, newest first. `before`: the time of `days` ago, written as
    /// `FileVersion::saved_at` is.
    #[must_use]
    pub fn superfluous<'a>(&self, versions: &'a [FileVersion], before: &str) -> Vec<&'a FileVersion> {
        let mut newer = std::collections::HashMap::<&str, u32>::new();
        let too_many = |at: usize| at >= Self::MOST;
        let mut superfluous = Vec::new();
        for (at, version) in versions.iter().enumerate() {
            let newer = newer.entry(&version.path).or_default();
            let too_old = *newer > 0 && version.saved_at.as_str() < before;
            *newer += 1;
            if *newer > self.per_file || too_old || too_many(at) {
                superfluous.push(version);
            }
        }
        superfluous
    }
}

/// Where versions of files live, relative to the workspace.
pub const HISTORY_DIR: &str = ".gimp-platform/history";
/// Where recovery copies live, relative to the workspace.
pub const RECOVERY_DIR: &str = ".gimp-platform/recovery";
/// Where deleted files go, relative to the workspace.
pub const TRASH_DIR: &str = ".gimp-platform/trash";
/// Exports that are being written, relative to the workspace. Emptied when a session starts.
pub const EXPORT_DIR: &str = ".gimp-platform/exports";
/// Partial uploads, relative to the workspace.
pub const UPLOAD_DIR: &str = ".gimp-platform/uploads";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_turn_with_the_screen() {
        let limit = |width, height| ScreenSize { width, height, scale: 1.0 }.turned((3840, 2160));
        assert_eq!(limit(1920, 1080), (3840, 2160));
        assert_eq!(limit(1080, 1920), (2160, 3840));
        assert_eq!(limit(3000, 3000), (3840, 2160));
    }

    #[test]
    fn versions_go_by_number_and_by_age_but_the_newest_of_each_file_stays() {
        let version = |path: &str, saved_at: &str| FileVersion {
            id: format!("{path}{saved_at}"),
            path: path.to_owned(),
            kind: VersionKind::Save,
            saved_at: saved_at.to_owned(),
            size: 1,
            sha256: String::new(),
            session_id: None,
        };
        let versions = [
            version("a", "2026-03-04T00:00:00Z"),
            version("a", "2026-03-03T00:00:00Z"),
            version("b", "2026-03-02T00:00:00Z"),
            version("a", "2026-03-01T00:00:00Z"),
            version("c", "2025-01-02T00:00:00Z"),
            version("c", "2025-01-01T00:00:00Z"),
        ];
        let gone = |per_file, before| -> Vec<&str> {
            let limits = HistoryLimits { per_file, days: 1 };
            limits.superfluous(&versions, before).into_iter().map(|version| version.id.as_str()).collect()
        };
        assert_eq!(gone(50, "2024-01-01T00:00:00Z"), [""; 0]);
        assert_eq!(gone(2, "2024-01-01T00:00:00Z"), ["a2026-03-01T00:00:00Z"]);
        assert_eq!(gone(50, "2026-01-01T00:00:00Z"), ["c2025-01-01T00:00:00Z"]);
        assert_eq!(gone(50, "2027-01-01T00:00:00Z").len(), 3, "one of each file stays");
        assert_eq!(gone(0, "2024-01-01T00:00:00Z").len(), versions.len());
    }

    #[test]
    fn names_are_the_same_in_json_and_elsewhere() {
        fn check<T: Copy + Serialize + std::fmt::Display>(all: &[T]) {
            for value in all {
                assert_eq!(serde_json::to_value(value).expect("serialises"), value.to_string());
            }
        }
        check(SessionStatus::ALL);
        check(EndReason::ALL);
        check(StartStep::ALL);
        check(EndStage::ALL);
        check(VersionKind::ALL);
    }

    #[cfg(feature = "openapi")]
    #[test]
    fn names_are_the_same_in_the_description() {
        use utoipa::PartialSchema as _;
        let schema = serde_json::to_value(StartStep::schema()).expect("serialises");
        let names: Vec<_> = StartStep::ALL.iter().map(|step| step.as_str()).collect();
        assert_eq!(schema["enum"], serde_json::json!(names));
    }
}
