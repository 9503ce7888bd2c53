//! `gimp-session warm`: starts GIMP once in an empty workspace and keeps the caches it makes on a clean exit, so that
//! GIMP starts fast in every new workspace: which plug-ins there are, and which pixel conversions are quick here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use protocol::agent::{AgentConfig, AgentPhase, AgentStatus};
use protocol::session::EndReason;
use protocol::session::HistoryLimits;
use tokio::sync::watch;

use crate::gimp::profile::{MANIFEST, PIXEL_CONVERSION_CACHE, PLUGIN_CACHE, Profile, WarmManifest, copy_with_time};
use crate::gimp::recovery::write_atomically;
use crate::session::{Begin, Request, Session, Setup};
use crate::settings::Folders;

/// How long the first start of GIMP may take.
const START_LIMIT: Duration = Duration::from_secs(180);

#[derive(Debug, Args)]
pub struct WarmOptions {
    /// Folder to write; made if absent.
    #[arg(long)]
    out: PathBuf,
    /// Leave at once when standard input ends: whoever wants the caches has died.
    #[arg(long)]
    attended: bool,
}

pub async fn run(options: WarmOptions) -> anyhow::Result<()> {
    let attended = options.attended;
    tokio::select! {
        made = make(options) => made,
        () = abandoned(), if attended => bail!("nobody waits for the caches any more"),
    }
}

/// Returns when standard input ends.
async fn abandoned() {
    let _end_or_error = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

async fn make(options: WarmOptions) -> anyhow::Result<()> {
    let temporary = tempfile::Builder::new().prefix("gimp-session-warm-").tempdir()?;
    let folders = Folders {
        run: temporary.path().join("run"),
        home: temporary.path().join("home"),
        warm: temporary.path().join("none"),
    };
    fs::create_dir(&folders.home)?;
    let config = AgentConfig {
        session_id: uuid::Uuid::nil(),
        screen: Default::default(),
        max_screen: (3840, 2160),
        memory_bytes: 1 << 30,
        cpus: 1,
        display: Default::default(),
        time_limits: Default::default(),
        // Its workspace goes with it.
        history: HistoryLimits { per_file: 0, ..Default::default() },
        copies: Default::default(),
    };
    let (session, shared) =
        Session::new(Setup { folders: folders.clone(), config, inherited: None, begin: Begin::Fresh })?;
    let (mut status, requests) = (shared.status.clone(), shared.requests.clone());
    let quit_when_ready = async {
        let ready = tokio::time::timeout(START_LIMIT, wait_until_running(&mut status)).await;
        let _ = requests.send(Request::End(EndReason::User)).await;
        ready.unwrap_or(false)
    };
    let (ended, ready) = tokio::join!(session.run(), quit_when_ready);
    ended?;
    if !ready {
        bail!(
            "GIMP did not start; its log was:\n{}",
            fs::read_to_string(folders.run_file("gimp.log")).unwrap_or_default()
        );
    }
    let version = shared.status.borrow().gimp_version.clone().context("GIMP's version is unknown")?;
    keep(&options.out, &folders.home, &WarmManifest { gimp_version: version, home: folders.home.clone() })
}

async fn wait_until_running(status: &mut watch::Receiver<AgentStatus>) -> bool {
    let over = |status: &AgentStatus| matches!(status.phase, AgentPhase::Running | AgentPhase::Ended { .. });
    matches!(status.wait_for(over).await.map(|status| status.phase), Ok(AgentPhase::Running))
}

fn keep(out: &Path, home: &Path, manifest: &WarmManifest) -> anyhow::Result<()> {
    let version = manifest.gimp_version.parse().map_err(|()| anyhow::anyhow!("GIMP's version is garbled"))?;
    let profile = Profile::new(home, version);
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    copy_with_time(&profile.folder.join(PLUGIN_CACHE), &out.join(PLUGIN_CACHE))
        .context("GIMP left no plug-in cache")?;
    let conversions = profile.babl_cache.join(PIXEL_CONVERSION_CACHE);
    // GIMP 3.0 reads this cache but does not write it.
    if conversions.exists() {
        copy_with_time(&conversions, &out.join(PIXEL_CONVERSION_CACHE))?;
    }
    write_atomically(&out.join(MANIFEST), &serde_json::to_vec_pretty(manifest)?)?;
    Ok(())
}
