//! The outermost layer: gives each request an id, finds out where it comes from, turns panics into answers, and tells
//! log, metrics and access log about it. Never looks at queries, bodies, tokens or file names.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use super::client_address::{ClientAddress, peer};
use crate::db::entity::access_entry;
use crate::error::{Problem, REQUEST_ID, RequestId};
use crate::ids::UserId;
use crate::state::App;

const HEADER: &str = "x-request-id";

/// Request extension in which whoever identifies the user says so, for the access log.
#[derive(Debug, Clone, Default)]
pub struct Visitor(Arc<OnceLock<UserId>>);

impl Visitor {
    pub fn is(&self, user: UserId) {
        let _ = self.0.set(user);
    }
}

pub(super) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId(request_id(request.headers()));
    let address =
        ClientAddress::determine(peer(request.extensions()), request.headers(), &app.settings.trusted_proxies);
    let visitor = Visitor::default();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    request.extensions_mut().insert(address);
    request.extensions_mut().insert(visitor.clone());
    request.extensions_mut().insert(id.clone());

    let route = matched.as_deref().unwrap_or("page");
    let span = tracing::info_span!("request", id = id.0, %method, route);
    let handling = AssertUnwindSafe(next.run(request)).catch_unwind();
    let answering = async {
        let mut response = handling.await.unwrap_or_else(|_logged| Problem::internal_and_logged().into_response());
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            response.headers_mut().insert(HEADER, value);
        }
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    };
    let response = REQUEST_ID.scope(id.clone(), answering.instrument(span)).await;

    let taken = started.elapsed();
    measure(method.as_str(), route, response.status().as_u16(), taken);
    if matched.is_some() && !is_probe(route) {
        app.access_log.record(access_entry::Model {
            id: Uuid::now_v7(),
            at: app.clock.now(),
            method: method.as_str().chars().take(10).collect(),
            route: route.chars().take(200).collect(),
            status: response.status().as_u16().into(),
            duration_ms: i32::try_from(taken.as_millis()).unwrap_or(i32::MAX),
            user_id: visitor.0.get().map(|user| user.0),
            address: Some(address.to_string()),
            request_id: id.0,
        });
    }
    response
}

/// The caller's id if it can do no harm in logs, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(HEADER)
        .and_then(|value| value.to_str().ok())
        .filter(|text| (1..=64).contains(&text.len()))
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn measure(method: &str, route: &str, status: u16, taken: Duration) {
    // Anything can stand in the request line; what is not in the standard is one series.
    let method = match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method.to_owned(),
        _ => "other".to_owned(),
    };
    let labels = [("method", method), ("route", route.to_owned()), ("status", status.to_string())];
    metrics::counter!("gimp_platform_http_requests_total", &labels).increment(1);
    metrics::histogram!("gimp_platform_http_request_seconds", "route" => route.to_owned()).record(taken.as_secs_f64());
}

/// Asked every few seconds by machines; nobody wants them in the access log.
fn is_probe(route: &str) -> bool {
    matches!(route, "/healthz" | "/readyz")
}
