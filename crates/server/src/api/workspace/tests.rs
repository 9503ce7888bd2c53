//! Room and recoveries through the whole application.

use std::os::unix::fs::symlink;

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};

use crate::api::files::tests::Fixture;
use crate::db::entity::storage_quota;

const XCF: &[u8] = b"gimp xcf v011\0";

impl Fixture {
    async fn recoveries(&mut self) -> Vec<Value> {
        self.user.get("/api/v1/workspace/recoveries").await.expect(200)["recoveries"].as_array().unwrap().clone()
    }

    fn recovery_file(&self, name: &str, content: &[u8]) {
        let folder = self.home.join(".gimp-platform/recovery");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), content).unwrap();
    }

    async fn quota(&mut self) -> Value {
        self.user.get("/api/v1/workspace").await.expect(200)
    }

    async fn set_quota(&self, gib: i32) {
        storage_quota::Entity::update_many()
            .col_expr(storage_quota::Column::StorageGb, Expr::value(gib))
            .filter(storage_quota::Column::UserId.eq(self.user.user.unwrap().0))
            .exec(&self.app.app.db)
            .await
            .unwrap();
    }

    async fn quota_row(&self) -> storage_quota::Model {
        storage_quota::Entity::find()
            .filter(storage_quota::Column::UserId.eq(self.user.user.unwrap().0))
            .one(&self.app.app.db)
            .await
            .unwrap()
            .unwrap()
    }
}

#[tokio::test]
async fn recoveries_are_listed_downloaded_and_deleted() {
    let mut fixture = Fixture::new().await;
    assert_eq!(fixture.recoveries().await, [Value::Null; 0]);
    fixture.recovery_file("0190-a_B.xcf", XCF);
    let session = uuid::Uuid::now_v7();
    fixture.recovery_file(
        "0190-a_B.json",
        json!({"id": "ignored", "name": "cat.png", "original": "p/cat.png", "savedAt": "2026-01-02T03:04:05Z", "size": 1, "sessionId": session})
            .to_string()
            .as_bytes(),
    );
    let expected = json!({
        "id": "0190-a_B", "name": "cat.png", "original": "p/cat.png", "savedAt": "2026-01-02T03:04:05Z",
        "size": XCF.len(), "sessionId": session,
    });
    assert_eq!(fixture.recoveries().await, [expected]);
    let content = fixture.user.get("/api/v1/workspace/recoveries/0190-a_B/content").await;
    assert_eq!((content.status(), &*content.body), (200, XCF));
    assert_eq!(content.header("content-type"), Some("image/x-xcf"));
    assert!(content.header("content-disposition").unwrap().contains("\"cat.xcf\""));

    fixture.user.delete("/api/v1/workspace/recoveries/0190-a_B").await.expect(204);
    assert_eq!(fixture.recoveries().await, [Value::Null; 0]);
    for path in ["0190-a_B", "a.b", "..%2f..%2fx"] {
        let path = format!("/api/v1/workspace/recoveries/{path}");
        fixture.user.delete(&path).await.expect_problem(404, "recoveries.notFound");
        fixture.user.get(&format!("{path}/content")).await.expect_problem(404, "recoveries.notFound");
    }
    // Deleted is not lost.
    let trash = fixture.user.get("/api/v1/files/trash").await.expect(200);
    let id = trash["entries"][0]["id"].as_str().unwrap();
    let restored = fixture.user.post(&format!("/api/v1/files/trash/{id}/restore"), json!({})).await.expect(200);
    assert_eq!(restored["path"], "cat (recovered).xcf");
    assert_eq!(&*fixture.get("cat (recovered).xcf").await.body, XCF);
}

#[tokio::test]
async fn no_copy_is_ever_invisible() {
    let mut fixture = Fixture::new().await;
    fixture.recovery_file("alone.xcf", XCF);
    fixture.recovery_file("broken.xcf", XCF);
    fixture.recovery_file("broken.json", b"{\"id\": ");
    fixture.recovery_file("endless.xcf", XCF);
    fixture.recovery_file("endless.json", &b"[".repeat(100_000));
    fixture.recovery_file("my image.xcf", XCF);
    // None of these is a copy.
    fixture.recovery_file("without.json", b"{}");
    fixture.recovery_file("half.partial", XCF);
    symlink("/etc/passwd", fixture.home.join(".gimp-platform/recovery/link.xcf")).unwrap();
    symlink("/etc/passwd", fixture.home.join(".gimp-platform/recovery/alone.json")).unwrap();
    for _ in 0..2 {
        let found = fixture.recoveries().await;
        let mut names: Vec<_> = found.iter().map(|found| found["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["Untitled", "Untitled", "Untitled", "my image"]);
        for recovery in &found {
            assert_eq!(recovery["size"], XCF.len());
            assert_eq!(recovery["original"], Value::Null);
            let path = format!("/api/v1/workspace/recoveries/{}/content", recovery["id"].as_str().unwrap());
            assert_eq!(fixture.user.get(&path).await.status(), 200);
        }
    }
    let link = fixture.user.get("/api/v1/workspace/recoveries/link/content").await;
    link.expect_problem(422, "files.special");
}

#[tokio::test]
async fn usage_is_measured_and_stored() {
    let mut fixture = Fixture::new().await;
    let before = fixture.quota().await;
    assert_eq!((&before["mechanism"], &before["quotaBytes"]), (&json!("watcher"), &json!(20_u64 << 30)));
    let mut changes = fixture.app.app.workspaces.quota_changes();
    fixture.upload("a", &vec![7; 3 << 20]).await;
    // Counted at once, without another walk.
    let after = fixture.quota().await;
    let grown = after["usedBytes"].as_u64().unwrap() - before["usedBytes"].as_u64().unwrap();
    assert_eq!(grown, 3 << 20);
    // Deleting for good measures again: on the disk, in SQL and to whoever watches.
    fixture.trash("a").await.expect(204);
    fixture.user.delete("/api/v1/files/trash").await.expect(204);
    let emptied = fixture.quota().await["usedBytes"].as_u64().unwrap();
    assert!(emptied < 1 << 20, "{emptied}");
    let row = fixture.quota_row().await;
    assert_eq!((row.used_bytes, row.used_gb, row.storage_gb), (i64::try_from(emptied).unwrap(), 1, 20));
    let told: Vec<_> = [changes.recv().await.unwrap(), changes.recv().await.unwrap()].into();
    assert!(told.iter().all(|(user, _)| Some(*user) == fixture.user.user));
    assert_eq!(told[0].1.used_bytes, after["usedBytes"].as_u64().unwrap());
    assert_eq!(told[1].1.used_bytes, emptied);
}

#[tokio::test]
async fn hard_links_count_once_and_sparse_files_what_they_take() {
    let mut fixture = Fixture::new().await;
    std::fs::write(fixture.home.join("a"), vec![1; 1 << 20]).unwrap();
    std::fs::hard_link(fixture.home.join("a"), fixture.home.join("b")).unwrap();
    std::fs::File::create(fixture.home.join("sparse")).unwrap().set_len(10 << 30).unwrap();
    symlink("/usr", fixture.home.join("link")).unwrap();
    let used = fixture.quota().await["usedBytes"].as_u64().unwrap();
    assert!((1 << 20..2 << 20).contains(&used), "{used}");
}

#[tokio::test]
async fn an_exceeded_quota_refuses_uploads_until_there_is_room() {
    let mut fixture = Fixture::new().await;
    let id = fixture.begun("a", 8).await;
    fixture.part(&id, 0, "0123").await.expect(204);
    fixture.set_quota(0).await;
    assert_eq!(fixture.quota().await["exceeded"], true);
    let problem = fixture.part(&id, 4, "4567").await.expect_problem(507, "files.quotaExceeded");
    assert_eq!((&problem["needed"], &problem["left"]), (&json!(4), &json!(0)));
    fixture.begin("b", 1, false).await.expect_problem(507, "files.quotaExceeded");
    fixture.set_quota(1).await;
    fixture.part(&id, 4, "4567").await.expect(201);
    // A session fills it: the next measurement tells.
    let file = std::fs::File::create(fixture.home.join("filler")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 30).unwrap();
    let problem = fixture.begin("b", 1 << 30, false).await.expect_problem(507, "files.quotaExceeded");
    assert_eq!(problem["left"], 0);
    assert_eq!(fixture.quota().await["exceeded"], true);
}
