//! Whole sessions with real Xorg, openbox, D-Bus and GIMP.

mod documents;
mod files;
mod harness;
mod history;
mod rfb;
mod stream;
mod streaming;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{Options, TestSession};
use hyper::{Method, Request, StatusCode};
use protocol::agent::{
    AgentPhase, AgentStatus, OPEN_PATH, Restart, SCREEN_PATH, STATUS_PATH, Supervised, VNC_PATH, WRITES_PATH,
};
use protocol::session::{EndReason, StartStep};
use rfb::Viewer;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

const MAIN_WINDOW: &str = "gimp-image-window-1";
const WHITE: u32 = 0x00FF_FFFF;
const RED: u32 = 0x00FF_0000;
const CONTROL: u32 = 0xFFE3;
const BACKSPACE: u32 = 0xFF08;

/// GIMP fills the screen and nothing else is open: no tips, no welcome, no recovery dialog.
fn assert_only_gimp_on_screen(session: &TestSession, size: (u16, u16)) {
    let display = session.display();
    assert_eq!(display.size(), size);
    let windows = display.windows();
    assert_eq!(windows.len(), 1, "{windows:?}");
    let main = &windows[0];
    assert_eq!(main.role, MAIN_WINDOW);
    assert_eq!((main.x, main.y, (main.width, main.height)), (0, 0, size), "{main:?}");
}

fn colours(picture: &[u32]) -> usize {
    picture.iter().collect::<HashSet<_>>().len()
}

/// What dies with the display may be noticed, and counted, before it.
fn display_is_back(status: &AgentStatus) -> bool {
    let display_died = |restart: &Restart| restart.what == Supervised::Display;
    status.restarts.iter().any(display_died) && status.phase == AgentPhase::Running
}

fn mostly_red(picture: &[u32]) -> bool {
    picture.iter().filter(|pixel| **pixel == RED).count() > 320 * 200 / 2
}

#[tokio::test]
async fn a_new_workspace_gets_a_painted_gimp_over_the_whole_screen() {
    let mut session = TestSession::ready().await;
    assert_only_gimp_on_screen(&session, (1280, 800));
    let picture = session.display().picture();
    assert!(colours(&picture) > 50, "tools and docks are painted");
    assert!(picture.iter().filter(|pixel| **pixel == WHITE).count() > 5000, "and the list of brushes is");
    let status = session.status().await;
    let steps: Vec<_> = status.timings.iter().map(|timing| timing.step).collect();
    assert_eq!(steps, [StartStep::StartingDisplay, StartStep::StartingGimp, StartStep::Ready]);
    assert!(status.gimp_version.is_some() && status.restarts.is_empty());
    let complaints = session.gimp_log();
    assert!(!complaints.contains("parse error"), "GIMP understands the preset: {complaints}");

    assert!(session.end(EndReason::User).await.success());
    assert_eq!(session.last_status().phase, AgentPhase::Ended { reason: EndReason::User });
    assert!(session.recoveries().is_empty());
    let profile = session.home.join(".config/GIMP");
    let series = fs::read_dir(profile).expect("a profile").next().expect("a series").expect("entry").path();
    assert!(fs::read_to_string(series.join("sessionrc")).expect("reads").contains("gimp-tool-options"), "quit cleanly");
    assert!(!session.log().contains("\"ERROR\""), "{}", session.log());
}

#[tokio::test]
async fn the_screen_takes_any_size_within_the_cap_and_gimp_follows() {
    let session = TestSession::ready().await;
    for (width, height) in [(1537, 823), (411, 731), (2560, 1440), (900, 1600), (2160, 3840), (3840, 2160)] {
        let wanted = json!({"width": width, "height": height, "scale": 1.0});
        let (code, became) = session.call(Method::PUT, SCREEN_PATH, Some(wanted.clone())).await;
        assert_eq!((code, became), (StatusCode::OK, wanted));
        let display = session.display();
        assert_eq!(display.size(), (width, height));
        if width >= 900 {
            display
                .wait_for_picture("GIMP over the whole screen", |_| {
                    display.windows().iter().any(|window| (window.width, window.height) == (width, height))
                })
                .await;
        }
    }
    let huge = json!({"width": 60000, "height": 60000, "scale": 99.0});
    let (_, became) = session.call(Method::PUT, SCREEN_PATH, Some(huge)).await;
    assert_eq!(became, json!({"width": 3840, "height": 2160, "scale": 4.0}));
    assert_eq!(session.status().await.screen.width, 3840);
    let standing = json!({"width": 4320, "height": 7680, "scale": 1.0});
    let (_, became) = session.call(Method::PUT, SCREEN_PATH, Some(standing)).await;
    assert_eq!(became, json!({"width": 2160, "height": 3840, "scale": 1.0}));
    let viewer = Viewer::connect(&session).await;
    assert_eq!((viewer.width, viewer.height), (2160, 3840));
    let (code, problem) = session.call(Method::PUT, SCREEN_PATH, Some(json!({"width": -1}))).await;
    assert_eq!((code, problem["code"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some("body.invalid")));
}

#[tokio::test]
async fn a_file_of_the_workspace_opens_clean_and_others_do_not() {
    let mut session = TestSession::ready().await;
    let red = image::RgbImage::from_pixel(320, 200, image::Rgb([255, 0, 0]));
    red.save(session.home.join("été 1.png")).expect("writes a picture");
    std::os::unix::fs::symlink("/etc/hostname", session.home.join("outside.png")).expect("links");
    let open = |path: &str| session.call(Method::POST, OPEN_PATH, Some(json!({"path": path})));

    assert_eq!(open("missing.png").await.0, StatusCode::NOT_FOUND);
    assert_eq!(open("outside.png").await.0, StatusCode::NOT_FOUND);
    assert_eq!(open("../x.png").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(open("été 1.png").await.0, StatusCode::NO_CONTENT);
    session.display().wait_for_picture("the picture", mostly_red).await;

    session.end(EndReason::User).await;
    assert!(session.recoveries().is_empty(), "an opened picture is not unsaved work");
}

#[tokio::test]
async fn a_viewer_sees_the_screen_types_points_and_is_counted() {
    let session = TestSession::ready().await;
    let mut viewer = Viewer::connect(&session).await;
    assert_eq!((viewer.width, viewer.height, viewer.name.as_str()), (1280, 800, "GIMP"));
    let other = Viewer::connect(&session).await;
    session.wait_for(|status| status.viewers == 2).await;
    drop(other);
    session.wait_for(|status| status.viewers == 1).await;
    let seen: HashSet<_> = viewer.picture().await.chunks_exact(4).map(<[u8]>::to_vec).collect();
    assert!(seen.len() > 50, "the viewer sees tools and docks");

    let idle = session.status().await.idle_ms;
    viewer.point(640, 400, 0).await;
    viewer.point(641, 401, 0).await;
    // Pointing counts as human input.
    session.ask_until(|status| status.idle_ms < idle).await;
}

#[tokio::test]
async fn any_letter_can_be_typed_and_text_travels_both_ways_by_clipboard() {
    let session = TestSession::ready().await;
    let display = session.display();
    let mut viewer = Viewer::connect(&session).await;
    viewer.point(640, 400, 0).await;
    viewer.key(u32::from(b'/')).await;
    display.wait_for_picture("the search for actions", |_| display.windows().len() == 2).await;

    // Latin 1, its own keysym, and two that only the Unicode range has.
    for keysym in [u32::from(b'a'), 0xE9, 0x20AC, 0x0100_0416, 0x0100_65E5] {
        viewer.key(keysym).await;
    }
    viewer.chord(&[CONTROL, u32::from(b'a')]).await;
    viewer.chord(&[CONTROL, u32::from(b'c')]).await;
    display.wait_for_clipboard("aé€Ж日").await;
    assert!(viewer.next_cut_text().await.starts_with("aé"), "a viewer without Unicode gets what Latin 1 has");

    viewer.cut_text("Grüße").await;
    display.wait_for_clipboard("Grüße").await;
    let from_viewer = display.clipboard_owner();
    viewer.key(BACKSPACE).await;
    viewer.chord(&[CONTROL, u32::from(b'v')]).await;
    while display.clipboard_owner() == from_viewer {
        // Nothing to copy until what was pasted is there.
        viewer.chord(&[CONTROL, u32::from(b'a')]).await;
        viewer.chord(&[CONTROL, u32::from(b'c')]).await;
        assert_eq!(display.clipboard().as_deref(), Some("Grüße"));
    }
    assert_eq!(display.clipboard().as_deref(), Some("Grüße"));
}

#[tokio::test]
async fn unsaved_work_is_copied_at_the_end_and_offered_without_a_dialog() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut session = TestSession::start(folder.path(), Options::default());
    session.wait_for(|status| status.phase == AgentPhase::Running).await;
    session.paint().await;
    assert!(session.end(EndReason::Expired).await.success());

    assert_eq!(session.last_status().phase, AgentPhase::Ended { reason: EndReason::Expired });
    let recoveries = session.recoveries();
    assert_eq!(recoveries.len(), 1, "{recoveries:?}");
    assert_eq!((recoveries[0].name.as_str(), recoveries[0].original.as_deref()), ("Untitled", None));
    let copy = fs::read(session.recovery_file(&recoveries[0])).expect("reads");
    assert!(copy.starts_with(b"gimp xcf "));
    assert_eq!(recoveries[0].size, copy.len() as u64);

    let mut session = TestSession::start(folder.path(), Options::default());
    session.wait_for(|status| status.phase == AgentPhase::Running).await;
    assert_only_gimp_on_screen(&session, (1280, 800));
    let path = format!("{}/{}.xcf", protocol::session::RECOVERY_DIR, recoveries[0].id);
    let (code, _) = session.call(Method::POST, OPEN_PATH, Some(json!({"path": path, "asNew": true}))).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    let display = session.display();
    display.wait_for_picture("the recovered picture", mostly_red).await;
    // GIMP's title begins with a star when there is something to save.
    let unsaved = |_: &[u32]| display.windows().iter().any(|window| window.title.starts_with('*'));
    display.wait_for_picture("that it is not saved", unsaved).await;

    let copy = session.recovery_file(&recoveries[0]);
    fs::remove_file(copy.with_extension("json")).and_then(|()| fs::remove_file(copy)).expect("the server forgets it");
    session.end(EndReason::User).await;
    let again = session.recoveries();
    assert_eq!(again.len(), 1, "what was recovered and not saved is not lost: {again:?}");
    assert_ne!(again[0].id, recoveries[0].id);
}

#[tokio::test]
async fn a_changed_file_keeps_its_name_in_the_recovery() {
    let mut session = TestSession::ready().await;
    let blue = image::RgbImage::from_pixel(320, 200, image::Rgb([0, 0, 255]));
    fs::create_dir(session.home.join("pictures")).expect("creates");
    let file = session.home.join("pictures/sea \"1\".png");
    blue.save(&file).expect("writes a picture");
    let before = fs::read(&file).expect("reads");
    let (code, _) = session.call(Method::POST, OPEN_PATH, Some(json!({"path": "pictures/sea \"1\".png"}))).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    let display = session.display();
    display
        .wait_for_picture("the picture", |picture| picture.iter().filter(|p| **p == 0x0000_00FF).count() > 9000)
        .await;
    let (list, layer) = match session.status().await.gimp_version {
        Some(version) if version.starts_with('2') => {
            ("(cadr (gimp-image-list))", "(car (gimp-image-get-active-drawable image))")
        }
        _ => ("(car (gimp-get-images))", "(vector-ref (car (gimp-image-get-layers image)) 0)"),
    };
    session.script(&format!("(let* ((image (vector-ref {list} 0))) (gimp-drawable-invert {layer} FALSE))")).await;
    session.end(EndReason::User).await;

    let recoveries = session.recoveries();
    assert_eq!(recoveries.len(), 1, "{recoveries:?}");
    assert_eq!(recoveries[0].original.as_deref(), Some("pictures/sea \"1\".png"));
    assert_eq!(fs::read(&file).expect("reads"), before, "the user's file is untouched");
}

#[tokio::test]
async fn gimp_killed_comes_back_and_the_session_says_so() {
    let session = TestSession::ready().await;
    session.kill(Supervised::Gimp, Signal::KILL);
    let status = session.wait_for(|status| status.restarts.len() == 1 && status.phase == AgentPhase::Running).await;
    assert_eq!((status.restarts[0].what, status.restarts[0].cause.as_str()), (Supervised::Gimp, "killed by signal 9"));
    assert_only_gimp_on_screen(&session, (1280, 800));
}

#[tokio::test]
async fn the_display_killed_comes_back_with_gimp_at_the_same_size() {
    let session = TestSession::ready().await;
    session.call(Method::PUT, SCREEN_PATH, Some(json!({"width": 1400, "height": 900, "scale": 1.0}))).await;
    session.kill(Supervised::Display, Signal::KILL);
    let status = session.wait_for(display_is_back).await;
    let what: Vec<_> = status.restarts.iter().map(|restart| restart.what).collect();
    assert_eq!(what, [Supervised::Display], "what dies with the display is one incident");
    assert_only_gimp_on_screen(&session, (1400, 900));
}

#[tokio::test]
async fn a_lost_display_makes_nobody_idle() {
    let session = TestSession::ready().await;
    // The session is older than what follows takes.
    let old = session.ask_until(|status| status.idle_ms > 3000).await.idle_ms;
    let mut viewer = Viewer::connect(&session).await;
    let touched = std::time::Instant::now();
    viewer.point(640, 400, 0).await;
    viewer.point(641, 401, 0).await;
    session.ask_until(|status| status.idle_ms < old).await;
    session.kill(Supervised::Display, Signal::KILL);
    let lost = session.wait_for(|status| status.phase == AgentPhase::Restarting).await;
    assert!(u128::from(lost.idle_ms) <= touched.elapsed().as_millis(), "{} ms", lost.idle_ms);
}

#[tokio::test]
async fn window_manager_and_bus_come_back() {
    let session = TestSession::ready().await;
    session.kill(Supervised::WindowManager, Signal::KILL);
    session.wait_for(|status| status.restarts.len() == 1).await;
    session.kill(Supervised::Bus, Signal::KILL);
    let status = session.wait_for(|status| status.restarts.len() == 2 && status.phase == AgentPhase::Running).await;
    assert_eq!(status.restarts[1].what, Supervised::Bus);
    session.paint().await;
    session.display().wait_for_picture("the picture", mostly_red).await;
}

#[tokio::test]
async fn a_gimp_that_keeps_dying_ends_the_session_as_crashed() {
    let mut session = TestSession::ready().await;
    for restarts in 1..=3 {
        session.kill(Supervised::Gimp, Signal::KILL);
        session.wait_for(|status| status.restarts.len() == restarts && status.phase == AgentPhase::Running).await;
    }
    session.kill(Supervised::Gimp, Signal::KILL);
    session.exited().await;
    assert_eq!(session.last_status().phase, AgentPhase::Ended { reason: EndReason::Crashed });
}

#[tokio::test]
async fn quitting_gimp_ends_the_session_as_the_users_wish() {
    let mut session = TestSession::ready().await;
    let mut viewer = Viewer::connect(&session).await;
    viewer.point(640, 400, 0).await;
    viewer.chord(&[CONTROL, u32::from(b'q')]).await;
    assert!(session.exited().await.success());
    assert_eq!(session.last_status().phase, AgentPhase::Ended { reason: EndReason::User });
}

#[tokio::test]
async fn a_modal_dialog_does_not_keep_unsaved_work_from_being_copied() {
    let mut session = TestSession::ready().await;
    session.paint().await;
    let mut viewer = Viewer::connect(&session).await;
    viewer.point(640, 400, 0).await;
    viewer.chord(&[CONTROL, u32::from(b'q')]).await;
    let display = session.display();
    display.wait_for_picture("the dialog that asks whether to quit", |_| display.windows().len() == 2).await;
    session.end(EndReason::Idle).await;
    assert_eq!(session.recoveries().len(), 1);
}

/// A session in `folder` with a field of its configuration set, ready.
async fn ready_with(folder: &Path, field: &str, value: Value) -> TestSession {
    let mut options = Options::default();
    options.config[field] = value;
    let session = TestSession::start(folder, options);
    session.wait_for(|status| status.phase == AgentPhase::Running).await;
    session
}

#[tokio::test]
async fn without_time_to_ask_for_copies_gimp_2_writes_its_own_and_they_are_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let limits = json!({"saveMs": 0, "quitMs": 0, "terminateMs": 20_000, "killMs": 2_000, "displayMs": 3_000});
    let mut session = ready_with(folder.path(), "timeLimits", limits).await;
    let version = session.status().await.gimp_version.expect("a version");
    session.paint().await;
    assert!(session.end(EndReason::Evicted).await.success());
    assert_eq!(session.last_status().phase, AgentPhase::Ended { reason: EndReason::Evicted });
    let recoveries = session.recoveries();
    if version.starts_with("2.") {
        assert_eq!(recoveries.len(), 1);
        assert!(fs::read(session.recovery_file(&recoveries[0])).expect("reads").starts_with(b"gimp xcf "));
    } else {
        assert!(recoveries.is_empty(), "GIMP 3 writes nothing by itself; should it learn to, expect it here");
    }
}

/// It can't be told whether the image has changed since its copy was made.
#[tokio::test]
async fn copies_that_gimp_2_writes_after_the_save_stage_are_kept_beside_the_first() {
    // No time to quit: GIMP is told to end, which makes it write copies although there are some.
    let limits = json!({"saveMs": 30_000, "quitMs": 0, "terminateMs": 10_000, "killMs": 2_000, "displayMs": 3_000});
    for _ in 0..4 {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut session = ready_with(folder.path(), "timeLimits", limits.clone()).await;
        let version = session.status().await.gimp_version.expect("a version");
        session.paint().await;
        let told = Instant::now();
        assert!(session.end(EndReason::User).await.success());
        let recoveries = session.recoveries();
        for recovery in &recoveries {
            assert!(fs::read(session.recovery_file(recovery)).expect("reads").starts_with(b"gimp xcf "));
        }
        // GIMP allocates memory in its signal handler and once in a while hangs there; then there is the first copy.
        if told.elapsed() >= Duration::from_secs(10) {
            assert!(!recoveries.is_empty());
            continue;
        }
        let expected = if version.starts_with("2.") { 2 } else { 1 };
        assert_eq!(recoveries.len(), expected, "{recoveries:?}");
        return;
    }
    panic!("GIMP never ended in time");
}

/// Ends a session that has a painted image and one without layers; returns what was said of the save stage.
async fn end_with_an_image_without_layers(session: &mut TestSession) -> String {
    let empty = "(let* ((image (car (gimp-image-new 9 9 RGB)))) (gimp-image-undo-enable image)
                   (gimp-image-resize image 8 8 0 0) (gimp-display-new image))";
    session.script(empty).await;
    session.paint().await;
    session.end(EndReason::User).await;
    let copies: Vec<_> = session.recoveries().into_iter().map(|recovery| recovery.size).collect();
    assert!(copies.len() >= 2, "{copies:?}");
    let log = session.log();
    log[log.find("stage: Save").expect("a save stage")..].to_owned()
}

#[tokio::test]
async fn an_image_without_layers_is_copied_too() {
    let mut session = TestSession::ready().await;
    let said = end_with_an_image_without_layers(&mut session).await;
    assert!(said.contains("AllSafe"), "{said}");
}

#[tokio::test]
async fn without_a_link_documents_are_unknown_and_one_that_cannot_be_copied_does_not_keep_back_the_others() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let in_the_way = folder.path().join("home/.cache/gimp-session/plug-ins");
    fs::create_dir_all(in_the_way.parent().expect("a folder")).expect("creates");
    fs::write(&in_the_way, "in the way of the plug-in").expect("writes");
    let mut session = TestSession::start(folder.path(), Options::default());
    let status = session.wait_for(|status| status.capabilities.documents_unavailable.is_some()).await;
    assert_eq!(status.documents, None);
    session.wait_for(|status| status.phase == AgentPhase::Running).await;
    let said = end_with_an_image_without_layers(&mut session).await;
    // Script-Fu of GIMP 2 cannot write an image without layers.
    let outcome = if status.gimp_version.expect("a version").starts_with("2.") { "Incomplete" } else { "AllSafe" };
    assert!(said.contains(outcome), "{said}");
}

#[tokio::test]
async fn a_frozen_gimp_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let limits = json!({"saveMs": 200, "quitMs": 200, "terminateMs": 200, "killMs": 2_000, "displayMs": 3_000});
    let mut session = ready_with(folder.path(), "timeLimits", limits).await;
    session.kill(Supervised::Gimp, Signal::STOP);
    assert!(session.end(EndReason::Idle).await.success());
    assert_eq!(session.last_status().phase, AgentPhase::Ended { reason: EndReason::Idle });
}

#[tokio::test]
async fn xvnc_serves_where_it_is_chosen_and_says_that_there_is_no_pen() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut session = ready_with(folder.path(), "display", json!({"kind": "xvnc"})).await;
    assert!(session.status().await.capabilities.pen_unavailable.is_some_and(|why| why.contains("dummy driver")));
    let wanted = json!({"width": 1111, "height": 777, "scale": 1.0});
    assert_eq!(session.call(Method::PUT, SCREEN_PATH, Some(wanted.clone())).await, (StatusCode::OK, wanted));
    session
        .display()
        .wait_for_picture("GIMP at its new size", |_| {
            session.display().windows().iter().any(|window| (window.width, window.height) == (1111, 777))
        })
        .await;
    let viewer = Viewer::connect(&session).await;
    assert_eq!((viewer.width, viewer.height), (1111, 777));
    assert!(session.end(EndReason::User).await.success());
}

/// The command line in the administrators' guide.
fn documented_command() -> Vec<String> {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/admins.md")).expect("reads");
    let line = guide.lines().find_map(|line| line.strip_prefix("display = \"Xvnc ")).expect("an example");
    let arguments = line.strip_suffix('"').expect("one line of TOML").split_whitespace();
    std::iter::once("Xvnc").chain(arguments).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_vnc_server_of_the_operators_serves_in_place_of_xorg() {
    let _alone = harness::fixed_display().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let display = json!({"kind": "custom", "command": documented_command()});
    let mut session = ready_with(folder.path(), "display", display).await;
    assert_only_gimp_on_screen(&session, (1280, 800));
    let capabilities = session.status().await.capabilities;
    assert!(capabilities.vnc && capabilities.resize);
    assert!(capabilities.pen_unavailable.is_some_and(|why| why.contains("this display server")));
    // This one follows RANDR.
    let wanted = json!({"width": 777, "height": 1111, "scale": 1.0});
    assert_eq!(session.call(Method::PUT, SCREEN_PATH, Some(wanted.clone())).await, (StatusCode::OK, wanted));
    let mut viewer = Viewer::connect(&session).await;
    assert_eq!((viewer.width, viewer.height), (777, 1111));
    let seen: HashSet<_> = viewer.picture().await.chunks_exact(4).map(<[u8]>::to_vec).collect();
    assert!(seen.len() > 50, "the viewer sees GIMP");

    session.kill(Supervised::Display, Signal::KILL);
    session.wait_for(display_is_back).await;
    assert_eq!(session.display().size(), (777, 1111));
    assert!(session.end(EndReason::User).await.success());
    assert!(!session.log().contains("keeps its size"), "{}", session.log());
}

#[tokio::test]
async fn a_vnc_server_that_knows_no_other_size_keeps_its_own_and_says_so() {
    let _alone = harness::fixed_display().await;
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut command = documented_command();
    command.extend(["-extension", "RANDR"].map(str::to_owned));
    let mut session = ready_with(folder.path(), "display", json!({"kind": "custom", "command": command})).await;
    assert_only_gimp_on_screen(&session, (1280, 800));
    assert!(!session.status().await.capabilities.resize);
    let wanted = json!({"width": 1111, "height": 777, "scale": 1.5});
    let (code, became) = session.call(Method::PUT, SCREEN_PATH, Some(wanted)).await;
    assert_eq!((code, became), (StatusCode::OK, json!({"width": 1280, "height": 800, "scale": 1.5})));
    let screen = session.status().await.screen;
    assert_eq!((screen.width, screen.height), (1280, 800));
    let viewer = Viewer::connect(&session).await;
    assert_eq!((viewer.width, viewer.height), (1280, 800));
    // The next agent finds it so.
    let killed = session.agent_pid();
    kill_process(killed, Signal::KILL).expect("kills");
    harness::gone(killed).await;
    session.wait_for(|status| status.phase == AgentPhase::Running && !status.capabilities.resize).await;
    assert!(session.end(EndReason::User).await.success());
}

#[tokio::test]
async fn a_killed_agent_is_replaced_and_gimp_lives_on() {
    let mut session = TestSession::ready().await;
    session.paint().await;
    let before = session.processes();
    let killed = session.agent_pid();
    kill_process(killed, Signal::KILL).expect("kills");
    harness::gone(killed).await;
    session.wait_for(|status| status.phase == AgentPhase::Running).await;
    assert_eq!(
        session.processes().iter().find(|(what, _)| *what == Supervised::Gimp),
        before.iter().find(|(what, _)| *what == Supervised::Gimp)
    );
    session.display().wait_for_picture("the picture", mostly_red).await;
    session.wait_for(|status| status.restarts.iter().all(|restart| restart.what == Supervised::WindowManager)).await;
    assert!(session.end(EndReason::User).await.success());
    assert_eq!(session.recoveries().len(), 1);
}

#[tokio::test]
async fn a_killed_guard_ends_the_session_in_good_order() {
    let mut session = TestSession::ready().await;
    session.paint().await;
    let agent = session.agent_pid();
    kill_process(session.guard_pid(), Signal::KILL).expect("kills");
    harness::gone(agent).await;
    session.exited().await;
    assert_eq!(session.recoveries().len(), 1);
    assert_eq!(session.last_status().phase, AgentPhase::Ended { reason: EndReason::Crashed });
}

#[tokio::test]
async fn stopped_writes_fail_without_harm_and_copies_are_still_made() {
    let mut session = TestSession::ready().await;
    session.paint().await;
    let file = session.home.join("big.txt");
    let write = format!(
        "(let ((port (open-output-file \"{}\"))) (display \"too much\" port) (close-output-port port))",
        file.display()
    );
    let (code, _) = session.call(Method::PUT, WRITES_PATH, Some(json!({"allowed": false}))).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    for (what, pid) in session.processes().into_iter().filter(|(what, _)| *what == Supervised::Gimp) {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let line = limits.lines().find(|line| line.starts_with("Max file size")).expect("the limit");
        assert_eq!(line.split_whitespace().nth(3), Some("0"), "{what:?}");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("signals");
        let ignored = u64::from_str_radix(ignored.trim(), 16).expect("hexadecimal");
        assert_ne!(ignored & (1 << (25 - 1)), 0, "{what:?} survives SIGXFSZ");
    }
    session.script(&write).await;
    assert_eq!(fs::metadata(&file).expect("the file could be made").len(), 0, "but not written");
    session.call(Method::PUT, WRITES_PATH, Some(json!({"allowed": true}))).await;
    session.script(&write).await;
    assert_eq!(fs::read(&file).expect("reads"), b"too much");

    session.call(Method::PUT, WRITES_PATH, Some(json!({"allowed": false}))).await;
    session.end(EndReason::Evicted).await;
    assert_eq!(session.recoveries().len(), 1);
}

#[tokio::test]
async fn only_the_token_opens_the_api() {
    let session = TestSession::ready().await;
    let get = |path: &str, token: Option<&str>| {
        let mut request = Request::builder().uri(path).header("host", "agent");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(Default::default()).expect("a request")
    };
    for path in [STATUS_PATH, VNC_PATH] {
        for token in [None, Some(""), Some("0123456789abcdef0123456789abcdef0123456789abcdeg")] {
            let response = session.send(get(path, token)).await.expect("answers");
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
    }
    for open in ["/health", "/ready", "/metrics"] {
        assert_eq!(session.send(get(open, None)).await.expect("answers").status(), StatusCode::OK);
    }
    assert_eq!(session.call(Method::GET, VNC_PATH, None).await.0, StatusCode::UPGRADE_REQUIRED);
    assert!(!session.run.join(protocol::agent::paths::TOKEN_FILE).exists());
    let environment = fs::read_to_string(format!("/proc/{}/environ", session.agent_pid().as_raw_nonzero()));
    assert!(!environment.expect("reads").contains(harness::TOKEN));
}
