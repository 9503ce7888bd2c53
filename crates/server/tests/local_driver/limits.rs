//! A session that takes all it can hurts only itself.

use std::time::{Duration, Instant};

use super::harness::{MIB, Stage, as_ordinary_user, as_root, eventually, groups_of};

/// A quiet session stays quick while its neighbour misbehaves.
async fn neighbour_is_well(stage: &Stage, neighbour: &super::harness::Session<'_>) {
    let start = Instant::now();
    assert_eq!(neighbour.output("echo well; sleep 0").await, "well");
    stage.driver.agent(neighbour.id()).health().await.expect("answers");
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}

#[test]
fn a_memory_hog_is_killed_and_nobody_else() {
    as_root(|| async {
        let stage = Stage::new();
        let neighbour = stage.session().await;
        let mut request = stage.request();
        request.memory_bytes = 128 * MIB;
        let hog = stage.session_of(request).await;
        hog.output("echo precious > ~/drawing; sync ~/drawing").await;
        let ran = hog.shell("perl -e '$x .= \"x\" x 1048576 for 1..1024; print length $x'").await;
        assert_eq!(ran.code, 137, "killed: {ran:?}");
        // Memory that is no process's heap counts, too.
        let ran = hog.shell("head -c 1073741824 /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x").await;
        let written: u64 = ran.output.lines().last().and_then(|line| line.parse().ok()).unwrap_or(0);
        assert!(written <= 32 * MIB, "{ran:?}");
        hog.shell("rm -f /dev/shm/x").await;
        neighbour_is_well(&stage, &neighbour).await;
        eventually("the hog's agent answers", async || stage.driver.agent(hog.id()).health().await.is_ok()).await;
        assert_eq!(hog.output("cat ~/drawing").await, "precious");
    });
}

#[test]
fn a_fork_bomb_stays_in_its_session() {
    as_root(|| async {
        let stage = Stage::new();
        let neighbour = stage.session().await;
        // Little of the processor: other tests run beside this one.
        let mut request = stage.request();
        request.cpu_millis = 75;
        let bomber = stage.session_of(request).await;
        bomber.output("echo precious > ~/drawing; sync ~/drawing").await;
        bomber.output("perl -e 'fork while 1' >/dev/null 2>&1 &").await;
        let pids = groups_of(bomber.id()).into_iter().find(|group| group.join("pids.current").exists());
        let pids = pids.expect("a group that counts processes");
        let count = || -> u32 {
            std::fs::read_to_string(pids.join("pids.current")).expect("reads").trim().parse().expect("a number")
        };
        eventually("the limit is reached", async || count() >= 500).await;
        neighbour_is_well(&stage, &neighbour).await;
        assert!(count() <= 512);
        stage.driver.remove(bomber.id()).await.expect("removes");
        assert!(groups_of(bomber.id()).is_empty());
        let drawing = std::fs::read_to_string(bomber.workspace().join("drawing")).expect("the workspace survives");
        assert_eq!(drawing, "precious\n");
    });
}

/// Where no control group helps: limits of the processes themselves.
#[test]
fn ordinary_user_fork_bombs_and_memory_hogs_end_by_themselves() {
    as_ordinary_user(|| async {
        let stage = Stage::new();
        let neighbour = stage.session().await;
        let bomber = stage.session().await;
        // Each child says so and waits; the count is what the limit allowed.
        let ran =
            bomber.shell("perl -e 'while (defined($p = fork)) { if (!$p) { sleep 20; exit } $n++ } print $n'").await;
        let forked: u32 = ran.output.trim().parse().unwrap_or_else(|_| panic!("{ran:?}"));
        assert!((50..512).contains(&forked), "{forked}");
        neighbour_is_well(&stage, &neighbour).await;
        // In another session: the bomber's children still wait in the first.
        let hog = stage.session().await;
        let ran = hog.shell("perl -e '$x = \"x\" x 1048576; push @all, $x . $_ for 1..16384; print scalar @all'").await;
        assert_ne!(ran.code, 0, "{ran:?}");
        neighbour_is_well(&stage, &neighbour).await;
    });
}

#[test]
fn processor_time_is_limited() {
    as_root(|| async {
        let stage = Stage::new();
        let mut request = stage.request();
        request.cpu_millis = 50;
        let session = stage.session_of(request).await;
        // Two busy processes for two seconds: four times the share is 0.4 s.
        let busy = "for (1..2) { if (!fork) { alarm 2; 1 while 1 } } wait for 1..2; @t = times; print $t[2] + $t[3]";
        let seconds: f64 = session.output(&format!("perl -e '{busy}'")).await.parse().expect("seconds");
        assert!(seconds > 0.05 && seconds < 1.0, "{seconds}");
    });
}

#[test]
fn scratch_space_and_run_folder_are_bounded() {
    as_root(|| async {
        let stage = Stage::new();
        let session = stage.session().await;
        let (before, _) = disk(&stage);
        for folder in ["/run/gimp-session", "/tmp", "/dev/shm"] {
            let ran = session
                .shell(&format!("head -c 3000000000 /dev/zero > {folder}/x; stat -c %s {folder}/x; rm -f {folder}/x"))
                .await;
            let written: u64 = ran.output.lines().last().and_then(|line| line.parse().ok()).unwrap_or(0);
            assert!(written <= 64 * MIB, "{folder}: {ran:?}");
            eventually("the agent answers", async || stage.driver.agent(session.id()).health().await.is_ok()).await;
        }
        // Standard output of everything in the session.
        session.shell("head -c 300000000 /dev/zero > /proc/2/fd/1").await;
        let (after, _) = disk(&stage);
        assert!(before.saturating_sub(after) < 100 * MIB, "{before} {after}");
        assert!(session.present().await);
    });
}

fn disk(stage: &Stage) -> (u64, u64) {
    let stat = rustix::fs::statvfs(stage.data_dir()).expect("statvfs");
    (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize)
}
