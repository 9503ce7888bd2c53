//! Sessions whose agents, drivers, databases and servers fail, on the whole application.

use std::sync::Arc;
use std::time::Duration as StdDuration;

use protocol::session::{EndReason, EndStage, StartStep};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use time::Duration;

use super::testing::{
    Events, begin_again, end_of, eventually, fake, next_run, restart, running, start, started, stop, until,
};
use crate::db::entity;
use crate::driver::fake::Refuse;
use crate::driver::{Presence, StartRequest};
use crate::ids::SessionId;
use crate::test_app::{Client, TestApp};

fn agent(app: &TestApp, session: SessionId) -> std::sync::Arc<crate::driver::fake::FakeAgent> {
    fake(app).session(session).expect("it lives")
}

async fn ada(app: &TestApp) -> Client {
    app.user("ada@example.org").await
}

/// Moves the clock until it is so, as time does.
async fn passing(app: &TestApp, client: &mut Client, id: &str, so: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/api/v1/sessions/{id}");
    for _ in 0..600 {
        let session = client.get(&path).await.expect(200);
        if so(&session) {
            return session;
        }
        app.clock.advance(Duration::SECOND);
        tokio::time::sleep(StdDuration::from_millis(10)).await;
    }
    panic!("never so; last {}", client.get(&path).await.text());
}

fn has_ended(session: &Value) -> bool {
    session["endedAt"].is_string()
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    for (refuse, reason, words) in [
        (Refuse::NoRoom, "evicted", "no memory left"),
        (Refuse::Unsupported, "crashed", "not installed"),
        (Refuse::Internal, "crashed", "tell your administrator"),
    ] {
        fake(&app).behave(|behaviour| behaviour.refuse = Some(refuse));
        let id = start(&mut ada).await;
        let ended = end_of(&app, &mut ada, &id).await;
        assert_eq!((&ended["status"], &ended["endReason"]), (&json!("error"), &json!(reason)));
        assert!(ended["endDetail"].as_str().unwrap().contains(words), "{ended}");
    }
}

#[tokio::test]
async fn a_driver_that_hangs_does_not_hang_the_session() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    fake(&app).behave(|behaviour| behaviour.hang_in_step = Some(StartStep::CreatingWorkspace));
    let id = start(&mut ada).await;
    let ended = passing(&app, &mut ada, &id, has_ended).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("error"), &json!("crashed")));
    assert!(ended["endDetail"].as_str().unwrap().contains("did not start in time"), "{ended}");
    // The same when the user loses patience first.
    let id = start(&mut ada).await;
    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    let ended = passing(&app, &mut ada, &id, has_ended).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("user")));
}

#[tokio::test]
async fn an_end_that_hangs_is_over_after_the_stages_limits() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    fake(&app).behave(|behaviour| behaviour.hang_in_stage = Some(EndStage::Terminate));
    let (id, session) = started(&app, &mut ada).await;
    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    until(&app, &mut ada, &id, |session| session["stage"] == "terminate").await;
    app.clock.advance(Duration::seconds(60));
    let status = ada.get(&format!("/api/v1/sessions/{id}/status")).await.expect(200);
    assert_eq!((&status["status"], &status["stage"]), (&json!("running"), &json!("terminate")));
    let ended = passing(&app, &mut ada, &id, has_ended).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("user")));
    assert!(ended["endDetail"].as_str().unwrap().contains("took too long"), "{ended}");
    assert!(fake(&app).session(session).is_none());
}

#[tokio::test]
async fn an_agent_that_takes_calls_but_does_not_answer_is_stopped_in_the_end() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    agent(&app, session).hang();
    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    app.clock.advance(Duration::seconds(71));
    let ended = end_of(&app, &mut ada, &id).await;
    assert_eq!(ended["endReason"], "user");
}

/// Nobody speaks to it, so it is only missed when it has said nothing for long.
#[tokio::test]
async fn an_agent_that_hangs_while_gimp_runs_is_missed() {
    let mut app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    begun_a_moment_ago(&mut app).await;
    let context = &mut Arc::get_mut(&mut app.app.sessions.0).unwrap().context;
    Arc::get_mut(context).unwrap().quiet_limit = StdDuration::from_millis(20);
    app.app.sessions.start();
    let mut live = app.app.sessions.watch(session).await.unwrap();
    live.wait_for(|live| live.report.is_some()).await.unwrap();

    agent(&app, session).hang();
    // One that answers is asked again and again, but this call is the first that it leaves unanswered.
    eventually("it is asked", || agent(&app, session).unanswered() > 0).await;
    let ended = {
        let patience = std::time::Instant::now() + StdDuration::from_secs(30);
        while entity::session::Entity::find_by_id(session.0).one(&app.app.db).await.unwrap().unwrap().ended_at.is_none()
        {
            assert!(std::time::Instant::now() < patience, "it is never missed");
            app.clock.advance(Duration::SECOND);
            tokio::time::sleep(StdDuration::from_millis(100)).await;
        }
        ada.get(&format!("/api/v1/sessions/{id}")).await.expect(200)
    };
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("error"), &json!("crashed")));
    let detail = ended["endDetail"].as_str().unwrap();
    assert!(detail.contains("looks after the session hung") && detail.contains("were kept"), "{detail}");
}

#[tokio::test]
async fn a_dead_agent_ends_the_session_after_a_moment() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    agent(&app, session).kill_agent();
    let ended = passing(&app, &mut ada, &id, has_ended).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("error"), &json!("crashed")));
    let detail = ended["endDetail"].as_str().unwrap();
    assert!(detail.contains("looks after the session died") && detail.contains("were kept"), "{detail}");
    assert!(fake(&app).session(session).is_none(), "what was left is removed");
    // The next one can start.
    started(&app, &mut ada).await;
}

#[tokio::test]
async fn a_sandbox_that_is_gone_is_noticed_at_once() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    agent(&app, session).kill_sandbox();
    let ended = end_of(&app, &mut ada, &id).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("error"), &json!("crashed")));
    assert!(ended["endDetail"].as_str().unwrap().contains("were killed"), "{ended}");
}

#[tokio::test]
async fn an_agent_that_talks_nonsense_is_not_believed_and_not_kept() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    let other = SessionId::new();
    let forged = serde_json::to_string(&protocol::agent::AgentStatus {
        session_id: other.0,
        phase: protocol::agent::AgentPhase::Ended { reason: EndReason::Admin },
        ..agent(&app, session).status()
    });
    agent(&app, session).talk_nonsense(&forged.unwrap());
    eventually("it is noticed", || app.log().contains("speaks for another session")).await;
    agent(&app, session).talk_nonsense("{\"phase\":\"picnic\"}");
    let ended = passing(&app, &mut ada, &id, has_ended).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("error"), &json!("crashed")));
    assert!(!app.log().contains("picnic"), "what it says stays out of the log");
}

#[tokio::test]
async fn quitting_gimp_ends_the_session() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    agent(&app, session).end_by_itself(EndReason::User);
    let ended = end_of(&app, &mut ada, &id).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("user")));
    assert_eq!(ended["endDetail"], "GIMP was closed.");
}

#[tokio::test]
async fn a_gimp_that_comes_back_is_a_notice_and_in_the_status() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    let mut events = Events::open(&mut ada).await;
    agent(&app, session).restart_gimp("killed by signal 9");
    let notice = events.until("notice", |_| true).await;
    assert_eq!((&notice["kind"], &notice["sessionId"]), (&json!("restarted"), &json!(id)));
    assert!(notice["detail"].as_str().unwrap().contains("killed by signal 9"), "{notice}");
    let status = ada.get(&format!("/api/v1/sessions/{id}/status")).await.expect(200);
    assert_eq!(status["detail"], "GIMP stopped (killed by signal 9) and is being started again.");
    assert_eq!((&status["restarts"][0]["what"], &status["status"]), (&json!("gimp"), &json!("running")));
    agent(&app, session).restarted_gimp();
    let mut live = app.app.sessions.live(session).unwrap();
    live.wait_for(|live| live.report.as_ref().unwrap().phase == protocol::agent::AgentPhase::Running).await.unwrap();
    let status = ada.get(&format!("/api/v1/sessions/{id}/status")).await.expect(200);
    assert_eq!(status["detail"], json!(null));
}

#[tokio::test]
async fn a_session_expires_after_a_warning_and_lives_longer_when_extended() {
    let app = TestApp::with(|settings| settings.idle_minutes = 0).await;
    let mut ada = ada(&app).await;
    let (id, _) = started(&app, &mut ada).await;
    let mut events = Events::open(&mut ada).await;
    app.clock.advance(Duration::minutes(115));
    let notice = events.until("notice", |_| true).await;
    assert_eq!((&notice["kind"], &notice["sessionId"]), (&json!("expiring"), &json!(id)));
    let before = ada.get(&format!("/api/v1/sessions/{id}")).await.expect(200);
    assert_eq!(notice["at"], before["expiresAt"]);
    // Who comes now is warned as well: a page that was out of sight, say.
    assert_eq!(Events::open(&mut ada).await.until("notice", |_| true).await, notice);
    let extended = ada.post(&format!("/api/v1/sessions/{id}/extend"), json!({})).await.expect(200);
    assert!(extended["expiresAt"].as_str() > before["expiresAt"].as_str(), "{extended}");
    app.clock.advance(Duration::minutes(116));
    events.until("notice", |notice| notice["at"] == extended["expiresAt"]).await;
    app.clock.advance(Duration::minutes(4));
    let ended = end_of(&app, &mut ada, &id).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("expired")));
}

#[tokio::test]
async fn nobody_using_it_ends_a_session_whatever_is_looked_at() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    let mut events = Events::open(&mut ada).await;
    let agent = agent(&app, session);
    assert_eq!(agent.idle_questions(), 0);
    agent.set_idle(StdDuration::from_secs(56 * 60));
    app.clock.advance(Duration::minutes(56));
    let notice = events.until("notice", |_| true).await;
    assert_eq!(notice["kind"], "idle");
    assert_eq!(agent.idle_questions(), 1);
    let seen = ada.get(&format!("/api/v1/sessions/{id}")).await.expect(200);
    assert!(seen["idleSeconds"].as_u64().unwrap() >= 56 * 60, "{seen}");
    // Looking, listing and asking for the status is no use of it.
    ada.get(&format!("/api/v1/sessions/{id}/status")).await.expect(200);
    agent.set_idle(StdDuration::from_secs(61 * 60));
    app.clock.advance(Duration::minutes(5));
    let ended = end_of(&app, &mut ada, &id).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("idle")));
    assert!(agent.idle_questions() <= 3, "{}", agent.idle_questions());
}

#[tokio::test]
async fn input_keeps_a_session() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    let agent = agent(&app, session);
    agent.set_idle(StdDuration::from_secs(10));
    app.clock.advance(Duration::minutes(58));
    eventually("it is asked", || agent.idle_questions() == 1).await;
    let mut live = app.app.sessions.live(session).unwrap();
    let now = app.clock.now();
    live.wait_for(|live| live.life.input_at().is_some_and(|at| now - at < Duration::MINUTE)).await.unwrap();
    let session = ada.get(&format!("/api/v1/sessions/{id}")).await.expect(200);
    assert_eq!(session["endReason"], json!(null));
    assert!(session["idleSeconds"].as_u64().unwrap() < 60, "{session}");
}

#[tokio::test]
async fn a_removal_that_fails_is_tried_again() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    fake(&app).behave(|behaviour| behaviour.failing_removals = 2);
    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    passing(&app, &mut ada, &id, has_ended).await;
    assert!(fake(&app).session(session).is_none());
}

#[tokio::test]
async fn what_could_not_be_removed_is_removed_by_reconcile() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    fake(&app).behave(|behaviour| behaviour.failing_removals = 7);
    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    passing(&app, &mut ada, &id, has_ended).await;
    assert!(fake(&app).session(session).is_some());
    for _ in 0..2 {
        app.app.sessions.reconcile().await.unwrap();
        eventually("the stray is looked after", || app.app.sessions.retiring().is_empty()).await;
    }
    assert!(fake(&app).session(session).is_none());
}

#[tokio::test]
async fn a_session_survives_a_restart_of_the_server() {
    let mut app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    let before = ada.get(&format!("/api/v1/sessions/{id}")).await.expect(200);
    restart(&mut app, &mut [&mut ada]).await;
    let after = ada.get(&format!("/api/v1/sessions/{id}")).await.expect(200);
    for field in ["status", "startedAt", "expiresAt", "createdAt"] {
        assert_eq!(after[field], before[field]);
    }
    ada.post("/api/v1/sessions", json!({})).await.expect_problem(409, "session.exists");
    let screen = json!({"width": 800, "height": 600, "scale": 1.0});
    ada.put(&format!("/api/v1/sessions/{id}/screen"), screen).await.expect(200);
    // It is followed again.
    agent(&app, session).end_by_itself(EndReason::User);
    assert_eq!(end_of(&app, &mut ada, &id).await["endDetail"], "GIMP was closed.");
}

#[tokio::test]
async fn what_ended_while_the_server_was_away_has_its_reason() {
    let mut app = TestApp::new().await;
    let (mut ada, mut ben) = (ada(&app).await, app.user("ben@example.org").await);
    let (quit, quit_session) = started(&app, &mut ada).await;
    let (killed, killed_session) = started(&app, &mut ben).await;
    stop(&app).await;
    let agent = agent(&app, quit_session);
    agent.end_by_itself(EndReason::User);
    eventually("it is gone", || !matches!(fake(&app).presence(quit_session), Presence::Present)).await;
    fake(&app).session(killed_session).unwrap().kill_sandbox();
    begin_again(&mut app, &mut [&mut ada, &mut ben]).await;
    let ended = end_of(&app, &mut ada, &quit).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("user")));
    let ended = end_of(&app, &mut ben, &killed).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("error"), &json!("crashed")));
}

#[tokio::test]
async fn an_end_that_had_begun_goes_on_in_the_next_server() {
    let mut app = TestApp::new().await;
    let mut ada = ada(&app).await;
    fake(&app).behave(|behaviour| behaviour.hang_in_stage = Some(EndStage::Save));
    let (id, _) = started(&app, &mut ada).await;
    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    restart(&mut app, &mut [&mut ada]).await;
    let ended = passing(&app, &mut ada, &id, has_ended).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("user")));
}

#[tokio::test]
async fn a_start_that_no_server_came_to_is_begun_by_the_next() {
    let mut app = TestApp::new().await;
    let mut ada = ada(&app).await;
    fake(&app).behave(|behaviour| behaviour.hang_in_step = Some(StartStep::CreatingWorkspace));
    let id = start(&mut ada).await;
    stop(&app).await;
    fake(&app).behave(|behaviour| behaviour.hang_in_step = None);
    begin_again(&mut app, &mut [&mut ada]).await;
    running(&app, &mut ada, &id).await;
}

/// A server whose reconcile has not run.
async fn begun_a_moment_ago(app: &mut TestApp) {
    stop(app).await;
    next_run(app);
    app.app.replicas.join().await.unwrap();
    app.app.background.spawn(app.app.replicas.clone().run());
}

#[tokio::test]
async fn commands_reach_sessions_that_reconcile_has_not_come_to() {
    let mut app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    begun_a_moment_ago(&mut app).await;
    assert!(app.app.sessions.live(session).is_none());
    app.app.sessions.extend(session).await.unwrap();
    app.app.sessions.end(session, EndReason::User).await.unwrap();
    end_of(&app, &mut ada, &id).await;
    assert!(matches!(app.app.sessions.end(SessionId::new(), EndReason::User).await, Err(super::CommandError::Unknown)));
}

#[tokio::test]
async fn an_orderly_end_reaches_them_too() {
    let mut app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    begun_a_moment_ago(&mut app).await;
    assert_eq!(app.app.sessions.end_all(EndReason::Evicted, StdDuration::from_secs(30)).await, 0);
    assert!(fake(&app).session(session).is_none());
    assert_eq!(ada.get(&format!("/api/v1/sessions/{id}")).await.expect(200)["endReason"], "evicted");
}

#[tokio::test]
async fn sandboxes_without_a_row_get_a_planned_end() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let stray = SessionId::new();
    let request = StartRequest {
        session: stray,
        user: ada.user.unwrap(),
        uid_offset: 0,
        screen: Default::default(),
        cpu_millis: 1000,
        memory_bytes: 1 << 30,
        quota_bytes: 1 << 30,
        history: Default::default(),
    };
    app.app.driver.start(&request, &|_| {}).await.unwrap();
    let agent = agent(&app, stray);
    let (_, kept) = started(&app, &mut ada).await;
    app.app.sessions.reconcile().await.unwrap();
    eventually("it is gone", || fake(&app).session(stray).is_none()).await;
    let last = agent.status().phase;
    assert_eq!(last, protocol::agent::AgentPhase::Ended { reason: EndReason::Evicted }, "all stages were gone through");
    assert!(fake(&app).session(kept).is_some());
}

#[tokio::test]
async fn a_row_that_is_removed_takes_its_session_along() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    entity::session::Entity::delete_by_id(session.0).exec(&app.app.db).await.unwrap();
    app.app.sessions.extend(session).await.unwrap_err();
    eventually("it is gone", || fake(&app).session(session).is_none()).await;
    ada.get(&format!("/api/v1/sessions/{id}")).await.expect_problem(404, "notFound");
}

#[tokio::test]
async fn a_row_that_was_ended_by_another_server_is_told_to_who_watches() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    let mut events = Events::open(&mut ada).await;
    entity::session::Entity::update_many()
        .col_expr(entity::session::Column::Status, Expr::value("stopped"))
        .col_expr(entity::session::Column::EndedAt, Expr::value(app.clock.now()))
        .filter(entity::session::Column::Id.eq(session.0))
        .exec(&app.app.db)
        .await
        .unwrap();
    app.app.sessions.extend(session).await.unwrap_err();
    events.until("session", |session| session["id"] == *id && session["endedAt"].is_string()).await;
    eventually("its sandbox is gone", || fake(&app).session(session).is_none()).await;
}

#[tokio::test]
async fn a_database_that_fails_does_not_end_sessions() {
    let mut app = TestApp::new().await;
    app.allow_errors();
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    app.app.db.execute_unprepared("ALTER TABLE sessions RENAME TO hidden").await.unwrap();
    assert!(matches!(app.app.sessions.extend(session).await, Err(super::CommandError::NotStored)));
    ada.post(&format!("/api/v1/sessions/{id}/extend"), json!({})).await.expect_problem(500, "internal");
    assert!(app.app.sessions.reconcile().await.is_err());
    assert!(fake(&app).session(session).is_some());
    app.app.db.execute_unprepared("ALTER TABLE hidden RENAME TO sessions").await.unwrap();
    let before = app.app.sessions.live(session).unwrap().borrow().life.expires_at();
    app.clock.advance(Duration::seconds(2));
    let stored = until(&app, &mut ada, &id, |session| {
        let text = session["expiresAt"].as_str().unwrap();
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap() == before
    });
    assert_eq!(stored.await["status"], "running");
}

#[tokio::test]
async fn a_full_workspace_is_told_to_whose_gimp_runs() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, _) = started(&app, &mut ada).await;
    let user = ada.user.unwrap();
    let set_quota = async |gib: i32| {
        entity::storage_quota::Entity::update_many()
            .col_expr(entity::storage_quota::Column::StorageGb, sea_orm::sea_query::Expr::value(gib))
            .filter(entity::storage_quota::Column::UserId.eq(user.0))
            .exec(&app.app.db)
            .await
            .unwrap();
    };
    let mut events = Events::open(&mut ada).await;
    for _ in 0..2 {
        // Whatever is there is too much.
        set_quota(0).await;
        assert_eq!(ada.get("/api/v1/workspace").await.expect(200)["exceeded"], true);
        let notice = events.until("notice", |_| true).await;
        assert_eq!((&notice["kind"], &notice["sessionId"]), (&json!("overQuota"), &json!(id)));
        set_quota(20).await;
        assert_eq!(ada.get("/api/v1/workspace").await.expect(200)["exceeded"], false);
    }
}

#[tokio::test]
async fn an_agent_that_never_stops_talking_is_heard_slowly() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (_, session) = started(&app, &mut ada).await;
    let agent = agent(&app, session);
    let mut said = Box::pin(super::keeper::follow(app.app.sessions.0.context.clone(), session));
    let begin = std::time::Instant::now();
    for _ in 0..45 {
        futures::StreamExt::next(&mut said).await.unwrap().unwrap();
        agent.restarted_gimp();
    }
    assert!(begin.elapsed() >= StdDuration::from_millis(1900), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_database_that_is_late_is_waited_for() {
    let mut app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, _) = started(&app, &mut ada).await;
    stop(&app).await;
    app.app.db.execute_unprepared("ALTER TABLE sessions RENAME TO hidden").await.unwrap();
    begin_again(&mut app, &mut [&mut ada]).await;
    eventually("it is noticed", || app.log().contains("sessions could not be reconciled")).await;
    app.app.db.execute_unprepared("ALTER TABLE hidden RENAME TO sessions").await.unwrap();
    let session = SessionId(id.parse().unwrap());
    eventually("it is found", || app.app.sessions.live(session).is_some()).await;
}

#[tokio::test]
async fn what_is_dead_without_a_row_is_just_removed() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (_, dead) = started(&app, &mut ada).await;
    let mut ben = app.user("ben@example.org").await;
    let (_, hanging) = started(&app, &mut ben).await;
    fake(&app).session(dead).unwrap().kill_agent();
    fake(&app).session(hanging).unwrap().talk_nonsense("{}");
    stop(&app).await;
    entity::session::Entity::delete_many().exec(&app.app.db).await.unwrap();
    let mut app = app;
    begin_again(&mut app, &mut [&mut ada, &mut ben]).await;
    eventually("it is gone", || fake(&app).session(dead).is_none()).await;
    eventually("it is gone as well", || fake(&app).session(hanging).is_none()).await;
}

#[tokio::test]
async fn an_orderly_end_of_the_platform_ends_all_sessions_and_begins_none() {
    let app = TestApp::new().await;
    let (mut ada, mut ben) = (ada(&app).await, app.user("ben@example.org").await);
    let (one, _) = started(&app, &mut ada).await;
    fake(&app).behave(|behaviour| behaviour.hang_in_stage = Some(EndStage::Save));
    let (_, hanging) = started(&app, &mut ben).await;
    assert_eq!(app.app.sessions.end_all(EndReason::Evicted, StdDuration::from_secs(1)).await, 1);
    let ended = end_of(&app, &mut ada, &one).await;
    assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("evicted")));
    ada.post("/api/v1/sessions", json!({})).await.expect_problem(503, "stopping");
    agent(&app, hanging).kill_sandbox();
    assert_eq!(app.app.sessions.end_all(EndReason::Evicted, StdDuration::from_secs(30)).await, 0);
}

#[tokio::test]
async fn a_stopped_server_does_nothing_more() {
    let app = TestApp::new().await;
    let mut ada = ada(&app).await;
    let (id, session) = started(&app, &mut ada).await;
    stop(&app).await;
    assert!(matches!(app.app.sessions.extend(session).await, Err(super::CommandError::Stopping)));
    ada.delete(&format!("/api/v1/sessions/{id}")).await.expect_problem(503, "stopping");
    assert!(fake(&app).session(session).is_some());
}

/// A server may die on any line: it is stopped after so many turns of the runtime, in every phase of a session's life,
/// and the next one must bring each session to where it belongs.
#[tokio::test]
async fn a_server_may_die_at_any_moment() {
    let mut app = TestApp::with(|settings| settings.sessions_per_user = 1).await;
    let mut ada = ada(&app).await;
    for turns in (0..120).step_by(5) {
        let path = {
            let id = start(&mut ada).await;
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            restart(&mut app, &mut [&mut ada]).await;
            running(&app, &mut ada, &id).await;
            format!("/api/v1/sessions/{id}")
        };
        ada.delete(&path).await.expect(202);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        restart(&mut app, &mut [&mut ada]).await;
        let id = path.rsplit('/').next().unwrap();
        let ended = end_of(&app, &mut ada, id).await;
        assert_eq!((&ended["status"], &ended["endReason"]), (&json!("stopped"), &json!("user")), "after {turns} turns");
        // Not more than one minute's worth of new sessions.
        app.clock.advance(Duration::seconds(4));
    }
    eventually("nothing is left", || fake(&app).list().is_empty()).await;
}

/// Many sessions cost little: each is a task that sleeps.
#[tokio::test]
async fn hundreds_of_sessions_run_side_by_side() {
    let app = TestApp::new().await;
    let mut clients = vec![];
    for number in 0..200 {
        let mut client = app.user(&format!("user{number}@example.org")).await;
        let id = start(&mut client).await;
        clients.push((client, id));
    }
    for (client, id) in &mut clients {
        running(&app, client, id).await;
    }
    assert_eq!(app.app.sessions.end_all(EndReason::Evicted, StdDuration::from_secs(60)).await, 0);
    assert!(fake(&app).list().is_empty());
}
