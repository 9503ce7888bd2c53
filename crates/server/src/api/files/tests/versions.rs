//! Versions of files, as an agent, or a hostile session, left them.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::Duration;
use uuid::Uuid;

use super::{Fixture, encode};
use crate::config::Settings;
use crate::test_app::TestApp;

const STORE: &str = ".gimp-platform/history";

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Fixture {
    /// As the agent does it.
    fn version(&self, path: &str, saved_at: &str, content: &[u8]) -> Uuid {
        let id = Uuid::now_v7();
        let sha256 = digest(content);
        self.store_file(&format!("objects/{sha256}"), content);
        self.describe(id, path, saved_at, &sha256);
        id
    }

    fn describe(&self, id: Uuid, path: &str, saved_at: &str, sha256: &str) {
        let description = json!({
            "id": id.simple().to_string(), "path": path, "kind": "save", "savedAt": saved_at, "size": 1,
            "sha256": sha256, "sessionId": Uuid::nil(),
        });
        self.store_file(&format!("versions/{}.json", id.simple()), description.to_string().as_bytes());
    }

    fn store_file(&self, name: &str, content: &[u8]) {
        let file = self.home.join(STORE).join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    fn stored(&self, folder: &str) -> usize {
        std::fs::read_dir(self.home.join(STORE).join(folder)).unwrap().count()
    }

    async fn versions(&mut self, path: &str) -> Vec<Value> {
        let answer = self.user.get(&format!("/api/v1/files/versions?path={}", encode(path))).await;
        answer.expect(200)["versions"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn versions_are_listed_shown_restored_and_removed() {
    let mut fixture = Fixture::new().await;
    assert_eq!(fixture.versions("a/cat.png").await, [Value::Null; 0]);
    let mut picture = Vec::new();
    image::DynamicImage::new_rgb8(600, 400)
        .write_to(&mut std::io::Cursor::new(&mut picture), image::ImageFormat::Png)
        .unwrap();
    let first = fixture.version("a/cat.png", "2100-01-01T00:00:00Z", &picture);
    let second = fixture.version("a/cat.png", "2100-01-02T00:00:00Z", b"second");
    fixture.version("a/dog.png", "2100-01-03T00:00:00Z", b"another file");
    let found = fixture.versions("a/cat.png").await;
    assert_eq!(found.len(), 2);
    let expected = json!({
        "id": second, "path": "a/cat.png", "kind": "save", "savedAt": "2100-01-02T00:00:00Z", "size": 6,
        "sessionId": Uuid::nil(), "thumbnail": true,
    });
    assert_eq!((&found[0], &found[1]["id"], &found[1]["size"]), (&expected, &json!(first), &json!(picture.len())));

    let at = |id: Uuid, what: &str| format!("/api/v1/files/versions/{id}{what}");
    let content = fixture.user.get(&at(first, "/content")).await;
    assert_eq!((content.status(), &*content.body), (200, &picture[..]));
    assert!(content.header("content-disposition").unwrap().contains("\"cat.png\""));
    let small = fixture.user.get(&at(first, "/thumbnail?size=64")).await;
    assert_eq!((small.status(), small.header("content-type")), (200, Some("image/jpeg")));
    fixture.user.get(&at(second, "/thumbnail")).await.expect_problem(422, "files.brokenPicture");
    fixture.user.get(&at(first, "/thumbnail?size=513")).await.expect_problem(422, "invalid");
    // What GIMP made of it is shown rather.
    fixture.store_file(&format!("pictures/{}.png", digest(b"second")), &picture);
    assert_eq!(fixture.user.get(&at(second, "/thumbnail?size=512")).await.status(), 200);

    // Its folder is not there any more, then it is and the name is taken.
    for path in ["a/cat.png", "a/cat (restored).png", "a/cat (restored 2).png"] {
        let restored = fixture.user.post(&at(second, "/restore"), json!({})).await.expect(201);
        assert_eq!(restored["path"], path);
        assert_eq!(&*fixture.get(path).await.body, b"second");
    }
    std::fs::write(fixture.home.join("a/cat.png"), b"painted on").unwrap();
    assert_eq!(&*fixture.user.get(&at(second, "/content")).await.body, b"second");
    assert_eq!(std::fs::read_dir(fixture.home.join(".gimp-platform/uploads")).unwrap().count(), 0);

    fixture.user.delete(&at(second, "")).await.expect(204);
    assert_eq!(fixture.versions("a/cat.png").await.len(), 1);
    assert_eq!((fixture.stored("objects"), fixture.stored("pictures")), (2, 0));
    for id in [second, Uuid::now_v7()] {
        fixture.user.delete(&at(id, "")).await.expect_problem(404, "versions.notFound");
        fixture.user.get(&at(id, "/content")).await.expect_problem(404, "versions.notFound");
        fixture.user.get(&at(id, "/thumbnail")).await.expect_problem(404, "versions.notFound");
        fixture.user.post(&at(id, "/restore"), json!({})).await.expect_problem(404, "versions.notFound");
    }
    let mut other = fixture.app.user("eve@example.org").await;
    other.get(&at(first, "/content")).await.expect_problem(404, "versions.notFound");
}

#[tokio::test]
async fn bytes_stay_as_long_as_a_version_needs_them() {
    let mut fixture = Fixture::new().await;
    let one = fixture.version("a.xcf", "2100-01-01T00:00:00Z", b"same");
    let two = fixture.version("b.xcf", "2100-01-02T00:00:00Z", b"same");
    fixture.user.delete(&format!("/api/v1/files/versions/{one}")).await.expect(204);
    let content = fixture.user.get(&format!("/api/v1/files/versions/{two}/content")).await;
    assert_eq!((content.status(), &*content.body), (200, &b"same"[..]));
    // The agent is about it.
    let lock = std::fs::File::create(fixture.home.join(STORE).join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fixture.user.delete(&format!("/api/v1/files/versions/{two}")).await.expect_problem(503, "files.busy");
    drop(lock);
    fixture.user.delete(&format!("/api/v1/files/versions/{two}")).await.expect(204);
    assert_eq!(fixture.stored("objects"), 0);
}

#[tokio::test]
async fn versions_follow_a_renamed_file_and_folder() {
    let mut fixture = Fixture::new().await;
    std::fs::create_dir_all(fixture.home.join("a")).unwrap();
    std::fs::write(fixture.home.join("a/cat.xcf"), b"cat").unwrap();
    fixture.version("a/cat.xcf", "2100-01-01T00:00:00Z", b"cat");
    fixture.version("ab/cat.xcf", "2100-01-01T00:00:00Z", b"elsewhere");
    for (from, to) in [("a/cat.xcf", "a/tom.xcf"), ("a", "b")] {
        fixture.user.post("/api/v1/files/move", json!({"from": from, "to": to})).await.expect(200);
    }
    assert_eq!(fixture.versions("b/tom.xcf").await.len(), 1);
    assert_eq!(fixture.versions("a/cat.xcf").await.len(), 0);
    assert_eq!(fixture.versions("ab/cat.xcf").await.len(), 1);
    assert_eq!(fixture.stored("versions"), 2);
}

#[tokio::test]
async fn what_a_session_puts_there_leads_nowhere() {
    let mut fixture = Fixture::new().await;
    let secret = fixture.home.parent().unwrap().join("secret");
    std::fs::write(&secret, b"secret").unwrap();
    let named = |sha256: &str| {
        let id = Uuid::now_v7();
        fixture.describe(id, "a.png", "2100-01-01T00:00:00Z", sha256);
        id
    };
    let [link, pipe, folder, missing, away] =
        [&"1".repeat(64), &"2".repeat(64), &"3".repeat(64), &"4".repeat(64), "../../../../secret"].map(named);
    let objects = fixture.home.join(STORE).join("objects");
    std::fs::create_dir_all(&objects).unwrap();
    symlink(&secret, objects.join("1".repeat(64))).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        objects.join("2".repeat(64)),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::fs::create_dir(objects.join("3".repeat(64))).unwrap();
    assert_eq!(fixture.versions("a.png").await, [Value::Null; 0]);
    for id in [link, pipe, folder, missing, away] {
        fixture
            .user
            .get(&format!("/api/v1/files/versions/{id}/content"))
            .await
            .expect_problem(404, "versions.notFound");
        let restored = fixture.user.post(&format!("/api/v1/files/versions/{id}/restore"), json!({})).await;
        restored.expect_problem(404, "versions.notFound");
    }
    // A picture that leads out of the workspace is none, and one that is too large neither.
    let shown = fixture.version("b.png", "2100-01-01T00:00:00Z", b"no picture");
    let pictures = fixture.home.join(STORE).join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    symlink(&secret, pictures.join(format!("{}.png", digest(b"no picture")))).unwrap();
    let thumbnail = fixture.user.get(&format!("/api/v1/files/versions/{shown}/thumbnail")).await;
    thumbnail.expect_problem(422, "files.brokenPicture");
    // Descriptions that are none, endless, or a link.
    fixture.store_file("versions/x.json", b"{");
    fixture.store_file(&format!("versions/{}.json", Uuid::now_v7().simple()), &b"[".repeat(100_000));
    symlink(&secret, fixture.home.join(STORE).join(format!("versions/{}.json", Uuid::now_v7().simple()))).unwrap();
    assert_eq!(fixture.versions("b.png").await.len(), 1);
    // The whole store is a link.
    std::fs::rename(fixture.home.join(STORE), fixture.home.join("aside")).unwrap();
    symlink(fixture.home.parent().unwrap(), fixture.home.join(STORE)).unwrap();
    assert_eq!(fixture.versions("b.png").await, [Value::Null; 0]);
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
}

#[tokio::test]
async fn old_versions_go_by_age_and_by_number_but_for_the_newest() {
    let limited = |settings: &mut Settings| (settings.versions_kept, settings.versions_days) = (2, 30);
    let mut fixture = Fixture::on(TestApp::with(limited).await).await;
    let now = fixture.app.clock.now();
    let ago = |days: i64| {
        let at = (now - Duration::days(days)).replace_nanosecond(0).unwrap();
        at.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    fixture.version("old.xcf", &ago(40), b"1");
    fixture.version("old.xcf", &ago(31), b"2");
    for days in [3, 2, 1] {
        fixture.version("many.xcf", &ago(days), format!("{days}").as_bytes());
    }
    assert_eq!(fixture.versions("many.xcf").await.len(), 3);
    let workspaces = fixture.app.app.workspaces.clone();
    workspaces.upkeep_once().await;
    assert_eq!(fixture.versions("old.xcf").await[0]["savedAt"], ago(31));
    assert_eq!((fixture.versions("old.xcf").await.len(), fixture.versions("many.xcf").await.len()), (1, 2));
    assert_eq!(fixture.stored("objects"), 2, "two of those left are the same");
}

#[tokio::test]
async fn the_oldest_versions_give_way_to_an_upload() {
    let mut fixture = Fixture::on(TestApp::with(|settings| settings.quota_gb = 1).await).await;
    let large = |byte: u8| vec![byte; 8 << 20];
    let old = fixture.version("a.xcf", "2100-01-01T00:00:00Z", &large(1));
    fixture.version("a.xcf", "2100-01-02T00:00:00Z", &large(2));
    let quota = fixture.user.get("/api/v1/workspace").await.expect(200);
    let left = quota["quotaBytes"].as_u64().unwrap() - quota["usedBytes"].as_u64().unwrap();
    let wish = |size: u64| json!({"path": "upload.png", "size": size, "overwrite": false});
    fixture.user.post("/api/v1/files/uploads", wish(left + (4 << 20))).await.expect(201);
    let found = fixture.versions("a.xcf").await;
    assert_eq!((found.len(), found[0]["id"] == json!(old)), (1, false));
    // Not for what would not fit anyway.
    fixture.user.post("/api/v1/files/uploads", wish(2 << 30)).await.expect_problem(507, "files.quotaExceeded");
    assert_eq!(fixture.versions("a.xcf").await.len(), 1);
}
