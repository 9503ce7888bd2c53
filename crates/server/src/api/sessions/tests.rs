use protocol::agent::{Document, OpenRequest};
use protocol::session::StartStep;
use serde_json::{Value, json};

use crate::ids::SessionId;
use crate::session::testing::{Events, end_of, eventually, fake, running, start, started};
use crate::test_app::{Client, TestApp};

const SESSIONS: &str = "/api/v1/sessions";

#[tokio::test]
async fn a_session_starts_runs_and_ends() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let answer = ada.post(SESSIONS, json!({})).await;
    let created = answer.expect(201);
    assert_eq!(created["status"], "starting");
    assert_eq!(created["step"], "creatingWorkspace");
    assert_eq!(created["application"], "gimp");
    assert_eq!(created["userId"], json!(ada.user));
    assert_eq!(created["resources"], json!({"cpu": "1000m", "memory": "2Gi"}));
    let id = created["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("{SESSIONS}/{id}").as_str()));
    assert_eq!(created["endpoint"], format!("{}/session/{id}", app.app.settings.public_url()));

    let session = running(&app, &mut ada, id).await;
    assert_eq!(session["step"], "ready");
    assert!(session["startedAt"].is_string());
    assert_eq!(session["idleSeconds"], 0);
    let status = ada.get(&format!("{SESSIONS}/{id}/status")).await.expect(200);
    assert_eq!((&status["gimpVersion"], &status["viewers"]), (&json!("2.10.34"), &json!(0)));
    assert_eq!(status["capabilities"]["penUnavailable"], "This GIMP is pretended.");
    assert_eq!((&status["detail"], &status["restarts"]), (&json!(null), &json!([])));
    assert_eq!(status["expiresAt"], session["expiresAt"]);

    let ending = ada.delete(&format!("{SESSIONS}/{id}")).await.expect(202);
    assert_eq!(ending["endReason"], "user", "the reason is on record at once");
    let ended = end_of(&app, &mut ada, id).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("user")));
    assert!(ended["stage"].is_string());
    assert_eq!(ended["endDetail"], "You ended the session.");
    assert_eq!(ended["idleSeconds"], json!(null));
    assert!(fake(&app).session(SessionId(id.parse().unwrap())).is_none(), "nothing is left of it");
    let status = ada.get(&format!("{SESSIONS}/{id}/status")).await.expect(200);
    assert_eq!((&status["status"], &status["detail"]), (&json!("stopped"), &json!("You ended the session.")));

    let again = ada.delete(&format!("{SESSIONS}/{id}")).await.expect(202);
    assert_eq!(again["status"], "stopped", "harmless");
}

#[tokio::test]
async fn a_body_is_not_needed() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let request = ada.request("POST", SESSIONS).body(axum::body::Body::empty()).unwrap();
    ada.send(request).await.expect(201);
}

#[tokio::test]
async fn what_is_asked_for_is_what_it_gets() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let asked = json!({
        "application": "gimp",
        "resources": {"cpu": "1.5", "memory": "1536Mi"},
        "screen": {"width": 2560, "height": 1440, "scale": 2.0},
    });
    let created = ada.post(SESSIONS, asked).await.expect(201);
    assert_eq!(created["resources"], json!({"cpu": "1500m", "memory": "1536Mi"}));
    let id = created["id"].as_str().unwrap();
    running(&app, &mut ada, id).await;
    let screen = fake(&app).session(SessionId(id.parse().unwrap())).unwrap().status().screen;
    assert_eq!((screen.width, screen.height, screen.scale), (2560, 1440, 2.0));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_every_reason() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let asked = json!({
        "application": "krita",
        "resources": {"cpu": "64", "memory": "lots"},
        "screen": {"width": 10, "height": 10000, "scale": 9.0},
    });
    let problem = ada.post(SESSIONS, asked).await.expect_problem(422, "invalid");
    let fields: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["application", "resources.cpu", "resources.memory", "screen", "screen", "screen"]);
    ada.post(SESSIONS, json!({"screen": "big"})).await.expect_problem(422, "malformed");
}

#[tokio::test]
async fn one_session_a_user_unless_the_settings_say_otherwise() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let id = start(&mut ada).await;
    let problem = ada.post(SESSIONS, json!({})).await.expect_problem(409, "session.exists");
    assert_eq!(problem["sessionId"], json!(id));
    running(&app, &mut ada, &id).await;
    ada.delete(&format!("{SESSIONS}/{id}")).await.expect(202);
    end_of(&app, &mut ada, &id).await;
    start(&mut ada).await;

    let app = TestApp::with(|settings| settings.sessions_per_user = 2).await;
    let mut ada = app.user("ada@example.org").await;
    let first = start(&mut ada).await;
    let second = start(&mut ada).await;
    let problem = ada.post(SESSIONS, json!({})).await.expect_problem(409, "session.exists");
    assert_eq!(problem["sessionId"], json!(second), "the newest");
    running(&app, &mut ada, &first).await;
    ada.delete(&format!("{SESSIONS}/{first}")).await.expect(202);
    end_of(&app, &mut ada, &first).await;
    start(&mut ada).await;
}

#[tokio::test]
async fn a_full_machine_says_when_to_come_back() {
    let app = TestApp::with(|settings| settings.session_limit = Some(1)).await;
    let (mut ada, mut ben) = (app.user("ada@example.org").await, app.user("ben@example.org").await);
    start(&mut ada).await;
    let answer = ben.post(SESSIONS, json!({})).await;
    answer.expect_problem(503, "session.machineFull");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    // Whoever has one is told that instead.
    ada.post(SESSIONS, json!({})).await.expect_problem(409, "session.exists");
}

#[tokio::test]
async fn many_at_once_are_no_more_than_the_limit() {
    let app = TestApp::with(|settings| settings.session_limit = Some(3)).await;
    let mut clients = vec![];
    for number in 0..8 {
        clients.push(app.user(&format!("user{number}@example.org")).await);
    }
    // Each user twice.
    let asks = clients.iter().chain(&clients).map(|client| {
        let mut client = client.clone();
        async move { client.post(SESSIONS, json!({})).await.status() }
    });
    let mut statuses = futures::future::join_all(asks).await;
    statuses.sort_unstable();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 3, "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 201 | 409 | 503)), "{statuses:?}");
}

#[tokio::test]
async fn sessions_can_not_be_begun_without_end() {
    let app = TestApp::with(|settings| settings.sessions_per_user = 16).await;
    let mut ada = app.user("ada@example.org").await;
    let mut statuses = vec![];
    for _ in 0..21 {
        statuses.push(ada.post(SESSIONS, json!({})).await.status());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 16);
    assert_eq!(statuses.last(), Some(&429));
}

#[tokio::test]
async fn for_others_a_session_does_not_exist() {
    let app = TestApp::new().await;
    let (mut ada, mut ben) = (app.user("ada@example.org").await, app.user("ben@example.org").await);
    let mut root = app.admin("root@example.org").await;
    let (id, _) = started(&app, &mut ada).await;
    let path = format!("{SESSIONS}/{id}");
    let screen = json!({"width": 800, "height": 600, "scale": 1.0});
    async fn every(client: &mut Client, path: &str, screen: &Value) -> Vec<u16> {
        vec![
            client.get(path).await.status(),
            client.get(&format!("{path}/status")).await.status(),
            client.post(&format!("{path}/extend"), json!({})).await.status(),
            client.put(&format!("{path}/screen"), screen.clone()).await.status(),
            client.post(&format!("{path}/open"), json!({"path": "a.png"})).await.status(),
            client.delete(path).await.status(),
        ]
    }
    assert_eq!(every(&mut ben, &path, &screen).await, [404; 6]);
    assert_eq!(every(&mut app.client(), &path, &screen).await, [401; 6]);
    let nonsense = format!("{SESSIONS}/nonsense");
    assert_eq!(every(&mut ada, &nonsense, &screen).await, [404; 6]);
    assert_eq!(ben.get(SESSIONS).await.expect(200)["sessions"], json!([]));
    root.put(&format!("{path}/screen"), screen.clone()).await.expect_problem(403, "session.notYours");
    assert_eq!(every(&mut root, &path, &screen).await, [200, 200, 200, 403, 403, 202], "not what is inside");
}

#[tokio::test]
async fn the_history_comes_in_pages() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let mut ids = vec![];
    for _ in 0..5 {
        let (id, _) = started(&app, &mut ada).await;
        ada.delete(&format!("{SESSIONS}/{id}")).await.expect(202);
        end_of(&app, &mut ada, &id).await;
        ids.push(id);
    }
    ids.reverse();
    let mut seen = vec![];
    let mut path = format!("{SESSIONS}?limit=2");
    loop {
        let page = ada.get(&path).await.expect(200);
        let sessions = page["sessions"].as_array().unwrap();
        assert!(sessions.len() <= 2);
        seen.extend(sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("{SESSIONS}?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ids, "the newest first, each once");
    ada.get(&format!("{SESSIONS}?cursor=yesterday")).await.expect_problem(422, "invalid");
}

#[tokio::test]
async fn files_are_opened_in_the_running_gimp() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (id, session) = started(&app, &mut ada).await;
    let workspace = app.app.settings.data_dir.join("workspaces").join(ada.user.unwrap().to_string());
    std::fs::create_dir_all(workspace.join(".gimp-platform/recovery")).unwrap();
    std::fs::write(workspace.join("a b.png"), b"png").unwrap();
    std::fs::write(workspace.join(".gimp-platform/recovery/r-1.xcf"), b"xcf").unwrap();
    let path = format!("{SESSIONS}/{id}/open");
    ada.post(&path, json!({"path": "a b.png"})).await.expect(204);
    ada.post(&path, json!({"recoveryId": "r-1"})).await.expect(204);
    let opened = fake(&app).session(session).unwrap().opened();
    assert_eq!(
        opened,
        [
            OpenRequest { path: "a b.png".into(), as_new: false },
            OpenRequest { path: ".gimp-platform/recovery/r-1.xcf".into(), as_new: true },
        ]
    );
    ada.post(&path, json!({"path": "b.png"})).await.expect_problem(404, "files.notFound");
    ada.post(&path, json!({"recoveryId": "r-2"})).await.expect_problem(404, "files.notFound");
    for body in [
        json!({}),
        json!({"path": "a", "recoveryId": "b"}),
        json!({"path": ""}),
        json!({"path": "../secret"}),
        json!({"path": "/etc/passwd"}),
        json!({"path": ".gimp-platform/trash/x"}),
        json!({"path": "a/".repeat(3000)}),
        json!({"recoveryId": "../a b.png"}),
        json!({"recoveryId": ""}),
    ] {
        ada.post(&path, body).await.expect_problem(422, "invalid");
    }
}

fn poster() -> Document {
    Document {
        id: "77-1".into(),
        name: "poster.xcf".into(),
        file: Some("art/poster.xcf".into()),
        width: 320,
        height: 200,
        layers: 2,
        dirty: true,
        dirty_since: Some("2026-01-01T00:00:00Z".into()),
        last_copied: Some("2026-01-01T00:00:10Z".into()),
        recovery: Some("r-1".into()),
        copy_failed: None,
    }
}

#[tokio::test]
async fn documents_that_change_all_the_time_are_told_of_twice_a_second() {
    const CHANGES: u32 = 15;
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (_, session) = started(&app, &mut ada).await;
    let mut events = Events::open(&mut ada).await;
    let agent = fake(&app).session(session).unwrap();
    let began = std::time::Instant::now();
    for layers in 1..=CHANGES {
        agent.set_documents(vec![Document { layers, ..poster() }]);
        let live = app.app.sessions.live(session).unwrap();
        let newest = || live.borrow().report.as_ref()?.documents.as_ref()?.first().map(|document| document.layers);
        eventually("the server has heard it", || newest() == Some(layers)).await;
    }
    let told = std::cell::Cell::new(0);
    events
        .until("session", |session| {
            told.set(told.get() + u128::from(session["documents"].is_array()));
            session["documents"][0]["layers"] == CHANGES
        })
        .await;
    let most = 2 + began.elapsed().as_millis() / 500;
    assert!(told.get() <= most, "{} times, at most {most}", told.get());
}

#[tokio::test]
async fn documents_are_told_to_the_owner_alone_and_their_copies_are_no_recoveries_yet() {
    let app = TestApp::new().await;
    let mut admin = app.admin("root@example.org").await;
    let mut ada = app.user("ada@example.org").await;
    let (id, session) = started(&app, &mut ada).await;
    let mut events = Events::open(&mut ada).await;
    assert_eq!(events.next().await.unwrap().1["sessions"][0]["documents"], json!(null), "not known yet");
    let document = poster();
    let told = serde_json::to_value(vec![document.clone()]).unwrap();
    let agent = fake(&app).session(session).unwrap();
    agent.set_documents(vec![document]);
    events.until("session", |session| session["documents"] == told).await;
    let path = format!("{SESSIONS}/{id}");
    assert_eq!(ada.get(&path).await.expect(200)["documents"], told);
    assert_eq!(ada.get(SESSIONS).await.expect(200)["sessions"][0]["documents"], told);
    assert_eq!(admin.get(&path).await.expect(200)["documents"], json!(null));
    let all = admin.get("/api/v1/admin/sessions").await.expect(200);
    assert_eq!(all["sessions"][0]["documents"], json!(null), "{all}");

    let store = app.app.settings.data_dir.join("workspaces").join(ada.user.unwrap().to_string());
    let store = store.join(".gimp-platform/recovery");
    std::fs::create_dir_all(&store).unwrap();
    for name in ["r-1.xcf", "r-2.xcf"] {
        std::fs::write(store.join(name), b"xcf").unwrap();
    }
    let mut offered = async || -> Vec<String> {
        let listed = ada.get("/api/v1/workspace/recoveries").await.expect(200);
        let mut ids: Vec<_> =
            listed["recoveries"].as_array().unwrap().iter().map(|one| one["id"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(offered().await, ["\"r-2\""]);
    agent.restart_gimp("killed by signal 9");
    events.until("notice", |_| true).await;
    assert_eq!(offered().await, ["\"r-1\"", "\"r-2\""], "its GIMP is gone");
}

#[tokio::test]
async fn a_gimp_that_is_not_there_can_not_be_used() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    fake(&app).behave(|behaviour| behaviour.hang_in_step = Some(StartStep::StartingGimp));
    let id = start(&mut ada).await;
    let screen = json!({"width": 800, "height": 600, "scale": 1.0});
    ada.put(&format!("{SESSIONS}/{id}/screen"), screen.clone()).await.expect_problem(409, "session.notRunning");
    ada.post(&format!("{SESSIONS}/{id}/open"), json!({"path": "a"})).await.expect_problem(409, "session.notRunning");
    ada.delete(&format!("{SESSIONS}/{id}")).await.expect(202);
    end_of(&app, &mut ada, &id).await;
    ada.put(&format!("{SESSIONS}/{id}/screen"), screen).await.expect_problem(409, "session.notRunning");
    ada.post(&format!("{SESSIONS}/{id}/extend"), json!({})).await.expect_problem(409, "session.notRunning");
}

#[tokio::test]
async fn extensions_have_an_end() {
    let app = TestApp::with(|settings| settings.session_max_minutes = 120).await;
    let mut ada = app.user("ada@example.org").await;
    let id = start(&mut ada).await;
    ada.post(&format!("{SESSIONS}/{id}/extend"), json!({})).await.expect_problem(409, "session.longestTime");
}

#[tokio::test]
async fn the_screen_follows_the_window_and_is_capped() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (id, session) = started(&app, &mut ada).await;
    let path = format!("{SESSIONS}/{id}/screen");
    let became = ada.put(&path, json!({"width": 7680, "height": 4320, "scale": 4.0})).await.expect(200);
    assert_eq!((&became["width"], &became["height"]), (&json!(3840), &json!(2160)));
    assert_eq!(fake(&app).session(session).unwrap().status().screen.width, 3840);
    // A screen that stands may be as high as others are wide.
    let became = ada.put(&path, json!({"width": 4320, "height": 7680, "scale": 4.0})).await.expect(200);
    assert_eq!((&became["width"], &became["height"]), (&json!(2160), &json!(3840)));
    for wrong in [
        json!({"width": 319, "height": 600}),
        json!({"width": 7681, "height": 600}),
        json!({"width": 4321, "height": 4321}),
        json!({"width": 4321, "height": 7680}),
        json!({"width": 4320, "height": 7681}),
        json!({"width": 800, "height": 600, "scale": 0.4}),
    ] {
        ada.put(&path, wrong).await.expect_problem(422, "invalid");
    }
}

#[tokio::test]
async fn an_agent_that_is_away_is_told_in_words() {
    let app = TestApp::new().await;
    let mut ada = app.user("ada@example.org").await;
    let (id, session) = started(&app, &mut ada).await;
    let agent = fake(&app).session(session).unwrap();
    agent.restart_gimp("exit code 1");
    ada.post(&format!("{SESSIONS}/{id}/open"), json!({"path": "a"})).await.expect_problem(409, "session.notRunning");
    agent.kill_agent();
    let screen = json!({"width": 800, "height": 600, "scale": 1.0});
    let answer = ada.put(&format!("{SESSIONS}/{id}/screen"), screen).await;
    answer.expect_problem(503, "session.noAnswer");
    assert_eq!(answer.header("retry-after"), Some("5"));
}

#[tokio::test]
async fn a_slot_that_can_not_be_had_is_an_error_and_no_endless_try() {
    use crate::db::entity::session::{Column, Entity};
    use sea_orm::{EntityTrait, sea_query::Expr};
    let mut app = TestApp::new().await;
    app.allow_errors();
    let mut ada = app.user("ada@example.org").await;
    let (id, _) = started(&app, &mut ada).await;
    ada.delete(&format!("{SESSIONS}/{id}")).await.expect(202);
    end_of(&app, &mut ada, &id).await;
    // As no server leaves it: ended, and still in its slot.
    Entity::update_many().col_expr(Column::Slot, Expr::value(0)).exec(&app.app.db).await.unwrap();
    ada.post(SESSIONS, json!({})).await.expect_problem(500, "internal");
}
