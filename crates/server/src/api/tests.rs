//! What every route gets: ids, limits, headers, refusals, logs.

use axum::body::Body;
use axum::http::header;
use axum::routing::{get, post};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, EntityTrait};
use serde_json::json;
use time::Duration;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::extract::{Json, Path, Query};
use crate::auth::current::CurrentUser;
use crate::config::TlsMode;
use crate::db::entity::{access_entry, audit_entry};
use crate::error::Problem;
use crate::test_app::{Client, TestApp};

#[derive(serde::Deserialize, serde::Serialize)]
struct Thing {
    count: u8,
}

/// Routes that do what real ones rarely do.
fn odd(app: &TestApp) -> Client {
    let routes = OpenApiRouter::new()
        .route("/api/v1/panic", get(|| async { panic!("on purpose") as () }))
        .route("/api/v1/fail", get(|| async { Problem::from(sea_orm::DbErr::Custom("secret cause".into())) }))
        .route("/api/v1/thing", post(|Json(thing): Json<Thing>| async { Json(thing) }))
        .route("/api/v1/maybe", post(|thing: Option<Json<Thing>>| async move { Json(thing.is_some()) }))
        .route("/api/v1/query", get(|Query(thing): Query<Thing>| async { Json(thing) }))
        .route("/api/v1/things/{id}", get(|Path(id): Path<Uuid>| async move { id.to_string() }))
        .route("/api/v1/me", get(|user: CurrentUser| async move { user.id.to_string() }));
    app.client_of(super::assemble(app.app.clone(), routes))
}

#[tokio::test]
async fn requests_have_an_id_that_errors_name() {
    let app = TestApp::new().await;
    let mut client = app.client();
    let answer = client.get("/api/v1/nothing").await;
    let problem = answer.expect_problem(404, "notFound");
    assert_eq!(problem["requestId"], answer.header("x-request-id").unwrap());
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["title"], "Not Found");
    assert_eq!(problem["type"], "about:blank");

    let with_id = |id: &str| client.request("GET", "/healthz").header("x-request-id", id).body(Body::empty()).unwrap();
    let (sane, broken) = (with_id("abc-123.X_y"), with_id("two words"));
    assert_eq!(client.send(sane).await.header("x-request-id"), Some("abc-123.X_y"));
    let made = client.send(broken).await.header("x-request-id").unwrap().to_owned();
    assert!(made.parse::<Uuid>().is_ok(), "{made}");
}

#[tokio::test]
async fn a_panic_is_answered_and_logged_once() {
    let mut app = TestApp::new().await;
    app.allow_errors();
    let answer = odd(&app).get("/api/v1/panic").await;
    let problem = answer.expect_problem(500, "internal");
    assert!(!answer.text().contains("on purpose"), "{problem}");
    let log = app.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains("on purpose") && lines[0].contains(problem["requestId"].as_str().unwrap()), "{log}");
}

#[tokio::test]
async fn internal_causes_are_logged_and_not_told() {
    let mut app = TestApp::new().await;
    app.allow_errors();
    let answer = odd(&app).get("/api/v1/fail").await;
    answer.expect_problem(500, "internal");
    assert!(!answer.text().contains("secret cause"));
    assert!(app.log().contains("secret cause"));
}

#[tokio::test]
async fn bodies_that_cannot_be_used_say_why() {
    let app = TestApp::new().await;
    let mut client = odd(&app);
    assert_eq!(client.post("/api/v1/thing", json!({"count": 3})).await.expect(200), json!({"count": 3}));
    let problem = client.post("/api/v1/thing", json!({"count": "many"})).await.expect_problem(422, "malformed");
    assert!(problem["detail"].as_str().unwrap().contains("expected u8"), "{problem}");

    let send = |kind: &str, body: Vec<u8>| {
        let builder = client.request("POST", "/api/v1/thing").header(header::CONTENT_TYPE, kind);
        builder.body(Body::from(body)).unwrap()
    };
    let broken = send("application/json", b"{\"count\":".to_vec());
    let form = send("application/x-www-form-urlencoded", b"count=3".to_vec());
    let large = send("application/json", vec![b' '; super::BODY_LIMIT + 1]);
    client.send(broken).await.expect_problem(400, "malformed");
    client.send(form).await.expect_problem(415, "notJson");
    client.send(large).await.expect_problem(413, "tooLarge");

    assert_eq!(client.post("/api/v1/maybe", json!({"count": 1})).await.expect(200), true);
    let empty = client.request("POST", "/api/v1/maybe").body(Body::empty()).unwrap();
    assert_eq!(client.send(empty).await.expect(200), false);
    client.post("/api/v1/maybe", json!([])).await.expect_problem(422, "malformed");
}

#[tokio::test]
async fn queries_paths_and_methods_that_cannot_be_used_say_why() {
    let app = TestApp::new().await;
    let mut client = odd(&app);
    assert_eq!(client.get("/api/v1/query?count=3").await.expect(200), json!({"count": 3}));
    let problem = client.get("/api/v1/query?count=x").await.expect_problem(400, "malformed");
    assert!(problem["detail"].as_str().unwrap().contains("invalid digit"), "{problem}");
    client.get("/api/v1/things/none").await.expect_problem(404, "notFound");
    let answer = client.delete("/api/v1/query").await;
    answer.expect_problem(405, "methodNotAllowed");
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn answers_carry_the_headers_that_protect_pages() {
    let app = TestApp::new().await;
    let page = app.client().get("/").await;
    assert_eq!(page.status(), 200);
    let policy = page.header("content-security-policy").unwrap();
    for part in [
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval';",
        "worker-src 'self';",
        "style-src 'self';",
        "connect-src 'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080;",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "object-src 'none'",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
    assert_eq!(page.header("cross-origin-resource-policy"), Some("same-origin"));
    assert_eq!(page.header("cross-origin-embedder-policy"), Some("require-corp"));
    assert!(page.header("permissions-policy").unwrap().contains("clipboard-read=(self)"));
    assert_eq!(page.header("strict-transport-security"), None);
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert_eq!(app.client().get("/api/v1/nothing").await.header("cache-control"), Some("no-store"));
}

/// A page that is isolated runs only workers, and shows only images, that say so as well.
#[tokio::test]
async fn whatever_a_page_embeds_lets_it_be_isolated() {
    let app = TestApp::new().await;
    for path in ["/session/1", "/assets/none.js", "/favicon.svg", "/api/v1/nothing", "/api/docs", "/api/openapi.json"] {
        let answer = app.client().get(path).await;
        assert_eq!(answer.header("cross-origin-opener-policy"), Some("same-origin"), "{path}");
        assert_eq!(answer.header("cross-origin-embedder-policy"), Some("require-corp"), "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"), "{path}");
    }
}

#[tokio::test]
async fn a_strange_host_does_not_get_into_the_policy() {
    let app = TestApp::new().await;
    let mut client = app.client();
    let mut request = client.request("GET", "/").body(Body::empty()).unwrap();
    request.headers_mut().insert(header::HOST, "x; script-src *".parse().unwrap());
    let policy = client.send(request).await.header("content-security-policy").unwrap().to_owned();
    assert!(policy.contains("connect-src 'self';") && !policy.contains('*'), "{policy}");
}

#[tokio::test]
async fn browsers_are_told_to_stay_with_tls() {
    let secure = TestApp::with(|settings| settings.public_url = Some("https://gimp.example.org".into())).await;
    assert!(secure.client().get("/").await.header("strict-transport-security").is_some());
    let own = TestApp::with(|settings| settings.tls = TlsMode::SelfSigned).await;
    assert_eq!(own.client().get("/").await.header("strict-transport-security"), None);
}

#[tokio::test]
async fn changes_with_a_cookie_come_from_our_own_pages_only() {
    let app = TestApp::new().await;
    let mut client = odd(&app);
    client.set_cookie("gimp_access", "x");
    let request = |method: &str, origin: Option<&str>| {
        let mut request = client.request(method, "/api/v1/maybe").body(Body::empty()).unwrap();
        request.headers_mut().remove(header::ORIGIN);
        if let Some(origin) = origin {
            request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        }
        request
    };
    let own = request("POST", Some("http://127.0.0.1:8080"));
    let foreign = request("POST", Some("https://evil.example.org"));
    let opaque = request("POST", Some("null"));
    let none = request("POST", None);
    let reading = request("GET", Some("https://evil.example.org"));
    let mut socket = request("GET", Some("https://evil.example.org"));
    socket.headers_mut().insert(header::UPGRADE, "WebSocket".parse().unwrap());
    client.send(own).await.expect(200);
    client.send(foreign).await.expect_problem(403, "origin.foreign");
    client.send(opaque).await.expect_problem(403, "origin.foreign");
    client.send(none).await.expect_problem(403, "origin.foreign");
    client.send(reading).await.expect_problem(405, "methodNotAllowed");
    client.send(socket).await.expect_problem(403, "origin.foreign");
}

#[tokio::test]
async fn programs_without_cookies_need_no_origin_but_foreign_pages_are_refused() {
    let app = TestApp::new().await;
    let mut client = odd(&app);
    let mut program = client.request("POST", "/api/v1/maybe").body(Body::empty()).unwrap();
    program.headers_mut().remove(header::ORIGIN);
    let mut page = client.request("POST", "/api/v1/maybe").body(Body::empty()).unwrap();
    page.headers_mut().insert(header::ORIGIN, "https://evil.example.org".parse().unwrap());
    client.send(program).await.expect(200);
    client.send(page).await.expect_problem(403, "origin.foreign");
}

#[tokio::test]
async fn one_address_cannot_take_all_requests() {
    let app = TestApp::with(|settings| settings.requests_per_minute = 60).await;
    let mut client = app.client();
    for _ in 0..60 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let answer = client.get("/").await;
    answer.expect_problem(429, "rateLimited");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    let mut other = app.client();
    other.address = "192.0.2.7:1".parse().unwrap();
    assert_eq!(other.get("/").await.status(), 200);
}

#[tokio::test]
async fn requests_are_in_the_access_log_without_ids_and_names() {
    let app = TestApp::with(|settings| settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let user = app.user("ada@example.org").await;
    let mut client = odd(&app);
    client.set_bearer(user.bearer().unwrap());
    client.get("/healthz").await;
    client.get("/").await;
    let id = Uuid::now_v7();
    client.get(&format!("/api/v1/things/{id}?name=secret.xcf")).await.expect_text(200, &id.to_string());
    let request = client.request("GET", "/api/v1/me").header("x-forwarded-for", "203.0.113.9");
    let request = request.body(Body::empty()).unwrap();
    let answer = client.send(request).await;
    app.app.access_log.flush().await;

    let rows = access_entry::Entity::find().all(&app.app.db).await.unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (row.route.as_str(), row.status, row.user_id)).collect();
    assert_eq!(shown, [("/api/v1/things/{id}", 200, None), ("/api/v1/me", 200, user.user.map(|user| user.0))]);
    assert_eq!(rows[0].address.as_deref(), Some("127.0.0.1"));
    assert_eq!(rows[1].address.as_deref(), Some("203.0.113.9"));
    assert_eq!(rows[1].request_id, answer.header("x-request-id").unwrap());
    assert!(!app.log().contains("secret.xcf") && !app.log().contains(&id.to_string()), "{}", app.log());
}

#[tokio::test]
async fn logs_are_removed_after_their_time() {
    let app = TestApp::new().await;
    let mut client = odd(&app);
    client.post("/api/v1/thing", json!({"count": 1})).await.expect(200);
    app.app.access_log.flush().await;
    audit_entry::ActiveModel {
        id: Set(Uuid::now_v7()),
        at: Set(app.clock.now()),
        kind: Set("signedIn".into()),
        user_id: Set(None),
        email: Set(None),
        address: Set(None),
        detail: Set(None),
    }
    .insert(&app.app.db)
    .await
    .unwrap();
    app.clock.advance(Duration::days(29));
    assert_eq!(crate::retention::prune(&app.app).await.unwrap(), 0);
    app.clock.advance(Duration::days(2));
    assert_eq!(crate::retention::prune(&app.app).await.unwrap(), 1);
    app.clock.advance(Duration::days(335));
    assert_eq!(crate::retention::prune(&app.app).await.unwrap(), 1);
}

#[tokio::test]
async fn health_and_readiness() {
    let app = TestApp::new().await;
    let mut client = app.client();
    client.get("/healthz").await.expect_text(200, "ok\n");
    app.prepared().await;
    // On PostgreSQL it has to have heard itself.
    let heard = async {
        while client.get("/readyz").await.status() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), heard).await.expect("is ready");
    let ready = json!({"ready": true, "database": "ok", "driver": "ok", "servers": "ok"});
    assert_eq!(client.get("/readyz").await.expect(200), ready);
    app.app.db.clone().close().await.unwrap();
    let answer = client.get("/readyz").await.expect(503);
    assert_eq!(answer["ready"], false);
    assert_eq!(answer["database"], "the database does not answer");
}

#[tokio::test]
async fn the_description_and_its_page_are_served() {
    let app = TestApp::new().await;
    let mut client = app.client();
    let description = client.get("/api/openapi.json").await.expect(200);
    assert_eq!(description["info"]["title"], "GIMP Streaming Platform");
    assert!(description["paths"]["/healthz"]["get"].is_object());
    assert!(description["components"]["schemas"]["ProblemDetails"]["properties"]["requestId"].is_object());
    let page = client.get("/api/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("/healthz"));
    assert_eq!(client.get("/api/docs.css").await.header("content-type"), Some("text/css; charset=utf-8"));
}

#[test]
fn the_committed_description_is_fresh() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json");
    let fresh = super::openapi::json().unwrap();
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&file, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == fresh,
        "openapi.json is stale; refresh it: UPDATE_OPENAPI=1 cargo nextest run -p server committed_description"
    );
}

#[tokio::test]
async fn pages_are_one_document_with_a_tag() {
    let app = TestApp::new().await;
    let mut client = app.client();
    let page = client.get("/session/0197").await;
    assert_eq!((page.status(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let tag = page.header("etag").unwrap().to_owned();
    let request = client.request("GET", "/").header(header::IF_NONE_MATCH, format!("\"x\", W/{tag}"));
    let request = request.body(Body::empty()).unwrap();
    let answer = client.send(request).await;
    assert_eq!((answer.status(), answer.body.len()), (304, 0));

    let unknown = client.get("/nowhere").await;
    assert_eq!((unknown.status(), &unknown.body), (404, &page.body));
    let posted = client.post("/dashboard", json!({})).await;
    posted.expect_problem(405, "methodNotAllowed");
    assert_eq!(posted.header("allow"), Some("GET, HEAD"));
    client.get("/api").await.expect_problem(404, "notFound");
}

#[tokio::test]
async fn pages_are_compressed_for_those_who_can_read_it() {
    let app = TestApp::new().await;
    let mut client = app.client();
    let plain = client.get("/").await;
    let mut bodies = vec![];
    for (accept, coding) in [("gzip, br", Some("br")), ("gzip", Some("gzip")), ("identity", None)] {
        let request = client.request("GET", "/").header(header::ACCEPT_ENCODING, accept).body(Body::empty()).unwrap();
        let answer = client.send(request).await;
        assert_eq!(answer.header("content-encoding"), coding);
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        bodies.push(answer.body);
    }
    assert!(bodies[0].len() < plain.body.len() && bodies[1].len() < plain.body.len());
    assert_eq!(bodies[2], plain.body);
    assert_eq!(client.get("/index.html.br").await.status(), 404);
}
