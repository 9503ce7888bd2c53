//! What has to be looked at while sessions run: quotas that the kernel does not keep, logs that grow, a disk that fills
//! up below the sparse images.
//!
//! Remembers only what it last told each agent; a server that starts again tells it anew.

use std::collections::HashMap;
use std::io;
use std::sync::Weak;
use std::time::{Duration, Instant};

use super::run_dir::RunDir;
use super::{Inner, QuotaMechanism, mounts, quota};
use crate::ids::{SessionId, UserId};

/// Between two rounds, unless a round takes long.
const ROUND: Duration = Duration::from_secs(3);
/// At most this part of the time is spent in rounds.
const SHARE: u32 = 20;

/// Runs until the driver is dropped.
pub async fn run(inner: Weak<Inner>) {
    let mut told = HashMap::new();
    loop {
        let start = Instant::now();
        {
            let Some(inner) = inner.upgrade() else { return };
            inner.watch_once(&mut told).await;
        }
        tokio::time::sleep(ROUND.max(start.elapsed() * SHARE)).await;
    }
}

impl Inner {
    async fn watch_once(&self, told: &mut HashMap<SessionId, bool>) {
        let data_dir = self.options.data_dir.clone();
        let reserve = self.options.disk_reserve;
        let quotas = self.quotas();
        let looked = tokio::task::spawn_blocking(move || look(&data_dir, reserve, &quotas)).await;
        let seen = match looked {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => return tracing::warn!(%error, "the sessions' use of the disk can't be measured"),
            Err(_) => return,
        };
        told.retain(|session, _| seen.iter().any(|(seen, _)| seen == session));
        for (session, may_write) in seen {
            // Stopped again and again: an agent that was restarted has forgotten it. Allowed once by each run of the
            // server: an earlier one may have stopped it.
            if may_write && told.get(&session) == Some(&true) {
                continue;
            }
            match self.agent_client(session).allow_writes(may_write).await {
                Ok(()) => {
                    if told.insert(session, may_write).unwrap_or(true) != may_write {
                        tracing::info!(%session, may_write, "quota");
                    }
                }
                // Starting, or dying: the next round sees.
                Err(error) => tracing::debug!(%session, %error, "the agent was not told about its quota"),
            }
        }
    }
}

/// Living sessions and whether each may write.
fn look(data_dir: &std::path::Path, reserve: u64, quotas: &HashMap<UserId, u64>) -> io::Result<Vec<(SessionId, bool)>> {
    let (free, _) = mounts::space(data_dir)?;
    // Below half of what a start needs, every write could be lost in an image.
    let disk_full = free < reserve / 2;
    let mut seen = vec![];
    for session in RunDir::list(data_dir)? {
        match over_quota(&RunDir::new(data_dir, session), quotas) {
            Ok(Some(over)) => seen.push((session, !disk_full && !over)),
            Ok(None) => {}
            // What can't be measured (locked by its owner, say) counts as too much, for this session only.
            Err(error) => {
                tracing::debug!(%session, "its use of the disk can't be measured: {error:#}");
                seen.push((session, false));
            }
        }
    }
    Ok(seen)
}

/// None: it does not run. Keeps its log short on the way.
fn over_quota(run: &RunDir, quotas: &HashMap<UserId, u64>) -> anyhow::Result<Option<bool>> {
    let Some(record) = run.record()? else { return Ok(None) };
    if !record.alive()? {
        return Ok(None);
    }
    run.trim_log()?;
    // An administrator may have changed it since the session started.
    let bytes = quotas.get(&record.user).copied().unwrap_or(record.quota_bytes);
    let (used, allowed) = match record.mechanism {
        QuotaMechanism::ProjectQuota => return Ok(Some(false)),
        // The kernel keeps the image's size; a quota that was lowered since is kept here.
        QuotaMechanism::Image => {
            (quota::used_bytes(&record.workspace, record.mechanism)?, quota::image::size_for(bytes))
        }
        // No tmpfs bounds the run folder of an ordinary user's session.
        QuotaMechanism::Watcher => {
            let shared = quota::walk(&run.shared())?;
            (quota::used_bytes(&record.workspace, record.mechanism)?.saturating_add(shared), bytes)
        }
    };
    Ok(Some(used > allowed))
}
