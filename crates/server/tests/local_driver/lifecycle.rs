//! Start, find again, remove: in every order, twice, and cut off in the middle.

use std::fs;
use std::time::Duration;

use server::driver::{Presence, StartError};

use super::harness::{Stage, as_ordinary_user, as_root, eventually, groups_of, processes_about};

async fn starts_is_found_again_and_leaves_nothing() {
    let stage = Stage::new();
    let session = stage.session().await;
    assert!(session.present().await);
    assert_eq!(session.output("cd; pwd").await, "/home/gimp");
    session.output("echo hello > ~/file").await;

    // A server that was killed and started again.
    let driver = stage.another_driver();
    assert_eq!(driver.list().await.expect("lists"), vec![session.id()]);
    assert_eq!(driver.presence(session.id()).await.expect("knows"), Presence::Present);
    driver.agent(session.id()).health().await.expect("answers");
    driver.start(&session.request, &|_| {}).await.expect("starting what runs changes nothing");

    driver.remove(session.id()).await.expect("removes");
    driver.remove(session.id()).await.expect("removes what is gone");
    assert_eq!(driver.presence(session.id()).await.expect("knows"), Presence::Gone { last_status: None, lost: None });
    assert!(driver.list().await.expect("lists").is_empty());
    assert!(groups_of(session.id()).is_empty());
    eventually("no process is left", async || processes_about(stage.data_dir()).is_empty()).await;
    assert!(!stage.run_dir(session.id()).exists());
    assert_eq!(fs::read_to_string(session.workspace().join("file")).expect("the workspace stays"), "hello\n");
}

#[test]
fn root_starts_is_found_again_and_leaves_nothing() {
    as_root(starts_is_found_again_and_leaves_nothing);
}

#[test]
fn ordinary_user_starts_is_found_again_and_leaves_nothing() {
    as_ordinary_user(starts_is_found_again_and_leaves_nothing);
}

#[test]
fn the_workspace_is_there_in_the_next_session() {
    as_root(|| async {
        let stage = Stage::new();
        let first = stage.session().await;
        first.output("mkdir -p ~/Pictures && echo paint > ~/Pictures/a.xcf").await;
        stage.driver.remove(first.id()).await.expect("removes");
        let mut request = first.request.clone();
        request.session = server::ids::SessionId::new();
        let second = stage.session_of(request).await;
        assert_eq!(second.output("cat ~/Pictures/a.xcf; stat -c %u ~/Pictures/a.xcf; id -u").await, {
            let uid = second.output("id -u").await;
            format!("paint\n{uid}\n{uid}")
        });
    });
}

async fn a_dead_sandbox_is_gone_and_can_be_started_again() {
    let stage = Stage::new();
    let session = stage.session().await;
    let init = rustix::process::Pid::from_raw(session.init()).expect("a pid");
    rustix::process::kill_process(init, rustix::process::Signal::KILL).expect("kills");
    eventually("gone", async || !session.present().await).await;
    assert_eq!(stage.driver.list().await.expect("lists"), vec![session.id()], "until it is removed");
    stage.start(&session.request).await.expect("starts again");
    assert!(session.present().await);
}

#[test]
fn root_dead_sandbox_is_gone_and_can_be_started_again() {
    as_root(a_dead_sandbox_is_gone_and_can_be_started_again);
}

#[test]
fn ordinary_user_dead_sandbox_is_gone_and_can_be_started_again() {
    as_ordinary_user(a_dead_sandbox_is_gone_and_can_be_started_again);
}

#[test]
fn a_pid_that_now_belongs_to_another_is_not_killed() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        let real = stage.run_dir(session.id()).join("sandbox.json");
        let kept = fs::read(&real).expect("reads");
        let mut record: serde_json::Value = serde_json::from_slice(&kept).expect("parses");
        let mut bystander = std::process::Command::new("sleep").arg("600").spawn().expect("starts");
        record["init"]["pid"] = bystander.id().into();
        fs::write(&real, record.to_string()).expect("writes");
        assert!(!session.present().await);
        // Its groups can't go while its processes live: that is said, not forced.
        stage.driver.remove(session.id()).await.expect_err("the real processes are alive");
        assert!(bystander.try_wait().expect("waits").is_none(), "the bystander was killed");
        bystander.kill().expect("kills");
        bystander.wait().expect("waits");
        fs::write(&real, kept).expect("writes");
        assert!(session.present().await);
    });
}

async fn a_start_cut_off_at_any_moment_leaves_nothing() {
    let stage = Stage::new();
    stage.driver.prepare().await.expect("prepares");
    for milliseconds in (0..120).step_by(6) {
        let request = stage.request();
        let cut = tokio::time::timeout(Duration::from_millis(milliseconds), stage.start(&request)).await;
        let driver = stage.another_driver();
        if let Ok(started) = cut {
            started.expect("starts");
        }
        driver.remove(request.session).await.expect("removes");
        assert!(driver.list().await.expect("lists").is_empty(), "after {milliseconds} ms");
        assert!(groups_of(request.session).is_empty(), "after {milliseconds} ms");
    }
    // A sandbox that was never recorded has found no token and ends by itself.
    eventually("no process is left", async || processes_about(stage.data_dir()).is_empty()).await;
}

#[test]
fn root_start_cut_off_at_any_moment_leaves_nothing() {
    as_root(a_start_cut_off_at_any_moment_leaves_nothing);
}

#[test]
fn ordinary_user_start_cut_off_at_any_moment_leaves_nothing() {
    as_ordinary_user(a_start_cut_off_at_any_moment_leaves_nothing);
}

#[test]
fn an_agent_that_ends_at_once_is_a_clear_failure() {
    as_root(|| async {
        let stage = Stage::with(|options| options.agent_path = Some("/bin/false".into()));
        let request = stage.request();
        let error = stage.start(&request).await.expect_err("nothing answers");
        assert!(matches!(error, StartError::Internal(_)), "{error:?}");
        assert!(stage.driver.list().await.expect("lists").is_empty());
        assert!(groups_of(request.session).is_empty());
    });
}

#[test]
fn a_missing_agent_is_named() {
    as_ordinary_user(|| async {
        let stage = Stage::with(|options| options.agent_path = Some("/nonexistent/gimp-session".into()));
        let error = stage.start(&stage.request()).await.expect_err("there is no agent");
        assert!(matches!(error, StartError::Unsupported(_)) && error.to_string().contains("gimp-session"), "{error:?}");
    });
}

#[test]
fn a_full_disk_refuses_to_start() {
    as_ordinary_user(|| async {
        let stage = Stage::with(|options| options.disk_reserve = u64::MAX);
        let error = stage.start(&stage.request()).await.expect_err("never that much room");
        assert!(matches!(error, StartError::NoRoom(_)), "{error:?}");
    });
}

#[test]
fn removing_gives_a_gimp_without_agent_time_to_save() {
    as_root(|| async {
        let stage = Stage::with(|options| options.settle_limit = Duration::from_secs(20));
        let session = stage.session().await;
        // Saves, which takes a while, when it is told to end. Bash, because it can call itself gimp.
        let ended = session
            .try_shell(
                "cp /bin/bash /tmp/gimp; echo \"trap 'sleep 1; echo saved > ~/copy; exit' TERM; touch /tmp/up; \
                 while :; do sleep 0.1; done\" > /tmp/script; /tmp/gimp /tmp/script >/dev/null 2>&1 & \
                 until [ -e /tmp/up ]; do sleep 0.05; done; (sleep 600 >/dev/null 2>&1 &); kill -KILL 2",
            )
            .await;
        // The script runs on below pid 1 after it has killed its agent.
        assert!(ended.is_ok(), "{ended:?}");
        assert!(session.present().await);
        stage.driver.remove(session.id()).await.expect("removes");
        assert_eq!(fs::read_to_string(session.workspace().join("copy")).expect("was saved"), "saved\n");
    });
}

#[test]
fn removing_does_not_interrupt_a_gimp_without_agent_in_its_work() {
    as_root(|| async {
        let stage = Stage::with(|options| options.settle_limit = Duration::from_secs(20));
        let session = stage.session().await;
        // As GIMP's signal handler may, this one saves nothing where it interrupts work.
        let ended = session
            .try_shell(
                "cp /bin/bash /tmp/gimp; echo \"trap 'exit 1' TERM; touch /tmp/up; while [ \\$SECONDS -lt 3 ]; do :; done; \
                 trap 'echo saved > ~/copy; exit' TERM; sleep 600 & wait\" > /tmp/script; \
                 /tmp/gimp /tmp/script >/dev/null 2>&1 & \
                 until [ -e /tmp/up ]; do sleep 0.05; done; (sleep 600 >/dev/null 2>&1 &); kill -KILL 2",
            )
            .await;
        assert!(ended.is_ok(), "{ended:?}");
        stage.driver.remove(session.id()).await.expect("removes");
        assert_eq!(fs::read_to_string(session.workspace().join("copy")).expect("was saved"), "saved\n");
    });
}
