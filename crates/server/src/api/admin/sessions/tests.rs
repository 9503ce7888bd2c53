use protocol::session::StartStep;
use serde_json::{Value, json};

use crate::session::testing::{end_of, fake, start, started};
use crate::test_app::TestApp;

const SESSIONS: &str = "/api/v1/admin/sessions";

#[tokio::test]
async fn only_administrators_may() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (id, _) = started(&app, &mut ada).await;
    ada.get(SESSIONS).await.expect_problem(403, "auth.adminOnly");
    ada.delete(&format!("{SESSIONS}/{id}")).await.expect_problem(403, "auth.adminOnly");
    ada.get("/api/v1/admin/machine").await.expect_problem(403, "auth.adminOnly");
    app.client().get(SESSIONS).await.expect_problem(401, "auth.signedOut");
}

#[tokio::test]
async fn sessions_of_all_users_are_listed_by_status() {
    let app = TestApp::new().await;
    let (mut ada, mut ben) = (app.user("ada@example.org").await, app.user("ben@example.org").await);
    let mut root = app.admin("root@example.org").await;
    let (first, _) = started(&app, &mut ada).await;
    fake(&app).behave(|behaviour| behaviour.hang_in_step = Some(StartStep::StartingGimp));
    let second = start(&mut ben).await;

    let all = root.get(SESSIONS).await.expect(200);
    assert_eq!(all["nextCursor"], json!(null));
    let listed: Vec<_> = all["sessions"].as_array().unwrap().iter().map(|s| (&s["id"], &s["email"])).collect();
    assert_eq!(
        listed,
        [(&json!(second), &json!("ben@example.org")), (&json!(first), &json!("ada@example.org"))],
        "the newest first"
    );
    let page = root.get(&format!("{SESSIONS}?limit=1")).await.expect(200);
    assert_eq!(page["sessions"][0]["id"], json!(second));
    let cursor = page["nextCursor"].as_str().unwrap();
    let page = root.get(&format!("{SESSIONS}?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!((&page["sessions"][0]["id"], &page["nextCursor"]), (&json!(first), &json!(null)));

    let running = root.get(&format!("{SESSIONS}?status=running")).await.expect(200);
    assert_eq!(running["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(running["sessions"][0]["id"], json!(first));
    root.get(&format!("{SESSIONS}?status=sleeping")).await.expect_problem(400, "malformed");
}

#[tokio::test]
async fn administrators_end_sessions_and_the_history_says_so() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let mut root = app.admin("root@example.org").await;
    let (first, _) = started(&app, &mut ada).await;
    assert_eq!(root.delete(&format!("{SESSIONS}/{first}")).await.expect(202)["endReason"], "admin");
    let ended = end_of(&app, &mut ada, &first).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("admin")));
    assert_eq!(ended["endDetail"], "An administrator ended the session.");
    root.delete(&format!("{SESSIONS}/{first}")).await.expect(202);
    // The same through the session itself.
    let (second, _) = started(&app, &mut ada).await;
    assert_eq!(root.delete(&format!("/api/v1/sessions/{second}")).await.expect(202)["endReason"], "admin");
    root.delete(&format!("{SESSIONS}/{}", uuid::Uuid::nil())).await.expect_problem(404, "notFound");
}

#[tokio::test]
async fn an_end_by_an_administrator_is_on_record_once() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let mut root = app.admin("root@example.org").await;
    let mut expected = vec![];
    for path in [SESSIONS, "/api/v1/sessions"] {
        let (id, _) = started(&app, &mut ada).await;
        root.delete(&format!("{path}/{id}")).await.expect(202);
        root.delete(&format!("{path}/{id}")).await.expect(202);
        end_of(&app, &mut ada, &id).await;
        root.delete(&format!("{path}/{id}")).await.expect(202);
        expected
            .insert(0, ("session.ended".into(), "ada@example.org".into(), format!("{id} by root@example.org").into()));
    }
    // What owners do with their sessions is in their history.
    let (own, _) = started(&app, &mut ada).await;
    ada.delete(&format!("/api/v1/sessions/{own}")).await.expect(202);
    let audit = root.get("/api/v1/admin/audit").await.expect(200);
    let entries: Vec<(Value, Value, Value)> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["kind"].clone(), entry["email"].clone(), entry["detail"].clone()))
        .collect();
    assert_eq!(entries, expected);
}

#[tokio::test]
async fn the_machine_is_measured() {
    let app = TestApp::with(|settings| settings.session_limit = Some(7)).await;
    let mut ada = app.user("ada@example.org").await;
    let mut root = app.admin("root@example.org").await;
    started(&app, &mut ada).await;
    let machine = root.get("/api/v1/admin/machine").await.expect(200);
    assert_eq!((&machine["sessionsRunning"], &machine["sessionLimit"]), (&json!(1), &json!(7)));
    assert!(machine["cores"].as_u64().unwrap() > 0);
    assert!(machine["load1"].as_f64().unwrap() >= 0.0);
    for kind in ["memory", "disk"] {
        let (total, available) = (&machine[format!("{kind}Total")], &machine[format!("{kind}Available")]);
        assert!(total.as_u64().unwrap() > 1 << 20 && total.as_u64() >= available.as_u64(), "{machine}");
    }
    assert_eq!(machine["version"], env!("CARGO_PKG_VERSION"));
    assert!(machine["uptimeSeconds"].as_u64().is_some());
}
