//! A user's own account: profile, password, sign-ins; forgotten passwords.

use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::json;
use time::Duration;

use crate::db::entity::{audit_entry, password_reset, sign_in, user};
use crate::mail::sink::Sink;
use crate::test_app::{Answer, Client, PASSWORD, TestApp};

const NEW: &str = "an even better password";

async fn login(client: &mut Client, email: &str, password: &str) -> Answer {
    client.post("/api/v1/auth/login", json!({"email": email, "password": password})).await
}

async fn forgot(client: &mut Client, email: &str) -> Answer {
    client.post("/api/v1/auth/password/forgot", json!({"email": email})).await
}

async fn reset(client: &mut Client, token: &str, password: &str) -> Answer {
    client.post("/api/v1/auth/password/reset", json!({"token": token, "password": password})).await
}

async fn audited(app: &TestApp, kind: &str) -> u64 {
    audit_entry::Entity::find().filter(audit_entry::Column::Kind.eq(kind)).count(&app.app.db).await.unwrap()
}

fn token_of(link: &str) -> String {
    link.split_once("/reset#token=").expect("a reset link").1.to_owned()
}

#[tokio::test]
async fn names_change_without_a_password() {
    let app = TestApp::new().await;
    let mut ann = app.user("ann@example.org").await;
    let named = ann.put("/api/v1/users/profile", json!({"firstName": " Ann ", "lastName": "Lee"})).await.expect(200);
    assert_eq!((&named["firstName"], &named["lastName"]), (&json!("Ann"), &json!("Lee")));
    let renamed = ann.put("/api/v1/users/profile", json!({"lastName": ""})).await.expect(200);
    assert_eq!((&renamed["firstName"], &renamed["lastName"]), (&json!("Ann"), &json!(null)));
    assert_eq!(ann.get("/api/v1/users/profile").await.expect(200), renamed);
    let long = ann.put("/api/v1/users/profile", json!({"firstName": "x".repeat(101)})).await;
    assert_eq!(long.expect_problem(422, "invalid")["errors"][0]["field"], "firstName");
    app.client().get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    app.client().put("/api/v1/users/profile", json!({})).await.expect_problem(401, "auth.signedOut");
}

#[tokio::test]
async fn the_address_changes_with_the_password_only() {
    let app = TestApp::new().await;
    let mut ann = app.user("ann@example.org").await;
    app.user("bob@example.org").await;
    let change = |email: &str, password: Option<&str>| json!({"email": email, "currentPassword": password});
    let profile = "/api/v1/users/profile";
    let missing = ann.put(profile, change("new@example.org", None)).await.expect_problem(422, "invalid");
    assert_eq!(missing["errors"][0]["field"], "currentPassword");
    ann.put(profile, change("new@example.org", Some("wrong"))).await.expect_problem(403, "auth.wrongPassword");
    ann.put(profile, change("nonsense", Some(PASSWORD))).await.expect_problem(422, "invalid");
    ann.put(profile, change("BOB@example.org", Some(PASSWORD))).await.expect_problem(409, "auth.emailTaken");
    // The same address in another spelling is no change.
    ann.put(profile, change(" ANN@example.org", None)).await.expect(200);
    assert_eq!(
        ann.put(profile, change("New@example.org", Some(PASSWORD))).await.expect(200)["email"],
        "new@example.org"
    );
    login(&mut app.client(), "ann@example.org", PASSWORD).await.expect_problem(401, "auth.wrongCredentials");
    login(&mut app.client(), "new@example.org", PASSWORD).await.expect(200);
    assert_eq!(audited(&app, "account.emailChanged").await, 1);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sign_ins() {
    let app = TestApp::new().await;
    let mut ann = app.user("ann@example.org").await;
    let mut other = app.client();
    login(&mut other, "ann@example.org", PASSWORD).await.expect(200);
    let change = |current: &str, new: &str| json!({"currentPassword": current, "newPassword": new});
    let path = "/api/v1/users/password";
    ann.put(path, change("wrong", NEW)).await.expect_problem(403, "auth.wrongPassword");
    let short = ann.put(path, change(PASSWORD, "short")).await.expect_problem(422, "invalid");
    assert_eq!(short["errors"][0]["field"], "newPassword");
    other.get("/api/v1/users/profile").await.expect(200);
    ann.put(path, change(PASSWORD, NEW)).await.expect(204);
    ann.get("/api/v1/users/profile").await.expect(200);
    other.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    other.post("/api/v1/auth/refresh", json!({})).await.expect_problem(401, "auth.signedOut");
    login(&mut other, "ann@example.org", PASSWORD).await.expect_problem(401, "auth.wrongCredentials");
    login(&mut other, "ann@example.org", NEW).await.expect(200);
    assert_eq!(audited(&app, "password.changed").await, 1);
}

#[tokio::test]
async fn guessing_the_current_password_locks_as_well() {
    let app = TestApp::new().await;
    let mut ann = app.user("ann@example.org").await;
    let guess = json!({"currentPassword": "a guess", "newPassword": NEW});
    for _ in 0..5 {
        ann.put("/api/v1/users/password", guess.clone()).await.expect_problem(403, "auth.wrongPassword");
    }
    ann.put("/api/v1/users/password", guess).await.expect_problem(429, "auth.locked");
    login(&mut app.client(), "ann@example.org", PASSWORD).await.expect_problem(429, "auth.locked");
}

#[tokio::test]
async fn sign_ins_are_listed_and_ended() {
    let app = TestApp::new().await;
    let mut browser = app.client();
    browser.address = "192.0.2.1:1".parse().unwrap();
    browser.post("/api/v1/auth/register", json!({"email": "ann@example.org", "password": PASSWORD})).await.expect(201);
    app.clock.advance(Duration::minutes(1));
    let mut phone = app.client();
    let request = phone
        .request("POST", "/api/v1/auth/login")
        .header("content-type", "application/json")
        .header("user-agent", "Phone 1.0")
        .body(json!({"email": "ann@example.org", "password": PASSWORD}).to_string().into())
        .unwrap();
    phone.send(request).await.expect(200);
    let list = browser.get("/api/v1/users/signins").await.expect(200);
    let list = list["signIns"].as_array().unwrap().clone();
    assert_eq!(list.len(), 2);
    assert_eq!((&list[0]["current"], &list[1]["current"]), (&json!(false), &json!(true)));
    assert_eq!((&list[0]["userAgent"], &list[1]["address"]), (&json!("Phone 1.0"), &json!("192.0.2.1")));

    let path = format!("/api/v1/users/signins/{}", list[0]["id"].as_str().unwrap());
    let mut bob = app.user("bob@example.org").await;
    bob.delete(&path).await.expect_problem(404, "notFound");
    phone.get("/api/v1/users/profile").await.expect(200);
    browser.delete(&path).await.expect(204);
    phone.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    browser.delete(&path).await.expect_problem(404, "notFound");
    browser.delete("/api/v1/users/signins/nonsense").await.expect_problem(404, "notFound");
    assert_eq!(browser.get("/api/v1/users/signins").await.expect(200)["signIns"].as_array().unwrap().len(), 1);
    assert_eq!(audited(&app, "signIn.revoked").await, 1);
}

#[tokio::test]
async fn a_user_has_at_most_a_hundred_sign_ins() {
    let app = TestApp::new().await;
    let mut first = app.user("ann@example.org").await;
    let user = first.user.unwrap();
    for _ in 0..101 {
        app.clock.advance(Duration::minutes(1));
        login(&mut app.client(), "ann@example.org", PASSWORD).await.expect(200);
    }
    first.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    let live = sign_in::Entity::find()
        .filter(sign_in::Column::UserId.eq(user.0))
        .filter(sign_in::Column::RevokedAt.is_null())
        .count(&app.app.db)
        .await
        .unwrap();
    assert_eq!(live, 100);
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_mail() {
    let mut sink = Sink::listen().await;
    let app = TestApp::with(|settings| {
        sink.configure(settings);
        settings.public_url = Some("https://gimp.example.org".to_owned());
    })
    .await;
    let mut ann = app.user("ann@example.org").await;
    let mut client = app.client();
    client.set_cookie("unrelated", "1");
    for _ in 0..5 {
        login(&mut client, "ann@example.org", "a guess").await.expect_problem(401, "auth.wrongCredentials");
    }
    login(&mut client, "ann@example.org", PASSWORD).await.expect_problem(429, "auth.locked");
    forgot(&mut client, "nobody@example.org").await.expect(202);
    forgot(&mut client, "Ann@Example.org").await.expect(202);
    let mail = sink.mail().await;
    assert_eq!(mail.to, ["ann@example.org"]);
    assert!(mail.link().starts_with("https://gimp.example.org/reset#token="), "{}", mail.link());
    let token = token_of(mail.link());
    assert!(!app.log().contains(&token), "the log holds it only without a mail server");

    // A bad password leaves the link usable.
    let short = reset(&mut client, &token, "short").await.expect_problem(422, "invalid");
    assert_eq!(short["errors"][0]["field"], "password");
    ann.get("/api/v1/users/profile").await.expect(200);
    reset(&mut client, &token, NEW).await.expect(204);
    ann.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");
    login(&mut client, "ann@example.org", PASSWORD).await.expect_problem(401, "auth.wrongCredentials");
    login(&mut client, "ann@example.org", NEW).await.expect(200);
    reset(&mut client, &token, "and yet another one").await.expect_problem(400, "auth.resetInvalid");
    reset(&mut client, "made up", NEW).await.expect_problem(400, "auth.resetInvalid");
    assert!(sink.is_empty(), "nobody@example.org got none");
    assert_eq!((audited(&app, "password.resetRequested").await, audited(&app, "password.reset").await), (1, 1));
}

#[tokio::test]
async fn a_link_is_used_once_even_by_two_at_once() {
    let mut sink = Sink::listen().await;
    let app = TestApp::with(|settings| sink.configure(settings)).await;
    app.user("ann@example.org").await;
    forgot(&mut app.client(), "ann@example.org").await.expect(202);
    let token = token_of(sink.mail().await.link());
    let mut racers = tokio::task::JoinSet::new();
    for number in 0..6 {
        let (mut client, token) = (app.client(), token.clone());
        racers.spawn(async move { reset(&mut client, &token, &format!("password of racer {number}")).await.status() });
    }
    let statuses = racers.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 204 | 400)), "{statuses:?}");
}

#[tokio::test]
async fn links_end_after_an_hour_and_with_the_password() {
    let mut sink = Sink::listen().await;
    let app = TestApp::with(|settings| sink.configure(settings)).await;
    let mut ann = app.user("ann@example.org").await;
    let mut client = app.client();
    let mut link = async || {
        forgot(&mut client, "ann@example.org").await.expect(202);
        token_of(sink.mail().await.link())
    };
    let old = link().await;
    app.clock.advance(Duration::minutes(61));
    reset(&mut app.client(), &old, NEW).await.expect_problem(400, "auth.resetInvalid");
    let (one, two) = (link().await, link().await);
    reset(&mut app.client(), &one, NEW).await.expect(204);
    reset(&mut app.client(), &two, NEW).await.expect_problem(400, "auth.resetInvalid");
    ann.get("/api/v1/users/profile").await.expect_problem(401, "auth.signedOut");

    let three = link().await;
    let mut browser = app.client();
    login(&mut browser, "ann@example.org", NEW).await.expect(200);
    let body = json!({"currentPassword": NEW, "newPassword": "yet another password"});
    browser.put("/api/v1/users/password", body).await.expect(204);
    reset(&mut app.client(), &three, NEW).await.expect_problem(400, "auth.resetInvalid");
}

#[tokio::test]
async fn links_end_when_the_address_they_went_to_is_given_up() {
    let mut sink = Sink::listen().await;
    let app = TestApp::with(|settings| sink.configure(settings)).await;
    let mut ann = app.user("ann@example.org").await;
    forgot(&mut app.client(), "ann@example.org").await.expect(202);
    let token = token_of(sink.mail().await.link());
    let body = json!({"email": "ann@new.example.org", "currentPassword": PASSWORD});
    ann.put("/api/v1/users/profile", json!({"firstName": "Ann"})).await.expect(200);
    assert_eq!(password_reset::Entity::find().count(&app.app.db).await.unwrap(), 1, "a name says nothing");
    ann.put("/api/v1/users/profile", body).await.expect(200);
    reset(&mut app.client(), &token, NEW).await.expect_problem(400, "auth.resetInvalid");
    login(&mut app.client(), "ann@new.example.org", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn without_a_mail_server_the_link_is_in_the_log() {
    let app = TestApp::new().await;
    app.user("ann@example.org").await;
    forgot(&mut app.client(), "nobody@example.org").await.expect(202);
    forgot(&mut app.client(), "ann@example.org").await.expect(202);
    app.app.background.end().await;
    let log = app.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("/reset#token=")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains(" WARN ") && lines[0].contains("no mail server is configured"), "{}", lines[0]);
    let token = token_of(lines[0]);
    reset(&mut app.client(), token.trim(), NEW).await.expect(204);
    login(&mut app.client(), "ann@example.org", NEW).await.expect(200);
}

#[tokio::test]
async fn a_mail_server_that_fails_is_noted_and_not_told() {
    let sink = Sink::listen().await;
    let app = TestApp::with(|settings| sink.configure(settings)).await;
    app.user("full@example.org").await;
    forgot(&mut app.client(), "full@example.org").await.expect(202);
    app.app.background.end().await;
    let log = app.log();
    assert!(log.contains("a reset link could not be sent") && log.contains("mailbox full"), "{log}");
    assert!(!log.contains("/reset#token="), "{log}");
}

#[tokio::test]
async fn asking_for_links_is_limited_for_every_address_alike() {
    let app = TestApp::new().await;
    app.user("ann@example.org").await;
    let mut client = app.client();
    for email in ["ann@example.org", "nobody@example.org"] {
        for _ in 0..5 {
            forgot(&mut client, email).await.expect(202);
        }
        forgot(&mut client, email).await.expect_problem(429, "rateLimited");
    }
    forgot(&mut client, "no address").await.expect_problem(422, "invalid");
    for _ in 0..17 {
        forgot(&mut client, "no address").await.expect_problem(422, "invalid");
    }
    forgot(&mut client, "no address").await.expect_problem(429, "rateLimited");
    reset(&mut client, "made up", NEW).await.expect_problem(429, "rateLimited");
    app.app.background.end().await;
    assert_eq!(password_reset::Entity::find().count(&app.app.db).await.unwrap(), 5);
}

#[tokio::test]
async fn a_deactivated_user_gets_no_link_and_no_sign_in() {
    let app = TestApp::new().await;
    let ann = app.user("ann@example.org").await;
    let row = user::ActiveModel {
        id: sea_orm::ActiveValue::Unchanged(ann.user.unwrap().0),
        is_active: sea_orm::ActiveValue::Set(false),
        ..Default::default()
    };
    user::Entity::update(row).exec(&app.app.db).await.unwrap();
    login(&mut app.client(), "ann@example.org", PASSWORD).await.expect_problem(403, "auth.deactivated");
    login(&mut app.client(), "ann@example.org", "wrong").await.expect_problem(401, "auth.wrongCredentials");
    forgot(&mut app.client(), "ann@example.org").await.expect(202);
    app.app.background.end().await;
    assert_eq!(password_reset::Entity::find().count(&app.app.db).await.unwrap(), 0);
}
