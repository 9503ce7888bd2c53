//! A browser or a program that talks to the application without a network. Keeps cookies like a browser.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, Response, StatusCode, header, request};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::api::client_address::Ends;
use crate::ids::UserId;

/// Requests carry the cookies and the bearer token the client holds; requests that change something carry an `Origin`
/// of our own, as a browser's do.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    /// Whose sign-in it holds, where `TestApp` made it.
    pub user: Option<UserId>,
    bearer: Option<String>,
    cookies: BTreeMap<String, String>,
    pub address: SocketAddr,
}

pub(crate) const HOST: &str = "127.0.0.1:8080";

impl Client {
    pub(super) fn new(router: Router) -> Self {
        Self {
            router,
            user: None,
            bearer: None,
            cookies: BTreeMap::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        }
    }

    pub fn set_bearer(&mut self, token: &str) {
        self.bearer = Some(token.to_owned());
    }

    pub fn bearer(&self) -> Option<&str> {
        self.bearer.as_deref()
    }

    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Holds its access token in the cookie instead of the header from now on.
    #[must_use]
    pub fn with_cookie(mut self) -> Self {
        if let Some(token) = self.bearer.take() {
            self.set_cookie(crate::auth::current::ACCESS_COOKIE, &token);
        }
        self
    }

    /// A request with everything the client adds by itself, for tests that need other headers or bodies.
    pub fn request(&self, method: &str, path: &str) -> request::Builder {
        let mut builder = Request::builder().method(method).uri(path).header(header::HOST, HOST);
        if let Some(token) = &self.bearer {
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            builder = builder.header(header::COOKIE, cookies.join("; "));
        }
        if !matches!(method, "GET" | "HEAD") {
            builder = builder.header(header::ORIGIN, format!("http://{HOST}"));
        }
        builder
    }

    /// Sends any request; keeps the cookies that come back. The body is still to be read.
    pub async fn send_streaming(&mut self, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(ConnectInfo(Ends { client: self.address, server: None }));
        let response = self.router.clone().oneshot(request).await.expect("the router never fails");
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().expect("cookies are text");
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').expect("name=value");
            if value.is_empty() || attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }

    /// Sends any request and reads the answer.
    pub async fn send(&mut self, request: Request<Body>) -> Answer {
        let (parts, body) = self.send_streaming(request).await.into_parts();
        let body = body.collect().await.expect("the body arrives").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).expect("a request")).await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(Body::empty()).expect("a request")).await
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.json("POST", path, body).await
    }

    pub async fn put(&mut self, path: &str, body: Value) -> Answer {
        self.json("PUT", path, body).await
    }

    pub async fn patch(&mut self, path: &str, body: Value) -> Answer {
        self.json("PATCH", path, body).await
    }

    async fn json(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let request = self
            .request(method, path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .expect("a request");
        self.send(request).await
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The header as text, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The JSON of a success with this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    #[track_caller]
    pub fn expect_text(&self, status: u16, text: &str) {
        assert_eq!((self.status(), self.text()), (status, text));
    }

    /// The problem details of an error with this status and code.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert!(!problem["detail"].as_str().unwrap_or_default().is_empty(), "{problem}");
        problem
    }
}
