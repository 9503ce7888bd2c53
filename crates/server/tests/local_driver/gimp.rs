//! The real agent with real GIMP in the real sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::agent::{AgentPhase, AgentStatus};
use protocol::session::EndReason;
use server::driver::{Driver, Presence, StartRequest};
use server::ids::SessionId;

use super::harness::{FIRST_UID, MIB, Session, Stage, as_ordinary_user, as_root, eventually, processes_about};

/// `gimp-session`, built beside this test.
fn agent() -> PathBuf {
    let program = fs::read_link("/proc/self/exe").expect("this program");
    let folder = program.parent().and_then(Path::parent).expect("target folder");
    let agent = folder.join("gimp-session");
    assert!(agent.is_file(), "{} is missing: cargo build -p agent", agent.display());
    agent
}

pub fn stage() -> Stage {
    Stage::with(|options| {
        // Copied, so that an ordinary user can read it.
        let copy = options.agent_path.clone().expect("the stand-in's place");
        fs::remove_file(&copy).expect("removes the stand-in");
        fs::copy(agent(), &copy).expect("copies");
        options.settle_limit = Duration::from_secs(20);
    })
}

fn request(stage: &Stage) -> StartRequest {
    StartRequest { memory_bytes: 2048 * MIB, cpu_millis: 2000, quota_bytes: 512 * MIB, ..stage.request() }
}

async fn status(driver: &Driver, session: SessionId) -> AgentStatus {
    driver.agent(session).status().await.expect("answers")
}

async fn running(stage: &Stage, session: &Session<'_>) {
    eventually("GIMP is painted", async || {
        let status = stage.driver.agent(session.id()).status().await;
        status.is_ok_and(|status| status.phase == AgentPhase::Running)
    })
    .await;
}

async fn starts_and_ends_as_planned() {
    let stage = stage();
    let session = stage.session_of(request(&stage)).await;
    running(&stage, &session).await;
    // Another server finds it and steers it.
    let driver = stage.another_driver();
    assert_eq!(driver.presence(session.id()).await.expect("knows"), Presence::Present);
    let before = status(&driver, session.id()).await;
    assert!(before.gimp_version.is_some() && before.restarts.is_empty(), "{before:?}");
    driver.agent(session.id()).end(EndReason::User).await.expect("ends");
    eventually("gone", async || !session.present().await).await;
    let Presence::Gone { last_status: Some(last), .. } = driver.presence(session.id()).await.expect("knows") else {
        panic!("it left no last words")
    };
    assert_eq!(last.phase, AgentPhase::Ended { reason: EndReason::User });
    driver.remove(session.id()).await.expect("removes");
    eventually("no process is left", async || processes_about(stage.data_dir()).is_empty()).await;
    // GIMP quit cleanly: its preferences are in the workspace, for the next time.
    let profile = session.workspace().join(".config/GIMP");
    let version = fs::read_dir(&profile).expect("a profile").flatten().next().expect("of some version").path();
    assert!(version.join("sessionrc").exists());
}

#[test]
fn root_starts_and_ends_gimp() {
    as_root(starts_and_ends_as_planned);
}

#[test]
fn ordinary_user_starts_and_ends_gimp() {
    as_ordinary_user(starts_and_ends_as_planned);
}

#[test]
fn an_agent_that_is_killed_comes_back_and_gimp_stays() {
    as_root(|| async {
        let stage = stage();
        let session = stage.session_of(request(&stage)).await;
        running(&stage, &session).await;
        let gimp = gimp_of(&session);
        let agent = processes(&session)
            .into_iter()
            .filter(|process| process.name == "gimp-session" && process.inner != 2)
            .map(|process| process.pid)
            .next()
            .expect("the agent below its guard");
        kill(agent);
        eventually("another agent answers", async || {
            stage.driver.agent(session.id()).health().await.is_ok() && !Path::new(&format!("/proc/{agent}")).exists()
        })
        .await;
        running(&stage, &session).await;
        assert!(Path::new(&format!("/proc/{gimp}")).exists());
        assert!(session.present().await);
    });
}

#[test]
fn an_unsaved_image_survives_the_death_of_all_agents() {
    as_root(|| async {
        let stage = stage();
        let session = stage.session_of(request(&stage)).await;
        running(&stage, &session).await;
        paint(&stage, &session).await;
        // Guard and agent at once: nobody is left to take over, GIMP is told by the kernel.
        let agents: Vec<i32> = processes(&session)
            .into_iter()
            .filter(|process| process.name == "gimp-session")
            .map(|process| process.pid)
            .collect();
        assert_eq!(agents.len(), 2);
        agents.into_iter().for_each(kill);
        stage.driver.remove(session.id()).await.expect("removes");
        assert!(!session.present().await);
        let copies = images_below(&session.workspace());
        assert!(!copies.is_empty(), "the painting is lost");
        // Offered, not forced upon the user, by the next session.
        let mut again = session.request.clone();
        again.session = SessionId::new();
        let next = stage.session_of(again).await;
        running(&stage, &next).await;
        let recoveries = images_below(&next.workspace().join(protocol::session::RECOVERY_DIR));
        assert_eq!(recoveries.len(), 1, "{recoveries:?}");
    });
}

/// The guard is all that could start another agent: its death ends the session, in good order and as what it is.
async fn ends_as_crashed_without_its_guard(stage: &Stage, session: &Session<'_>) {
    let guard = processes(session)
        .into_iter()
        .find(|process| process.name == "gimp-session" && process.inner == 2)
        .expect("the guard below the sandbox's first process");
    let killed = Instant::now();
    kill(guard.pid);
    eventually("gone", async || !session.present().await).await;
    let took = killed.elapsed();
    let Presence::Gone { last_status: Some(last), .. } = stage.driver.presence(session.id()).await.expect("knows")
    else {
        panic!("it left no last words")
    };
    assert_eq!((last.phase, last.unattended), (AgentPhase::Ended { reason: EndReason::Crashed }, true));
    // Less than the longest time that saving may take: GIMP answered.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn root_killed_guard_ends_the_session_as_crashed() {
    as_root(|| async {
        let stage = stage();
        let session = stage.session_of(request(&stage)).await;
        running(&stage, &session).await;
        paint(&stage, &session).await;
        ends_as_crashed_without_its_guard(&stage, &session).await;
        let recoveries = images_below(&session.workspace().join(protocol::session::RECOVERY_DIR));
        assert_eq!(recoveries.len(), 1, "{recoveries:?}");
    });
}

#[test]
fn ordinary_user_killed_guard_ends_the_session_as_crashed() {
    as_ordinary_user(|| async {
        let stage = stage();
        let session = stage.session_of(request(&stage)).await;
        running(&stage, &session).await;
        ends_as_crashed_without_its_guard(&stage, &session).await;
    });
}

#[test]
fn start_up_caches_are_made_once_and_used() {
    as_root(|| async {
        let stage = stage();
        stage.driver.prepare().await.expect("prepares");
        let Driver::Local(local) = &stage.driver else { unreachable!("the stage is local") };
        local.warmed().await;
        let made = || {
            let folders = fs::read_dir(stage.data_dir().join("warm")).expect("reads").flatten();
            folders.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let caches = made();
        assert_eq!(caches.len(), 1, "{caches:?}");
        let plugins = fs::read(caches[0].join("pluginrc")).expect("GIMP's list of plug-ins");
        let manifest = fs::read(caches[0].join("manifest.json")).expect("what was made");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        // A second server makes nothing anew.
        let driver = stage.another_driver();
        driver.prepare().await.expect("prepares");
        let Driver::Local(local) = &driver else { unreachable!("the stage is local") };
        local.warmed().await;
        assert_eq!(made(), caches);

        let session = stage.session_of(request(&stage)).await;
        running(&stage, &session).await;
        let profile = session.workspace().join(".config/GIMP");
        let version = fs::read_dir(&profile).expect("a profile").flatten().next().expect("of some version").path();
        // It came with the workspace, in which the platform's own plug-in has another path, and GIMP found it right.
        let latin1 = |bytes: Vec<u8>| bytes.into_iter().map(char::from).collect::<String>();
        let expected = latin1(plugins).replace(manifest["home"].as_str().expect("a path"), "/home/gimp");
        assert!(latin1(fs::read(version.join("pluginrc")).expect("a list")) == expected, "GIMP made the list anew");
    });
}

#[test]
fn protections_of_this_machine_are_all_on_for_root() {
    as_root(|| async {
        let stage = stage();
        stage.driver.prepare().await.expect("prepares");
        let protections = stage.driver.protections();
        let off: Vec<_> = protections.iter().filter(|protection| !protection.on).collect();
        assert!(off.is_empty() && protections.len() >= 12, "{protections:#?}");
        assert!(stage.driver.capacity() >= 1);
    });
}

#[test]
fn ordinary_user_is_told_which_protections_are_off_and_why() {
    as_ordinary_user(|| async {
        let stage = stage();
        stage.driver.prepare().await.expect("prepares");
        for protection in stage.driver.protections() {
            assert!(!protection.detail.is_empty(), "{protection:?}");
            let weaker = ["separate uids", "memory limit", "processor limit", "disk quota"];
            assert!(protection.on || weaker.contains(&protection.name), "{protection:?}");
        }
    });
}

struct Seen {
    pid: i32,
    /// pid inside the sandbox.
    inner: i32,
    name: String,
}

/// Processes of the session as this machine sees them.
fn processes(session: &Session<'_>) -> Vec<Seen> {
    let namespace = fs::read_link(format!("/proc/{}/ns/pid", session.init())).expect("the sandbox lives");
    let mut seen = vec![];
    for entry in fs::read_dir("/proc").expect("reads").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if fs::read_link(entry.path().join("ns/pid")).ok().as_ref() != Some(&namespace) {
            continue;
        }
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let inner = field("NSpid:").split_whitespace().last().and_then(|pid| pid.parse().ok()).unwrap_or(0);
        seen.push(Seen { pid, inner, name: field("Name:").to_owned() });
    }
    seen
}

/// Debian's `gimp` is a link to `gimp-2.10` or `gimp-3.0`.
fn gimp_of(session: &Session<'_>) -> i32 {
    let gimp = processes(session).into_iter().find(|process| {
        process.name == "gimp" || process.name.starts_with("gimp-2") || process.name.starts_with("gimp-3")
    });
    gimp.expect("GIMP runs").pid
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kills");
}

fn images_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "xcf") {
                found.push(path);
            }
        }
    }
    found
}

/// An image with unsaved changes, as if the user had painted. Told by the session's own uid: its bus serves no other.
async fn paint(stage: &Stage, session: &Session<'_>) {
    let version = status(&stage.driver, session.id()).await.gimp_version.expect("known once it runs");
    let layer = if version.starts_with('2') {
        "(gimp-layer-new image 320 200 RGBA-IMAGE \"paint\" 100 LAYER-MODE-NORMAL)"
    } else {
        "(gimp-layer-new image \"paint\" 320 200 RGBA-IMAGE 100 LAYER-MODE-NORMAL)"
    };
    let script = format!(
        "(begin (let* ((image (car (gimp-image-new 320 200 RGB))) (layer (car {layer})))
           (gimp-image-insert-layer image layer 0 0) (gimp-drawable-fill layer FILL-WHITE) (gimp-display-new image))
           (close-output-port (open-output-file \"/run/gimp-session/painted\")))"
    );
    let uid = (FIRST_UID + session.request.uid_offset).to_string();
    let init = session.init().to_string();
    let tell = || {
        std::process::Command::new("nsenter")
            .args(["--target", &init, "--mount", "--", "setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups"])
            .args(["dbus-send", "--bus=unix:path=/run/gimp-session/bus.sock", "--dest=org.gimp.GIMP.UI"])
            .args(["--print-reply", "/org/gimp/GIMP/UI", "org.gimp.GIMP.UI.BatchRun"])
            .args(["string:plug-in-script-fu-eval", &format!("string:{script}")])
            .output()
            .expect("runs")
    };
    let mut said = tell();
    eventually("GIMP takes the script", async || {
        if !said.status.success() {
            said = tell();
        }
        said.status.success()
    })
    .await;
    let done = session.shared().join("painted");
    eventually("the script has run", async || done.exists()).await;
}
