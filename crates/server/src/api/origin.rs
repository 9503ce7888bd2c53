//! Refuses requests that another site's page makes with our cookies, and WebSockets opened by one.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;

use crate::auth::current::{ACCESS_COOKIE, REFRESH_COOKIE};
use crate::config::TlsMode;
use crate::error::Problem;
use crate::state::App;

/// Whether a request may pass, from its headers alone.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let own = |origin: &str| {
        is_own(origin, host(&request).as_deref(), &app.settings.public_url(), app.settings.tls != TlsMode::Off)
    };
    let headers = request.headers();
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let allowed = match headers.get(header::ORIGIN) {
        _ if !changes && !is_websocket(headers) => true,
        Some(origin) => origin.to_str().is_ok_and(own),
        // Browsers always send one. Programs don't, and have no cookie either.
        None => !has_cookie(headers),
    };
    if allowed { next.run(request).await } else { refusal().into_response() }
}

fn refusal() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "origin.foreign",
        "This request comes from another site than this platform. If you reach the platform through a proxy, its \
         administrator must set public_url to the address in your browser.",
    )
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn has_cookie(headers: &HeaderMap) -> bool {
    let cookies = CookieJar::from_headers(headers);
    [ACCESS_COOKIE, REFRESH_COOKIE].iter().any(|name| cookies.get(name).is_some())
}

/// Host and port the client asked for: HTTP/2 has them in the address, HTTP/1.1 in a header.
pub(super) fn host(request: &Request) -> Option<String> {
    let from_uri = request.uri().authority().map(ToString::to_string);
    from_uri.or_else(|| Some(request.headers().get(header::HOST)?.to_str().ok()?.to_owned()))
}

/// Ours is the configured public URL, and whatever host the client asked for: behind a proxy that ends TLS the scheme
/// may be either, with TLS of our own only https.
pub(crate) fn is_own(origin: &str, host: Option<&str>, public_url: &str, own_tls: bool) -> bool {
    let Some((secure, authority)) = split(origin) else { return false };
    if split(public_url) == Some((secure, authority.clone())) {
        return true;
    }
    if own_tls && !secure {
        return false;
    }
    host.and_then(|host| normal(host, secure)).is_some_and(|host| host == authority)
}

/// Whether it is https, and the normalised host and port.
fn split(origin: &str) -> Option<(bool, String)> {
    let (secure, rest) = match origin.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    Some((secure, normal(rest, secure)?))
}

/// Lower case, without the scheme's own port.
fn normal(authority: &str, secure: bool) -> Option<String> {
    let parsed: http::uri::Authority = authority.parse().ok()?;
    if parsed.as_str().contains('@') {
        return None;
    }
    let port = parsed.port_u16().filter(|port| *port != if secure { 443 } else { 80 });
    let host = parsed.host().to_ascii_lowercase();
    Some(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

/// The host for a `Content-Security-Policy`, if it is one.
pub(super) fn sane_host(request: &Request) -> Option<String> {
    let host = host(request)?;
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    (plain && Uri::builder().scheme("http").authority(host.as_str()).path_and_query("/").build().is_ok())
        .then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_asked_for_is_our_own() {
        let own = |origin| is_own(origin, Some("gimp.example.org:8080"), "http://127.0.0.1:8080", false);
        assert!(own("http://gimp.example.org:8080"));
        assert!(own("https://GIMP.example.org:8080"));
        assert!(own("http://127.0.0.1:8080"));
        assert!(!own("http://gimp.example.org"));
        assert!(!own("http://evil.example.org:8080"));
        assert!(!own("null"));
        assert!(!own("http://x@gimp.example.org:8080"));
        assert!(!own("ftp://gimp.example.org:8080"));
    }

    #[test]
    fn the_schemes_own_port_may_be_left_out() {
        assert!(is_own("https://gimp.example.org", Some("gimp.example.org:443"), "http://127.0.0.1", true));
        assert!(is_own("https://gimp.example.org:443", Some("gimp.example.org"), "http://127.0.0.1", true));
        assert!(is_own("http://[::1]", Some("[::1]:80"), "http://127.0.0.1", false));
        assert!(!is_own("https://gimp.example.org", None, "http://127.0.0.1", true));
    }

    #[test]
    fn under_our_own_tls_plain_pages_are_foreign() {
        assert!(!is_own("http://gimp.example.org", Some("gimp.example.org"), "https://gimp.example.org", true));
        assert!(is_own("https://gimp.example.org", Some("gimp.example.org"), "https://gimp.example.org", true));
    }
}
