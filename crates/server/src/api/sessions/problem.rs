//! How refusals of `session` read over HTTP.

use axum::http::StatusCode;
use serde_json::json;

use crate::driver::agent_client::AgentError;
use crate::error::Problem;
use crate::session::lifecycle::Refusal;
use crate::session::{CommandError, CreateError};

/// Seconds after which it is worth trying again when the machine is full: sessions end all the time.
const FULL_RETRY: u64 = 60;

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Starting | Refusal::Ending | Refusal::Ended => "session.notRunning",
            Refusal::LongestTime => "session.longestTime",
        };
        Self::new(StatusCode::CONFLICT, code, refusal.to_string())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::Unknown => Self::not_found("session"),
            CommandError::Stopping => stopping(),
            CommandError::Unkept => unkept(),
            CommandError::Db(error) => error.into(),
            CommandError::NotStored => Self::internal(error),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists(session) => Self::new(
                StatusCode::CONFLICT,
                "session.exists",
                "You have a running session. Open it, or end it before you start another.",
            )
            .with("sessionId", json!(session)),
            CreateError::MachineFull { limit } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "session.machineFull",
                format!("All {limit} places for sessions are taken. Try again in some minutes."),
            )
            .retry_after(FULL_RETRY),
            CreateError::TooOften(limited) => limited.into(),
            CreateError::Closing => stopping(),
            CreateError::Unkept => unkept(),
            CreateError::Db(error) => error.into(),
        }
    }
}

impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Refused { status, .. } if status == StatusCode::CONFLICT => Refusal::Starting.into(),
            AgentError::Refused { .. } | AgentError::Unreachable(_) | AgentError::Slow | AgentError::Garbled(_) => {
                tracing::warn!(%error, "an agent did not do what it was asked");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "session.noAnswer",
                    "The session does not answer at the moment. Try again in some seconds.",
                )
                .retry_after(5)
            }
        }
    }
}

/// As when the database does not answer: it passes by itself.
fn unkept() -> Problem {
    Problem::away("Sessions can't be begun or changed at the moment. Try again in some seconds.")
}

fn stopping() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The server is being restarted. Try again in a minute.")
        .retry_after(30)
}
