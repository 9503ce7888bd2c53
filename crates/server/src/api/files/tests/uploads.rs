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
    let (waits, waiting) = tokio::sync::oneshot::channel();
    let stream = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from("01")) }).chain(
        futures::stream::once(async move {
            waits.send(()).unwrap();
            std::future::pending().await
        }),
    );
    let mut hanging = fixture.user.clone();
    let request = hanging
        .request("PATCH", &format!("/api/v1/files/uploads/{id}"))
        .header("upload-offset", 0)
        .body(Body::from_stream(stream))
        .unwrap();
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
    fixture.begin("a", 10 << 30, false).await.expect(201);
}

#[tokio::test]
async fn unfinished_uploads_are_limited() {
    let mut fixture = Fixture::new().await;
    for number in 0..100 {
        fixture.begun(&number.to_string(), 1).await;
    }
    fixture.begin("more", 1, false).await.expect_problem(409, "uploads.tooMany");
}
