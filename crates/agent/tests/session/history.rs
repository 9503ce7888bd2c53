//! Versions of what GIMP saves and exports, however it is told to.

use std::fs;
use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use protocol::agent::{EXPORT_PATH, SAVE_PATH};
use protocol::session::{EndReason, FileVersion, HISTORY_DIR, VersionKind};
use serde_json::{Value, json};

use crate::documents::{change, only, red_image, wiggle};
use crate::harness::{LIMIT, TestSession};
use crate::rfb::Viewer;

const CONTROL: u32 = 0xFFE3;

fn store(session: &TestSession) -> PathBuf {
    session.home.join(HISTORY_DIR)
}

/// Oldest first.
fn versions(session: &TestSession) -> Vec<FileVersion> {
    let Ok(entries) = fs::read_dir(store(session).join("versions")) else { return vec![] };
    let files = entries.map(|entry| entry.expect("entry").path());
    let mut found: Vec<FileVersion> = files
        .filter(|file| file.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|file| Some(serde_json::from_slice(&fs::read(file).ok()?).expect("a description")))
        .collect();
    found.sort_by(|a: &FileVersion, b| a.id.cmp(&b.id));
    found
}

async fn wait_for_versions(session: &TestSession, count: usize) -> Vec<FileVersion> {
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let found = versions(session);
        if found.len() >= count {
            assert_eq!(found.len(), count, "{found:?}");
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "{found:?}; log:\n{}", session.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn object(session: &TestSession, version: &FileVersion) -> Vec<u8> {
    fs::read(store(session).join("objects").join(&version.sha256)).expect("its bytes")
}

async fn ask(session: &TestSession, path: &str, body: Value) {
    let (status, answer) = session.call(Method::POST, path, Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test]
async fn each_save_and_export_is_a_version_and_the_same_content_is_one() {
    let mut session = red_image().await;
    let mut viewer = Viewer::connect(&session).await;
    wiggle(&session).await;
    let status = session.wait_for(|status| only(status).is_some()).await;
    let document = only(&status).expect("one").id.clone();

    // By the platform.
    ask(&session, SAVE_PATH, json!({"document": document, "path": "cat.xcf"})).await;
    let file = session.home.join("cat.xcf");
    let first = wait_for_versions(&session, 1).await.remove(0);
    let saved = fs::read(&file).expect("reads");
    assert_eq!((first.path.as_str(), first.kind, first.size), ("cat.xcf", VersionKind::Save, saved.len() as u64));
    assert!(first.session_id.is_some());
    assert_eq!(object(&session, &first), saved);
    let picture = fs::read(store(&session).join("pictures").join(format!("{}.png", first.sha256)));
    let picture = image::load_from_memory(&picture.expect("a picture")).expect("PNG").into_rgba8();
    assert_eq!(*picture.get_pixel(picture.width() / 2, picture.height() / 2), image::Rgba([255, 0, 0, 255]));

    // By hand: Ctrl+S.
    change(&session).await;
    wiggle(&session).await;
    session.wait_for(|status| only(status).is_some_and(|document| document.dirty)).await;
    viewer.point(640, 400, 0).await;
    viewer.chord(&[CONTROL, u32::from(b's')]).await;
    let second = wait_for_versions(&session, 2).await.remove(1);
    assert_eq!(object(&session, &second), fs::read(&file).expect("reads"));
    assert_ne!(second.sha256, first.sha256);
    assert_eq!(object(&session, &first), saved, "the first is as it was");

    // The same content twice, and another file after it.
    ask(&session, SAVE_PATH, json!({"document": document})).await;
    let wish = json!({"document": document, "format": "png", "path": "cat.png"});
    ask(&session, EXPORT_PATH, wish.clone()).await;
    let third = wait_for_versions(&session, 3).await.remove(2);
    assert_eq!((third.path.as_str(), third.kind), ("cat.png", VersionKind::Export));
    assert_eq!(object(&session, &third), fs::read(session.home.join("cat.png")).expect("reads"));

    // By a script, in the same place.
    save_over(&session, &file).await;
    let fourth = wait_for_versions(&session, 4).await.remove(3);
    assert_eq!((fourth.path.as_str(), fourth.kind), ("cat.xcf", VersionKind::Save));
    assert_eq!(object(&session, &fourth), fs::read(&file).expect("reads"));

    assert!(session.end(EndReason::User).await.success());
    assert_eq!((versions(&session).len(), count(&store(&session).join("partial"))), (4, 0));
    assert_eq!(count(&store(&session).join("objects")), 4);
}

/// Changes the image and saves it as a plug-in does: GIMP does not take it for the image's save.
async fn save_over(session: &TestSession, file: &Path) {
    let file = file.display();
    let script = if session.status().await.gimp_version.is_some_and(|version| version.starts_with('2')) {
        format!(
            "(let* ((image (vector-ref (cadr (gimp-image-list)) 0)))
               (gimp-image-attach-parasite image (list \"another\" 3 \"2\"))
               (gimp-xcf-save RUN-NONINTERACTIVE image (car (gimp-image-get-active-drawable image)) \"{file}\" \"{file}\"))"
        )
    } else {
        format!(
            "(let* ((image (vector-ref (car (gimp-get-images)) 0)))
               (gimp-image-attach-parasite image (list \"another\" 3 \"2\"))
               (gimp-xcf-save RUN-NONINTERACTIVE image \"{file}\"))"
        )
    };
    session.script(&script).await;
}
