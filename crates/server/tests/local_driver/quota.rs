//! Workspaces and the mechanisms that keep them within their quota.

use std::fs;
use std::path::{Path, PathBuf};

use server::driver::{QuotaMechanism, StartError};
use server::ids::SessionId;

use super::harness::{MIB, Session, Stage, as_ordinary_user, as_root, eventually, mechanism_of, mounts_below};

/// Fills the workspace until it is full; bytes written.
async fn fill(session: &Session<'_>) -> u64 {
    let ran = session.shell("head -c 4000000000 /dev/zero > ~/filler; sync ~/filler; stat -c %s ~/filler").await;
    assert!(ran.output.contains("No space left on device"), "{ran:?}");
    ran.output.lines().last().and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("{ran:?}"))
}

fn image_of(session: &Session<'_>, stage: &Stage) -> PathBuf {
    stage.data_dir().join("images").join(format!("{}.img", session.request.user))
}

#[test]
fn an_image_is_full_at_its_quota_and_nobody_else_is() {
    as_root(|| async {
        let stage = Stage::new();
        let neighbour = stage.session().await;
        let filler = stage.session().await;
        assert_eq!(mechanism_of(&stage, &filler.request).await, QuotaMechanism::Image);
        filler.output("echo precious > ~/drawing; sync ~/drawing").await;
        let written = fill(&filler).await;
        assert!((40 * MIB..=64 * MIB).contains(&written), "{written}");
        neighbour.output("head -c 1000000 /dev/zero > ~/fine && sync ~/fine").await;
        assert_eq!(filler.output("cat ~/drawing").await, "precious");
        // Room that is freed in the workspace goes back to the disk.
        use std::os::unix::fs::MetadataExt;
        let image = image_of(&filler, &stage);
        let blocks = || fs::metadata(&image).expect("exists").blocks() * 512;
        assert!(blocks() > 40 * MIB, "{}", blocks());
        filler.output("rm ~/filler && sync -f ~").await;
        eventually("the room is given back", async || blocks() < 20 * MIB).await;
    });
}

#[test]
fn an_empty_image_is_small_and_the_home_is_clean() {
    as_root(|| async {
        use std::os::unix::fs::MetadataExt;
        let stage = Stage::new();
        let mut request = stage.request();
        request.quota_bytes = 20 << 30;
        let session = stage.session_of(request).await;
        let image = fs::metadata(image_of(&session, &stage)).expect("exists");
        assert!(image.blocks() * 512 < 16 * MIB, "{}", image.blocks() * 512);
        assert_eq!(session.output("ls -A ~").await, "");
        let room: u64 = session.output("df --output=avail -B1 ~ | tail -1").await.parse().expect("bytes");
        assert!((20 << 30..(20 << 30) * 101 / 100).contains(&room), "{room}");
    });
}

#[test]
fn an_image_grows_with_its_quota_and_never_shrinks() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        let written = fill(&session).await;
        let request = &session.request;
        let open = async |quota| {
            let workspace = stage.driver.workspace(request.user, request.uid_offset, quota).await.expect("opens");
            assert_eq!(workspace.mechanism, QuotaMechanism::Image);
        };
        open(128 * MIB).await;
        let more = "head -c 40000000 /dev/zero > ~/more && sync ~/more";
        if may_resize_mounted() {
            session.output(more).await;
        }
        assert_eq!(session.output("stat -c %s ~/filler").await, written.to_string());
        // At the latest when it is mounted next.
        stage.driver.remove(session.id()).await.expect("removes");
        unmount(&session.workspace());
        let mut again = request.clone();
        again.session = SessionId::new();
        again.quota_bytes = 128 * MIB;
        let session = stage.session_of(again).await;
        session.output(more).await;
        assert_eq!(session.output("stat -c %s ~/filler").await, written.to_string());
        // A smaller quota takes nothing away.
        open(32 * MIB).await;
        assert_eq!(session.output("stat -c %s ~/more").await, "40000000");
        assert_eq!(fs::metadata(image_of(&session, &stage)).expect("exists").len(), 128 * MIB);
    });
}

/// `CAP_SYS_RESOURCE`: the kernel asks for it.
fn may_resize_mounted() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("reads");
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("is there").trim();
    u64::from_str_radix(set, 16).expect("hexadecimal") >> 24 & 1 == 1
}

#[test]
fn a_mount_survives_the_server_and_is_made_again_after_a_reboot() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        session.output("echo kept > ~/drawing").await;
        let request = &session.request;
        let point = session.workspace();
        assert_eq!(mounts_below(stage.data_dir()).iter().filter(|mount| **mount == point).count(), 1);
        // The server was killed: the next one uses the same mount.
        let driver = stage.another_driver();
        driver.workspace(request.user, request.uid_offset, request.quota_bytes).await.expect("opens");
        assert_eq!(mounts_below(stage.data_dir()).iter().filter(|mount| **mount == point).count(), 1);
        // Unmounted here while the session still has it: the same device comes back, not a second one.
        unmount(&point);
        assert!(!point.join("drawing").exists());
        driver.workspace(request.user, request.uid_offset, request.quota_bytes).await.expect("mounts again");
        session.output("echo more > ~/second").await;
        assert_eq!(fs::read_to_string(point.join("second")).expect("the same file system"), "more\n");
        // The machine was switched off.
        driver.remove(request.session).await.expect("removes");
        unmount(&point);
        driver.workspace(request.user, request.uid_offset, request.quota_bytes).await.expect("mounts again");
        assert_eq!(fs::read_to_string(point.join("drawing")).expect("reads"), "kept\n");
    });
}

fn unmount(point: &Path) {
    assert!(std::process::Command::new("umount").arg(point).status().expect("runs").success());
}

#[test]
fn only_unused_workspaces_are_released() {
    as_root(|| async {
        let stage = Stage::new();
        let used = stage.session().await;
        let unused = stage.request();
        let workspace =
            stage.driver.workspace(unused.user, unused.uid_offset, unused.quota_bytes).await.expect("opens");
        let server::driver::Driver::Local(local) = &stage.driver else { unreachable!("the stage is local") };
        local.release_workspaces().await.expect("releases");
        let mounted = mounts_below(stage.data_dir());
        assert!(mounted.contains(&used.workspace()), "{mounted:?}");
        assert!(!mounted.contains(&workspace.path), "{mounted:?}");
    });
}

#[test]
fn a_damaged_image_is_left_alone() {
    as_root(|| async {
        let stage = Stage::new();
        let request = stage.request();
        let images = stage.data_dir().join("images");
        fs::create_dir_all(&images).expect("creates");
        let image = images.join(format!("{}.img", request.user));
        let damaged = vec![7_u8; 32 << 20];
        fs::write(&image, &damaged).expect("writes");
        let mut request = request;
        request.quota_bytes = 32 * MIB;
        let error = stage.start(&request).await.expect_err("there is no file system in it");
        assert!(matches!(error, StartError::Unsupported(_)) && error.to_string().contains("e2fsck"), "{error:?}");
        assert!(fs::read(&image).expect("reads") == damaged, "it was changed");
    });
}

#[test]
fn an_image_left_half_made_is_made_again() {
    as_root(|| async {
        let stage = Stage::new();
        let request = stage.request();
        let images = stage.data_dir().join("images");
        fs::create_dir_all(&images).expect("creates");
        fs::write(images.join(format!("{}.new", request.user)), "half").expect("writes");
        let session = stage.session_of(request).await;
        session.output("touch ~/works").await;
    });
}

#[test]
fn more_workspaces_than_loop_devices_at_boot() {
    as_root(|| async {
        let stage = Stage::new();
        for _ in 0..12 {
            let mut request = stage.request();
            request.quota_bytes = 16 * MIB;
            assert_eq!(mechanism_of(&stage, &request).await, QuotaMechanism::Image);
        }
    });
}

#[test]
fn opened_at_once_by_two_it_is_made_once() {
    as_root(|| async {
        let stage = Stage::new();
        let request = stage.request();
        let open = || stage.driver.workspace(request.user, request.uid_offset, request.quota_bytes);
        let (first, second) = tokio::join!(open(), open());
        assert_eq!(first.expect("opens"), second.expect("opens"));
        assert_eq!(mounts_below(&stage.data_dir().join("workspaces")).len(), 1);
    });
}

#[test]
fn a_plain_workspace_changes_hands_when_the_server_becomes_root() {
    as_root(|| async {
        use std::os::unix::fs::MetadataExt;
        let stage = Stage::with(|options| options.quota_mechanism = Some(QuotaMechanism::Watcher));
        let request = stage.request();
        let folder = stage.data_dir().join("workspaces").join(request.user.to_string());
        fs::create_dir_all(folder.join("Pictures")).expect("creates");
        fs::write(folder.join("Pictures/a.xcf"), "paint").expect("writes");
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).expect("links");
        let session = stage.session_of(request).await;
        assert_eq!(session.output("cat ~/Pictures/a.xcf; echo x >> ~/Pictures/a.xcf").await, "paint");
        assert_eq!(fs::metadata("/etc/passwd").expect("exists").uid(), 0, "the link was followed");
    });
}

#[test]
fn ordinary_user_keeps_workspaces_by_watching() {
    as_ordinary_user(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        assert_eq!(mechanism_of(&stage, &session.request).await, QuotaMechanism::Watcher);
        stage.driver.remove(session.id()).await.expect("removes");
        let mut again = session.request.clone();
        again.session = SessionId::new();
        stage.session_of(again).await.output("touch ~/works").await;
    });
}

#[test]
fn a_mechanism_that_does_not_work_is_refused_by_name() {
    as_ordinary_user(|| async {
        let stage = Stage::with(|options| options.quota_mechanism = Some(QuotaMechanism::Image));
        let error = stage.driver.prepare().await.expect_err("only root can mount");
        assert!(format!("{error:#}").contains("only root can mount"), "{error:#}");
    });
}

/// What the agent was told last about writing.
async fn told(session: &Session<'_>) -> String {
    session.output("tail -n 1 /tmp/writes 2>/dev/null; true").await
}

#[test]
fn ordinary_user_writes_are_stopped_over_quota_and_allowed_again() {
    as_ordinary_user(|| async {
        let stage = Stage::new();
        stage.driver.prepare().await.expect("prepares");
        let session = stage.session().await;
        session.output("head -c 80000000 /dev/zero > ~/filler").await;
        eventually("writes are stopped", async || told(&session).await == r#"{"allowed":false}"#).await;
        session.output("rm ~/filler").await;
        eventually("writes are allowed", async || told(&session).await == r#"{"allowed":true}"#).await;
        // What lies beside the workspace counts, too.
        session.output("head -c 80000000 /dev/zero > /run/gimp-session/filler").await;
        eventually("writes are stopped", async || told(&session).await == r#"{"allowed":false}"#).await;
    });
}

#[test]
fn a_lowered_quota_is_watched() {
    as_root(|| async {
        let stage = Stage::new();
        stage.driver.prepare().await.expect("prepares");
        let mut request = stage.request();
        let big = stage.driver.workspace(request.user, request.uid_offset, 128 * MIB).await.expect("opens");
        assert_eq!(big.mechanism, QuotaMechanism::Image);
        request.quota_bytes = 32 * MIB;
        let session = stage.session_of(request).await;
        session.output("head -c 50000000 /dev/zero > ~/filler && sync ~/filler").await;
        eventually("writes are stopped", async || told(&session).await == r#"{"allowed":false}"#).await;
    });
}

async fn a_quota_that_is_changed_while_its_session_runs_is_kept() {
    let stage = Stage::new();
    stage.driver.prepare().await.expect("prepares");
    let session = stage.session().await;
    session.output("head -c 40000000 /dev/zero > ~/filler && sync ~/filler").await;
    let change = async |quota: u64| {
        let request = &session.request;
        stage.driver.workspace(request.user, request.uid_offset, quota).await.expect("opens");
    };
    eventually("writes are allowed", async || told(&session).await == r#"{"allowed":true}"#).await;
    change(32 * MIB).await;
    eventually("writes are stopped", async || told(&session).await == r#"{"allowed":false}"#).await;
    change(64 * MIB).await;
    eventually("writes are allowed", async || told(&session).await == r#"{"allowed":true}"#).await;
}

#[test]
fn root_quota_that_is_changed_while_its_session_runs_is_kept() {
    as_root(a_quota_that_is_changed_while_its_session_runs_is_kept);
}

#[test]
fn ordinary_user_quota_that_is_changed_while_its_session_runs_is_kept() {
    as_ordinary_user(a_quota_that_is_changed_while_its_session_runs_is_kept);
}

#[test]
fn a_disk_that_runs_full_below_the_images_stops_writes() {
    as_root(|| async {
        let mut stage = Stage::new();
        let request = stage.request();
        stage.start(&request).await.expect("starts");
        // The next server wants more free than any disk has.
        stage.options.disk_reserve = u64::MAX;
        let driver = stage.another_driver();
        driver.prepare().await.expect("prepares");
        let session = Session::found(&stage, request);
        eventually("writes are stopped", async || told(&session).await == r#"{"allowed":false}"#).await;
    });
}
