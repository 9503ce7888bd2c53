use axum::body::{Body, Bytes};
use futures::StreamExt;
use serde_json::json;

use super::Fixture;

#[tokio::test]
async fn a_file_arrives_in_parts() {
    let mut fixture = Fixture::new().await;
    let id = fixture.begun("big.png", 10).await;
    let part = fixture.part(&id, 0, "0123").await;
    part.expect(204);
    assert_eq!(part.header("upload-offset"), Some("4"));
    assert_eq!(fixture.names("").await, [""; 0]);
    let progress = fixture.progress(&id).await;
    assert_eq!(
        (progress.status(), progress.header("upload-offset"), progress.header("upload-length")),
        (200, Some("4"), Some("10"))
    );
    let problem = fixture.part(&id, 3, "3456").await.expect_problem(409, "uploads.offset");
    assert_eq!(problem["offset"], 4);
    let problem = fixture.part(&id, 9, "9").await.expect_problem(409, "uploads.offset");
    assert_eq!(problem["offset"], 4);
    let entry = fixture.part(&id, 4, "456789").await.expect(201);
    assert_eq!(
        (&entry["path"], &entry["size"], &entry["mediaType"]),
        (&json!("big.png"), &json!(10), &json!("image/png"))
    );
    assert_eq!(fixture.get("big.png").await.text(), "0123456789");
    assert_eq!(fixture.progress(&id).await.status(), 404);
    assert_eq!(std::fs::read_dir(fixture.home.join(".gimp-platform/uploads")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_empty_file_needs_one_part_too() {
    let mut fixture = Fixture::new().await;
    let entry = fixture.upload("empty", b"").await;
    assert_eq!(entry["size"], 0);
    assert_eq!(fixture.get("empty").await.body.len(), 0);
}

#[tokio::test]
async fn an_upload_needs_a_free_name_in_an_existing_folder() {
    let mut fixture = Fixture::new().await;
    fixture.upload("a", b"old").await;
    fixture.begin("a", 1, false).await.expect_problem(409, "files.exists");
    fixture.begin("missing/a", 1, false).await.expect_problem(404, "files.noFolder");
    fixture.begin("a/b", 1, false).await.expect_problem(404, "files.noFolder");
    // Taken after it began: what has arrived is kept until the name is free.
    let id = fixture.begun("b", 3).await;
    fixture.upload("b", b"other").await;
    fixture.part(&id, 0, "new").await.expect_problem(409, "files.exists");
    fixture.trash("b").await.expect(204);
    fixture.part(&id, 3, "").await.expect(201);
    assert_eq!(fixture.get("b").await.text(), "new");
}

#[tokio::test]
async fn overwriting_keeps_the_old_version_in_the_trash() {
    let mut fixture = Fixture::new().await;
    fixture.upload("a.xcf", b"old").await;
    let id = fixture.begin("a.xcf", 7, true).await.expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(fixture.get("a.xcf").await.text(), "old");
    fixture.part(&id, 0, "the new").await.expect(201);
    assert_eq!(fixture.get("a.xcf").await.text(), "the new");
    let trash = fixture.user.get("/api/v1/files/trash").await.expect(200);
    let id = trash["entries"][0]["id"].as_str().unwrap();
    let restored = fixture.user.post(&format!("/api/v1/files/trash/{id}/restore"), json!({})).await.expect(200);
    assert_eq!(restored["path"], "a (restored).xcf");
    assert_eq!(fixture.get("a (restored).xcf").await.text(), "old");
    // A folder is never replaced.
    fixture.user.post("/api/v1/files/folder", json!({"path": "folder"})).await.expect(201);
    fixture.begin("folder", 1, true).await.expect_problem(409, "files.exists");
    // With nothing there it is an ordinary upload.
    let id = fixture.begin("new", 1, true).await.expect(201)["id"].as_str().unwrap().to_owned();
    fixture.part(&id, 0, "1").await.expect(201);
}

#[tokio::test]
async fn a_sender_that_lies_about_the_length_gets_no_more_than_it_announced() {
    let mut fixture = Fixture::new().await;
    let id = fixture.begun("a", 4).await;
    // Announced too long: nothing is taken.
    let request = fixture
        .user
        .request("PATCH", &format!("/api/v1/files/uploads/{id}"))
        .header("upload-offset", 0)
        .header("content-length", 5)
        .body(Body::from("12345"))
        .unwrap();
    assert_eq!(fixture.user.send(request).await.expect_problem(413, "uploads.tooLong")["offset"], 0);
    // Longer than announced: no more than fits is taken.
    let stream = futures::stream::iter(["12", "34", "56"].map(|text| Ok::<_, std::io::Error>(Bytes::from(text))));
    let problem = fixture.part(&id, 0, Body::from_stream(stream)).await.expect_problem(413, "uploads.tooLong");
    assert_eq!(problem["offset"], 4);
    fixture.part(&id, 4, "").await.expect(201);
    assert_eq!(fixture.get("a").await.text(), "1234");
    let request = fixture.user.request("PATCH", &format!("/api/v1/files/uploads/{id}")).body(Body::empty()).unwrap();
    fixture.user.send(request).await.expect_problem(422, "invalid");
}

#[tokio::test]
async fn what_arrived_before_a_cut_is_kept() {
    let mut fixture = Fixture::new().await;
    let id = fixture.begun("a", 8).await;
    let stream = futures::stream::iter([
        Ok(Bytes::from("0123")),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]);
    let problem = fixture.part(&id, 0, Body::from_stream(stream)).await.expect_problem(408, "uploads.cut");
    assert_eq!(problem["offset"], 4);
    assert_eq!(fixture.progress(&id).await.header("upload-offset"), Some("4"));
    fixture.part(&id, 4, "4567").await.expect(201);
    assert_eq!(fixture.get("a").await.text(), "01234567");
}

#[tokio::test]
async fn a_new_connection_replaces_one_that_hangs() {
    let mut fixture = Fixture::new().await;
    let id = fixture.begun("a", 4).await;
    let (body, waiting) = hanging_body("01");
    let mut hanging = fixture.user.clone();
    let request =
        hanging.request("PATCH", &format!("/api/v1/files/uploads/{id}")).header("upload-offset", 0).body(body).unwrap();
    let hanging = tokio::spawn(async move { hanging.send(request).await });
    waiting.await.unwrap();
    fixture.part(&id, 0, "0123").await.expect(201);
    let cut = hanging.await.unwrap();
    cut.expect_problem(408, "uploads.cut");
    assert_eq!(fixture.get("a").await.text(), "0123");
}

#[tokio::test]
async fn a_cancelled_upload_leaves_nothing() {
    let mut fixture = Fixture::new().await;
    let id = fixture.begun("a", 4).await;
    fixture.part(&id, 0, "01").await.expect(204);
    fixture.user.delete(&format!("/api/v1/files/uploads/{id}")).await.expect(204);
    assert_eq!(std::fs::read_dir(fixture.home.join(".gimp-platform/uploads")).unwrap().count(), 0);
    fixture.part(&id, 2, "23").await.expect_problem(404, "uploads.notFound");
    fixture.user.delete(&format!("/api/v1/files/uploads/{id}")).await.expect_problem(404, "uploads.notFound");
    fixture.user.delete("/api/v1/files/uploads/nonsense").await.expect_problem(404, "notFound");
}

#[tokio::test]
async fn more_than_the_quota_is_refused_with_numbers() {
    let mut fixture = Fixture::new().await;
    let quota = fixture.user.get("/api/v1/workspace").await.expect(200);
    assert_eq!((&quota["quotaBytes"], &quota["exceeded"]), (&json!(20_u64 << 30), &json!(false)));
    let size = (20_u64 << 30) + 1;
    let problem = fixture.begin("a", size, false).await.expect_problem(507, "files.quotaExceeded");
    assert_eq!(problem["needed"], size);
    assert!(problem["left"].as_u64().unwrap() <= 20 << 30);
    // As much as the quota lets in, where the disk of this machine has that much, too.
    let disk = rustix::fs::statvfs(&fixture.home).unwrap();
    let fits = problem["left"].as_u64().unwrap().min(disk.f_bavail * disk.f_frsize / 2);
    fixture.begin("a", fits, false).await.expect(201);
}

#[tokio::test]
async fn unfinished_uploads_are_limited() {
    let mut fixture = Fixture::new().await;
    for number in 0..100 {
        fixture.begun(&number.to_string(), 1).await;
    }
    fixture.begin("more", 1, false).await.expect_problem(409, "uploads.tooMany");
}

/// A body that has more to come, and says when it is waited for.
fn hanging_body(first: &'static str) -> (Body, tokio::sync::oneshot::Receiver<()>) {
    let (waits, waiting) = tokio::sync::oneshot::channel();
    let rest = futures::stream::once(async move {
        waits.send(()).unwrap();
        std::future::pending().await
    });
    let first = futures::stream::once(async move { Ok::<_, std::io::Error>(Bytes::from(first)) });
    (Body::from_stream(first.chain(rest)), waiting)
}

#[tokio::test]
async fn one_user_receives_a_bounded_number_at_once() {
    let mut fixture = Fixture::new().await;
    let mut hanging = vec![];
    for number in 0..8 {
        let id = fixture.begun(&number.to_string(), 4).await;
        let (body, waiting) = hanging_body("01");
        let mut user = fixture.user.clone();
        let request = user
            .request("PATCH", &format!("/api/v1/files/uploads/{id}"))
            .header("upload-offset", 0)
            .body(body)
            .unwrap();
        hanging.push(tokio::spawn(async move { user.send(request).await }));
        waiting.await.unwrap();
    }
    let id = fixture.begun("one more", 4).await;
    let busy = fixture.part(&id, 0, "0123").await;
    busy.expect_problem(503, "files.busy");
    assert_eq!(busy.header("retry-after"), Some("2"));
    // Their connections break: what is dropped makes room.
    for task in hanging {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    fixture.part(&id, 0, "0123").await.expect(201);
}

#[tokio::test]
async fn of_many_uploads_to_one_name_one_wins_and_none_is_mixed() {
    let mut fixture = Fixture::new().await;
    let mut tasks = vec![];
    for number in 0..8_u8 {
        let id = fixture.begun("same", 3 << 20).await;
        let mut user = fixture.user.clone();
        tasks.push(async move {
            let request = user
                .request("PATCH", &format!("/api/v1/files/uploads/{id}"))
                .header("upload-offset", 0)
                .body(Body::from(vec![number; 3 << 20]))
                .unwrap();
            user.send(request).await.status()
        });
    }
    let mut statuses = futures::future::join_all(tasks).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    let content = fixture.get("same").await.body;
    assert_eq!(content.len(), 3 << 20);
    assert!(content.iter().all(|byte| *byte == content[0]));
}

#[tokio::test]
async fn an_upload_survives_a_restart_of_the_server() {
    use crate::workspace::Workspaces;
    use crate::workspace::upload::Received;

    let mut fixture = Fixture::new().await;
    let id = fixture.begun("a", 8).await;
    fixture.part(&id, 0, "0123").await.expect(204);
    let app = &fixture.app.app;
    let after = Workspaces::new(app.settings.clone(), app.db.clone(), app.clock.clone(), app.driver.clone());
    let workspace = after.open(fixture.user.user.unwrap()).await.unwrap();
    let id = id.parse().unwrap();
    assert_eq!(workspace.upload_progress(id).await.unwrap().offset, 4);
    let rest = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from("4567"))]);
    let received = workspace.upload_receive(id, 4, None, rest).await.unwrap();
    assert!(matches!(received, Received::Finished(_)), "{received:?}");
    assert_eq!(fixture.get("a").await.text(), "01234567");
}

/// Everything in the upload folder is in the session's hands.
#[tokio::test]
async fn a_session_that_tampers_with_uploads_harms_only_itself() {
    let mut fixture = Fixture::new().await;
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), b"untouched").unwrap();
    let folder = fixture.home.join(".gimp-platform/uploads");
    // The part is a link out, a pipe, gone, too long; the note is nonsense or leads away.
    let id = fixture.begun("a", 4).await;
    let part = folder.join(format!("{id}.part"));
    let note = folder.join(format!("{id}.json"));
    std::fs::remove_file(&part).unwrap();
    std::os::unix::fs::symlink(outside.path(), &part).unwrap();
    let link_length = std::fs::symlink_metadata(&part).unwrap().len().min(4);
    fixture.part(&id, link_length, "").await.expect_problem(422, "files.special");
    std::fs::remove_file(&part).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &part, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    fixture.part(&id, 0, "0123").await.expect_problem(422, "files.special");
    std::fs::remove_file(&part).unwrap();
    fixture.part(&id, 0, "0123").await.expect_problem(404, "uploads.notFound");
    std::fs::write(&part, "0123456789").unwrap();
    assert_eq!(fixture.progress(&id).await.header("upload-offset"), Some("4"));
    let original = std::fs::read(&note).unwrap();
    std::fs::write(&note, "{").unwrap();
    fixture.part(&id, 4, "").await.expect_problem(404, "uploads.notFound");
    let away = String::from_utf8(original.clone()).unwrap().replace("\"a\"", "\"../../a\"");
    std::fs::write(&note, away).unwrap();
    fixture.part(&id, 4, "").await.expect_problem(422, "invalid");
    std::fs::write(&note, original).unwrap();
    // Back in order: what is too long is cut off.
    fixture.part(&id, 4, "").await.expect(201);
    assert_eq!(fixture.get("a").await.text(), "0123");
    assert_eq!(std::fs::read(outside.path()).unwrap(), b"untouched");
}

#[tokio::test]
async fn a_sender_slower_than_the_limit_is_cut_and_loses_nothing() {
    use crate::workspace::Workspaces;
    use crate::workspace::error::FileError;
    use crate::workspace::upload::Received;

    let mut fixture = Fixture::new().await;
    let app = &fixture.app.app;
    let hasty = Workspaces::with_short_stall(app);
    let id = fixture.begun("a", 256 << 10).await.parse().unwrap();
    let workspace = hasty.open(fixture.user.user.unwrap()).await.unwrap();
    let chunk = |size: usize| Ok::<_, std::io::Error>(Bytes::from(vec![7; size]));
    // Enough within the time, then too little.
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    send.send(chunk(64 << 10)).unwrap();
    let progress = tokio::spawn({
        let workspace = workspace.clone();
        async move {
            // The first part is on the disk once its time is over; then comes too little.
            while workspace.upload_progress(id).await.unwrap().offset == 0 {
                tokio::task::yield_now().await;
            }
            send.send(chunk(10)).unwrap();
            send
        }
    });
    let body = tokio_stream::wrappers::UnboundedReceiverStream::new(receive);
    let error = workspace.upload_receive(id, 0, None, body).await.unwrap_err();
    assert!(matches!(error, FileError::Cut { offset: 65_546 }), "{error:?}");
    drop(progress.await.unwrap());
    let rest = futures::stream::iter([chunk((256 << 10) - 65_546)]);
    let received = workspace.upload_receive(id, 65_546, None, rest).await.unwrap();
    assert!(matches!(received, Received::Finished(_)), "{received:?}");
}
