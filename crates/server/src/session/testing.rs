//! What tests of sessions share.

use serde_json::{Value, json};

use crate::driver::Driver;
use crate::driver::fake::FakeDriver;
use crate::ids::SessionId;
use crate::session::watchers::Subscription;
use crate::test_app::{Client, TestApp};

/// Nothing in a test takes longer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

pub(crate) fn fake(app: &TestApp) -> &FakeDriver {
    match &*app.app.driver {
        Driver::Fake(driver) => driver,
        Driver::Local(_) => unreachable!("tests run on the fake driver"),
    }
}

/// Starts a session; returns its id.
pub(crate) async fn start(client: &mut Client) -> String {
    let session = client.post("/api/v1/sessions", json!({})).await.expect(201);
    session["id"].as_str().expect("an id").to_owned()
}

/// Starts a session and waits until it runs.
pub(crate) async fn started(app: &TestApp, client: &mut Client) -> (String, SessionId) {
    let id = start(client).await;
    running(app, client, &id).await;
    let session = SessionId(id.parse().expect("a uuid"));
    (id, session)
}

pub(crate) async fn running(app: &TestApp, client: &mut Client, id: &str) -> Value {
    until(app, client, id, |session| session["status"] == "running").await
}

pub(crate) async fn end_of(app: &TestApp, client: &mut Client, id: &str) -> Value {
    until(app, client, id, |session| session["endedAt"].is_string()).await
}

/// The session as its owner sees it, as soon as it is so.
pub(crate) async fn until(app: &TestApp, client: &mut Client, id: &str, so: impl Fn(&Value) -> bool) -> Value {
    let mut changes = app.app.sessions.watchers().subscribe(client.user.expect("a user")).expect("few streams");
    let mut last = Value::Null;
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            last = client.get(&format!("/api/v1/sessions/{id}")).await.expect(200);
            if so(&last) {
                return;
            }
            changed(&mut changes).await;
        }
    });
    let found = found.await;
    assert!(found.is_ok(), "never so; last {last}");
    last
}

/// Waits for the next change. One that was missed is as good.
pub(crate) async fn changed(changes: &mut Subscription) {
    let _event_or_behind = changes.next().await;
}

/// Waits for something that nobody announces.
pub(crate) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let patience = tokio::time::timeout(PATIENCE, async {
        while !so() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    assert!(patience.await.is_ok(), "never: {what}");
}
