//! Accounts from outside: registering, signing in, staying signed in, signing out.

use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::{Value, json};
use time::Duration;

use crate::config::Registration;
use crate::db::entity::{audit_entry, login_failure, sign_in, storage_quota, token, user};
use crate::test_app::{Client, TestApp};

const PASSWORD: &str = "a good long password";

async fn register(client: &mut Client, email: &str) -> Value {
    client.post("/api/v1/auth/register", json!({"email": email, "password": PASSWORD})).await.expect(201)
}

async fn login(client: &mut Client, email: &str, password: &str) -> crate::test_app::Answer {
    client.post("/api/v1/auth/login", json!({"email": email, "password": password})).await
}

async fn audited(app: &TestApp, kind: &str) -> u64 {
    audit_entry::Entity::find().filter(audit_entry::Column::Kind.eq(kind)).count(&app.app.db).await.unwrap()
}

#[tokio::test]
async fn the_first_account_is_administrator_and_the_second_is_not() {
    let app = TestApp::new().await;
    let mut ada = app.client();
    assert_eq!(ada.get("/api/v1/auth/config").await.expect(200)["firstUser"], true);
    let first = register(&mut ada, " Ada@Example.org").await;
    assert_eq!(first["user"]["email"], "ada@example.org");
    assert_eq!(first["user"]["role"], "admin");
    assert_eq!(first["tokenType"], "Bearer");
    let second = register(&mut app.client(), "bob@example.org").await;
    assert_eq!(second["user"]["role"], "user");
    let config = ada.get("/api/v1/auth/config").await.expect(200);
    assert_eq!(config["firstUser"], false);
    assert_eq!((&config["registration"], &config["smtp"]), (&json!("open"), &json!(false)));

    // Cookies and tokens both work.
    assert_eq!(ada.get("/api/v1/users/profile").await.expect(200), first["user"]);
    let mut program = app.client();
    program.set_bearer(second["accessToken"].as_str().unwrap());
    assert_eq!(program.get("/api/v1/users/profile").await.expect(200), second["user"]);

    let mut offsets: Vec<_> =
        user::Entity::find().all(&app.app.db).await.unwrap().iter().map(|user| user.uid_offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [Some(0), Some(1)]);
    let quotas = storage_quota::Entity::find().all(&app.app.db).await.unwrap();
    assert_eq!(quotas.iter().map(|quota| quota.storage_gb).collect::<Vec<_>>(), [20, 20]);
    assert_eq!(audited(&app, "account.registered").await, 2);
}

#[tokio::test]
async fn registering_at_once_makes_one_administrator_and_distinct_uids() {
    let app = TestApp::with(|settings| settings.registration = Registration::Closed).await;
    let mut racers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let mut client = app.client();
        racers.spawn(async move {
            let body = json!({"email": format!("user{number}@example.org"), "password": PASSWORD});
            client.post("/api/v1/auth/register", body).await
        });
    }
    let answers = racers.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.status() == 201).count(), 1, "closed but for the first");
    for answer in answers.iter().filter(|answer| answer.status() != 201) {
        answer.expect_problem(403, "auth.registrationClosed");
    }
    assert_eq!(user::Entity::find().all(&app.app.db).await.unwrap()[0].role, "admin");

    let app = TestApp::new().await;
    let mut racers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let mut client = app.client();
        racers.spawn(async move { register(&mut client, &format!("user{number}@example.org")).await });
    }
    let users = racers.join_all().await;
    assert_eq!(users.iter().filter(|login| login["user"]["role"] == "admin").count(), 1);
    let mut offsets: Vec<_> =
        user::Entity::find().all(&app.app.db).await.unwrap().iter().map(|user| user.uid_offset.unwrap()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_same_address_at_once_is_one_account() {
    let app = TestApp::new().await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let mut client = app.client();
        racers.spawn(async move {
            client.post("/api/v1/auth/register", json!({"email": "ann@example.org", "password": PASSWORD})).await
        });
    }
    let answers = racers.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.status() == 201).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status() != 201) {
        answer.expect_problem(409, "auth.emailTaken");
    }
}

#[tokio::test]
async fn registering_with_bad_values_says_which_and_why() {
    let app = TestApp::new().await;
    let mut client = app.client();
    for (body, field, words) in [
        (json!({"email": "nobody", "password": PASSWORD}), "email", "name@example.org"),
        (json!({"email": "a@example.org", "password": "short"}), "password", "at least 10"),
        (json!({"email": "a@example.org", "password": "x1".repeat(37)}), "password", "at most 72 bytes"),
        (json!({"email": "a@example.org", "password": "nul \0 inside it"}), "password", "NUL"),
        (json!({"email": "a@example.org", "password": "Password123"}), "password", "anybody tries"),
        (json!({"email": "a@example.org", "password": "a@EXAMPLE.org"}), "password", "not your e-mail"),
        (json!({"email": "a@example.org", "password": PASSWORD, "firstName": "A\nB"}), "firstName", "100 characters"),
        (
            json!({"email": "a@example.org", "password": PASSWORD, "lastName": "A".repeat(101)}),
            "lastName",
            "100 characters",
        ),
    ] {
        let problem = client.post("/api/v1/auth/register", body).await.expect_problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field);
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    client.post("/api/v1/auth/register", json!({"email": "a@example.org"})).await.expect_problem(422, "malformed");
    assert_eq!(user::Entity::find().count(&app.app.db).await.unwrap(), 0);
    let named = json!({"email": "a@example.org", "password": "x".repeat(36) + &"y".repeat(36), "firstName": " Ann ", "lastName": " "});
    let login = client.post("/api/v1/auth/register", named).await.expect(201);
    assert_eq!((&login["user"]["firstName"], &login["user"]["lastName"]), (&json!("Ann"), &Value::Null));
}

#[tokio::test]
async fn registering_is_limited_per_address() {
    let app = TestApp::new().await;
    let mut client = app.client();
    for _ in 0..60 {
        client.post("/api/v1/auth/register", json!({"email": "", "password": ""})).await.expect_problem(422, "invalid");
    }
    let answer = client.post("/api/v1/auth/register", json!({"email": "", "password": ""})).await;
    answer.expect_problem(429, "rateLimited");
    let wait: i64 = answer.header("retry-after").unwrap().parse().unwrap();
    app.clock.advance(Duration::seconds(wait));
    register(&mut client, "a@example.org").await;
}

#[tokio::test]
async fn cookies_are_out_of_reach_of_scripts_and_other_sites() {
    let cookies = |answer: &crate::test_app::Answer| -> Vec<String> {
        answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    for (url, secure) in [("http://127.0.0.1:8080", false), ("https://gimp.example.org", true)] {
        let app = TestApp::with(|settings| settings.public_url = Some(url.to_owned())).await;
        let answer =
            app.client().post("/api/v1/auth/register", json!({"email": "a@example.org", "password": PASSWORD})).await;
        let cookies = cookies(&answer);
        assert_eq!(cookies.len(), 2);
        for cookie in &cookies {
            assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
            assert_eq!(cookie.contains("Secure"), secure, "{cookie}");
        }
        assert!(
            cookies
                .iter()
                .any(|c| c.starts_with("gimp_access=") && c.contains("Path=/;") && c.contains("Max-Age=7200")),
            "{cookies:?}"
        );
        assert!(
            cookies.iter().any(|c| c.starts_with("gimp_refresh=")
                && c.contains("Path=/api/v1/auth")
                && c.contains("Max-Age=2592000")),
            "{cookies:?}"
        );
    }
}

#[tokio::test]
async fn signing_in_and_out() {
    let app = TestApp::new().await;
    register(&mut app.client(), "ann@example.org").await;
    let mut browser = app.client();
    let answer = login(&mut browser, "ANN@example.org ", PASSWORD).await.expect(200);
    assert_eq!(answer["user"]["email"], "ann@example.org");
    browser.get("/api/v1/users/profile").await.expect(200);
    let (access, refresh) =
        (browser.cookie("gimp_access").unwrap().to_owned(), browser.cookie("gimp_refresh").unwrap().to_owned());
    browser.post("/api/v1/auth/logout", json!({})).await.expect(204);
    assert_eq!((browser.cookie("gimp_access"), browser.cookie("gimp_refresh")), (None, None));
    // The tokens are worth nothing, not only forgotten.
    let mut thief = app.client();
    thief.set_bearer(&access);
    thief.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    thief.post("/api/v1/auth/refresh", json!({"refreshToken": refresh})).await.expect_problem(401, "auth.signedOut");
    browser.post("/api/v1/auth/logout", json!({})).await.expect(204);
    assert_eq!(audited(&app, "signIn.signedOut").await, 1);
}

#[tokio::test]
async fn signing_out_works_when_the_access_token_has_expired() {
    let app = TestApp::new().await;
    let mut browser = app.client();
    register(&mut browser, "ann@example.org").await;
    app.clock.advance(Duration::hours(3));
    browser.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    // No body at all.
    let request = browser.request("POST", "/api/v1/auth/logout").body(axum::body::Body::empty()).unwrap();
    browser.send(request).await.expect(204);
    let sign_ins = sign_in::Entity::find().all(&app.app.db).await.unwrap();
    assert!(sign_ins.iter().all(|sign_in| sign_in.revoked_at.is_some()));
}

#[tokio::test]
async fn signing_out_everywhere() {
    let app = TestApp::new().await;
    let mut one = app.client();
    register(&mut one, "ann@example.org").await;
    let mut two = app.client();
    login(&mut two, "ann@example.org", PASSWORD).await.expect(200);
    let mut bob = app.client();
    register(&mut bob, "bob@example.org").await;
    one.post("/api/v1/auth/logout", json!({"everywhere": true})).await.expect(204);
    two.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    two.post("/api/v1/auth/refresh", json!({})).await.expect_problem(401, "auth.signedOut");
    bob.get("/api/v1/users/profile").await.expect(200);
}

#[tokio::test]
async fn a_wrong_password_and_no_account_get_the_same_answer() {
    let app = TestApp::new().await;
    register(&mut app.client(), "ann@example.org").await;
    let mut client = app.client();
    let strip = |answer: crate::test_app::Answer| {
        let mut body = answer.json();
        body.as_object_mut().unwrap().remove("requestId");
        // The seconds to wait differ by the moment of the request only.
        let words: String = body["detail"].as_str().unwrap().chars().filter(|c| !c.is_ascii_digit()).collect();
        body["detail"] = words.into();
        (answer.status(), body, answer.header("retry-after").is_some())
    };
    for round in 0..8 {
        let known = strip(login(&mut client, "ann@example.org", "not the password").await);
        let unknown = strip(login(&mut client, "nobody@example.org", "not the password").await);
        assert_eq!(known, unknown, "round {round}");
        assert_eq!(known.0, if round < 5 { 401 } else { 429 });
    }
}

#[tokio::test]
async fn five_failures_lock_the_account_for_a_growing_time() {
    let app = TestApp::new().await;
    register(&mut app.client(), "ann@example.org").await;
    let mut client = app.client();
    for _ in 0..5 {
        login(&mut client, "ann@example.org", "not the password").await.expect_problem(401, "auth.wrongCredentials");
    }
    for expected in [30_i64, 60, 120] {
        let answer = login(&mut client, "ann@example.org", PASSWORD).await;
        let problem = answer.expect_problem(429, "auth.locked");
        assert!(problem["detail"].as_str().unwrap().contains("Wait"), "{problem}");
        let wait: i64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((expected - 5..=expected).contains(&wait), "{wait} of {expected}");
        app.clock.advance(Duration::seconds(wait));
        login(&mut client, "ann@example.org", "not the password").await.expect_problem(401, "auth.wrongCredentials");
    }
    // Other accounts are free.
    register(&mut app.client(), "bob@example.org").await;
    app.clock.advance(Duration::seconds(240));
    login(&mut client, "ann@example.org", PASSWORD).await.expect(200);
    assert_eq!(login_failure::Entity::find().count(&app.app.db).await.unwrap(), 0, "forgiven");
    login(&mut client, "ann@example.org", "not the password").await.expect_problem(401, "auth.wrongCredentials");
    login(&mut client, "ann@example.org", PASSWORD).await.expect(200);
    assert_eq!(audited(&app, "signIn.failed").await, 5);
    assert_eq!(audited(&app, "signIn.locked").await, 4);
}

#[tokio::test]
async fn guesses_at_once_get_no_more_than_five() {
    let app = TestApp::new().await;
    register(&mut app.client(), "ann@example.org").await;
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = app.client();
        guesses.spawn(async move { login(&mut client, "ann@example.org", "not the password").await.status() });
    }
    let statuses = guesses.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 5, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
}

#[tokio::test]
async fn attempts_that_nobody_had_time_to_look_at_are_no_failures() {
    let app = TestApp::new().await;
    register(&mut app.client(), "ann@example.org").await;
    let mut client = app.client();
    login(&mut client, "ann@example.org", PASSWORD).await.expect(200);
    let crowd: Vec<_> = std::iter::from_fn(|| app.app.auth.passwords.place().ok()).collect();
    for _ in 0..6 {
        login(&mut app.client(), "ann@example.org", PASSWORD).await.expect_problem(503, "auth.busy");
        login(&mut app.client(), "nobody@example.org", PASSWORD).await.expect_problem(503, "auth.busy");
        let change = json!({"email": "ann@example.com", "currentPassword": PASSWORD});
        client.put("/api/v1/users/profile", change).await.expect_problem(503, "auth.busy");
    }
    assert_eq!(login_failure::Entity::find().count(&app.app.db).await.unwrap(), 0);
    drop(crowd);
    login(&mut app.client(), "ann@example.org", PASSWORD).await.expect(200);
}

/// How many sign-ins get through before one is refused, less those that came back with time, `per_second`.
async fn burst(app: &TestApp, client: &mut Client, email: impl Fn(u32) -> String, per_second: f64) -> u32 {
    let start = app.clock.now();
    for attempt in 0.. {
        let answer = login(client, &email(attempt), PASSWORD).await;
        if answer.status() == 429 {
            answer.expect_problem(429, "rateLimited");
            assert!(answer.header("retry-after").is_some());
            let came_back = (app.clock.now() - start).as_seconds_f64() * per_second;
            return attempt.saturating_sub(came_back.ceil() as u32);
        }
        assert!(attempt < 1000, "never refused");
    }
    unreachable!("the loop returns")
}

#[tokio::test]
async fn attempts_are_limited_per_account_and_per_address() {
    let app = TestApp::new().await;
    let count = burst(&app, &mut app.client(), |attempt| format!("user{attempt}@example.org"), 1.0).await;
    assert!((58..=60).contains(&count), "{count}");
    let mut elsewhere = app.client();
    elsewhere.address = "192.0.2.7:1000".parse().unwrap();
    register(&mut elsewhere, "ann@example.org").await;
    let count = burst(&app, &mut elsewhere, |_| "ann@example.org".to_owned(), 1.0 / 3.0).await;
    assert!((18..=20).contains(&count), "{count}");
}

#[tokio::test]
async fn refreshing_exchanges_both_tokens() {
    let app = TestApp::new().await;
    let mut browser = app.client();
    let first = register(&mut browser, "ann@example.org").await;
    app.clock.advance(Duration::minutes(119));
    browser.get("/api/v1/users/profile").await.expect(200);
    app.clock.advance(Duration::minutes(2));
    browser.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    let second = browser.post("/api/v1/auth/refresh", json!({})).await.expect(200);
    assert_ne!(second["accessToken"], first["accessToken"]);
    assert_ne!(second["refreshToken"], first["refreshToken"]);
    browser.get("/api/v1/users/profile").await.expect(200);
    // A program, without cookies.
    let mut program = app.client();
    let third = program.post("/api/v1/auth/refresh", json!({"refreshToken": second["refreshToken"]})).await.expect(200);
    assert_eq!(third["user"]["email"], "ann@example.org");
}

#[tokio::test]
async fn an_unused_sign_in_ends_after_thirty_days() {
    let app = TestApp::new().await;
    let mut browser = app.client();
    register(&mut browser, "ann@example.org").await;
    app.clock.advance(Duration::days(29));
    browser.post("/api/v1/auth/refresh", json!({})).await.expect(200);
    app.clock.advance(Duration::days(30) + Duration::seconds(1));
    browser.post("/api/v1/auth/refresh", json!({})).await.expect_problem(401, "auth.signedOut");
    assert_eq!(browser.cookie("gimp_refresh"), None, "forgotten");
    for token in [json!({"refreshToken": "made up"}), json!({}), json!({"refreshToken": null})] {
        app.client().post("/api/v1/auth/refresh", token).await.expect_problem(401, "auth.signedOut");
    }
}

#[tokio::test]
async fn a_refresh_token_used_twice_ends_the_sign_in() {
    let app = TestApp::new().await;
    let mut browser = app.client();
    let first = register(&mut browser, "ann@example.org").await;
    let stolen = json!({"refreshToken": first["refreshToken"]});
    browser.post("/api/v1/auth/refresh", json!({})).await.expect(200);
    app.clock.advance(Duration::seconds(11));
    let problem = app.client().post("/api/v1/auth/refresh", stolen.clone()).await.expect_problem(401, "auth.signedOut");
    assert!(problem["detail"].as_str().unwrap().contains("for safety"), "{problem}");
    // The thief's copy cost the sign-in: the browser's newer tokens are worth nothing too.
    browser.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    browser.post("/api/v1/auth/refresh", json!({})).await.expect_problem(401, "auth.signedOut");
    assert_eq!(audited(&app, "signIn.refreshReused").await, 1);
    app.client().post("/api/v1/auth/refresh", stolen).await.expect_problem(401, "auth.signedOut");
    assert_eq!(audited(&app, "signIn.refreshReused").await, 1);
}

#[tokio::test]
async fn a_refresh_token_used_twice_from_elsewhere_ends_the_sign_in_at_once() {
    let app = TestApp::new().await;
    let mut browser = app.client();
    let first = register(&mut browser, "ann@example.org").await;
    browser.post("/api/v1/auth/refresh", json!({})).await.expect(200);
    let mut thief = app.client();
    thief.address = "192.0.2.7:1000".parse().unwrap();
    let stolen = json!({"refreshToken": first["refreshToken"]});
    thief.post("/api/v1/auth/refresh", stolen).await.expect_problem(401, "auth.signedOut");
    browser.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
}

#[tokio::test]
async fn tabs_that_refresh_at_once_all_stay_signed_in() {
    let app = TestApp::new().await;
    let mut browser = app.client();
    register(&mut browser, "ann@example.org").await;
    let mut tabs = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut tab = browser.clone();
        tabs.spawn(async move {
            let login = tab.post("/api/v1/auth/refresh", json!({})).await.expect(200);
            tab.get("/api/v1/users/profile").await.expect(200);
            login["refreshToken"].as_str().unwrap().to_owned()
        });
    }
    let tokens: std::collections::HashSet<_> = tabs.join_all().await.into_iter().collect();
    assert_eq!(tokens.len(), 5);
    assert_eq!(audited(&app, "signIn.refreshReused").await, 0);
    app.clock.advance(Duration::hours(3));
    for token in tokens {
        app.client().post("/api/v1/auth/refresh", json!({"refreshToken": token})).await.expect(200);
    }
}

#[tokio::test]
async fn a_hash_of_another_cost_is_renewed_at_sign_in() {
    let app = TestApp::with(|settings| settings.bcrypt_cost = 5).await;
    let old = app.user("ann@example.org").await;
    let hash = || async {
        user::Entity::find_by_id(old.user.unwrap().0).one(&app.app.db).await.unwrap().unwrap().password_hash
    };
    assert!(hash().await.starts_with("$2b$04$"));
    for _ in 0..2 {
        login(&mut app.client(), "ann@example.org", crate::test_app::PASSWORD).await.expect(200);
        assert!(hash().await.starts_with("$2b$05$"));
    }
}

#[tokio::test]
async fn tokens_and_passwords_are_in_neither_database_nor_log() {
    let app = TestApp::new().await;
    let mut browser = app.client();
    let login = register(&mut browser, "ann@example.org").await;
    browser.post("/api/v1/auth/refresh", json!({})).await.expect(200);
    let (access, refresh) = (login["accessToken"].as_str().unwrap(), login["refreshToken"].as_str().unwrap());
    let rows = format!(
        "{:?}{:?}{:?}{:?}",
        token::Entity::find().all(&app.app.db).await.unwrap(),
        user::Entity::find().all(&app.app.db).await.unwrap(),
        sign_in::Entity::find().all(&app.app.db).await.unwrap(),
        audit_entry::Entity::find().all(&app.app.db).await.unwrap(),
    );
    for secret in [access, refresh, PASSWORD] {
        assert!(!rows.contains(secret) && !app.log().contains(secret));
    }
}

#[tokio::test]
async fn bodies_that_are_not_json_get_problem_details() {
    let app = TestApp::new().await;
    let mut client = app.client();
    let request = client.request("POST", "/api/v1/auth/login").body("email=a".into()).unwrap();
    client.send(request).await.expect_problem(415, "notJson");
    let request = client.request("POST", "/api/v1/auth/login").header("content-type", "application/json");
    client.send(request.body("{".into()).unwrap()).await.expect_problem(400, "malformed");
    login(&mut client, "no address", "whatever it is").await.expect_problem(422, "invalid");
}
