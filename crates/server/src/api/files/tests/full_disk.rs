use serde_json::json;

use super::Fixture;
use crate::driver::QuotaMechanism;
use crate::workspace::error::FileError;
use crate::workspace::path::WorkspacePath;
use crate::workspace::tests::again;
use crate::workspace::upload::UploadRequest;

/// Runs a test again where it may mount and nothing is left behind. True there.
fn in_own_mounts(test: &str) -> bool {
    let mut wrapper = vec!["unshare", "--mount", "--propagation", "private"];
    if !rustix::process::geteuid().is_root() {
        // May mount, and is the same user as everywhere else: PostgreSQL does not start as root.
        wrapper.extend(["--map-current-user", "--keep-caps"]);
    }
    again(test, &wrapper)
}

/// Unmounts when dropped, so that the folder can be removed.
struct SmallDisk(std::path::PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

fn mount_small_disk(at: &std::path::Path, size: &str) -> SmallDisk {
    let options = format!("size={size},mode=0700");
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), &*options).unwrap();
    SmallDisk(at.to_owned())
}

#[test]
fn a_full_disk_loses_nothing() {
    if in_own_mounts("api::files::tests::full_disk::a_full_disk_loses_nothing") {
        run(full_disk());
    }
}

#[test]
fn a_full_image_is_an_exceeded_quota_with_numbers() {
    if in_own_mounts("api::files::tests::full_disk::a_full_image_is_an_exceeded_quota_with_numbers") {
        run(full_image());
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

async fn full_disk() {
    let mut fixture = Fixture::new().await;
    let _disk = mount_small_disk(&fixture.home, "4m");
    fixture.begin("too big", 5 << 20, false).await.expect_problem(507, "files.diskFull");
    fixture.upload("small", b"small").await;
    let bytes: Vec<u8> = (0..3_u32 << 20).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let id = fixture.begun("picture.xcf", bytes.len() as u64).await;
    fixture.upload("filler", &vec![1; 2 << 20]).await;
    fixture.part(&id, 0, bytes.clone()).await.expect_problem(507, "files.diskFull");
    // What fits is kept, on the disk as well as in the count.
    let offset: u64 = fixture.progress(&id).await.header("upload-offset").unwrap().parse().unwrap();
    assert!((1 << 20..2 << 20).contains(&offset), "{offset}");
    // Fill the last byte, so that there is no room for a note either.
    let last = fixture.home.join("last");
    let mut size = 1 << 20;
    while size > 0 {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&last).unwrap();
        if file.write_all(&vec![2; size]).is_err() {
            size /= 2;
        }
    }
    fixture.user.post("/api/v1/files/folder", json!({"path": "still works"})).await.expect(201);
    let filler = std::fs::File::options().write(true).open(fixture.home.join("filler")).unwrap();
    filler.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(filler);
    fixture.trash("filler").await.expect(204);
    let entry = fixture.user.get("/api/v1/files/trash").await.expect(200)["entries"][0].clone();
    assert!(entry["deletedAt"].as_str() > Some("2000"), "not when it was last written: {entry}");
    assert_eq!(
        (&entry["name"], &entry["originalPath"], &entry["size"]),
        (&json!("filler"), &json!("filler"), &json!(2 << 20))
    );
    // Back and away again, then for good.
    let restore = format!("/api/v1/files/trash/{}/restore", entry["id"].as_str().unwrap());
    assert_eq!(fixture.user.post(&restore, json!({})).await.expect(200)["path"], "filler");
    fixture.trash("filler").await.expect(204);
    fixture.user.delete("/api/v1/files/trash").await.expect(204);
    // Now it goes on where it was.
    let rest = bytes[usize::try_from(offset).unwrap()..].to_vec();
    fixture.part(&id, offset, rest).await.expect(201);
    assert_eq!(fixture.get("picture.xcf").await.body, bytes);
    assert_eq!(fixture.get("small").await.text(), "small");
}

async fn full_image() {
    let fixture = Fixture::new().await;
    let _disk = mount_small_disk(&fixture.home, "4m");
    let mut workspace = fixture.app.app.workspaces.open(fixture.user.user.unwrap()).await.unwrap();
    workspace.pretend(QuotaMechanism::ProjectQuota);
    assert_eq!(workspace.measure().await.unwrap().quota_bytes, 4 << 20);
    workspace.pretend(QuotaMechanism::Image);
    let quota = workspace.quota().await.unwrap();
    assert_eq!((quota.quota_bytes, quota.exceeded), (4 << 20, false));
    std::fs::write(fixture.home.join("filler"), vec![1; 3 << 20]).unwrap();
    assert!((3 << 20..4 << 20).contains(&workspace.quota().await.unwrap().used_bytes));
    let request = UploadRequest { path: WorkspacePath::parse("big").unwrap(), size: 2 << 20, overwrite: false };
    let error = workspace.upload_create(request).await.unwrap_err();
    assert!(error.to_string().contains("2097152 bytes are needed"), "{error}");
    // Room enough when it begins, taken by a session while it arrives.
    let request = UploadRequest { path: WorkspacePath::parse("big").unwrap(), size: 900 << 10, overwrite: false };
    let id = workspace.upload_create(request).await.unwrap();
    let rest = fixture.home.join("rest");
    let body = futures::stream::once(async move {
        let _ = std::fs::write(rest, vec![1; 2 << 20]);
        Ok::<_, std::io::Error>(bytes::Bytes::from(vec![1; 900 << 10]))
    });
    let error = workspace.upload_receive(id, 0, None, Box::pin(body)).await.unwrap_err();
    assert!(matches!(error, FileError::QuotaExceeded { needed: 921_600, .. }), "{error:?}");
    let quota = workspace.quota().await.unwrap();
    assert!(quota.exceeded && quota.left() == 0, "{quota:?}");
    // The disk beneath notices too.
    let error = workspace.fill_for_test().await.unwrap_err();
    assert!(matches!(error, FileError::QuotaExceeded { .. }), "{error}");
}
