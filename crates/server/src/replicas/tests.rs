//! Two servers in one process, each with its own tasks, connections and identity, on one real PostgreSQL. Their fake driver is
//! one, as a cluster is. That a process dies is tested with processes, in `tests/kubernetes/replicas.rs`.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, EntityTrait, TransactionTrait};
use serde_json::{Value, json};

use super::{Beside, LEASE, Replicas};
use crate::config::{DriverKind, Secret, Settings};
use crate::db::entity::session::Entity;
use crate::driver::Presence;
use crate::ids::SessionId;
use crate::session::testing::{Events, end_of, eventually, fake, keeps, kept_at, running, start, started, until};
use crate::test_app::{Client, Cluster, TestApp};

/// How soon what changed on one server is seen on another.
const SOON: Duration = Duration::from_secs(1);

async fn two() -> (TestApp, TestApp) {
    let one = TestApp::on_postgres().await;
    let two = one.beside().await;
    ready(&one).await;
    ready(&two).await;
    (two, one)
}

async fn ready(app: &TestApp) {
    let ready = async {
        while app.client().get("/readyz").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LEASE, ready).await.expect("is ready");
}

/// As if its process were killed: nothing of it runs on, and it tells nobody.
fn die(app: &TestApp) {
    app.app.background.cancel();
}

async fn keeper(app: &TestApp, session: SessionId) -> (Option<uuid::Uuid>, i64) {
    let row = Entity::find_by_id(session.0).one(&app.app.db).await.unwrap().unwrap();
    (row.keeper, row.term)
}

async fn kept_by(app: &TestApp, session: SessionId) {
    let us = Some(app.app.replicas.0.id);
    let deadline = Instant::now() + 4 * LEASE;
    while keeper(app, session).await.0 != us {
        assert!(Instant::now() < deadline, "never taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until somebody took it in another term than `before`.
async fn taken_again(app: &TestApp, session: SessionId, before: i64) {
    let taken = async {
        while keeper(app, session).await.1 == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LEASE, taken).await.expect("somebody takes it");
}

async fn soon<T>(what: &str, so: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, so).await.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
}

#[tokio::test]
async fn any_server_serves_any_session() {
    let (two, one) = two().await;
    let mut here = one.user("ada@example.org").await;
    let mut there = two.same_user(&here);
    let mut seen = Events::open(&mut there).await;
    let (id, session) = started(&one, &mut here).await;
    soon("it runs", seen.until("session", |it| it["id"] == *id && it["status"] == "running")).await;
    let path = format!("/api/v1/sessions/{id}");

    // Whoever has just heard that it runs may look at it anywhere, also where the message has not come yet.
    two.app.sessions.live(session).expect("is known");
    let late = Entity::find_by_id(session.0).one(&one.app.db).await.unwrap().unwrap();
    two.app.sessions.see(crate::db::entity::session::Model { started_at: None, ..late }, None);
    assert!(two.app.sessions.watch(session).await.unwrap().borrow().life.usable().is_err());
    there.put(&format!("{path}/screen"), json!({"width": 800, "height": 600, "scale": 1.0})).await.expect(200);

    // What is in no row comes as well.
    let agent = fake(&one).session(session).unwrap();
    agent.restart_gimp("killed by signal 9");
    let notice = soon("a notice", seen.until("notice", |it| it["kind"] == "restarted")).await;
    assert_eq!(notice["sessionId"], *id);
    let told = async {
        while there.get(&format!("{path}/status")).await.expect(200)["restarts"][0]["what"] != "gimp" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the agent's words", told).await;
    agent.restarted_gimp();
    let ours = here.get(&format!("{path}/status")).await.expect(200);
    let theirs = there.get(&format!("{path}/status")).await.expect(200);
    assert_eq!((&ours["gimpVersion"], &ours["capabilities"]), (&theirs["gimpVersion"], &theirs["capabilities"]));

    // Its keeper does what it is asked for here.
    one.clock.advance(time::Duration::minutes(10));
    let before = here.get(&path).await.expect(200)["expiresAt"].clone();
    let extended = there.post(&format!("{path}/extend"), json!({})).await.expect(200);
    assert!(extended["expiresAt"].as_str() > before.as_str(), "{extended}");
    let ending = there.delete(&path).await.expect(202);
    assert_eq!(ending["endReason"], "user");
    end_of(&one, &mut here, &id).await;
    soon("its end", seen.until("session", |it| it["endedAt"].is_string())).await;
    there.post(&format!("{path}/extend"), json!({})).await.expect_problem(409, "session.notRunning");
    assert!(two.app.sessions.live(session).is_none());
    assert_eq!(keeper(&one, session).await.1, 1, "it had one keeper all the time");
}

#[tokio::test]
async fn servers_that_begin_and_end_the_same_session_at_once_make_one_of_it() {
    let (two, one) = two().await;
    let mut here = one.user("ada@example.org").await;
    let mut there = two.same_user(&here);
    for _ in 0..8 {
        let (a, b) = tokio::join!(here.post("/api/v1/sessions", json!({})), there.post("/api/v1/sessions", json!({})));
        let mut statuses = [a.status(), b.status()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        let (made, refused) = if a.status() == 201 { (a, b) } else { (b, a) };
        let id = made.expect(201)["id"].as_str().unwrap().to_owned();
        assert_eq!(refused.expect_problem(409, "session.exists")["sessionId"], *id);
        running(&two, &mut there, &id).await;
        assert_eq!(fake(&one).list().len(), 1);
        let path = format!("/api/v1/sessions/{id}");
        let (a, b) = tokio::join!(here.delete(&path), there.delete(&path));
        assert_eq!((a.status(), b.status()), (202, 202));
        end_of(&one, &mut here, &id).await;
        eventually("nothing is left", || fake(&one).list().is_empty()).await;
    }
}

#[tokio::test]
async fn the_sessions_of_a_dead_server_go_to_another_in_seconds() {
    let (two, one) = two().await;
    let mut there = two.user("ada@example.org").await;
    let mut here = one.same_user(&there);
    let (id, session) = started(&two, &mut there).await;
    let mut picture = one.app.sessions.watch(session).await.unwrap();
    die(&two);
    let died = Instant::now();
    // Asked for meanwhile: it happens once somebody looks after the session.
    let path = format!("/api/v1/sessions/{id}/extend");
    one.clock.advance(time::Duration::minutes(10));
    here.post(&path, json!({})).await.expect(200);
    kept_by(&one, session).await;
    assert!(died.elapsed() < LEASE + Duration::from_secs(2), "{:?}", died.elapsed());
    assert_eq!(fake(&one).presence(session), Presence::Present, "nothing happened to it");
    // It is followed, and whoever looked at it before looks at it still.
    let mut events = Events::open(&mut here).await;
    eventually("its agent is heard", || picture.borrow_and_update().report.is_some()).await;
    fake(&one).session(session).unwrap().restart_gimp("killed by signal 9");
    events.until("notice", |it| it["kind"] == "restarted").await;
    here.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    end_of(&one, &mut here, &id).await;
    assert!(picture.wait_for(|_| false).await.is_err(), "the channel closes at the end");
}

#[tokio::test]
async fn a_server_that_ends_in_order_hands_its_sessions_over_at_once() {
    let (two, one) = two().await;
    let mut there = two.user("ada@example.org").await;
    let (id, session) = started(&two, &mut there).await;
    assert_eq!(two.client().get("/readyz").await.expect(200)["servers"], "ok");
    let left = Instant::now();
    two.app.background.leave();
    two.app.sessions.leave();
    two.app.replicas.leave().await;
    kept_by(&one, session).await;
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());
    // It still answers, and begins nothing.
    assert_eq!(two.client().get("/readyz").await.json()["servers"], "ending");
    assert_eq!(there.get(&format!("/api/v1/sessions/{id}")).await.expect(200)["status"], "running");
    there.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    end_of(&one, &mut one.same_user(&there), &id).await;
    // What is begun here meanwhile, the other begins.
    let begun = there.post("/api/v1/sessions", json!({})).await.expect(201);
    let session = SessionId(begun["id"].as_str().unwrap().parse().unwrap());
    kept_by(&one, session).await;
    let mut here = one.same_user(&there);
    running(&one, &mut here, begun["id"].as_str().unwrap()).await;
    // Without another there is nobody who could.
    one.app.background.leave();
    one.app.sessions.leave();
    one.app.replicas.leave().await;
    let mut eve = one.user("eve@example.org").await;
    eve.post("/api/v1/sessions", json!({})).await.expect_problem(503, "stopping");
}

/// Puts a session into the hands of this server, wherever it was.
async fn give(app: &TestApp, session: SessionId) {
    let (server, term) = app.app.replicas.tenure().fence().expect("it lives");
    let given = format!(
        "UPDATE sessions SET keeper = '{server}', keeper_term = {term}, term = term + 1 WHERE id = '{}'",
        session.0
    );
    app.app.db.execute_unprepared(&given).await.unwrap();
    let keeps_it = async {
        while !keeps(app, session) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LEASE, keeps_it).await.expect("it looks after what is its own");
}

#[tokio::test]
async fn a_server_that_reaches_no_agent_gives_the_session_to_one_that_does() {
    let (three, one) = two().await;
    let two = one.beside().await;
    ready(&two).await;
    let mut there = two.user("ada@example.org").await;
    let (id, session) = started(&three, &mut three.same_user(&there)).await;
    fake(&one).cut_off();
    die(&three);
    give(&one, session).await;
    kept_by(&two, session).await;
    let mut picture = two.app.sessions.watch(session).await.unwrap();
    assert_eq!(fake(&two).presence(session), Presence::Present, "nothing happened to it");
    assert_eq!(there.get(&format!("/api/v1/sessions/{id}")).await.expect(200)["status"], "running");
    eventually("its agent is heard", || picture.borrow_and_update().report.is_some()).await;
    let before = keeper(&two, session).await;
    // The other leaves it alone, also when it is asked for it.
    one.same_user(&there).post(&format!("/api/v1/sessions/{id}/extend"), json!({})).await.expect(200);
    assert_eq!(keeper(&two, session).await, before);
    there.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    end_of(&two, &mut there, &id).await;
}

#[tokio::test]
async fn an_agent_that_no_server_reaches_is_dead() {
    let (three, one) = two().await;
    let two = one.beside().await;
    ready(&two).await;
    let mut there = two.user("ada@example.org").await;
    let (id, session) = started(&three, &mut three.same_user(&there)).await;
    for app in [&one, &two] {
        fake(app).cut_off();
    }
    die(&three);
    give(&one, session).await;
    kept_by(&two, session).await;
    let ended = end_of(&two, &mut there, &id).await;
    assert_eq!(ended["endReason"], "crashed", "{ended}");
    assert!(fake(&one).list().is_empty());
}

/// Settings of a server on the same database, with a data directory of its own.
fn settings_beside(app: &TestApp, data: &std::path::Path) -> Settings {
    crate::data_dir::prepare(data).unwrap();
    Settings { data_dir: data.to_owned(), ..(*app.app.settings).clone() }
}

#[tokio::test]
async fn a_copied_identity_is_refused() {
    let one = TestApp::on_postgres().await;
    ready(&one).await;
    let data = tempfile::tempdir().unwrap();
    let settings = settings_beside(&one, data.path());
    let copied = std::fs::copy(one.app.settings.private_dir().join("server"), settings.private_dir().join("server"));
    copied.expect("copies the identity");
    let twin = Replicas::new(&settings, &one.app.db).await.unwrap();
    assert_eq!(twin.id(), one.app.replicas.id());
    let error = twin.join().await.expect_err("the other lives").to_string();
    assert!(error.contains("private/server") && error.contains("copied"), "{error}");
    assert!(one.app.replicas.tenure().holds(), "the one that was there first looks after its sessions");
    assert_eq!(one.client().get("/readyz").await.expect(200)["servers"], "ok");

    // However it came about: of two that run, one keeps the sessions.
    let several = twin.0.several.as_ref().unwrap();
    let forced = several.register(twin.id(), twin.0.run, Some(one.app.replicas.0.run)).await.unwrap();
    let Ok(theirs) = forced else { panic!("was let in") };
    let stands_back = async {
        while one.app.replicas.tenure().holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LEASE, stands_back).await.expect("it sees that it is not alone");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(several.renew(&theirs, twin.id()).await.unwrap(), "it takes nothing back");
    }
    assert!(!one.app.replicas.tenure().holds());
    // Until that one is gone.
    several.leave(&theirs).await.unwrap();
    ready(&one).await;
}

#[tokio::test]
async fn a_server_that_was_killed_begins_again_soon() {
    let one = TestApp::on_postgres().await;
    ready(&one).await;
    die(&one);
    let again = Replicas::new(&one.app.settings, &one.app.db).await.unwrap();
    let began = Instant::now();
    again.join().await.expect("nobody renews that lease");
    assert!(again.tenure().holds() && began.elapsed() < LEASE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_whose_lease_has_ended_in_the_database_is_refused_and_takes_no_harm() {
    let (two, one) = two().await;
    let mut there = two.user("ada@example.org").await;
    let (id, session) = started(&two, &mut there).await;
    // As where it stood still for long: by its own clock all is well.
    let late = format!("UPDATE servers SET until = clock_timestamp() WHERE id = '{}'", two.app.replicas.0.id);
    let before = keeper(&one, session).await.1;
    let held = two.app.replicas.tenure();
    two.app.db.execute_unprepared(&late).await.unwrap();
    let refused = !crate::session::testing::store_as(&two.app.db, session, &held).await;
    assert!(refused, "a write under the tenure that has ended");
    taken_again(&one, session, before).await;
    assert!(!crate::session::testing::store_as(&two.app.db, session, &held).await, "nor after it was taken");
    let alone = async {
        loop {
            let kept = keeper(&one, session).await.0;
            let us = [&one, &two].map(|app| (keeps(app, session), kept == Some(app.app.replicas.0.id)));
            if us.iter().all(|(keeps, ours)| keeps == ours) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LEASE, alone).await.expect("the one that took it keeps it, and no other");
    // One of them looks after it, and the other asks that one.
    for (app, client) in [(&one, &mut one.same_user(&there)), (&two, &mut there)] {
        one.clock.advance(time::Duration::minutes(1));
        client.post(&format!("/api/v1/sessions/{id}/extend"), json!({})).await.expect(200);
        assert_eq!(client.get(&format!("/api/v1/sessions/{id}")).await.expect(200)["status"], "running");
        ready(app).await;
    }
    assert_eq!(fake(&one).list(), [session]);
    there.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    end_of(&two, &mut there, &id).await;
}

#[tokio::test]
async fn chores_are_done_by_one_server() {
    let (two, one) = two().await;
    let chore = async |app: &TestApp| app.app.replicas.begin_chore(&app.app.db, "test").await.unwrap();
    let held = chore(&one).await.expect("nobody has it");
    let waiting = tokio::time::timeout(Duration::from_millis(300), chore(&two)).await;
    assert!(waiting.is_err(), "it waits while the work goes on");
    held.commit().await.unwrap();
    assert!(chore(&two).await.is_none(), "the other lives");
    assert!(chore(&one).await.is_some());
    one.app.replicas.leave().await;
    assert!(chore(&one).await.is_none() && chore(&two).await.is_some());
}

#[tokio::test]
async fn a_server_with_processes_of_its_own_is_alone() {
    let one = TestApp::on_postgres().await;
    let data = tempfile::tempdir().unwrap();
    crate::data_dir::prepare(data.path()).unwrap();
    let url = one.app.settings.database_url.as_ref().unwrap().expose().to_owned();
    let settings = Settings {
        driver: DriverKind::Local,
        data_dir: data.path().to_owned(),
        database_url: Some(Secret::new(url)),
        ..Settings::default()
    };
    let local = Replicas::new(&settings, &one.app.db).await.unwrap();
    let error = local.join().await.expect_err("sessions are processes of its machine").to_string();
    assert!(error.contains("Several servers need the driver kubernetes"), "{error}");
    // Nor do sandboxes of a cluster belong to one that has none.
    let cluster = Settings { driver: DriverKind::Kubernetes, ..settings };
    let cluster = Replicas::new(&cluster, &one.app.db).await.unwrap();
    let registered = cluster.0.several.as_ref().unwrap().register(cluster.0.id, cluster.0.run, None).await.unwrap();
    assert!(matches!(registered, Err(Beside::Others(drivers)) if drivers == "fake"), "sessions of two kinds");
    assert!(!local.tenure().holds());
    // One that was killed a moment ago is waited for.
    die(&one);
    local.join().await.expect("the other is gone");
    assert!(local.tenure().holds());
}

/// PostgreSQL dies under load: what was answered holds, what could not be done says so and when to try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_loses_and_doubles_nothing() {
    let cluster = Cluster::start().await;
    let one = TestApp::on(Some(cluster.database().await), |_| {}).await;
    let two = one.beside().await;
    let mut running_before = one.user("running@example.org").await;
    let (kept, session) = started(&one, &mut running_before).await;
    let mut picture = two.app.sessions.watch(session).await.unwrap();
    let mut users: Vec<Client> = vec![];
    for number in 0..6 {
        let user = one.user(&format!("user{number}@example.org")).await;
        users.push(if number % 2 == 0 { user } else { two.same_user(&user) });
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let load: Vec<_> = users
        .into_iter()
        .map(|mut user| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let (mut made, mut away) = (vec![], 0);
                while !stop.is_cancelled() {
                    let answer = user.post("/api/v1/sessions", json!({})).await;
                    let session = match answer.status() {
                        201 => answer.expect(201)["id"].clone(),
                        // It was written, and the answer lost.
                        409 => answer.expect_problem(409, "session.exists")["sessionId"].clone(),
                        _ => {
                            assert!(answer.header("retry-after").is_some());
                            answer.expect_problem(503, "unavailable");
                            away += 1;
                            // Sooner than a browser, which does as it is told.
                            tokio::time::sleep(Duration::from_millis(300)).await;
                            continue;
                        }
                    };
                    let id = session.as_str().unwrap().to_owned();
                    made.push(id.clone());
                    // Until it is gone.
                    while !stop.is_cancelled() {
                        let ended = user.delete(&format!("/api/v1/sessions/{id}")).await;
                        if ended.status() == 202 && ended.json()["endedAt"].is_string() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    // Twenty in a minute are allowed.
                    tokio::time::sleep(Duration::from_millis(600)).await;
                }
                (user, made, away)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::task::block_in_place(|| cluster.kill());
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(one.client().get("/readyz").await.status(), 503);
    assert!(picture.has_changed().is_ok(), "pictures go on without the database");
    tokio::task::block_in_place(|| cluster.start_again());
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.cancel();
    let mut refused = 0;
    for load in load {
        let (mut user, made, away) = load.await.unwrap();
        refused += away;
        assert!(!made.is_empty());
        for id in made {
            user.get(&format!("/api/v1/sessions/{id}")).await.expect(200);
            user.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
            until(&one, &mut one.same_user(&user), &id, |it: &Value| it["endedAt"].is_string()).await;
        }
    }
    assert!(refused > 0, "nobody noticed");
    eventually("all but one are gone", || fake(&one).list() == [session]).await;
    assert_eq!(running_before.get(&format!("/api/v1/sessions/{kept}")).await.expect(200)["status"], "running");
    picture.borrow_and_update();
    assert!(start(&mut two.user("after@example.org").await).await.len() > 30);
    drop(two);
}

/// Fences, one by one: see `session::row`.
#[tokio::test]
async fn a_transaction_from_before_does_not_get_past_the_fence() {
    let (two, one) = two().await;
    let mut there = two.user("ada@example.org").await;
    let (_, session) = started(&two, &mut there).await;
    let held = two.app.replicas.tenure();
    die(&two);
    let tx = two.app.db.begin().await.unwrap();
    tx.execute_unprepared("SELECT 1").await.unwrap();
    assert!(crate::session::testing::store_as(&tx, session, &held).await, "the lease holds");
    // The row is locked by the write, so nobody takes the session before it is done.
    let late = format!("UPDATE servers SET until = clock_timestamp() WHERE id = '{}'", two.app.replicas.0.id);
    one.app.db.execute_unprepared(&late).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(keeper(&one, session).await.1, 1);
    assert!(!crate::session::testing::store_as(&tx, session, &held).await, "now() is when the transaction began");
    tx.commit().await.unwrap();
    kept_by(&one, session).await;
    assert!(held.holds(), "by the clock of the one that stood still");
    assert!(!crate::session::testing::store_as(&two.app.db, session, &held).await, "it is another's");
}

#[tokio::test]
async fn whoever_takes_a_session_over_knows_what_its_keeper_showed() {
    let (two, one) = two().await;
    let mut there = two.user("ada@example.org").await;
    let (id, session) = started(&two, &mut there).await;
    one.app.sessions.watch(session).await.unwrap();
    one.clock.advance(time::Duration::minutes(10));
    there.post(&format!("/api/v1/sessions/{id}/extend"), json!({})).await.expect(200);
    eventually("it is shown", || !kept_at(&one, session).is_null()).await;
    let shown = kept_at(&one, session);
    die(&two);
    kept_by(&one, session).await;
    eventually("it has a keeper", || keeps(&one, session)).await;
    assert_eq!(kept_at(&one, session), shown);
}

/// The keeper of the term before may be there still when the server takes its sessions in the next.
#[tokio::test]
async fn a_server_that_takes_its_own_sessions_again_looks_after_them() {
    let one = TestApp::on_postgres().await;
    ready(&one).await;
    let mut user = one.user("ada@example.org").await;
    let (id, session) = started(&one, &mut user).await;
    let late = format!("UPDATE servers SET until = clock_timestamp() WHERE id = '{}'", one.app.replicas.0.id);
    for _ in 0..4 {
        let before = keeper(&one, session).await.1;
        one.app.db.execute_unprepared(&late).await.unwrap();
        taken_again(&one, session, before).await;
        // Once it does what it is asked for, it is the keeper of this term: the one before may not write.
        let asked = Instant::now();
        one.clock.advance(time::Duration::minutes(1));
        user.post(&format!("/api/v1/sessions/{id}/extend"), json!({})).await.expect(200);
        assert!(asked.elapsed() < LEASE, "{:?}", asked.elapsed());
    }
    user.delete(&format!("/api/v1/sessions/{id}")).await.expect(202);
    end_of(&one, &mut user, &id).await;
}

#[tokio::test]
async fn what_a_keeper_is_asked_for_happens_although_it_was_not_told() {
    let one = TestApp::on_postgres().await;
    ready(&one).await;
    let mut user = one.user("ada@example.org").await;
    let (id, session) = started(&one, &mut user).await;
    let missed = format!(
        "ALTER TABLE sessions DISABLE TRIGGER sessions_changed; \
         UPDATE sessions SET end_asked = 'user' WHERE id = '{}'",
        session.0
    );
    one.app.db.execute_unprepared(&missed).await.unwrap();
    let ended = tokio::time::timeout(LEASE, end_of(&one, &mut user, &id)).await.expect("in seconds");
    assert_eq!(ended["endReason"], "user");
}

/// Such as one that is frozen, or whose machine lost power, in the middle of a creation.
#[tokio::test]
async fn a_server_that_stands_still_with_a_lock_stops_the_others_for_seconds_only() {
    let (two, one) = two().await;
    let mut user = one.user("ada@example.org").await;
    let frozen = crate::db::transaction::begin_sessions(&two.app.db).await.unwrap();
    let began = Instant::now();
    let first = user.post("/api/v1/sessions", json!({})).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    if first.status() != 201 {
        assert!(first.header("retry-after").is_some());
        first.expect_problem(503, "unavailable");
        start(&mut user).await;
    }
    let error = frozen.execute_unprepared("SELECT 1").await.expect_err("the database has ended it");
    assert!(crate::db::is_away(&error), "{error}");

    // And one whose lock is held for longer than anybody may wait for.
    let held = two.app.db.begin().await.unwrap();
    held.execute_unprepared("SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE sessions IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let began = Instant::now();
    let mut other = one.user("grace@example.org").await;
    let refused = other.post("/api/v1/sessions", json!({})).await;
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert!(refused.header("retry-after").is_some());
    refused.expect_problem(503, "unavailable");
    held.rollback().await.unwrap();
    start(&mut other).await;
}

/// As where the database's machine is cut off without a word, and another answers at its address.
#[tokio::test]
async fn a_connection_that_nobody_answers_costs_no_right_to_write() {
    let cluster = Cluster::start().await;
    let one = TestApp::on(Some(cluster.database().await), |_| {}).await;
    ready(&one).await;
    let mut user = one.user("ada@example.org").await;
    let (_, session) = started(&one, &mut user).await;
    let tenure = one.app.replicas.tenure();
    let backends = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'WITH renewed%' AND pid <> pg_backend_pid()";
    let backends = sea_orm::Statement::from_string(sea_orm::DatabaseBackend::Postgres, backends);
    let backends: Vec<i32> = tokio::time::timeout(LEASE, async {
        loop {
            let found = one.app.db.query_all_raw(backends.clone()).await.unwrap();
            if !found.is_empty() {
                return found.iter().map(pid).collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it says that it lives");
    signal(&backends, rustix::process::Signal::STOP);
    let mut held = true;
    let stopped = Instant::now();
    while stopped.elapsed() < LEASE + Duration::from_secs(3) {
        held &= tenure.holds();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    signal(&backends, rustix::process::Signal::CONT);
    assert!(held, "another connection takes their place in time");
    assert_eq!(keeper(&one, session).await.1, 1);
}

fn pid(row: &sea_orm::QueryResult) -> i32 {
    row.try_get_by_index(0).unwrap()
}

fn signal(processes: &[i32], signal: rustix::process::Signal) {
    for process in processes {
        rustix::process::kill_process(rustix::process::Pid::from_raw(*process).unwrap(), signal).unwrap();
    }
}
