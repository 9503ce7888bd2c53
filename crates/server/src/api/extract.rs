//! axum's extractors with refusals as problem details: handlers take these, not axum's.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::error::Problem;

/// A body, and an answer, in JSON. `Option<Json<T>>` is None without a body.
#[derive(Debug, Clone, FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub struct Json<T>(pub T);

impl<T: serde::Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S: Send + Sync, T: serde::de::DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let body = <axum::Json<T> as OptionalFromRequest<S>>::from_request(request, state).await?;
        Ok(body.map(|axum::Json(body)| Self(body)))
    }
}

/// What follows `?` in the URL.
#[derive(Debug, Clone, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub struct Query<T>(pub T);

/// Parts of the URL's path.
#[derive(Debug, Clone, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub struct Path<T>(pub T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let (code, detail) = match &rejection {
            JsonRejection::JsonSyntaxError(error) => {
                ("malformed", format!("The body is not JSON: {}.", innermost(error)))
            }
            JsonRejection::JsonDataError(error) => {
                ("malformed", format!("The body is JSON of another shape than expected: {}.", innermost(error)))
            }
            JsonRejection::MissingJsonContentType(_) => {
                ("notJson", "Send the body as JSON, with the header Content-Type: application/json.".to_owned())
            }
            _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                ("tooLarge", "The body is too large.".to_owned())
            }
            _ => ("malformed", "The body did not arrive whole. Send it again.".to_owned()),
        };
        Self::new(rejection.status(), code, detail)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        let detail = format!("The query of the address can't be used: {}.", innermost(&rejection));
        Self::new(rejection.status(), "malformed", detail)
    }
}

impl From<PathRejection> for Problem {
    /// An id that is none belongs to nothing.
    fn from(_: PathRejection) -> Self {
        Self::not_found("page or thing")
    }
}

/// What serde says, without the words around it.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().trim_end_matches('.').to_owned()
}
