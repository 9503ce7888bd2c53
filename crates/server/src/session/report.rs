//! What an agent says, checked. The agent shares its sandbox with whatever the user runs there, so its words are
//! bounded, cleaned and never believed beyond what is written here.

use protocol::agent::{AgentPhase, AgentStatus, Capabilities, Document, MAX_DOCUMENTS, Supervised};
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::ids::SessionId;

/// Restarts kept, as in `AgentStatus::restarts`.
const MAX_RESTARTS: usize = 16;
const MAX_VERSION: usize = 32;
const MAX_WORDS: usize = 200;
/// Longest path of a document that is kept; longer ones are none.
const MAX_PATH: usize = 4096;
/// Longest idle time believed. Longer than any session.
const MAX_IDLE_MS: u64 = 30 * 24 * 3600 * 1000;

/// A checked `AgentStatus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub phase: AgentPhase,
    /// Time without human input.
    pub idle: Duration,
    pub viewers: u32,
    pub gimp_version: Option<String>,
    pub capabilities: Capabilities,
    pub restarts: Vec<Restart>,
    /// As in `AgentStatus`: for the owner's eyes only.
    pub documents: Option<Vec<Document>>,
    /// As in `AgentStatus`.
    pub unattended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub what: Supervised,
    /// Plain words, e.g. "killed by signal 9".
    pub cause: String,
}

/// The agent said something that can't be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unbelievable {
    #[error("it speaks protocol version {0}")]
    Version(u32),
    #[error("it speaks for another session")]
    Session,
}

impl Report {
    /// # Errors
    /// When the status is of another protocol or another session.
    pub fn check(status: AgentStatus, session: SessionId) -> Result<Self, Unbelievable> {
        if status.protocol_version != protocol::PROTOCOL_VERSION {
            return Err(Unbelievable::Version(status.protocol_version));
        }
        if status.session_id != session.0 {
            return Err(Unbelievable::Session);
        }
        let skip = status.restarts.len().saturating_sub(MAX_RESTARTS);
        let restarts = status.restarts.into_iter().skip(skip).filter_map(|restart| {
            let at = OffsetDateTime::parse(&restart.at, &Rfc3339).ok()?;
            Some(Restart { at, what: restart.what, cause: plain(&restart.cause, MAX_WORDS) })
        });
        Ok(Self {
            phase: status.phase,
            idle: Duration::milliseconds(i64::try_from(status.idle_ms.min(MAX_IDLE_MS)).unwrap_or(i64::MAX)),
            viewers: status.viewers,
            gimp_version: status.gimp_version.map(|version| plain(&version, MAX_VERSION)),
            capabilities: Capabilities {
                pen_unavailable: status.capabilities.pen_unavailable.map(|why| plain(&why, MAX_WORDS)),
                documents_unavailable: status.capabilities.documents_unavailable.map(|why| plain(&why, MAX_WORDS)),
                ..status.capabilities
            },
            restarts: restarts.collect(),
            documents: status
                .documents
                .map(|documents| documents.into_iter().take(MAX_DOCUMENTS).map(checked).collect()),
            unattended: status.unattended,
        })
    }
}

fn checked(document: Document) -> Document {
    let time = |text: Option<String>| text.filter(|text| OffsetDateTime::parse(text, &Rfc3339).is_ok());
    let is_path = |path: &String| path.len() <= MAX_PATH && !path.chars().any(char::is_control);
    Document {
        id: plain(&document.id, MAX_WORDS),
        name: plain(&document.name, MAX_WORDS),
        file: document.file.filter(is_path),
        dirty_since: time(document.dirty_since),
        last_copied: time(document.last_copied),
        recovery: document.recovery.map(|id| plain(&id, MAX_WORDS)),
        copy_failed: document.copy_failed.map(|why| plain(&why, MAX_WORDS)),
        ..document
    }
}

/// One line of at most `max` characters without control characters.
pub(crate) fn plain(text: &str, max: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect()
}

/// The thing in a sentence.
#[must_use]
pub const fn supervised(what: Supervised) -> &'static str {
    match what {
        Supervised::Display => "The display",
        Supervised::WindowManager => "The window manager",
        Supervised::Bus => "The message bus",
        Supervised::Gimp => "GIMP",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::session::{EndReason, EndStage, ScreenSize, StartStep};

    use super::*;

    fn status(session: SessionId) -> AgentStatus {
        AgentStatus {
            protocol_version: protocol::PROTOCOL_VERSION,
            session_id: session.0,
            phase: AgentPhase::Running,
            idle_ms: 1500,
            viewers: 2,
            screen: ScreenSize::default(),
            gimp_version: Some("2.10.34".into()),
            capabilities: Capabilities::default(),
            restarts: vec![],
            timings: vec![],
            documents: None,
            unattended: false,
        }
    }

    fn document(name: String, words: String) -> Document {
        Document {
            id: words.clone(),
            name: name.clone(),
            // Paths are kept whole or not at all.
            file: (name.chars().count() <= MAX_WORDS).then_some(name),
            width: 1,
            height: 1,
            layers: 1,
            dirty: true,
            dirty_since: Some(words.clone()),
            last_copied: None,
            recovery: None,
            copy_failed: Some(words),
        }
    }

    #[test]
    fn another_protocol_or_session_is_refused() {
        let session = SessionId::new();
        let other = AgentStatus { protocol_version: 99, ..status(session) };
        assert_eq!(Report::check(other, session), Err(Unbelievable::Version(99)));
        assert_eq!(Report::check(status(SessionId::new()), session), Err(Unbelievable::Session));
        let report = Report::check(status(session), session).unwrap();
        assert_eq!((report.idle, report.viewers), (Duration::milliseconds(1500), 2));
    }

    fn phase() -> impl Strategy<Value = AgentPhase> {
        prop_oneof![
            proptest::sample::select(StartStep::ALL).prop_map(|step| AgentPhase::Starting { step }),
            Just(AgentPhase::Running),
            Just(AgentPhase::Restarting),
            (proptest::sample::select(EndReason::ALL), proptest::sample::select(EndStage::ALL))
                .prop_map(|(reason, stage)| AgentPhase::Ending { reason, stage }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the agent says, what is kept is small, one line each and makes sense.
        #[test]
        fn everything_kept_is_bounded(
            phase in phase(), idle_ms: u64, viewers: u32, version in ".{0,300}", why in "(?s).{0,600}",
            causes in proptest::collection::vec(("(?s).{0,300}", any::<bool>()), 0..24),
            name in "(?s).{0,300}", documents in 0_usize..200,
        ) {
            let session = SessionId::new();
            let restarts = causes.into_iter().map(|(cause, sane)| protocol::agent::Restart {
                at: if sane { "2026-01-01T00:00:00Z".into() } else { cause.clone() },
                what: Supervised::Gimp,
                cause,
            });
            let said = AgentStatus {
                phase, idle_ms, viewers,
                gimp_version: Some(version),
                capabilities: Capabilities {
                    pen_unavailable: Some(why.clone()),
                    documents_unavailable: Some(why.clone()),
                    ..Capabilities::default()
                },
                restarts: restarts.collect(),
                documents: Some(vec![document(name, why); documents]),
                ..status(session)
            };
            let report = Report::check(said, session).unwrap();
            prop_assert!(report.idle >= Duration::ZERO && report.idle <= Duration::days(30));
            prop_assert!(report.restarts.len() <= MAX_RESTARTS);
            let documents = report.documents.unwrap();
            prop_assert!(documents.len() <= MAX_DOCUMENTS);
            let told = documents.iter().flat_map(|document| {
                [&document.id, &document.name].into_iter().chain(&document.file).chain(&document.copy_failed)
            });
            prop_assert!(documents.iter().all(|document| document.dirty_since.is_none()));
            let words = report.restarts.iter().map(|restart| restart.cause.as_str())
                .chain(report.gimp_version.as_deref())
                .chain(report.capabilities.pen_unavailable.as_deref())
                .chain(report.capabilities.documents_unavailable.as_deref())
                .chain(told.map(String::as_str));
            for text in words {
                prop_assert!(text.chars().count() <= MAX_WORDS && !text.chars().any(char::is_control));
            }
        }

        /// Random bytes never get past the parser with a panic.
        #[test]
        fn random_json_is_refused_or_checked(text in "(?s)\\{.{0,200}\\}") {
            if let Ok(status) = serde_json::from_str::<AgentStatus>(&text) {
                let _checked = Report::check(status, SessionId::new());
            }
        }
    }
}
