//! What an HTTP caller is told when something fails: RFC 9457 problem details with a stable `code`.
//!
//! A handler returns `Result<T, Problem>`. Errors that are the caller's to mend carry a code and words that say what to
//! do; everything else is `Problem::internal`, whose cause is logged once and never sent.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// Seconds after which it is worth trying again when the database is away.
const AWAY_RETRY: u64 = 5;

/// One RFC 9457 answer.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// Stable, dotted, lower camel case: `sessions.exists`.
    pub code: &'static str,
    /// A sentence for people that says what to do.
    pub detail: String,
    /// Further members, e.g. `sessionId`.
    pub extra: Map<String, Value>,
    /// Seconds for the `Retry-After` header.
    pub retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), extra: Map::new(), retry_after: None }
    }

    /// 500. Logs the cause; the caller sees only a request id.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "internal error");
        Self::internal_and_logged()
    }

    /// The same where the cause is in the log already.
    pub(crate) fn internal_and_logged() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on the server. Try again; if it stays, give the request id to your administrator.",
        )
    }

    /// 503 `unavailable`: passes by itself, so it is worth trying again.
    pub fn away(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(AWAY_RETRY)
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", format!("There is no such {what}."))
    }

    /// 422 with `errors: [{field, message}]`.
    pub fn invalid(errors: &[(&str, String)]) -> Self {
        let list: Vec<Value> =
            errors.iter().map(|(field, message)| json!({"field": field, "message": message})).collect();
        let detail = errors.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join(" ");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail).with("errors", list)
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<sea_orm::DbErr> for Problem {
    fn from(error: sea_orm::DbErr) -> Self {
        if crate::db::is_away(&error) {
            tracing::warn!(%error, "the database does not answer");
            return Self::away("The database does not answer at the moment. Try again in some seconds.");
        }
        Self::internal(format!("database: {error}"))
    }
}

/// The body of an error, as the API's description shows it (RFC 9457). Some codes add members of their own.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetails {
    /// Always `about:blank`.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    pub status: u16,
    /// A sentence for people that says what to do.
    pub detail: String,
    /// Stable, for programs: `sessions.exists`.
    pub code: String,
    /// Names the request in the server's log.
    pub request_id: Option<String>,
    /// With the code `invalid`: what is wrong with which field.
    pub errors: Option<Vec<FieldError>>,
}

#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    pub field: String,
    pub message: String,
}

/// Put by the request-id layer into each response's extensions and into problem bodies.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Map::new();
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        body.insert("code".into(), self.code.into());
        if let Ok(id) = REQUEST_ID.try_with(|id| id.0.clone()) {
            body.insert("requestId".into(), id.into());
        }
        body.extend(self.extra);
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

tokio::task_local! {
    /// Set around every request by the outermost layer in `api`.
    pub static REQUEST_ID: RequestId;
}
