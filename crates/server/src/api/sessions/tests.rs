use serde_json::json;

use crate::ids::SessionId;
use crate::session::testing::{end_of, fake, running};
use crate::test_app::TestApp;

#[tokio::test]
async fn a_session_starts_runs_and_ends() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let answer = ada.post("/api/v1/sessions", json!({})).await;
    let created = answer.expect(201);
    assert_eq!(created["status"], "starting");
    assert_eq!(created["step"], "creatingWorkspace");
    assert_eq!(created["application"], "gimp");
    assert_eq!(created["userId"], json!(ada.user));
    assert_eq!(created["resources"], json!({"cpu": "1000m", "memory": "2Gi"}));
    let id = created["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("/api/v1/sessions/{id}").as_str()));
    assert_eq!(created["endpoint"], format!("{}/session/{id}", app.app.settings.public_url()));

    let session = running(&app, &mut ada, id).await;
    assert_eq!(session["step"], "ready");
    assert!(session["startedAt"].is_string());
    assert_eq!(session["idleSeconds"], 0);

    let ending = ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    assert_eq!(ending["endReason"], "user", "the reason is on record at once");
    let ended = end_of(&app, &mut ada, id).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("user")));
    assert!(ended["stage"].is_string());
    assert_eq!(ended["endDetail"], "You ended the session.");
    assert!(fake(&app).session(SessionId(id.parse().unwrap())).is_none(), "nothing is left of it");

    let again = ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    assert_eq!(again["status"], "stopped", "harmless");
}

#[tokio::test]
async fn a_body_is_not_needed() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let request = ada.request("POST", "/api/v1/sessions").body(axum::body::Body::empty()).unwrap();
    ada.send(request).await.expect(201);
}
