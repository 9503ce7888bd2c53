//! Documents on their way out of GIMP and files on their way in: saved, exported, shown small, put on top.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use protocol::agent::{EXPORT_PATH, LAYER_PATH, SAVE_PATH, Supervised, THUMBNAIL_PATH, WRITES_PATH};
use protocol::session::{EXPORT_DIR, EndReason};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::documents::{change, only, red_image, wiggle};
use crate::harness::TestSession;
use crate::rfb::Viewer;

const CONTROL: u32 = 0xFFE3;
const ESCAPE: u32 = 0xFF1B;

async fn ask(session: &TestSession, path: &str, body: Value) -> (StatusCode, Value) {
    session.call(Method::POST, path, Some(body)).await
}

/// Status and code of a refusal.
async fn refusal(session: &TestSession, path: &str, body: Value) -> (u16, String) {
    let (status, problem) = ask(session, path, body).await;
    (status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned())
}

async fn export(session: &TestSession, wish: Value) -> Bytes {
    let (status, bytes) = session.bytes(Method::POST, EXPORT_PATH, Some(wish)).await;
    assert_eq!(status, StatusCode::OK, "{}; log:\n{}", String::from_utf8_lossy(&bytes), session.log());
    bytes
}

fn pixels(bytes: &[u8]) -> image::RgbaImage {
    image::load_from_memory(bytes).expect("a picture").into_rgba8()
}

/// The id of the only document, once GIMP has told of it.
async fn the_document(session: &TestSession) -> String {
    wiggle(session).await;
    let status = session.wait_for(|status| only(status).is_some()).await;
    only(&status).expect("one").id.clone()
}

fn is_red(pixel: image::Rgba<u8>) -> bool {
    let image::Rgba([red, green, blue, alpha]) = pixel;
    red > 250 && green < 5 && blue < 5 && alpha == 255
}

fn leftovers(session: &TestSession) -> usize {
    fs::read_dir(session.home.join(EXPORT_DIR)).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_document_is_saved_under_a_name_and_then_as_itself() {
    let session = red_image().await;
    let document = the_document(&session).await;
    let without_name = json!({"document": document});
    assert_eq!(refusal(&session, SAVE_PATH, without_name.clone()).await, (422, "document.noFile".into()));
    for (path, code) in [
        ("poster.png", "files.invalidPath"),
        ("../poster.xcf", "files.invalidPath"),
        ("/tmp/poster.xcf", "files.invalidPath"),
        ("art/poster.xcf", "files.noFolder"),
    ] {
        let wish = json!({"document": document, "path": path});
        assert_eq!(refusal(&session, SAVE_PATH, wish).await.1, code, "{path}");
    }
    let gone = json!({"document": "1-1", "path": "a.xcf"});
    assert_eq!(refusal(&session, SAVE_PATH, gone).await, (404, "document.notFound".into()));
    assert!(only(&session.status().await).expect("one").dirty, "nothing of that has saved it");

    fs::create_dir(session.home.join("art")).expect("creates");
    let wish = json!({"document": document, "path": "art/poster.xcf"});
    let (status, written) = ask(&session, SAVE_PATH, wish.clone()).await;
    let file = session.home.join("art/poster.xcf");
    let size = fs::metadata(&file).expect("a file").len();
    assert_eq!((status, written), (StatusCode::OK, json!({"path": "art/poster.xcf", "size": size})));
    assert!(fs::read(&file).expect("reads").starts_with(b"gimp xcf "));
    let saved = session.status().await;
    let saved = only(&saved).expect("one");
    assert_eq!((saved.dirty, saved.file.as_deref()), (false, Some("art/poster.xcf")), "known with the answer");
    assert_eq!(refusal(&session, SAVE_PATH, wish).await, (409, "files.exists".into()));

    change(&session).await;
    wiggle(&session).await;
    session.wait_for(|status| only(status).is_some_and(|document| document.dirty)).await;
    let before = fs::metadata(&file).and_then(|file| file.modified()).expect("a time");
    let (status, written) = ask(&session, SAVE_PATH, without_name).await;
    assert_eq!((status, &written["path"]), (StatusCode::OK, &json!("art/poster.xcf")));
    assert!(fs::metadata(&file).and_then(|file| file.modified()).expect("a time") > before);
    assert!(!only(&session.status().await).expect("one").dirty);
    assert!(session.recoveries().is_empty());
    assert_eq!(session.display().windows().len(), 1, "no failure is shown in GIMP");
}

#[tokio::test]
async fn what_is_seen_comes_out_in_every_format_quality_and_size() {
    let session = red_image().await;
    let document = the_document(&session).await;
    let picture = pixels(&export(&session, json!({"document": document, "format": "png"})).await);
    assert_eq!(picture.dimensions(), (320, 200));
    assert!(picture.pixels().all(|pixel| is_red(*pixel)));
    for format in ["webp", "tiff", "jpeg"] {
        let picture = pixels(&export(&session, json!({"document": document, "format": format})).await);
        assert_eq!(picture.dimensions(), (320, 200), "{format}");
        assert!(is_red(*picture.get_pixel(160, 100)), "{format}: {:?}", picture.get_pixel(160, 100));
    }
    let small = export(&session, json!({"document": document, "format": "png", "scale": 25})).await;
    assert_eq!(pixels(&small).dimensions(), (80, 50));
    let xcf = export(&session, json!({"document": document, "format": "xcf"})).await;
    assert!(xcf.starts_with(b"gimp xcf "));
    let bad = [json!({"quality": 0}), json!({"quality": 101}), json!({"scale": 0}), json!({"scale": 201})];
    for mut wish in bad {
        wish["document"] = json!(document);
        wish["format"] = json!("jpeg");
        assert_eq!(refusal(&session, EXPORT_PATH, wish).await, (422, "body.invalid".into()));
    }

    // A hidden layer, and one that is half transparent, over noise.
    let three = session.status().await.gimp_version.is_some_and(|version| version.starts_with('3'));
    let (image, new_layer) = if three {
        (
            "(vector-ref (car (gimp-get-images)) 0)",
            "(gimp-layer-new image name 320 200 RGBA-IMAGE opacity LAYER-MODE-NORMAL)",
        )
    } else {
        (
            "(vector-ref (cadr (gimp-image-list)) 0)",
            "(gimp-layer-new image 320 200 RGBA-IMAGE name opacity LAYER-MODE-NORMAL)",
        )
    };
    session
        .script(&format!(
            "(let* ((image {image})
                    (add (lambda (name opacity colour)
                           (let ((layer (car {new_layer})))
                             (gimp-image-insert-layer image layer 0 0)
                             (gimp-context-set-foreground colour)
                             (gimp-drawable-fill layer FILL-FOREGROUND)
                             layer))))
               (add \"half\" 50 '(0 0 255))
               (gimp-item-set-visible (add \"hidden\" 100 '(0 255 0)) FALSE))"
        ))
        .await;
    for format in ["png", "jpeg", "webp", "tiff"] {
        let picture = pixels(&export(&session, json!({"document": document, "format": format})).await);
        let image::Rgba([red, green, blue, alpha]) = *picture.get_pixel(160, 100);
        assert!((100..200).contains(&red) && (100..200).contains(&blue), "{format}: {red} {green} {blue}");
        assert!(green < 10 && alpha == 255, "{format}: {green} {alpha}");
    }
    let (top, noise) = if three {
        (
            format!("(vector-ref (car (gimp-image-get-layers {image})) 0)"),
            "(gimp-drawable-merge-new-filter top \"gegl:noise-rgb\" 0 LAYER-MODE-REPLACE 1.0 \"correlated\" FALSE
               \"independent\" FALSE \"red\" 0.9 \"green\" 0.9 \"blue\" 0.9 \"alpha\" 0.0)"
                .to_owned(),
        )
    } else {
        (
            format!("(car (gimp-image-get-active-layer {image}))"),
            format!("(plug-in-rgb-noise RUN-NONINTERACTIVE {image} top FALSE FALSE 0.9 0.9 0.9 0)"),
        )
    };
    session.script(&format!("(let ((top {top})) {noise} (gimp-item-set-visible top TRUE))")).await;
    let coarse = export(&session, json!({"document": document, "format": "jpeg", "quality": 10})).await;
    let fine = export(&session, json!({"document": document, "format": "jpeg", "quality": 95})).await;
    assert!(coarse.len() * 2 < fine.len(), "{} and {}", coarse.len(), fine.len());
    let told = session.status().await;
    let told = only(&told).expect("its copies are not told of");
    assert_eq!((told.dirty, told.layers), (true, 3), "it is as it was");
    assert_eq!(leftovers(&session), 0);
}

#[tokio::test]
async fn exports_go_to_the_workspace_or_out_also_when_it_has_no_room() {
    let session = red_image().await;
    let document = the_document(&session).await;
    let wish =
        |path: &str, replace: bool| json!({"document": document, "format": "png", "path": path, "replace": replace});
    let (status, written) = ask(&session, EXPORT_PATH, wish("red.png", false)).await;
    let file = session.home.join("red.png");
    let size = fs::metadata(&file).expect("a file").len();
    assert_eq!((status, written), (StatusCode::OK, json!({"path": "red.png", "size": size})));
    assert!(is_red(*pixels(&fs::read(&file).expect("reads")).get_pixel(1, 1)));
    assert_eq!(refusal(&session, EXPORT_PATH, wish("red.png", false)).await, (409, "files.exists".into()));
    assert_eq!(refusal(&session, EXPORT_PATH, wish("red.jpg", false)).await.1, "files.invalidPath");
    assert_eq!(refusal(&session, EXPORT_PATH, wish("a/red.png", false)).await.1, "files.noFolder");
    fs::write(&file, "mine").expect("writes");
    let (status, _) = ask(&session, EXPORT_PATH, wish("red.png", true)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(fs::metadata(&file).expect("a file").len(), size);
    assert_eq!(leftovers(&session), 0);

    // As if nothing could be written there.
    let exports = session.home.join(EXPORT_DIR);
    fs::remove_dir(&exports).expect("removes");
    fs::write(&exports, "in the way").expect("writes");
    assert_eq!(refusal(&session, EXPORT_PATH, wish("more.png", false)).await, (422, "gimp.failed".into()));
    let out = export(&session, json!({"document": document, "format": "png"})).await;
    assert!(is_red(*pixels(&out).get_pixel(1, 1)));

    let thumbnail = json!({"document": document, "size": 64});
    let (status, bytes) = session.bytes(Method::POST, THUMBNAIL_PATH, Some(thumbnail)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(pixels(&bytes).dimensions(), (64, 40));
    assert_eq!(refusal(&session, THUMBNAIL_PATH, json!({"document": document, "size": 9})).await.1, "body.invalid");
    let gone = json!({"document": "no such", "size": 64});
    assert_eq!(refusal(&session, THUMBNAIL_PATH, gone).await, (404, "document.notFound".into()));

    let layer = |path: &str| json!({"path": path, "document": null});
    assert_eq!(refusal(&session, LAYER_PATH, layer("nothing.png")).await, (404, "files.notFound".into()));
    fs::write(session.home.join("broken.png"), "no picture").expect("writes");
    assert_eq!(refusal(&session, LAYER_PATH, layer("broken.png")).await, (422, "gimp.failed".into()));
    let (status, _) = ask(&session, LAYER_PATH, layer("red.png")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let told = session.status().await;
    assert_eq!(only(&told).map(|document| document.layers), Some(2));
    assert_eq!(session.display().windows().len(), 1, "no failure is shown in GIMP");
}

#[tokio::test]
async fn an_open_dialog_is_not_in_the_way_and_a_gimp_that_hangs_is_called_busy() {
    let mut session = red_image().await;
    let document = the_document(&session).await;
    let mut viewer = Viewer::connect(&session).await;
    viewer.chord(&[CONTROL, u32::from(b'n')]).await;
    let display = session.display();
    display.wait_for_picture("the dialog for a new image", |_| display.windows().len() == 2).await;
    let wish = json!({"document": document, "format": "png"});
    assert!(is_red(*pixels(&export(&session, wish.clone()).await).get_pixel(1, 1)));
    let (status, _) = ask(&session, SAVE_PATH, json!({"document": document, "path": "red.xcf"})).await;
    assert_eq!(status, StatusCode::OK);
    // GIMP 3 gives the focus to the image's window when it exports: a click on the dialog brings it back.
    let dialog = display.windows().into_iter().find(|window| window.role == "gimp-image-new").expect("the dialog");
    let inside = |place: i16| u16::try_from(place + 4).expect("on the screen");
    for buttons in [0, 1, 0] {
        viewer.point(inside(dialog.x), inside(dialog.y), buttons).await;
    }
    display.wait_for_picture("the dialog in use", |_| display.active() == dialog.title).await;
    viewer.chord(&[ESCAPE]).await;
    display.wait_for_picture("the dialog go", |_| display.windows().len() == 1).await;

    change(&session).await;
    session.kill(Supervised::Gimp, Signal::STOP);
    let saving = json!({"document": document});
    assert_eq!(refusal(&session, EXPORT_PATH, wish.clone()).await, (503, "gimp.busy".into()));
    session.kill(Supervised::Gimp, Signal::CONT);
    let (status, _) = ask(&session, SAVE_PATH, saving).await;
    assert_eq!(status, StatusCode::OK);
    assert!(is_red(*pixels(&export(&session, wish).await).get_pixel(1, 1)));
    assert!(session.end(EndReason::User).await.success());
    assert!(session.recoveries().is_empty(), "all was saved");
}

/// An export of some seconds must not cost the copies of an end.
#[tokio::test]
async fn an_end_does_not_wait_for_an_export() {
    let mut session = red_image().await;
    let document = the_document(&session).await;
    let size = if session.status().await.gimp_version.is_some_and(|version| version.starts_with('3')) {
        "(vector-ref (car (gimp-get-images)) 0)"
    } else {
        "(vector-ref (cadr (gimp-image-list)) 0)"
    };
    session.script(&format!("(gimp-image-scale {size} 9000 7000)")).await;
    let exporting = session.bytes(Method::POST, EXPORT_PATH, Some(json!({"document": document, "format": "png"})));
    let ending = async {
        // Not before the export has begun.
        while leftovers(&session) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // On a slow machine there was a pause before.
        let before = session.recoveries();
        let end = Some(json!({"reason": EndReason::User}));
        (session.call(Method::POST, protocol::agent::END_PATH, end).await, before)
    };
    let ((exported, _), ((ended, _), before)) = tokio::join!(exporting, ending);
    assert_eq!(ended, StatusCode::ACCEPTED);
    assert_ne!(exported, StatusCode::OK, "it was under way when the end was asked for");
    assert!(session.exited().await.success(), "log:\n{}", session.log());
    let mut recoveries = session.recoveries();
    recoveries.retain(|recovery| !before.contains(recovery));
    assert_eq!(recoveries.len(), 1, "no copy of GIMP's own copy: {recoveries:?}");
    assert!(recoveries[0].size > 0, "{recoveries:?}");
}

/// Undoes once, as with Ctrl+Z.
async fn undo(session: &TestSession) {
    let mut viewer = Viewer::connect(session).await;
    viewer.point(640, 60, 0).await;
    viewer.chord(&[CONTROL, u32::from(b'z')]).await;
    viewer.picture().await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}

#[tokio::test]
async fn a_save_that_fails_harms_no_file_and_no_undo_makes_it_a_saved_one() {
    let mut session = red_image().await;
    let document = the_document(&session).await;
    let own = json!({"document": document});
    let (status, _) = ask(&session, SAVE_PATH, json!({"document": document, "path": "red.xcf.gz"})).await;
    assert_eq!(status, StatusCode::OK, "log:\n{}", session.log());
    let file = session.home.join("red.xcf.gz");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("sets");
    let saved = fs::read(&file).expect("reads");
    assert!(saved.starts_with(&[0x1F, 0x8B]), "as its name says");
    change(&session).await;

    let (code, _) = session.call(Method::PUT, WRITES_PATH, Some(json!({"allowed": false}))).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    assert_eq!(refusal(&session, SAVE_PATH, own.clone()).await, (422, "gimp.failed".into()));
    assert_eq!(fs::read(&file).expect("reads"), saved, "the last good one");
    let another = json!({"document": document, "path": "another.xcf"});
    assert_eq!(refusal(&session, SAVE_PATH, another).await, (422, "gimp.failed".into()));
    assert!(!session.home.join("another.xcf").exists());
    assert_eq!(leftovers(&session), 0);
    session.call(Method::PUT, WRITES_PATH, Some(json!({"allowed": true}))).await;

    // Written, and not moved, as if another program had put it there meanwhile.
    fs::remove_file(&file).expect("removes");
    fs::create_dir_all(file.join("full")).expect("creates");
    assert_eq!(refusal(&session, SAVE_PATH, own.clone()).await, (422, "gimp.failed".into()));
    assert_eq!(leftovers(&session), 0);
    undo(&session).await;
    wiggle(&session).await;
    let status = session.wait_for(|status| only(status).is_some_and(|document| document.last_copied.is_some())).await;
    assert!(only(&status).expect("one").dirty);

    fs::remove_dir_all(&file).expect("removes");
    fs::write(&file, saved).expect("writes");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("sets");
    let (status, _) = ask(&session, SAVE_PATH, own).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!only(&session.status().await).expect("one").dirty);
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o640, "as it was");
    assert!(session.end(EndReason::User).await.success());
    assert!(session.recoveries().is_empty());
}

#[tokio::test]
async fn of_two_saves_under_one_name_the_first_stays() {
    let session = red_image().await;
    let document = the_document(&session).await;
    let wish = json!({"document": document, "path": "red.xcf"});
    let (first, second) =
        tokio::join!(ask(&session, SAVE_PATH, wish.clone()), async { ask(&session, SAVE_PATH, wish.clone()).await });
    let mut codes = [first.0.as_u16(), second.0.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409]);
    let replacing = json!({"document": document, "path": "red.xcf", "replace": true});
    assert_eq!(ask(&session, SAVE_PATH, replacing).await.0, StatusCode::OK);
    assert_eq!(leftovers(&session), 0);
}

/// The image being saved is not lost with the save.
#[tokio::test]
async fn an_end_in_a_save_keeps_the_image() {
    let mut session = red_image().await;
    let document = the_document(&session).await;
    let image = if session.status().await.gimp_version.is_some_and(|version| version.starts_with('3')) {
        "(vector-ref (car (gimp-get-images)) 0)"
    } else {
        "(vector-ref (cadr (gimp-image-list)) 0)"
    };
    session.script(&format!("(gimp-image-scale {image} 9000 7000)")).await;
    let wish = json!({"document": document, "path": "red.xcf.xz"});
    let saving = ask(&session, SAVE_PATH, wish);
    let ending = async {
        while leftovers(&session) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        session.call(Method::POST, protocol::agent::END_PATH, Some(json!({"reason": EndReason::User}))).await
    };
    let ((saved, _), (ended, _)) = tokio::join!(saving, ending);
    assert_eq!(ended, StatusCode::ACCEPTED);
    assert_ne!(saved, StatusCode::OK, "it was under way when the end was asked for");
    assert!(session.exited().await.success(), "log:\n{}", session.log());
    let kept = session.recoveries().iter().any(|recovery| recovery.size > 0);
    assert!(kept || session.home.join("red.xcf.xz").exists(), "log:\n{}", session.log());
}

#[tokio::test]
async fn downloads_at_once_are_bounded() {
    let session = red_image().await;
    let document = the_document(&session).await;
    let wish = json!({"document": document, "format": "xcf"});
    let (first, second, third) = tokio::join!(
        session.bytes(Method::POST, EXPORT_PATH, Some(wish.clone())),
        session.bytes(Method::POST, EXPORT_PATH, Some(wish.clone())),
        session.bytes(Method::POST, EXPORT_PATH, Some(wish.clone())),
    );
    let mut codes = [first.0.as_u16(), second.0.as_u16(), third.0.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 200, 503]);
    assert_eq!(session.bytes(Method::POST, EXPORT_PATH, Some(wish)).await.0, StatusCode::OK, "room again");
}
