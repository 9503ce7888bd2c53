//! The agent's HTTP API. Over a Unix socket (local driver) or TCP (pod). `/health`, `/ready` and `/metrics` are open
//! to whoever reaches the socket; everything under `/v1` wants `Authorization: Bearer <agent token>`.
//!
//! ```text
//! GET  /health            200 while the event loop turns
//! GET  /ready             200 once GIMP is painted, else 503
//! GET  /metrics           Prometheus text
//! GET  /v1/status         AgentStatus
//! GET  /v1/events         one AgentStatus as a JSON line at once, then one per change (application/x-ndjson)
//! PUT  /v1/screen         ScreenSize -> ScreenSize (what it became after the cap)
//! POST /v1/open           OpenRequest -> 204; 409 while GIMP is not ready, 404 no such file
//! POST /v1/documents/layer      LayerRequest -> 204
//! POST /v1/documents/save       SaveRequest -> WrittenFile
//! POST /v1/documents/export     ExportRequest -> WrittenFile; without a path the file's bytes
//! POST /v1/documents/thumbnail  ThumbnailRequest -> image/png
//! PUT  /v1/writes         WritesRequest -> 204
//! POST /v1/end            EndRequest -> 202; repeated calls are harmless
//! GET  /v1/vnc            Upgrade: rfb -> 101, then raw RFB bytes both ways
//! GET  /v1/stream         Upgrade: gimp-stream -> 101, then records both ways: length as u32 (little-endian), message of
//!                         `stream`. Header `gimp-stream-media`: the `MediaOffer`, where WebRTC can reach the agent
//! ```
//! Errors are RFC 9457 problem details; those of documents have the codes of `problem`.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::media::Transport;
use crate::session::{EndReason, EndStage, HistoryLimits, ScreenSize, StartStep};

pub const HEALTH_PATH: &str = "/health";
pub const READY_PATH: &str = "/ready";
pub const STATUS_PATH: &str = "/v1/status";
pub const EVENTS_PATH: &str = "/v1/events";
pub const SCREEN_PATH: &str = "/v1/screen";
pub const OPEN_PATH: &str = "/v1/open";
pub const LAYER_PATH: &str = "/v1/documents/layer";
pub const SAVE_PATH: &str = "/v1/documents/save";
pub const EXPORT_PATH: &str = "/v1/documents/export";
pub const THUMBNAIL_PATH: &str = "/v1/documents/thumbnail";
pub const WRITES_PATH: &str = "/v1/writes";
pub const END_PATH: &str = "/v1/end";
pub const VNC_PATH: &str = "/v1/vnc";
/// Value of the `Upgrade` header on `VNC_PATH`.
pub const VNC_UPGRADE: &str = "rfb";
pub const STREAM_PATH: &str = "/v1/stream";
/// Value of the `Upgrade` header on `STREAM_PATH`.
pub const STREAM_UPGRADE: &str = "gimp-stream";
/// Header of the request for a stream: `MediaOffer::to_header`. Missing: this stream can't have WebRTC.
pub const MEDIA_HEADER: &str = "gimp-stream-media";

/// Port of the agent in a pod.
pub const PORT: u16 = 7800;

/// Where things are inside the sandbox or pod.
pub mod paths {
    /// Private run folder: sockets, X authority, configuration. Writable by the session only.
    pub const RUN_DIR: &str = "/run/gimp-session";
    /// The agent's socket in `RUN_DIR`.
    pub const AGENT_SOCKET: &str = "agent.sock";
    /// RFB of the display server in `RUN_DIR`.
    pub const RFB_SOCKET: &str = "rfb.sock";
    /// Datagrams of WebRTC, see `media`, in `RUN_DIR`. `SOCK_SEQPACKET`; the agent listens, the gateway connects and may
    /// connect again at any time: the newest connection counts.
    pub const MEDIA_SOCKET: &str = "media.sock";
    /// The agent's token, one line, mode 0400, in `RUN_DIR`. Read once and removed.
    pub const TOKEN_FILE: &str = "token";
    /// `AgentConfig` as JSON in `RUN_DIR`.
    pub const CONFIG_FILE: &str = "config.json";
    /// In a pod: configuration and token as the driver made them. `gimp-session unpack` copies them to `RUN_DIR`, in a
    /// container of its own: where the session runs, the token can't be found.
    pub const HANDOVER_DIR: &str = "/etc/gimp-session";
    /// In a pod: what is written there is told by the cluster when the container is gone.
    pub const LAST_WORDS_FILE: &str = "/dev/termination-log";
    /// Last `AgentStatus` as JSON in `RUN_DIR`, written by rename at each change of phase so that the driver can tell
    /// how a session ended after the agent is gone.
    pub const LAST_STATUS_FILE: &str = "status.json";
    /// Home: the workspace.
    pub const HOME: &str = "/home/gimp";
    /// Read-only start-up caches made by `gimp-session warm`.
    pub const WARM_DIR: &str = "/opt/gimp-session/warm";
}

/// What the driver tells the agent at start (`paths::CONFIG_FILE`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentConfig {
    pub session_id: uuid::Uuid,
    #[serde(default)]
    pub screen: ScreenSize,
    /// Largest screen, device pixels; for a screen that is higher than wide the two change places.
    #[serde(default = "max_screen")]
    pub max_screen: (u16, u16),
    /// Bytes of memory the session may use; GIMP's tile cache and undo are sized from it.
    pub memory_bytes: u64,
    /// Cores the session may use, at least 1.
    pub cpus: u16,
    #[serde(default)]
    pub display: DisplayServer,
    #[serde(default)]
    pub time_limits: EndLimits,
    #[serde(default)]
    pub history: HistoryLimits,
    #[serde(default)]
    pub copies: CopyTimes,
}

fn max_screen() -> (u16, u16) {
    (3840, 2160)
}

/// Which program owns the display. Where Xorg's dummy driver is missing the agent falls back to Xvnc and says so in
/// its capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum DisplayServer {
    #[default]
    Xorg,
    /// TigerVNC's Xvnc: no pen.
    Xvnc,
    /// Any VNC server that is its own X server, such as KasmVNC: `command` is run with `{display}`, `{width}`,
    /// `{height}`, `{rfbSocket}`, `{xauthority}` replaced in its arguments. It must serve RFB without authentication
    /// on the socket.
    Custom { command: Vec<String> },
}

/// When documents with unsaved changes are copied, so that a GIMP that dies without warning costs no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyTimes {
    /// Seconds that the user has done nothing for, `CopyTimes::PAUSE_SECONDS`.
    pub pause_seconds: u32,
    /// Seconds after the first change that no copy has, while the user does not pause: from `pause_seconds` to
    /// `CopyTimes::MOST_SECONDS`.
    pub longest_seconds: u32,
}

impl CopyTimes {
    pub const PAUSE_SECONDS: std::ops::RangeInclusive<u32> = 3..=600;
    pub const MOST_SECONDS: u32 = 3600;

    #[must_use]
    pub fn are_allowed(&self) -> bool {
        Self::PAUSE_SECONDS.contains(&self.pause_seconds)
            && (self.pause_seconds..=Self::MOST_SECONDS).contains(&self.longest_seconds)
    }
}

impl Default for CopyTimes {
    fn default() -> Self {
        Self { pause_seconds: 10, longest_seconds: 60 }
    }
}

/// Time limits of the end stages, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndLimits {
    pub save_ms: u64,
    pub quit_ms: u64,
    pub terminate_ms: u64,
    pub kill_ms: u64,
    pub display_ms: u64,
}

impl Default for EndLimits {
    fn default() -> Self {
        Self { save_ms: 30_000, quit_ms: 5_000, terminate_ms: 20_000, kill_ms: 2_000, display_ms: 3_000 }
    }
}

/// The agent's whole state: sent in full at every change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    pub protocol_version: u32,
    pub session_id: uuid::Uuid,
    pub phase: AgentPhase,
    /// Milliseconds since the last key, button, motion or touch of a human, measured by the X server. Since start
    /// when there was none.
    pub idle_ms: u64,
    /// Open viewers of the picture.
    pub viewers: u32,
    pub screen: ScreenSize,
    /// e.g. "2.10.34"; None until known.
    pub gimp_version: Option<String>,
    pub capabilities: Capabilities,
    /// Unplanned GIMP or display restarts so far, newest cause last (at most 16).
    pub restarts: Vec<Restart>,
    /// Milliseconds from the agent's start to each step.
    pub timings: Vec<StepTiming>,
    /// What GIMP has open, at most `MAX_DOCUMENTS`; None: that is not known, see `Capabilities::documents_unavailable`.
    #[serde(default)]
    pub documents: Option<Vec<Document>>,
    /// The session ends because its agents, or what restarts them, were killed: no other would look after it.
    #[serde(default)]
    pub unattended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum AgentPhase {
    Starting {
        step: StartStep,
    },
    Running,
    /// A process died and is being brought back; what the user had open is in the recovery store.
    Restarting,
    Ending {
        reason: EndReason,
        stage: EndStage,
    },
    Ended {
        reason: EndReason,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// RFC 3339.
    pub at: String,
    pub what: Supervised,
    /// e.g. "killed by signal 9", "exit code 1".
    pub cause: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Supervised {
    Display,
    WindowManager,
    Bus,
    Gimp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepTiming {
    pub step: StartStep,
    pub at_ms: u64,
}

/// What this session can and cannot do, with the reason in words for people where it cannot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    pub vnc: bool,
    pub resize: bool,
    pub open_files: bool,
    /// None: pen works. Some: why not.
    pub pen_unavailable: Option<String>,
    /// None: GIMP tells of its documents once it is there. Some: why it does not; unsaved work is then copied at the end
    /// only.
    #[serde(default)]
    pub documents_unavailable: Option<String>,
}

/// Documents told of at once.
pub const MAX_DOCUMENTS: usize = 128;

/// An image that GIMP has open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// The same while it is open, and of no other in this session.
    pub id: String,
    /// File name, or "Untitled".
    pub name: String,
    /// Path inside the workspace of the file it was opened from or saved to; None: there is none.
    pub file: Option<String>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Layers and groups of layers that are in no group.
    pub layers: u32,
    /// Whether there are changes that were not saved.
    pub dirty: bool,
    /// RFC 3339; None: all is saved.
    pub dirty_since: Option<String>,
    /// When the newest copy for recovery was made, RFC 3339; None: there is none.
    pub last_copied: Option<String>,
    /// Id of that copy among the workspace's recoveries.
    pub recovery: Option<String>,
    /// Why the newest copy could not be made, for people; None: it could, or was not tried.
    pub copy_failed: Option<String>,
}

/// Opens a file of the workspace in the running GIMP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenRequest {
    /// Relative to the workspace, `/`-separated, no `..`.
    pub path: String,
    /// Open as a new untitled image that counts as unsaved (recoveries) instead of keeping the file association.
    #[serde(default)]
    pub as_new: bool,
}

/// Puts a file of the workspace on top of an open image, as a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRequest {
    /// Relative to the workspace, as in `OpenRequest`.
    pub path: String,
    /// `Document::id`; None: the one that GIMP shows.
    pub document: Option<String>,
}

/// Saves a document as XCF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SaveRequest {
    /// `Document::id`.
    pub document: String,
    /// Relative to the workspace, as in `OpenRequest`; ends as XCF files do. None: the document's own file.
    pub path: Option<String>,
    /// Whether another file that is there may be overwritten.
    #[serde(default)]
    pub replace: bool,
}

/// Writes what is seen of a document, in a format of choice; the document stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportRequest {
    /// `Document::id`.
    pub document: String,
    pub format: ExportFormat,
    /// Of JPEG and WebP, percent, 1..=100; None: 90.
    pub quality: Option<u8>,
    /// Percent of the document's size, 1..=200; None: 100.
    pub scale: Option<u16>,
    /// Relative to the workspace, as in `OpenRequest`; None: the answer is the file.
    pub path: Option<String>,
    /// Whether a file that is there may be overwritten.
    #[serde(default)]
    pub replace: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum ExportFormat {
    Png,
    Jpeg,
    Webp,
    Tiff,
    /// With its layers.
    Xcf,
}

impl ExportFormat {
    pub const ALL: [Self; 5] = [Self::Png, Self::Jpeg, Self::Webp, Self::Tiff, Self::Xcf];

    /// Endings of its files' names, lower case; the first is given to new ones.
    #[must_use]
    pub const fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Png => &["png"],
            Self::Jpeg => &["jpg", "jpeg"],
            Self::Webp => &["webp"],
            Self::Tiff => &["tif", "tiff"],
            Self::Xcf => &["xcf"],
        }
    }

    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Tiff => "image/tiff",
            Self::Xcf => "image/x-xcf",
        }
    }
}

/// A file of the workspace that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct WrittenFile {
    /// Path inside the workspace.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThumbnailRequest {
    /// `Document::id`.
    pub document: String,
    /// Of the longer side, pixels, 16..=1024.
    pub size: u32,
}

/// Codes of what can be in the way of a request about documents.
pub mod problem {
    /// GIMP has no such document (any more).
    pub const NO_DOCUMENT: &str = "document.notFound";
    /// Several are open and the request does not say which.
    pub const WHICH: &str = "document.which";
    /// It has no file of its own, and the request gives none.
    pub const NO_FILE: &str = "document.noFile";
    /// GIMP did not answer in time.
    pub const BUSY: &str = "gimp.busy";
    /// GIMP tried, and could not.
    pub const FAILED: &str = "gimp.failed";
    /// Nothing is known of documents, see `Capabilities::documents_unavailable`.
    pub const UNKNOWN: &str = "documents.unknown";
    pub const EXISTS: &str = "files.exists";
    pub const NO_FOLDER: &str = "files.noFolder";
    pub const FILE_NOT_FOUND: &str = "files.notFound";
    pub const INVALID_PATH: &str = "files.invalidPath";
}

/// Whether the session may still grow files. Used where the quota is watched instead of enforced by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WritesRequest {
    pub allowed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndRequest {
    pub reason: EndReason,
}

/// How WebRTC of one stream reaches the agent: what its ICE (RFC 8445, lite) has to call itself and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaOffer {
    /// The agent's user name fragment, ICE characters (RFC 8839 section 5.4). The gateway routes by it and lets no other
    /// through; each stream has its own. The password is the agent's to choose.
    pub ufrag: String,
    /// When the fragment is no longer good for new paths, seconds since 1970. Paths in use go on.
    pub expires: u64,
    /// Where browsers reach the gateway, best first, 1..=16.
    pub candidates: Vec<MediaCandidate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaCandidate {
    pub address: IpAddr,
    pub port: u16,
    pub transport: Transport,
}

/// Longest `MEDIA_HEADER` read, characters.
const MEDIA_HEADER_LIMIT: usize = 8192;

impl MediaOffer {
    /// As the value of `MEDIA_HEADER`: JSON in base64url.
    #[must_use]
    pub fn to_header(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// None: it is no offer.
    #[must_use]
    pub fn from_header(value: &str) -> Option<Self> {
        if value.len() > MEDIA_HEADER_LIMIT {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_travel_in_a_header() {
        let offer = MediaOffer {
            ufrag: "abcd".into(),
            expires: 1_700_000_000,
            candidates: vec![MediaCandidate {
                address: "2001:db8::1".parse().expect("an address"),
                port: 8080,
                transport: Transport::Udp,
            }],
        };
        let header = offer.to_header();
        let json = String::from_utf8(URL_SAFE_NO_PAD.decode(&header).expect("base64url")).expect("text");
        assert_eq!(
            json,
            r#"{"ufrag":"abcd","expires":1700000000,"candidates":[{"address":"2001:db8::1","port":8080,"transport":"udp"}]}"#
        );
        assert_eq!(MediaOffer::from_header(&header), Some(offer));
        for nonsense in ["", "e30", "=", &"A".repeat(MEDIA_HEADER_LIMIT + 1)] {
            assert_eq!(MediaOffer::from_header(nonsense), None);
        }
    }

    #[test]
    fn status_is_camel_case_and_survives_a_round_trip() {
        let status = AgentStatus {
            protocol_version: crate::PROTOCOL_VERSION,
            session_id: uuid::Uuid::nil(),
            phase: AgentPhase::Ending { reason: EndReason::Expired, stage: EndStage::Save },
            idle_ms: 1500,
            viewers: 1,
            screen: ScreenSize::default(),
            gimp_version: Some("2.10.34".into()),
            capabilities: Capabilities::default(),
            restarts: vec![Restart {
                at: "2026-01-01T00:00:00Z".into(),
                what: Supervised::Gimp,
                cause: "killed by signal 9".into(),
            }],
            timings: vec![StepTiming { step: StartStep::Ready, at_ms: 1300 }],
            documents: Some(vec![Document {
                id: "77-1".into(),
                name: "poster.xcf".into(),
                file: Some("art/poster.xcf".into()),
                width: 320,
                height: 200,
                layers: 2,
                dirty: true,
                dirty_since: Some("2026-01-01T00:00:00Z".into()),
                last_copied: None,
                recovery: None,
                copy_failed: None,
            }]),
            unattended: false,
        };
        let text = serde_json::to_string(&status).expect("serialises");
        assert!(text.contains(r#""phase":{"kind":"ending","reason":"expired","stage":"save"}"#), "{text}");
        assert_eq!(serde_json::from_str::<AgentStatus>(&text).expect("parses"), status);
    }

    #[test]
    fn config_needs_only_what_has_no_sane_default() {
        let config: AgentConfig =
            serde_json::from_str(r#"{"sessionId":"00000000-0000-0000-0000-000000000000","memoryBytes":1,"cpus":1}"#)
                .expect("parses");
        assert_eq!(config.max_screen, (3840, 2160));
        assert_eq!(config.display, DisplayServer::Xorg);
    }
}
