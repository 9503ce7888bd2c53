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
        Driver::Local(_) | Driver::Kubernetes(_) => unreachable!("tests run on the fake driver"),
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

/// Replaces the server around its database and its driver, as a crash and a new start do. Nothing of the old one runs
/// on. The clients speak to the new one afterwards.
pub(crate) async fn restart(app: &mut TestApp, clients: &mut [&mut Client]) {
    stop(app).await;
    begin_again(app, clients).await;
}

/// Ends the server; sessions live on.
pub(crate) async fn stop(app: &TestApp) {
    app.app.background.end().await;
}

/// The next run of the server, before it begins to look after sessions.
pub(crate) fn next_run(app: &mut TestApp) {
    let background = crate::state::Background::default();
    let old = &app.app;
    let replicas = old.replicas.again();
    let sessions = crate::session::Sessions::new(
        old.settings.clone(),
        old.db.clone(),
        old.clock.clone(),
        old.driver.clone(),
        old.workspaces.clone(),
        background.clone(),
        replicas.clone(),
    );
    app.app = crate::state::App { sessions, background, replicas, ..old.clone() };
}

/// The next run of the server.
pub(crate) async fn begin_again(app: &mut TestApp, clients: &mut [&mut Client]) {
    next_run(app);
    app.app.replicas.join().await.expect("there is no other server");
    app.app.start();
    let router = crate::api::router(app.app.clone());
    for client in clients {
        let mut again = app.client_of(router.clone());
        again.user = client.user;
        again.set_bearer(client.bearer().expect("signed in"));
        **client = again;
    }
}

/// An open event stream.
pub(crate) struct Events {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Events {
    pub async fn open(client: &mut Client) -> Self {
        let request = client.request("GET", "/api/v1/events").body(axum::body::Body::empty()).expect("a request");
        let response = client.send_streaming(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event and its data; None at the end of the stream.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        use futures::StreamExt;
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let parsed = field("event:")
                    .zip(field("data:"))
                    .map(|(name, data)| (name.to_owned(), serde_json::from_str(data).expect("JSON")));
                self.text = rest.to_owned();
                // Comments are heartbeats.
                if parsed.is_some() {
                    return parsed;
                }
                continue;
            }
            let more = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("something happens")?;
            self.text.push_str(std::str::from_utf8(&more.expect("the stream goes on")).expect("UTF-8"));
        }
    }

    /// The next event of this name of which it is so.
    pub async fn until(&mut self, name: &str, so: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (event, data) = self.next().await.expect("the stream goes on");
            if event == name && so(&data) {
                return data;
            }
        }
    }
}

/// Whether a keeper of that tenure may write the row of a session that was never taken over.
pub(crate) async fn store_as(
    db: &impl sea_orm::ConnectionTrait,
    session: SessionId,
    tenure: &crate::replicas::Tenure,
) -> bool {
    use super::{Lifecycle, row};
    let found = sea_orm::EntityTrait::find_by_id(session.0);
    let found: sea_orm::Select<crate::db::entity::session::Entity> = found;
    let found = found.one(db).await.expect("reads").expect("a row");
    let rules = super::Rules::new(&crate::config::Settings::default());
    let life = Lifecycle::seen(rules, found.created_at, row::found(&found), None, None);
    let lease = row::Lease { tenure: tenure.clone(), term: 1 };
    row::store(db, session, &lease, &row::Columns::of(&life)).await.expect("is answered") == row::Stored::Yes
}

/// Whether a keeper of this server looks after the session.
pub(crate) fn keeps(app: &TestApp, session: SessionId) -> bool {
    app.app.sessions.commands(session).is_some()
}

/// When its user last said that the session be kept, as far as this server knows.
pub(crate) fn kept_at(app: &TestApp, session: SessionId) -> Value {
    let live = app.app.sessions.live(session).expect("is known");
    let memo = live.borrow().life.memo();
    serde_json::to_value(memo).expect("JSON")["kept_at"].clone()
}
