use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode};
use serde_json::json;

use super::Fixture;

#[tokio::test]
async fn lists_folders_first_and_hides_what_starts_with_a_dot() {
    let mut fixture = Fixture::new().await;
    for folder in ["zebra", ".config"] {
        std::fs::create_dir(fixture.home.join(folder)).unwrap();
    }
    for file in ["b.png", "A.xcf", ".hidden", "c.unknown-kind"] {
        std::fs::write(fixture.home.join(file), b"12345").unwrap();
    }
    assert_eq!(fixture.names("").await, ["zebra", "A.xcf", "b.png", "c.unknown-kind"]);
    let all = fixture.user.get("/api/v1/files?hidden=true").await.expect(200);
    let names: Vec<_> = all["entries"].as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect();
    assert_eq!(names, [".config", "zebra", ".hidden", "A.xcf", "b.png", "c.unknown-kind"]);

    let listing = fixture.list("").await;
    assert_eq!(listing["truncated"], false);
    let (folder, xcf, png) = (&listing["entries"][0], &listing["entries"][1], &listing["entries"][2]);
    assert_eq!((&folder["kind"], &folder["size"], &folder["mediaType"]), (&json!("folder"), &json!(0), &json!(null)));
    assert_eq!((&xcf["kind"], &xcf["size"], &xcf["mediaType"]), (&json!("file"), &json!(5), &json!("image/x-xcf")));
    assert_eq!((&png["path"], &png["mediaType"]), (&json!("b.png"), &json!("image/png")));
    assert!(png["modifiedAt"].as_str().unwrap().ends_with('Z'), "{png}");
}

#[tokio::test]
async fn a_path_never_leads_out_or_into_the_platforms_folder() {
    let mut fixture = Fixture::new().await;
    // Makes .gimp-platform.
    fixture.list("").await;
    for path in [
        "/etc/passwd",
        "../x",
        "a/../../x",
        ".",
        "a//b",
        "a\0b",
        ".gimp-platform",
        ".gimp-platform/trash",
        "base64:Li4",
        "base64:LmdpbXAtcGxhdGZvcm0",
    ] {
        let query = super::encode(path);
        fixture.user.get(&format!("/api/v1/files?path={query}")).await.expect_problem(422, "invalid");
        fixture.get(path).await.expect_problem(422, "invalid");
        fixture.trash(path).await.expect_problem(422, "invalid");
        fixture.begin(path, 1, true).await.expect_problem(422, "invalid");
        let body = json!({"from": "x", "to": path});
        let problem = fixture.user.post("/api/v1/files/move", body).await.expect_problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], "to");
        fixture.user.post("/api/v1/files/folder", json!({"path": path})).await.expect_problem(422, "invalid");
    }
    for change in ["", ".gimp-platform"] {
        fixture
            .user
            .post("/api/v1/files/move", json!({"from": change, "to": "y"}))
            .await
            .expect_problem(422, "invalid");
    }
    assert!(!fixture.user.get("/api/v1/files?hidden=true").await.text().contains(".gimp-platform"));
}

#[tokio::test]
async fn strangers_and_other_users_see_nothing() {
    let mut fixture = Fixture::new().await;
    std::fs::write(fixture.home.join("mine.txt"), b"mine").unwrap();
    let mut other = fixture.app.user("eve@example.org").await;
    assert_eq!(other.get("/api/v1/files").await.expect(200)["entries"], json!([]));
    other.get("/api/v1/files/content?path=mine.txt").await.expect_problem(404, "files.notFound");
    let id = fixture.begun("big", 10).await;
    other.delete(&format!("/api/v1/files/uploads/{id}")).await.expect_problem(404, "uploads.notFound");
    let mut nobody = fixture.app.client();
    for path in ["/api/v1/files", "/api/v1/files/content?path=mine.txt", "/api/v1/files/trash", "/api/v1/workspace"] {
        nobody.get(path).await.expect_problem(401, "auth.signedOut");
    }
}

#[tokio::test]
async fn links_are_shown_and_never_followed() {
    let mut fixture = Fixture::new().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::fs::create_dir(fixture.home.join("inside")).unwrap();
    symlink(outside.path().join("secret"), fixture.home.join("file-link")).unwrap();
    symlink(outside.path(), fixture.home.join("folder-link")).unwrap();
    symlink("../../../../../../../../etc", fixture.home.join("relative-link")).unwrap();
    symlink("inside", fixture.home.join("inner-link")).unwrap();
    symlink("/nowhere", fixture.home.join("broken-link")).unwrap();

    let listing = fixture.list("").await;
    for entry in &listing["entries"].as_array().unwrap()[1..] {
        assert_eq!(entry["kind"], "other", "{entry}");
        assert_eq!(entry["size"], 0);
    }
    fixture.get("file-link").await.expect_problem(422, "files.special");
    fixture.get("folder-link/secret").await.expect_problem(404, "files.notFound");
    fixture.get("relative-link/passwd").await.expect_problem(404, "files.notFound");
    for link in ["folder-link", "relative-link", "inner-link", "file-link"] {
        fixture.user.get(&format!("/api/v1/files?path={link}")).await.expect_problem(422, "files.notFolder");
        fixture.begin(&format!("{link}/new"), 1, false).await.expect_problem(404, "files.noFolder");
        let body = json!({"path": format!("{link}/new")});
        fixture.user.post("/api/v1/files/folder", body).await.expect_problem(404, "files.noFolder");
        let body = json!({"from": "inside", "to": format!("{link}/moved")});
        fixture.user.post("/api/v1/files/move", body).await.expect_problem(404, "files.noFolder");
        // Neither as the target of an upload.
        fixture.begin(link, 1, true).await.expect_problem(409, "files.exists");
    }
    // The link goes, what it points to stays.
    fixture.trash("folder-link").await.expect(204);
    fixture.user.delete("/api/v1/files/trash").await.expect(204);
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn pipes_and_sockets_are_shown_and_never_opened() {
    let mut fixture = Fixture::new().await;
    rustix::fs::mkfifoat(CWD, fixture.home.join("pipe.png"), Mode::from_raw_mode(0o666)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(fixture.home.join("socket.png")).unwrap();
    for name in ["pipe.png", "socket.png"] {
        fixture.get(name).await.expect_problem(422, "files.special");
        fixture.user.get(&format!("/api/v1/files/thumbnail?path={name}")).await.expect_problem(422, "files.special");
        fixture.trash(name).await.expect(204);
    }
    assert_eq!(fixture.names("").await, [""; 0]);
    fixture.user.delete("/api/v1/files/trash").await.expect(204);
}

#[tokio::test]
async fn any_name_that_exists_can_be_listed_read_renamed_and_deleted() {
    let mut fixture = Fixture::new().await;
    let names: [&[u8]; 8] = [
        b"two\nlines.xcf",
        b"tab\tand\x07bell",
        "\u{1f3a8} na\u{ef}ve.png".as_bytes(),
        b"\xff\xfe not unicode",
        b"base64:ZmFrZQ",
        b" leading and trailing ",
        b"%2e%2e%2f",
        &[b'x'; 255],
    ];
    for name in names {
        std::fs::write(fixture.home.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let listing = fixture.list("").await;
    let entries = listing["entries"].as_array().unwrap().clone();
    assert_eq!(entries.len(), names.len());
    for (number, entry) in entries.iter().enumerate() {
        let path = entry["path"].as_str().unwrap();
        let content = fixture.get(path).await;
        assert_eq!(content.status(), 200, "{entry}");
        assert!(names.contains(&&content.body[..]), "{entry}");
        let to = format!("renamed {number}");
        let moved = fixture.user.post("/api/v1/files/move", json!({"from": path, "to": to})).await.expect(200);
        assert_eq!(moved["name"], to);
        assert_eq!(fixture.get(&to).await.body, content.body);
        fixture.trash(&to).await.expect(204);
    }
    assert_eq!(fixture.names("").await, [""; 0]);
}

#[tokio::test]
async fn new_names_are_plain_text() {
    let mut fixture = Fixture::new().await;
    std::fs::write(fixture.home.join("a"), b"").unwrap();
    for name in ["two\nlines", "tab\t", "base64:_w"] {
        let problem = fixture.user.post("/api/v1/files/folder", json!({"path": name})).await;
        let problem = problem.expect_problem(422, "invalid");
        assert!(problem["detail"].as_str().unwrap().contains("name must"), "{problem}");
        fixture.user.post("/api/v1/files/move", json!({"from": "a", "to": name})).await.expect_problem(422, "invalid");
        fixture.begin(name, 1, false).await.expect_problem(422, "invalid");
    }
    let longest = "ä".repeat(127);
    let made = fixture.user.post("/api/v1/files/folder", json!({"path": longest})).await.expect(201);
    assert_eq!((made["kind"].as_str(), made["path"].as_str()), (Some("folder"), Some(&*longest)));
    fixture.user.post("/api/v1/files/folder", json!({"path": longest})).await.expect_problem(409, "files.exists");
}

#[tokio::test]
async fn moving_never_replaces_and_says_what_is_wrong() {
    let mut fixture = Fixture::new().await;
    std::fs::create_dir_all(fixture.home.join("folder/inner")).unwrap();
    for file in ["a", "b", "folder/c"] {
        std::fs::write(fixture.home.join(file), file).unwrap();
    }
    let mut refused = async |from: &str, to: &str, status, code| {
        let body = json!({"from": from, "to": to});
        fixture.user.post("/api/v1/files/move", body).await.expect_problem(status, code);
    };
    refused("a", "b", 409, "files.exists").await;
    refused("a", "folder", 409, "files.exists").await;
    refused("folder", "a", 409, "files.exists").await;
    refused("missing", "x", 404, "files.notFound").await;
    refused("a/x", "x", 404, "files.notFound").await;
    refused("a", "missing/x", 404, "files.noFolder").await;
    refused("a", "b/x", 404, "files.noFolder").await;
    refused("folder", "folder/inner/x", 422, "files.intoItself").await;
    assert_eq!(std::fs::read(fixture.home.join("b")).unwrap(), b"b");
    let moved = fixture.user.post("/api/v1/files/move", json!({"from": "a", "to": "folder/inner/a"})).await.expect(200);
    assert_eq!(moved["path"], "folder/inner/a");
    assert_eq!(fixture.names("folder/inner").await, ["a"]);
}

#[tokio::test]
async fn of_many_that_make_one_folder_one_succeeds() {
    let fixture = Fixture::new().await;
    let made = futures::future::join_all((0..16).map(|_| {
        let mut user = fixture.user.clone();
        async move { user.post("/api/v1/files/folder", json!({"path": "same"})).await.status() }
    }))
    .await;
    assert_eq!(made.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(made.iter().filter(|status| **status == 409).count(), 15);
}

#[tokio::test]
async fn a_listing_is_bounded() {
    let mut fixture = Fixture::new().await;
    for number in 0..10_050 {
        std::fs::write(fixture.home.join(format!("{number:05}")), b"").unwrap();
    }
    let listing = fixture.list("").await;
    assert_eq!((listing["entries"].as_array().unwrap().len(), &listing["truncated"]), (10_000, &json!(true)));
}

/// A session exchanges a folder for a link out, as fast as it can, while requests go through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_racing_session_never_gets_us_outside() {
    let mut fixture = Fixture::new().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), b"secret").unwrap();
    let home = fixture.home.clone();
    std::fs::create_dir(home.join("a")).unwrap();
    std::fs::write(home.join("a/file"), b"own").unwrap();
    symlink(outside.path(), home.join("b")).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let session = std::thread::spawn({
        let stop = stop.clone();
        move || {
            use rustix::fs::{RenameFlags, renameat_with};
            let mut swaps = 0_u32;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                renameat_with(CWD, home.join("a"), CWD, home.join("b"), RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        }
    });
    let mut read = 0;
    for number in 0..300 {
        let answer = fixture.get("a/file").await;
        match answer.status() {
            200 => {
                assert_eq!(answer.text(), "own");
                read += 1;
            }
            status => assert_eq!(status, 404),
        }
        let made = fixture.user.post("/api/v1/files/folder", json!({"path": format!("a/{number}")})).await;
        assert!(matches!(made.status(), 201 | 404), "{}", made.text());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(session.join().unwrap() > 0);
    assert!(read > 0);
    let left: Vec<_> = std::fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"]);
}

/// The server as root, the workspace a user's: what is made belongs to the user. Without root the server is the owner.
#[test]
fn what_is_made_belongs_to_the_owner_of_the_workspace() {
    use std::os::unix::fs::MetadataExt;

    let (uid, gid) = match rustix::process::geteuid() {
        uid if uid.is_root() => (4242, 4343),
        uid => (uid.as_raw(), rustix::process::getegid().as_raw()),
    };
    let folder = tempfile::tempdir().unwrap();
    crate::workspace::tests::make_as_owner(folder.path(), Some((uid, gid)));
    let made: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(made.len(), 2);
    for entry in made {
        let metadata = entry.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
    }
}
