//! Viewers of the picture stream on a whole session.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use hyper::{Method, StatusCode};
use protocol::agent::{OPEN_PATH, SCREEN_PATH, Supervised};
use protocol::stream::{
    Action, ClientHello, MAX_TO_AGENT, Op, STREAM_VERSION, TILES_VERSION, ToAgent, VideoFormat, View,
};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{LIMIT, TestSession};
use crate::rfb;
use crate::stream::{self, Habits, StreamViewer};
use crate::{BACKSPACE, CONTROL, colours, display_is_back, mostly_red};

const ESCAPE: u32 = 0xFF1B;

fn silent() -> Habits {
    Habits { silent: true, ..Habits::default() }
}

fn video(format: VideoFormat) -> Habits {
    Habits { video: vec![format], ..Habits::default() }
}

async fn resize(session: &TestSession, width: u16, height: u16) {
    let wanted = json!({"width": width, "height": height, "scale": 1.0});
    assert_eq!(session.call(Method::PUT, SCREEN_PATH, Some(wanted)).await.0, StatusCode::OK);
}

fn sized(viewer: &StreamViewer) -> bool {
    viewer.last.as_ref().is_some_and(|update| matches!(update.ops[..], [Op::Size { .. }]))
}

#[tokio::test]
async fn the_picture_becomes_exact_and_stays_so() {
    let session = TestSession::ready().await;
    let mut viewer = StreamViewer::connect(&session, Habits::default()).await;
    assert_eq!((viewer.hello.width, viewer.hello.height), (1280, 800));
    assert_eq!(viewer.hello.video_encoder, None);
    viewer.until("its first update and the cursor", |viewer| viewer.last.is_some() && viewer.cursor.is_some()).await;
    assert_eq!((viewer.drawing.width, viewer.drawing.height), (1280, 800));
    viewer.prove().await;
    assert_eq!(viewer.video_ops, 0);
    assert!(viewer.drawing.rgb() == session.display().picture(), "seen by two ways");
    assert!(colours(&viewer.drawing.rgb()) > 50, "tools and docks");

    session.paint().await;
    viewer.until("the picture", |viewer| viewer.is_exact() && mostly_red(&viewer.drawing.rgb())).await;
    viewer.prove().await;

    for (width, height) in [(1537, 823), (700, 500), (1280, 800)] {
        resize(&session, width, height).await;
        viewer.until("the new size", |viewer| (viewer.drawing.width, viewer.drawing.height) == (width, height)).await;
        let proof = viewer.prove().await;
        assert_eq!((proof.width, proof.height), (width, height));
    }

    let before = viewer.updates;
    viewer.send(ToAgent::Refresh).await;
    viewer.until("a new beginning", |viewer| viewer.updates > before && sized(viewer)).await;
    viewer.prove().await;
    assert!(!session.log().contains("\"ERROR\""), "{}", session.log());
}

#[tokio::test]
async fn what_video_left_ends_exact() {
    for format in [VideoFormat::H264, VideoFormat::H264Yuv444] {
        let session = TestSession::ready().await;
        let mut viewer = StreamViewer::connect(&session, video(format)).await;
        assert!(viewer.hello.video_encoder.is_some());
        viewer.prove().await;
        let at_first = viewer.video_ops;
        assert!(at_first > 0, "the first picture is known to be large, the link not to be fast");
        for (width, height) in [(1537, 823), (1280, 800)] {
            resize(&session, width, height).await;
            viewer.until("the new size", |viewer| viewer.drawing.width == width).await;
            viewer.prove().await;
        }
        viewer.send(ToAgent::Refresh).await;
        viewer.until("a new beginning", sized).await;
        viewer.prove().await;
        session.paint().await;
        viewer.until("the picture", |viewer| viewer.is_exact() && mostly_red(&viewer.drawing.rgb())).await;
        viewer.prove().await;
        assert!(viewer.drawing.rgb() == session.display().picture());
        assert!(!session.log().contains("\"ERROR\""), "{}", session.log());
    }
}

#[tokio::test]
async fn what_moves_as_it_is_is_copied_and_stays_exact() {
    let session = TestSession::ready().await;
    let (width, height) = (900, 600);
    for habits in [Habits::default(), video(VideoFormat::H264)] {
        let mut viewer = StreamViewer::connect(&session, habits).await;
        viewer.prove().await;
        let photograph = session.display().photograph(width, height);
        photograph.show(0, 0);
        viewer.until("the photograph", |viewer| viewer.is_exact() && colours(&viewer.drawing.rgb()) > 100_000).await;
        viewer.prove().await;
        let bytes = viewer.bytes;
        for step in 1..=40 {
            let (copies, updates) = (viewer.copy_ops, viewer.updates);
            photograph.show(step * 3, step * 2);
            viewer.until("the next step", |viewer| viewer.updates > updates && viewer.is_exact()).await;
            assert!(viewer.copy_ops > copies, "step {step}");
        }
        viewer.prove().await;
        let each = (viewer.bytes - bytes) / 40;
        assert!(each < usize::from(width) * usize::from(height) / 2, "{each} bytes each time");
    }
    assert!(!session.log().contains("\"ERROR\""), "{}", session.log());
}

#[tokio::test]
async fn a_canvas_panned_in_gimp_is_copied() {
    let session = TestSession::ready().await;
    let noise = |x: u32, y: u32| (x.wrapping_mul(0x85EB_CA6B) ^ y.wrapping_mul(0xC2B2_AE35)).wrapping_mul(0x27D4_EB2F);
    let photograph = image::RgbImage::from_fn(1800, 1400, |x, y| {
        let [red, green, blue, _] = noise(x / 3, y / 3).to_be_bytes();
        image::Rgb([red, green, blue])
    });
    photograph.save(session.home.join("photograph.png")).expect("writes a picture");
    let (code, _) = session.call(Method::POST, OPEN_PATH, Some(json!({"path": "photograph.png"}))).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    let mut viewer = StreamViewer::connect(&session, Habits::default()).await;
    viewer.until("the picture", |viewer| viewer.is_exact() && colours(&viewer.drawing.rgb()) > 10_000).await;

    // In its size; then it is pulled with the middle button.
    let (x, y) = (640, 400);
    viewer.input(Action::Move { x, y }).await;
    viewer.key(u32::from(b'1')).await;
    viewer.prove().await;
    viewer.input(Action::Button { x, y, button: 2, down: true }).await;
    for step in 1..=30 {
        let updates = viewer.updates;
        viewer.input(Action::Move { x: x - step * 5, y: y - step * 3 }).await;
        viewer.until("the next step", |viewer| viewer.updates > updates).await;
    }
    viewer.input(Action::Button { x: x - 150, y: y - 90, button: 2, down: false }).await;
    viewer.prove().await;
    assert!(viewer.copy_ops >= 15, "{} copies", viewer.copy_ops);
}

#[tokio::test]
async fn two_viewers_see_the_same_and_one_that_hides_is_brought_up_to_date() {
    let session = TestSession::ready().await;
    let mut first = StreamViewer::connect(&session, Habits::default()).await;
    let mut second = StreamViewer::connect(&session, video(VideoFormat::H264)).await;
    session.wait_for(|status| status.viewers == 2).await;
    first.prove().await;
    second.prove().await;

    second.send(ToAgent::View(View { hidden: true, refresh: 60 })).await;
    second.catch_up().await;
    let before = second.updates;
    session.paint().await;
    first.until("the picture", |viewer| viewer.is_exact() && mostly_red(&viewer.drawing.rgb())).await;
    second.catch_up().await;
    assert_eq!(second.updates, before, "nobody sees it");
    second.send(ToAgent::View(View { hidden: false, refresh: 60 })).await;
    second.until("the picture", |viewer| viewer.is_exact() && mostly_red(&viewer.drawing.rgb())).await;
    assert_eq!(first.prove().await.sha256, second.prove().await.sha256);

    drop(first);
    session.wait_for(|status| status.viewers == 1).await;
    let mut third = StreamViewer::connect(&session, Habits::default()).await;
    assert_eq!(third.prove().await.sha256, second.prove().await.sha256);
}

#[tokio::test]
async fn a_viewer_that_never_acknowledges_gets_a_few_updates_and_delays_nobody() {
    let session = TestSession::ready().await;
    let mut quiet = StreamViewer::connect(&session, silent()).await;
    let mut viewer = StreamViewer::connect(&session, Habits::default()).await;
    viewer.prove().await;
    for round in 0..5 {
        let before = viewer.updates;
        let key = if round % 2 == 0 { u32::from(b'/') } else { ESCAPE };
        viewer.input(Action::Move { x: 640, y: 400 }).await;
        viewer.key(key).await;
        viewer.until("a change", |viewer| viewer.updates > before && viewer.is_exact()).await;
    }
    viewer.prove().await;
    quiet.catch_up().await;
    assert!(quiet.updates <= 3, "{} updates", quiet.updates);
    assert!(viewer.updates > quiet.updates);
}

#[tokio::test]
async fn a_slow_viewer_gets_video_of_its_own_speed_and_costs_the_others_no_keyframes() {
    let session = TestSession::ready().await;
    let format = VideoFormat::H264;
    let mut fast = StreamViewer::connect(&session, video(format)).await;
    let mut slow =
        StreamViewer::connect(&session, Habits { draws_for: Duration::from_millis(120), ..video(format) }).await;
    fast.prove().await;
    slow.prove().await;
    let photograph = session.display().photograph(900, 600);
    let mut shown = 0;
    let mut show_for = async |time: Duration| {
        let (fast_before, slow_before) = ((fast.video_ops, fast.keyframes), (slow.video_ops, slow.keyframes));
        let over = Cell::new(false);
        let showing = async {
            for _ in 0..time.as_millis() / 20 {
                // Another quarter of it: nothing that could be copied.
                shown = (shown + 1) % 4;
                photograph.show(shown % 2 * 900, shown / 2 * 600);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            over.set(true);
        };
        // What it leaves is refined after it, so that both get something more.
        let looks = async |viewer: &mut StreamViewer| {
            while !over.get() {
                viewer.next().await.expect("open");
            }
        };
        tokio::join!(showing, looks(&mut fast), looks(&mut slow));
        let since = |now: (usize, usize), before: (usize, usize)| (now.0 - before.0, now.1 - before.1);
        (since((fast.video_ops, fast.keyframes), fast_before), since((slow.video_ops, slow.keyframes), slow_before))
    };
    show_for(Duration::from_secs(4)).await;
    let (of_fast, of_slow) = show_for(Duration::from_secs(6)).await;
    assert!(of_slow.0 >= 6 && of_fast.0 >= 6, "{of_fast:?} and {of_slow:?} pictures of video and keyframes");
    // With one lane it is one a second for each.
    assert!(of_fast.1 <= 3 && of_slow.1 <= 3, "{of_fast:?} and {of_slow:?} pictures of video and keyframes");
    assert_eq!(fast.prove().await.sha256, slow.prove().await.sha256);
    assert!(!session.log().contains("\"ERROR\""), "{}", session.log());
}

#[tokio::test]
async fn keys_pointer_and_clipboard_work_both_ways() {
    let session = TestSession::ready().await;
    let display = session.display();
    let mut viewer = StreamViewer::connect(&session, Habits::default()).await;
    let mut other = StreamViewer::connect(&session, Habits::default()).await;
    let mut vnc = rfb::Viewer::connect(&session).await;
    viewer.prove().await;
    other.prove().await;

    viewer.input(Action::Move { x: 640, y: 400 }).await;
    let number = viewer.key(u32::from(b'/')).await;
    display.wait_for_picture("the search for actions", |_| display.windows().len() == 2).await;
    viewer
        .until("its events in the picture", |viewer| viewer.last.as_ref().is_some_and(|last| last.input == number))
        .await;
    other.until("the other's picture", StreamViewer::is_exact).await;
    assert_eq!(other.last.as_ref().map(|last| last.input), Some(0), "numbers are each viewer's own");

    for keysym in [u32::from(b'a'), 0xE9, 0x20AC, 0x0100_0416, 0x0100_65E5] {
        viewer.key(keysym).await;
    }
    viewer.chord(&[CONTROL, u32::from(b'a')]).await;
    viewer.chord(&[CONTROL, u32::from(b'c')]).await;
    for viewer in [&mut viewer, &mut other] {
        viewer.until("what was copied", |viewer| !viewer.texts.is_empty()).await;
        assert_eq!(viewer.texts, ["aé€Ж日"]);
    }
    assert!(vnc.next_cut_text().await.starts_with("aé"));

    // The keys that paste it follow at once.
    viewer.copy("Grüße, 日本").await;
    viewer.chord(&[CONTROL, u32::from(b'v')]).await;
    other.until("what the first copied", |viewer| viewer.texts.len() == 2).await;
    assert_eq!(other.texts[1], "Grüße, 日本");
    let pasting = async {
        // There is nothing to copy, or what was there before, until the program has asked for what it pastes.
        while viewer.texts.last().is_none_or(|text| text != "Grüße, 日本") {
            viewer.chord(&[CONTROL, u32::from(b'a')]).await;
            viewer.chord(&[CONTROL, u32::from(b'c')]).await;
            viewer.catch_up().await;
            // Not more keys than it can follow.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let pasted = tokio::time::timeout(LIMIT, pasting).await;
    assert!(pasted.is_ok(), "{:?}, and the clipboard holds {:?}", viewer.texts, display.clipboard());

    // Through TigerVNC's module, both ways.
    let long = "é".repeat(200_000);
    viewer.copy(&long).await;
    while vnc.next_cut_text().await != long {}
    other.until("the long text", |viewer| viewer.texts.last() == Some(&long)).await;
    vnc.cut_text("Käse").await;
    for viewer in [&mut viewer, &mut other] {
        viewer.until("the VNC viewer's text", |viewer| viewer.texts.last().is_some_and(|text| text == "Käse")).await;
    }
    assert!(!viewer.texts.contains(&long), "it is its own");
    viewer.key(BACKSPACE).await;
    viewer.prove().await;
    assert!(!session.log().contains("Grüße"), "texts are not logged");
}

#[tokio::test]
async fn an_image_copied_in_gimp_stays_on_the_clipboard() {
    let session = TestSession::ready().await;
    let mut viewer = StreamViewer::connect(&session, Habits::default()).await;
    session.paint().await;
    viewer.until("the picture", |viewer| viewer.is_exact() && mostly_red(&viewer.drawing.rgb())).await;
    let mut other = StreamViewer::connect(&session, Habits::default()).await;
    viewer.copy("before").await;
    other.until("the first text", |other| other.texts == ["before"]).await;
    let display = session.display();
    let ours = display.clipboard_owner();
    viewer.input(Action::Move { x: 640, y: 400 }).await;
    viewer.chord(&[CONTROL, u32::from(b'a')]).await;
    viewer.chord(&[CONTROL, u32::from(b'c')]).await;
    display.wait_for_picture("the copy", |_| display.clipboard_owner() != ours).await;
    assert_eq!(display.clipboard(), None, "there is no text");
    let gimps = display.clipboard_owner();
    viewer.prove().await;
    assert_eq!((display.clipboard_owner(), display.clipboard()), (gimps, None));
    // Texts are told in their order: were the image taken for one, it would come before the next.
    viewer.copy("after").await;
    other.until("the next text", |other| other.texts.last().is_some_and(|text| text == "after")).await;
    assert_eq!(other.texts, ["before", "after"]);
    assert!(viewer.texts.is_empty(), "{:?}", viewer.texts);
}

#[tokio::test]
async fn viewers_of_a_lost_display_are_sent_away_and_find_the_next() {
    let session = TestSession::ready().await;
    let mut viewer = StreamViewer::connect(&session, Habits::default()).await;
    viewer.prove().await;
    session.kill(Supervised::Display, Signal::KILL);
    while viewer.next().await.is_some() {}
    session.wait_for(display_is_back).await;
    let mut viewer = StreamViewer::connect(&session, Habits::default()).await;
    viewer.prove().await;
    viewer.input(Action::Move { x: 640, y: 400 }).await;
    viewer.key(u32::from(b'/')).await;
    let display = session.display();
    display.wait_for_picture("the search for actions", |_| display.windows().len() == 2).await;
    viewer.prove().await;
}

#[tokio::test]
async fn whoever_speaks_otherwise_is_hung_up_on_and_disturbs_nobody() {
    let session = TestSession::ready().await;
    let mut viewer = StreamViewer::connect(&session, Habits::default()).await;
    let other_version = ToAgent::Hello(ClientHello { version: STREAM_VERSION + 1, ..ClientHello::default() });
    let old_tiles = ClientHello { version: STREAM_VERSION, ..ClientHello::default() };
    let hello = ToAgent::Hello(ClientHello { tiles: TILES_VERSION, ..old_tiles.clone() });
    let [other_version, old_tiles, hello, no_hello] =
        [other_version, ToAgent::Hello(old_tiles), hello, ToAgent::Refresh]
            .map(|message| message.encode().expect("short"));
    let nonsense = Bytes::from_static(b"nonsense");
    let too_long = Bytes::from(vec![0x44; MAX_TO_AGENT + 1]);
    for messages in
        [vec![other_version], vec![old_tiles], vec![no_hello], vec![hello.clone(), nonsense], vec![hello, too_long]]
    {
        let mut records = stream::open(&session).await;
        for message in messages {
            // It may have hung up before the last byte was sent.
            let _closed = records.send(message).await;
        }
        let hung_up = async { while let Some(Ok(_)) = records.next().await {} };
        tokio::time::timeout(LIMIT, hung_up).await.expect("is hung up on");
    }
    session.wait_for(|status| status.viewers == 1).await;
    viewer.prove().await;
}
