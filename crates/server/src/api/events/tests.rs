use sea_orm::{ActiveValue::Set, EntityTrait, IntoActiveModel, ModelTrait};
use serde_json::json;
use time::Duration;

use crate::db::entity;
use crate::session::testing::{Events, end_of, start, started};
use crate::session::watchers::STREAMS_PER_USER;
use crate::test_app::TestApp;

#[tokio::test]
async fn the_full_state_comes_first_and_then_what_changes() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (old, _) = started(&app, &mut ada).await;
    ada.delete(&format!("/api/v1/sessions/{old}")).await.expect(202);
    end_of(&app, &mut ada, &old).await;
    let (id, _) = started(&app, &mut ada).await;

    let mut events = Events::open(&mut ada).await;
    let (name, first) = events.next().await.unwrap();
    assert_eq!(name, "sessions");
    let sessions = first["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "ended ones are history");
    assert_eq!((&sessions[0]["id"], &sessions[0]["status"]), (&json!(id), &json!("running")));

    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    let ended = events.until("session", |session| session["endedAt"].is_string()).await;
    assert_eq!((&ended["id"], &ended["status"], &ended["endReason"]), (&json!(id), &json!("stopped"), &json!("user")));
}

#[tokio::test]
async fn nobody_sees_what_others_do() {
    let app = TestApp::new().await;
    let (mut ada, mut ben) = (app.user("ada@example.org").await, app.user("ben@example.org").await);
    let mut events = Events::open(&mut ben).await;
    assert_eq!(events.next().await.unwrap().1["sessions"], json!([]));
    started(&app, &mut ada).await;
    let own = start(&mut ben).await;
    let (_, session) = events.next().await.unwrap();
    assert_eq!(session["id"], json!(own));
    app.client().get("/api/v1/events").await.expect_problem(401, "auth.signedOut");
}

#[tokio::test]
async fn uploads_change_the_quota_in_every_page() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let mut events = Events::open(&mut ada).await;
    ada.get("/api/v1/workspace").await.expect(200);
    let quota = events.until("quota", |_| true).await;
    assert!(quota["quotaBytes"].as_u64().unwrap() > 0, "{quota}");
}

#[tokio::test]
async fn streams_are_limited() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let mut streams = vec![];
    for _ in 0..STREAMS_PER_USER {
        streams.push(Events::open(&mut ada).await);
    }
    let answer = ada.get("/api/v1/events").await;
    answer.expect_problem(429, "events.tooMany");
    streams.pop();
    Events::open(&mut ada).await;
}

#[tokio::test]
async fn the_stream_ends_when_its_reader_is_signed_out() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let mut events = Events::open(&mut ada).await;
    events.next().await.unwrap();
    let sign_in = entity::sign_in::Entity::find().one(&app.app.db).await.unwrap().unwrap();
    let mut row = sign_in.clone().into_active_model();
    row.revoked_at = Set(Some(app.clock.now()));
    sea_orm::ActiveModelTrait::update(row, &app.app.db).await.unwrap();
    app.clock.advance(Duration::seconds(16));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn the_stream_ends_with_its_reader_s_account() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let mut events = Events::open(&mut ada).await;
    events.next().await.unwrap();
    let user = entity::user::Entity::find().one(&app.app.db).await.unwrap().unwrap();
    user.delete(&app.app.db).await.unwrap();
    app.clock.advance(Duration::seconds(16));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn the_stream_ends_with_the_server() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let mut events = Events::open(&mut ada).await;
    events.next().await.unwrap();
    app.app.background.close();
    assert!(events.next().await.is_none());
}
