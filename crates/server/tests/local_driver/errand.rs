//! What the server has done in sandboxes beside sessions ends with the server, however that ends.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::gimp::stage;
use super::harness::{Stage, as_ordinary_user, as_root, eventually, processes_about};

/// How long what is left of an errand may take to go.
const GOING: Duration = Duration::from_secs(5);

/// The program on the stage's data directory, which has no start-up caches yet.
fn serve(stage: &Stage) -> Child {
    let log = fs::File::create(stage.data_dir().with_file_name("log")).expect("creates");
    Command::new(env!("CARGO_BIN_EXE_gimp-platform"))
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--data-dir"])
        .arg(stage.data_dir())
        .arg("--agent-path")
        .arg(stage.options.agent_path.as_ref().expect("a path"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("starts")
}

/// Names of the processes in the sandbox in which the caches are made: they see its folder mounted.
fn making_caches(stage: &Stage) -> Vec<String> {
    let test = stage.data_dir().parent().and_then(Path::file_name).expect("a folder").to_string_lossy();
    let needle = format!("/{test}/data/warm/.new-");
    let processes = fs::read_dir("/proc").expect("reads").flatten().map(|entry| entry.path());
    processes
        .filter(|process| fs::read_to_string(process.join("mountinfo")).is_ok_and(|mounts| mounts.contains(&needle)))
        .map(|process| fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned())
        .collect()
}

/// Whether `gimp-session warm` came to its end.
fn caches_are_whole(stage: &Stage) -> bool {
    let mut warm = fs::read_dir(stage.data_dir().join("warm")).expect("reads").flatten().map(|entry| entry.path());
    warm.any(|folder| folder.join("out/manifest.json").exists() || folder.join("manifest.json").exists())
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    SandboxSeen,
    GimpStarts,
}

async fn nothing_outlives_a_server_that_ends_while_caches_are_made() {
    for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
        for moment in [Moment::SandboxSeen, Moment::GimpStarts] {
            let stage = stage();
            let mut server = serve(&stage);
            eventually("the caches are being made", async || {
                making_caches(&stage).iter().any(|name| match moment {
                    Moment::SandboxSeen => true,
                    Moment::GimpStarts => ["gimp", "gimp-2.10", "gimp-3.0"].contains(&name.as_str()),
                })
            })
            .await;
            rustix::process::kill_process(Pid::from_child(&server), signal).expect("signals");
            eventually("the server ends", async || server.try_wait().expect("waits").is_some()).await;
            let ended = Instant::now();
            eventually("the errand is over", async || {
                let left = making_caches(&stage);
                assert!(left.is_empty() || ended.elapsed() < GOING, "after {signal:?} at {moment:?}: {left:?}");
                left.is_empty() && processes_about(stage.data_dir()).is_empty()
            })
            .await;
            assert!(!caches_are_whole(&stage), "after {signal:?} at {moment:?} the errand was done");
            let log = fs::read_to_string(stage.data_dir().with_file_name("log")).expect("reads");
            assert!(!log.contains("ERROR"), "{log}");
        }
    }
}

#[test]
fn root_nothing_outlives_a_server_that_ends_while_caches_are_made() {
    as_root(nothing_outlives_a_server_that_ends_while_caches_are_made);
}

#[test]
fn ordinary_user_nothing_outlives_a_server_that_ends_while_caches_are_made() {
    as_ordinary_user(nothing_outlives_a_server_that_ends_while_caches_are_made);
}
