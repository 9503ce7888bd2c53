//! Headers that tell browsers what our pages may do, on every answer.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::config::TlsMode;
use crate::state::App;

/// Same for every answer.
const FIXED: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Both, so that the page is isolated from other origins and browsers let its workers share memory with it.
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "clipboard-read=(self), clipboard-write=(self), fullscreen=(self), camera=(), microphone=(), geolocation=(), \
         payment=(), usb=()",
    ),
];

pub(super) async fn add(State(app): State<App>, request: Request, next: Next) -> Response {
    let host = super::origin::sane_host(&request);
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in FIXED {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(&content_security_policy(host.as_deref())) {
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(value);
    }
    if is_api {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    // Not with a self-signed certificate: it would take away the browser's way around its warning.
    if app.settings.is_secure() && app.settings.tls != TlsMode::SelfSigned {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// Everything from ourselves, nothing inline. `'wasm-unsafe-eval'` lets the picture's decoder be WebAssembly and no text be
/// run. `'self'` covers WebSockets in current browsers; Safari before 15.4 wants them by name.
fn content_security_policy(host: Option<&str>) -> String {
    let sockets = host.map(|host| format!(" ws://{host} wss://{host}")).unwrap_or_default();
    format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; worker-src 'self'; \
         img-src 'self' data: blob:; connect-src 'self'{sockets}; frame-ancestors 'none'; base-uri 'none'; \
         form-action 'self'; object-src 'none'"
    )
}
