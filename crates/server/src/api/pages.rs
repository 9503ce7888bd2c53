//! The web pages, embedded in the program: one `index.html` for all pages, and assets whose names change with their
//! content.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::error::Problem;

/// `web/dist` as prepared by `build.rs`: with `.br` and `.gz` beside what gains from it.
#[derive(RustEmbed)]
#[folder = "$OUT_DIR/web"]
struct Web;

/// First segments of the pages' addresses; `docs/architecture.md` lists them.
const PAGES: &[&str] =
    &["", "signin", "register", "forgot", "reset", "dashboard", "session", "profile", "help", "admin"];

/// Everything that is no route.
pub(super) async fn page(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") {
        return Problem::not_found("address in the API; /api/docs lists them").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = super::method_not_allowed().await.into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    // Compressed variants are reached by negotiation only.
    let is_variant = path.ends_with(".br") || path.ends_with(".gz");
    if !path.is_empty() && !is_variant && Web::get(path).is_some() {
        return file(path, request.headers());
    }
    let mut response = file("index.html", request.headers());
    let first = path.split('/').next().unwrap_or_default();
    if !PAGES.contains(&first) {
        // The page says so itself; programs see the status.
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

/// An embedded file in the best encoding the browser takes.
fn file(path: &str, headers: &HeaderMap) -> Response {
    let accepts = |coding| accepts(headers, coding);
    let variant = |coding, extension| accepts(coding).then(|| Web::get(&format!("{path}{extension}"))).flatten();
    let (embedded, coding) = match (variant("br", ".br"), variant("gzip", ".gz")) {
        (Some(embedded), _) => (embedded, Some("br")),
        (None, Some(embedded)) => (embedded, Some("gzip")),
        (None, None) => match Web::get(path) {
            Some(embedded) => (embedded, None),
            None => return Problem::not_found("page").into_response(),
        },
    };
    let tag = entity_tag(&embedded);
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let caching = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Some(coding) = coding {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|value| value.trim().trim_start_matches("W/") == tag);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.insert(header::ETAG, tag);
    }
    if is_known {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }
    let bytes = match embedded.data {
        std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
    };
    (answer, bytes).into_response()
}

fn entity_tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether `Accept-Encoding` names the coding without refusing it.
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding));
            let refused = parts.any(|part| {
                part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|quality| quality <= 0.0)
            });
            named && !refused
        })
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_can_be_refused() {
        let headers =
            |text: &'static str| HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(text))]);
        assert!(accepts(&headers("gzip, deflate, br"), "br"));
        assert!(accepts(&headers("gzip;q=0.5,BR"), "br"));
        assert!(!accepts(&headers("gzip, br;q=0"), "br"));
        assert!(!accepts(&headers("brotli"), "br"));
        assert!(!accepts(&HeaderMap::new(), "br"));
    }

    #[test]
    fn assets_are_kept_for_ever_and_pages_are_asked_for_again() {
        for path in Web::iter().filter(|path| !path.ends_with(".br") && !path.ends_with(".gz")) {
            let answer = file(&path, &HeaderMap::new());
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let caching = answer.headers()[header::CACHE_CONTROL].to_str().unwrap();
            assert_eq!(caching.contains("immutable"), path.starts_with("assets/"), "{path}: {caching}");
        }
        assert_eq!(file("missing", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn every_kind_of_file_of_the_web_build_has_a_media_type() {
        for path in Web::iter() {
            if path.ends_with(".br") || path.ends_with(".gz") {
                continue;
            }
            assert_ne!(media_type(&path), "application/octet-stream", "{path}");
        }
    }
}
