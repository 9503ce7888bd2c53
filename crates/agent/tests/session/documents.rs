//! GIMP's documents: what the link tells of them, and the copies that are made in time.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use gimp_link::{Hello, Image, List, MAX_MESSAGE, VERSION};
use hyper::{Method, StatusCode};
use protocol::agent::{AgentPhase, AgentStatus, Document, OPEN_PATH, Supervised};
use protocol::session::{EndReason, RECOVERY_DIR};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{self, LIMIT, TestSession};
use crate::rfb::Viewer;

const RED: u32 = 0x00FF_0000;
const CONTROL: u32 = 0xFFE3;
const ALT: u32 = 0xFFE9;

/// A client of the real plug-in, beside the agent.
struct RawLink {
    stream: UnixStream,
    id: u64,
}

impl RawLink {
    fn connect(session: &TestSession) -> Self {
        let stream = UnixStream::connect(session.run.join("gimp-link.sock")).expect("the link listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        Self { stream, id: 0 }
    }

    fn introduced(session: &TestSession) -> Self {
        let mut link = Self::connect(session);
        assert_eq!(link.ask(json!({"do": "hello", "version": VERSION}))["ok"]["version"], VERSION);
        link
    }

    fn send(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("short");
        self.stream.write_all(&length.to_le_bytes()).and_then(|()| self.stream.write_all(bytes)).expect("sends");
    }

    fn receive(&mut self) -> Value {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("an answer");
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.stream.read_exact(&mut bytes).expect("a whole answer");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn ask(&mut self, mut request: Value) -> Value {
        self.id += 1;
        request["id"] = self.id.into();
        self.send(request.to_string().as_bytes());
        let answer = self.receive();
        assert_eq!(answer["id"], self.id);
        answer
    }

    fn ok(&mut self, request: Value) -> Value {
        let mut answer = self.ask(request);
        assert!(answer["error"].is_null(), "{answer}");
        answer["ok"].take()
    }

    fn images(&mut self) -> Vec<Image> {
        serde_json::from_value::<List>(self.ok(json!({"do": "list"}))).expect("a list").images
    }
}

/// Same keys, same kinds of values.
fn same_shape(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.keys().eq(b.keys()) && a.values().zip(b.values()).all(|(a, b)| same_shape(a, b))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b)),
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

pub fn only(status: &AgentStatus) -> Option<&Document> {
    match status.documents.as_deref() {
        Some([document]) => Some(document),
        _ => None,
    }
}

pub async fn wiggle(session: &TestSession) {
    let mut viewer = Viewer::connect(session).await;
    viewer.point(640, 60, 0).await;
    viewer.point(641, 61, 0).await;
    // Asked and answered on the same connection: the display has had them.
    viewer.picture().await;
}

/// Saves the only image as an XCF file of the workspace and returns the file.
async fn save_as(session: &TestSession, name: &str) -> std::path::PathBuf {
    let file = session.home.join(name);
    let path = file.display();
    let script = if session.status().await.gimp_version.is_some_and(|version| version.starts_with('2')) {
        format!(
            "(let* ((image (vector-ref (cadr (gimp-image-list)) 0))
                    (layer (car (gimp-image-get-active-drawable image))))
               (gimp-xcf-save RUN-NONINTERACTIVE image layer \"{path}\" \"{path}\")
               (gimp-image-set-filename image \"{path}\")
               (gimp-image-clean-all image))"
        )
    } else {
        format!(
            "(let* ((image (vector-ref (car (gimp-get-images)) 0)))
               (gimp-xcf-save RUN-NONINTERACTIVE image \"{path}\")
               (gimp-image-set-file image \"{path}\")
               (gimp-image-clean-all image))"
        )
    };
    session.script(&script).await;
    file
}

/// Changes the only image so that nobody sees it.
pub async fn change(session: &TestSession) {
    let images = if session.status().await.gimp_version.is_some_and(|version| version.starts_with('2')) {
        "(cadr (gimp-image-list))"
    } else {
        "(car (gimp-get-images))"
    };
    session.script(&format!("(gimp-image-attach-parasite (vector-ref {images} 0) (list \"test\" 3 \"1\"))")).await;
}

/// The middle row of the red image on the screen: its y, where it begins, where it ends. Docks show it, too, smaller.
fn red_row(picture: &[u32], width: usize) -> (u16, u16, u16) {
    let run = |row: &[u32]| -> Option<(usize, usize)> {
        let from = row.iter().position(|pixel| *pixel == RED)?;
        let length = row[from..].iter().take_while(|pixel| **pixel == RED).count();
        (length > 250).then_some((from, from + length))
    };
    let rows = picture.chunks_exact(width).enumerate();
    let rows: Vec<_> = rows.filter_map(|(y, row)| run(row).map(|(from, to)| (y, from, to))).collect();
    let (y, from, to) = *rows.get(rows.len() / 2).expect("the red image is on the screen");
    let small = |value: usize| u16::try_from(value).expect("on the screen");
    (small(y), small(from), small(to))
}

/// Presses, moves over the red image and, if told to, releases.
async fn stroke(session: &TestSession, viewer: &mut Viewer, release: bool) {
    let display = session.display();
    let (y, left, right) = red_row(&display.picture(), display.size().0.into());
    let (from, to) = (left + (right - left) / 4, right - (right - left) / 4);
    viewer.point(from, y, 0).await;
    for x in (from..to).step_by(6) {
        viewer.point(x, y, 1).await;
    }
    if release {
        viewer.point(to, y, 0).await;
    }
}

/// The only image as it is seen, by way of a file in the run folder.
fn exported(session: &TestSession, name: &str) -> image::RgbImage {
    let mut link = RawLink::introduced(session);
    let (image, file) = (link.images()[0].id, session.run.join(name));
    link.ok(json!({"do": "export", "image": image, "to": file}));
    image::open(&file).expect("a picture").into_rgb8()
}

fn reds(picture: &[u32]) -> usize {
    picture.iter().filter(|pixel| **pixel == RED).count()
}

/// A session that shows a red image, with GIMP's brush ready, and black.
pub async fn red_image() -> TestSession {
    let session = TestSession::ready().await;
    show_red(&session).await;
    session
}

async fn show_red(session: &TestSession) {
    session.paint().await;
    session.script("(gimp-context-set-foreground '(0 0 0))").await;
    session.display().wait_for_picture("the image", |picture| reds(picture) > 30_000).await;
}

/// Closes the window's image and says that its changes may go.
async fn discard(session: &TestSession, viewer: &mut Viewer) {
    let display = session.display();
    viewer.chord(&[CONTROL, u32::from(b'w')]).await;
    display.wait_for_picture("the question whether to save", |_| display.windows().len() == 2).await;
    viewer.chord(&[ALT, u32::from(b'd')]).await;
    display.wait_for_picture("the question go", |_| display.windows().len() == 1).await;
}

#[tokio::test]
async fn the_plug_in_speaks_as_the_golden_messages_do_and_survives_nonsense() {
    let session = red_image().await;
    save_as(&session, "poster.xcf").await;
    change(&session).await;
    let golden: Vec<Value> =
        serde_json::from_str(include_str!("../../../gimp-link/golden/link.json")).expect("golden messages");
    let mut link = RawLink::connect(&session);
    let mut image = 0;
    for mut exchange in golden.into_iter().filter(|exchange| exchange["request"]["do"] != "quit") {
        let mut request = exchange["request"].take();
        if request["image"] == 9 {
            request["image"] = image.into();
        }
        for name in ["to", "from", "file", "by"] {
            if let Some(path) = request[name].as_str() {
                let file = Path::new(path).file_name().expect("a name").to_string_lossy().into_owned();
                let own = ["poster.xcf", "new.xcf", "copy.partial", "copy.xcf"].contains(&file.as_str());
                let folder = if own { &session.home } else { &session.run };
                let file = if file == "copy.xcf" { "copy.partial".to_owned() } else { file };
                request[name] = folder.join(file).to_string_lossy().into_owned().into();
            }
        }
        link.send(request.to_string().as_bytes());
        let answer = link.receive();
        assert!(same_shape(&answer, &exchange["answer"]), "{request}: {answer} is not like {}", exchange["answer"]);
        if !answer["error"].is_null() {
            assert_eq!(answer["error"], exchange["answer"]["error"]);
        }
        if request["do"] == "list" {
            image = answer["ok"]["images"][0]["id"].as_i64().expect("an id");
        }
        if request["do"] == "recover" {
            // What the next golden messages are about is the first.
            assert_ne!(answer["ok"]["image"], image);
        }
    }
    let thumbnail = image::open(session.run.join("small.png")).expect("a thumbnail").into_rgb8();
    assert_eq!((thumbnail.width(), thumbnail.height()), (256, 160));
    assert_eq!(thumbnail.get_pixel(128, 80).0, [255, 0, 0]);
    assert_eq!(image::open(session.run.join("poster.png")).expect("a picture").width(), 320);
    let images = link.images();
    assert_eq!(images.len(), 3, "{images:?}");
    let changed = images.iter().find(|open| open.id == image).expect("the first");
    assert_eq!((changed.layers, changed.dirty), (2, true), "{changed:?}");
    let poster = session.home.join("poster.xcf");
    let own = |image: &&Image| image.file.as_deref() == Some(&format!("file://{}", poster.display()));
    assert_eq!(images.iter().filter(own).count(), 2, "the image, and what was recovered of it: {images:?}");
    assert!(images.iter().all(|image| image.dirty), "what was recovered counts as unsaved: {images:?}");

    let mut stranger = RawLink::connect(&session);
    assert_eq!(stranger.ask(json!({"do": "list"}))["error"]["code"], "noHello");
    assert_eq!(stranger.ask(json!({"do": "hello", "version": 99}))["ok"]["version"], VERSION);
    assert_eq!(stranger.ask(json!({"do": "list"}))["error"]["code"], "noHello");
    for nonsense in ["", "{", "[]", "7", "\"x\"", "{\"id\":1}", "{\"id\":\"a\",\"do\":\"list\"}", "\u{0}", "{}{}"] {
        stranger.send(nonsense.as_bytes());
        assert!(stranger.receive()["error"]["code"].is_string(), "{nonsense:?}");
    }
    stranger.send(&[0xFF, 0xFE, b'{', b'}']);
    assert_eq!(stranger.receive()["error"]["code"], "badRequest");
    stranger.send("[".repeat(500_000).as_bytes());
    assert_eq!(stranger.receive()["error"]["code"], "badRequest");
    for wrong in [
        json!({"do": "explode"}),
        json!({"do": ["list"]}),
        json!({"do": "copy"}),
        json!({"do": "copy", "image": "1", "to": "/tmp/x"}),
        json!({"do": "copy", "image": 1.5, "to": "/tmp/x"}),
        json!({"do": "copy", "image": image, "to": "relative"}),
        json!({"do": "copy", "image": image}),
        json!({"do": "thumbnail", "image": image, "to": "/tmp/x", "size": 100_000}),
        json!({"do": "export", "image": image, "to": "/tmp/x.jpg", "quality": 101}),
        json!({"do": "export", "image": image, "to": "/tmp/x.jpg", "scale": 1.5}),
        json!({"do": "save", "image": image, "to": "relative.xcf", "by": "/tmp/x.xcf"}),
        json!({"do": "save", "image": image, "to": "/tmp/x.xcf"}),
        json!({"do": "recover", "from": null}),
        json!({"do": "recover", "from": "/a", "file": 7}),
    ] {
        let answer = link.ask(wrong.clone());
        assert_eq!(answer["error"]["code"], "badRequest", "{wrong}: {answer}");
    }
    for impossible in
        [json!({"do": "copy", "image": i64::MAX, "to": "/tmp/x"}), json!({"do": "copy", "image": -1, "to": "/tmp/x"})]
    {
        assert_eq!(link.ask(impossible)["error"]["code"], "noImage");
    }
    for failing in [
        json!({"do": "copy", "image": image, "to": "/nowhere/x.xcf"}),
        json!({"do": "export", "image": image, "to": "/nowhere/x.png"}),
        json!({"do": "export", "image": image, "to": session.run.join("x.nonsense")}),
        json!({"do": "save", "image": image, "to": "/nowhere/x.xcf", "by": session.run.join("x.xcf")}),
        json!({"do": "save", "image": image, "to": session.run.join("x.xcf"), "by": "/nowhere/x.xcf"}),
        json!({"do": "layer", "image": image, "from": "/nowhere.png"}),
        json!({"do": "recover", "from": "/etc/passwd"}),
    ] {
        let answer = link.ask(failing.clone());
        assert_eq!(answer["error"]["code"], "failed", "{failing}: {answer}");
    }
    assert!(!session.run.join("x.xcf").exists());
    let taken = json!({"do": "save", "image": image, "to": poster, "by": session.home.join("y.xcf"), "replace": false});
    let before = fs::read(&poster).expect("reads");
    assert_eq!(link.ask(taken)["error"]["code"], "exists");
    assert_eq!((fs::read(&poster).expect("reads"), session.home.join("y.xcf").exists()), (before, false));
    let changed = link.images().into_iter().find(|open| open.id == image).expect("the first");
    assert_eq!((changed.dirty, changed.layers), (true, 2), "as unsaved as before a save that failed");
    stranger.stream.write_all(&(MAX_MESSAGE + 1).to_le_bytes()).expect("sends");
    assert_eq!(stranger.stream.read(&mut [0; 1]).expect("an end"), 0, "hung up on");
    assert_eq!(link.images().len(), 3, "and the others are served");
    let windows = session.display().windows();
    assert_eq!(windows.len(), 1, "no failure is shown to the user: {windows:?}");
}

#[tokio::test]
async fn documents_are_told_copied_after_a_pause_and_let_go_when_saved() {
    let session = TestSession::ready().await;
    session.wait_for(|status| status.documents.as_ref().is_some_and(Vec::is_empty)).await;
    session.paint().await;
    wiggle(&session).await;
    let dirty = session.wait_for(|status| only(status).is_some_and(|document| document.dirty)).await;
    let told = only(&dirty).expect("one").clone();
    assert_eq!((told.name.as_str(), told.file.as_deref()), ("Untitled", None));
    assert_eq!((told.width, told.height, told.layers), (320, 200, 1));
    assert!(told.dirty_since.is_some() && told.copy_failed.is_none());
    let last_input = Instant::now();
    let copied = session.wait_for(|status| only(status).is_some_and(|document| document.last_copied.is_some())).await;
    assert!(last_input.elapsed() > Duration::from_secs(5), "not while the user works");
    let recoveries = session.recoveries();
    let ids: Vec<_> = recoveries.iter().map(|recovery| Some(recovery.id.clone())).collect();
    assert_eq!(ids, [only(&copied).expect("one").recovery.clone()]);

    let file = save_as(&session, "poster.xcf").await;
    wiggle(&session).await;
    let saved = session.wait_for(|status| only(status).is_some_and(|document| !document.dirty)).await;
    let saved = only(&saved).expect("one");
    assert_eq!((saved.id.as_str(), saved.file.as_deref()), (told.id.as_str(), Some("poster.xcf")));
    assert_eq!((&saved.dirty_since, &saved.last_copied, &saved.recovery), (&None, &None, &None));
    assert!(session.recoveries().is_empty(), "nothing is left to recover");
    assert!(file.exists());
}

#[tokio::test]
async fn a_stroke_before_gimp_was_killed_comes_back_and_the_file_is_as_it_was() {
    let mut session = red_image().await;
    let file = save_as(&session, "poster.xcf").await;
    let saved = fs::read(&file).expect("reads");
    let red = reds(&session.display().picture());
    let mut viewer = Viewer::connect(&session).await;
    stroke(&session, &mut viewer, true).await;
    session.display().wait_for_picture("the stroke", |picture| reds(picture) < red - 100).await;
    let copied = session.wait_for(|status| only(status).is_some_and(|document| document.last_copied.is_some())).await;
    assert_eq!(only(&copied).expect("one").file.as_deref(), Some("poster.xcf"));
    let painted = exported(&session, "painted.png");

    session.kill(Supervised::Gimp, Signal::KILL);
    session.wait_for(|status| !status.restarts.is_empty() && status.phase == AgentPhase::Running).await;
    let recoveries = session.recoveries();
    assert_eq!(recoveries.len(), 1, "{recoveries:?}");
    assert_eq!((recoveries[0].name.as_str(), recoveries[0].original.as_deref()), ("poster.xcf", Some("poster.xcf")));
    assert_eq!(fs::read(&file).expect("reads"), saved, "the user's file is untouched");

    let path = format!("{RECOVERY_DIR}/{}.xcf", recoveries[0].id);
    let (code, _) = session.call(Method::POST, OPEN_PATH, Some(json!({"path": path, "asNew": true}))).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    let opened = session.wait_for(|status| only(status).is_some_and(|document| document.dirty)).await;
    let opened = only(&opened).expect("one");
    assert_eq!((opened.name.as_str(), opened.file.as_deref()), ("poster.xcf", Some("poster.xcf")));
    assert_eq!(opened.recovery.as_deref(), Some(recoveries[0].id.as_str()), "the copy is that of the document now");
    let seen = exported(&session, "seen.png");
    assert!(seen.pixels().filter(|pixel| pixel.0 != [255, 0, 0]).count() > 1000, "the stroke is in it");
    assert_eq!(seen.get_pixel(5, 5).0, [255, 0, 0]);
    assert!(seen == painted, "every pixel is as it was before GIMP was killed");
    assert_eq!(fs::read(&file).expect("reads"), saved, "the user's file is untouched");

    session.end(EndReason::User).await;
    assert_eq!(session.recoveries().len(), 1, "the copy at the end takes the place of the one before");
}

#[tokio::test]
async fn the_link_answers_in_a_stroke_and_beside_a_modal_dialog() {
    let session = red_image().await;
    let mut link = RawLink::introduced(&session);
    let image = link.images()[0].id;
    let mut viewer = Viewer::connect(&session).await;
    let mut all = |moment: &str| {
        let began = Instant::now();
        let images = link.images();
        assert!(began.elapsed() < Duration::from_secs(5), "{moment}: {:?}", began.elapsed());
        assert_eq!(images.len(), 1, "{moment}");
        let [copy, small] = ["copy.xcf", "small.png"].map(|name| session.run.join(name));
        link.ok(json!({"do": "copy", "image": image, "to": copy}));
        link.ok(json!({"do": "thumbnail", "image": image, "to": small, "size": 64}));
        assert!(fs::read(&copy).expect("reads").starts_with(b"gimp xcf "), "{moment}");
        assert_eq!(image::open(&small).expect("a thumbnail").width(), 64, "{moment}");
        let after = link.images().remove(0);
        assert_eq!((after.dirty, after.file, after.name.as_str()), (true, None, images[0].name.as_str()), "{moment}");
        for file in [copy, small] {
            fs::remove_file(file).expect("removes");
        }
    };
    all("idle");
    stroke(&session, &mut viewer, false).await;
    all("in a stroke");
    viewer.point(640, 400, 0).await;
    viewer.chord(&[CONTROL, u32::from(b'q')]).await;
    let display = session.display();
    display.wait_for_picture("the dialog that asks whether to quit", |_| display.windows().len() == 2).await;
    all("beside a dialog");
}

#[tokio::test]
async fn a_killed_link_comes_back_and_another_agent_knows_the_copies() {
    let session = red_image().await;
    let mut viewer = Viewer::connect(&session).await;
    stroke(&session, &mut viewer, true).await;
    let copied = session.wait_for(|status| only(status).is_some_and(|document| document.last_copied.is_some())).await;
    let first = only(&copied).expect("one").clone();

    let mut link = RawLink::connect(&session);
    let hello = link.ok(json!({"do": "hello", "version": VERSION}));
    let hello: Hello = serde_json::from_value(hello).expect("a hello");
    let (_, gimp) = session.processes().into_iter().find(|(what, _)| *what == Supervised::Gimp).expect("GIMP runs");
    assert_eq!(hello.process, gimp);
    let children = fs::read_to_string(format!("/proc/{gimp}/task/{gimp}/children")).expect("children");
    let plug_in = children.split_whitespace().map(|pid| pid.parse().expect("a pid"));
    let mut plug_in = plug_in.filter(|pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == gimp_link::FILE_NAME)
    });
    let plug_in = harness::pid_of(plug_in.next().expect("the plug-in runs"));
    kill_process(plug_in, Signal::KILL).expect("kills");
    harness::gone(plug_in).await;
    // GIMP's message about it lies over the image.
    change(&session).await;
    wiggle(&session).await;
    let again = session
        .wait_for(|status| only(status).is_some_and(|document| document.recovery != first.recovery && document.dirty))
        .await;
    assert_eq!(only(&again).expect("one").id, first.id);
    assert_eq!(session.recoveries().len(), 1, "the older copy is replaced");

    let killed = session.agent_pid();
    kill_process(killed, Signal::KILL).expect("kills");
    harness::gone(killed).await;
    let known = session.wait_for(|status| only(status).is_some()).await;
    assert_eq!(only(&known), only(&again), "with the same copy, and unsaved since the same time");
}

#[tokio::test]
async fn only_the_image_in_sight_is_copied_again_and_one_that_was_discarded_has_no_copy_left() {
    let session = red_image().await;
    wiggle(&session).await;
    let status = session.wait_for(|status| only(status).is_some_and(|document| document.dirty)).await;
    let first = only(&status).expect("one").id.clone();
    let display = session.display();
    let title = display.windows()[0].title.clone();
    show_red(&session).await;
    display.wait_for_picture("the second image", |_| display.windows()[0].title != title).await;
    let mut viewer = Viewer::connect(&session).await;
    stroke(&session, &mut viewer, true).await;
    let all_copied = |status: &AgentStatus| {
        let documents = status.documents.as_deref().unwrap_or_default();
        documents.len() == 2 && documents.iter().all(|document| document.last_copied.is_some())
    };
    let before = session.wait_for(all_copied).await.documents.expect("documents");
    let copy_of = |documents: &[Document], id: &str| {
        let found = documents.iter().find(|document| document.id == id).expect("is open");
        found.recovery.clone().expect("a copy")
    };
    let second = before.iter().find(|document| document.id != first).expect("two").id.clone();

    // Until the title that the first input may have been for is a thing of the past.
    wiggle(&session).await;
    let recopied = |of: &str, before: &[Document]| {
        let (of, old) = (of.to_owned(), copy_of(before, of));
        move |status: &AgentStatus| {
            let documents = status.documents.as_deref().unwrap_or_default();
            documents.iter().any(|document| document.id == of && document.recovery.as_deref() != Some(&old))
        }
    };
    let before = session.wait_for(recopied(&second, &before)).await.documents.expect("documents");
    stroke(&session, &mut viewer, true).await;
    let after = session.wait_for(recopied(&second, &before)).await.documents.expect("documents");
    assert_eq!(copy_of(&after, &first), copy_of(&before, &first), "nobody has seen it");

    let gone = copy_of(&after, &second);
    discard(&session, &mut viewer).await;
    session.wait_for(|status| only(status).is_some_and(|document| document.id == first)).await;
    // The other one, now in sight, keeps its copy or has just got another.
    let left = || -> Vec<String> {
        let entries = fs::read_dir(session.home.join(RECOVERY_DIR)).expect("the store").flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".xcf")).collect()
    };
    let gone = format!("{gone}.xcf");
    display.wait_for_picture("the discarded copy go", |_| left().len() == 1 && !left().contains(&gone)).await;
}

#[tokio::test]
async fn an_imported_picture_comes_back_under_its_name_and_not_as_its_file() {
    let session = TestSession::ready().await;
    let photo = session.home.join("photo.png");
    image::RgbImage::from_pixel(320, 200, image::Rgb([255, 0, 0])).save(&photo).expect("writes");
    let picture = fs::read(&photo).expect("reads");
    let (code, _) = session.call(Method::POST, OPEN_PATH, Some(json!({"path": "photo.png", "asNew": false}))).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    session.wait_for(|status| only(status).is_some_and(|document| !document.dirty)).await;
    change(&session).await;
    wiggle(&session).await;
    session.wait_for(|status| only(status).is_some_and(|document| document.last_copied.is_some())).await;

    session.kill(Supervised::Gimp, Signal::KILL);
    session.wait_for(|status| !status.restarts.is_empty() && status.phase == AgentPhase::Running).await;
    let recoveries = session.recoveries();
    assert_eq!(recoveries[0].original.as_deref(), Some("photo.png"));
    let path = format!("{RECOVERY_DIR}/{}.xcf", recoveries[0].id);
    let (code, _) = session.call(Method::POST, OPEN_PATH, Some(json!({"path": path, "asNew": true}))).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    let opened = session.wait_for(|status| only(status).is_some_and(|document| document.dirty)).await;
    let opened = only(&opened).expect("one");
    assert_eq!((opened.name.as_str(), opened.file.as_deref()), ("photo.xcf", Some("photo.xcf")));
    assert!(!session.home.join("photo.xcf").exists(), "until it is saved");
    assert_eq!(fs::read(&photo).expect("reads"), picture);
}

#[tokio::test]
async fn a_copy_that_cannot_be_written_is_told_at_once() {
    let session = TestSession::ready().await;
    session.wait_for(|status| status.documents.is_some()).await;
    let store = session.home.join(RECOVERY_DIR);
    fs::remove_dir_all(&store).expect("removes");
    fs::write(&store, "in the way").expect("writes");
    session.paint().await;
    wiggle(&session).await;
    let failed = session.wait_for(|status| only(status).is_some_and(|document| document.copy_failed.is_some())).await;
    assert_eq!(only(&failed).expect("one").last_copied, None);
    fs::remove_file(&store).expect("removes");
    let copied = session.wait_for(|status| only(status).is_some_and(|document| document.last_copied.is_some())).await;
    assert_eq!(only(&copied).expect("one").copy_failed, None);
}
