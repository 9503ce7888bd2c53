use serde_json::{Value, json};
use time::Duration;

use super::Fixture;

impl Fixture {
    async fn in_trash(&mut self) -> Vec<Value> {
        self.user.get("/api/v1/files/trash").await.expect(200)["entries"].as_array().unwrap().clone()
    }

    async fn restore(&mut self, entry: &Value) -> Value {
        let id = entry["id"].as_str().unwrap();
        self.user.post(&format!("/api/v1/files/trash/{id}/restore"), json!({})).await.expect(200)
    }
}

#[tokio::test]
async fn deleted_files_come_back() {
    let mut fixture = Fixture::new().await;
    std::fs::create_dir_all(fixture.home.join("a/b")).unwrap();
    std::fs::write(fixture.home.join("a/b/two\nlines.png"), b"picture").unwrap();
    fixture.trash("a/b/two\nlines.png").await.expect(204);
    assert_eq!(fixture.names("a/b").await, [""; 0]);
    fixture.app.clock.advance(Duration::hours(1));
    fixture.trash("a").await.expect(204);

    let entries = fixture.in_trash().await;
    assert_eq!(entries.len(), 2);
    assert_eq!((&entries[0]["name"], &entries[0]["kind"]), (&json!("a"), &json!("folder")));
    assert_eq!((&entries[1]["originalPath"], &entries[1]["size"]), (&json!("a/b/two\nlines.png"), &json!(7)));
    // Its folder is gone and is made again.
    assert_eq!(fixture.restore(&entries[1]).await["path"], "a/b/two\nlines.png");
    assert_eq!(std::fs::read(fixture.home.join("a/b/two\nlines.png")).unwrap(), b"picture");
    // Now that of the folder is taken.
    assert_eq!(fixture.restore(&entries[0]).await["path"], "a (restored)");
    assert_eq!(fixture.in_trash().await, [Value::Null; 0]);
    fixture
        .user
        .post(&format!("/api/v1/files/trash/{}/restore", entries[0]["id"].as_str().unwrap()), json!({}))
        .await
        .expect_problem(404, "trash.notFound");
}

#[tokio::test]
async fn what_is_in_the_way_changes_the_name_or_the_place() {
    let mut fixture = Fixture::new().await;
    std::fs::create_dir(fixture.home.join("folder")).unwrap();
    for _ in 0..3 {
        std::fs::write(fixture.home.join("folder/x.png"), b"x").unwrap();
        fixture.trash("folder/x.png").await.expect(204);
    }
    std::fs::write(fixture.home.join("folder/x.png"), b"new").unwrap();
    let entries = fixture.in_trash().await;
    assert_eq!(fixture.restore(&entries[0]).await["path"], "folder/x (restored).png");
    assert_eq!(fixture.restore(&entries[1]).await["path"], "folder/x (restored 2).png");
    // The folder is a file by now: it goes to the top.
    std::fs::remove_dir_all(fixture.home.join("folder")).unwrap();
    std::fs::write(fixture.home.join("folder"), b"").unwrap();
    assert_eq!(fixture.restore(&entries[2]).await["path"], "x.png");
}

#[tokio::test]
async fn emptying_removes_any_depth_and_frees_the_room() {
    let mut fixture = Fixture::new().await;
    // Deeper than we hold folders open.
    let mut folder = rustix::fs::open(&fixture.home, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..400 {
        rustix::fs::mkdirat(&folder, "deep", rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
        folder = rustix::fs::openat(&folder, "deep", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    }
    drop(folder);
    std::fs::create_dir_all(fixture.home.join("folder/inner")).unwrap();
    std::fs::write(fixture.home.join("folder/inner/file"), b"x").unwrap();
    fixture.trash("folder").await.expect(204);
    std::fs::write(fixture.home.join("big"), vec![1_u8; 3 << 20]).unwrap();
    std::fs::write(fixture.home.join("stays"), b"").unwrap();
    // What can't be counted counts as too much, measured as well as remembered.
    for _ in 0..2 {
        assert_eq!(fixture.user.get("/api/v1/workspace").await.expect(200)["exceeded"], true);
    }
    fixture.trash("deep").await.expect(204);
    fixture.trash("big").await.expect(204);
    let entries = fixture.in_trash().await;
    let id = entries[0]["id"].as_str().unwrap();
    fixture.user.delete(&format!("/api/v1/files/trash/{id}")).await.expect(204);
    fixture.user.delete(&format!("/api/v1/files/trash/{id}")).await.expect_problem(404, "trash.notFound");
    assert_eq!(fixture.in_trash().await.len(), 2);
    fixture.user.delete("/api/v1/files/trash").await.expect(204);
    assert_eq!(fixture.in_trash().await, [Value::Null; 0]);
    // Where removing folders is slow, one request does not do it all.
    while std::fs::read_dir(fixture.home.join(".gimp-platform/trash/.purge")).unwrap().count() > 0 {
        fixture.user.delete("/api/v1/files/trash").await.expect(204);
    }
    assert_eq!(fixture.names("").await, ["stays"]);
    let quota = fixture.user.get("/api/v1/workspace").await.expect(200);
    assert_eq!(quota["exceeded"], false);
    assert!(quota["usedBytes"].as_u64().unwrap() < 1 << 20, "{quota}");
}

#[tokio::test]
async fn a_damaged_trash_still_gives_back() {
    let mut fixture = Fixture::new().await;
    std::fs::write(fixture.home.join("a.png"), b"a").unwrap();
    fixture.trash("a.png").await.expect(204);
    let entry = fixture.in_trash().await.remove(0);
    let id = entry["id"].as_str().unwrap().to_owned();
    let note = fixture.home.join(format!(".gimp-platform/trash/{id}.json"));
    // A note that leads elsewhere, one that is no JSON, one that never ends, none at all.
    for content in [r#"{"originalPath":"../../x","deletedAt":"2020-01-01T00:00:00Z"}"#, "{", &"[".repeat(100_000)] {
        std::fs::write(&note, content).unwrap();
        let entries = fixture.in_trash().await;
        assert_eq!((&entries[0]["id"], &entries[0]["name"]), (&json!(id), &json!(id)));
    }
    std::fs::remove_file(&note).unwrap();
    assert_eq!(fixture.restore(&entry).await["path"], *id);
    assert_eq!(fixture.names("").await, [&*id]);
}

#[tokio::test]
async fn a_file_in_place_of_the_platforms_folder_is_moved_aside() {
    let mut fixture = Fixture::new().await;
    fixture.list("").await;
    std::fs::remove_dir_all(fixture.home.join(".gimp-platform")).unwrap();
    std::fs::write(fixture.home.join(".gimp-platform"), b"mine").unwrap();
    std::fs::write(fixture.home.join("a"), b"a").unwrap();
    fixture.trash("a").await.expect(204);
    assert_eq!(fixture.in_trash().await.len(), 1);
    let hidden = fixture.user.get("/api/v1/files?hidden=true").await.expect(200);
    let aside = hidden["entries"][0]["path"].as_str().unwrap().to_owned();
    assert!(aside.starts_with(".gimp-platform ("), "{aside}");
    assert_eq!(fixture.get(&aside).await.text(), "mine");
}
