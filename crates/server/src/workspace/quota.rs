//! How much of a workspace is used. Where the kernel keeps the quota it is asked; otherwise the files are walked, at
//! most every half minute.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::Workspace;
use super::error::FileError;
use super::folder::Folder;
use crate::driver::QuotaMechanism;
use crate::tree;

/// How long a walk's result is good. What uploads add in the meantime is counted on top.
const WALK_INTERVAL: Duration = Duration::from_secs(30);

/// Room in a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Bytes in use, trash and unfinished uploads included.
    pub used_bytes: u64,
    /// Bytes that can be used in all.
    pub quota_bytes: u64,
    pub mechanism: QuotaMechanism,
    /// Nothing more can be stored.
    pub exceeded: bool,
}

impl Quota {
    /// Bytes that can still be stored.
    #[must_use]
    pub fn left(&self) -> u64 {
        if self.exceeded { 0 } else { self.quota_bytes.saturating_sub(self.used_bytes) }
    }

    /// Bytes that have to go until so many can be stored. Where a quota is only measured, more than it may be in use.
    #[must_use]
    pub fn lacks(&self, bytes: u64) -> u64 {
        let lacking = self.used_bytes.saturating_add(bytes).saturating_sub(self.quota_bytes);
        lacking.max(bytes.saturating_sub(self.left()))
    }
}

/// The last measurement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    quota: Quota,
    /// Everything could be counted.
    complete: bool,
    at: Instant,
    /// Bytes written by uploads since.
    added: u64,
}

impl Workspace {
    /// Measured now, or not long ago where that takes a walk.
    pub async fn quota(&self) -> Result<Quota, FileError> {
        self.measured(WALK_INTERVAL).await
    }

    /// Measured now, whatever it takes.
    pub async fn measure(&self) -> Result<Quota, FileError> {
        self.measured(Duration::ZERO).await
    }

    async fn measured(&self, good_for: Duration) -> Result<Quota, FileError> {
        let _single = self.shared.measuring.lock().await;
        let quota = match self.usage() {
            Some(usage) if self.mechanism == QuotaMechanism::Watcher && usage.at.elapsed() < good_for => {
                self.with_added(usage)
            }
            _ => self.measure_now().await?,
        };
        let told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner).replace(quota);
        if told != Some(quota) {
            self.all.store_usage(self.user, quota.used_bytes).await?;
            // Nobody listening is fine.
            let _ = self.all.0.changes.send((self.user, quota));
        }
        Ok(quota)
    }

    async fn measure_now(&self) -> Result<Quota, FileError> {
        let (mechanism, quota_bytes) = (self.mechanism, self.quota_bytes);
        let at = Instant::now();
        let (quota, complete) = self
            .with_root(move |root| match mechanism {
                QuotaMechanism::Image => Ok((ask_kernel(root, mechanism, quota_bytes)?, true)),
                // The kernel's numbers are the project's only where the folder passes it on.
                QuotaMechanism::ProjectQuota if capacity(root)? <= quota_bytes.saturating_mul(2) => {
                    Ok((ask_kernel(root, mechanism, quota_bytes)?, true))
                }
                QuotaMechanism::ProjectQuota | QuotaMechanism::Watcher => {
                    let (used_bytes, complete) = tree::disk_usage(root.fd(), tree::MAX_ENTRIES);
                    // What can't be counted counts as exceeded: only a session that hides its use makes such things.
                    let exceeded = !complete || used_bytes >= quota_bytes;
                    Ok((Quota { used_bytes, quota_bytes, mechanism, exceeded }, complete))
                }
            })
            .await?;
        *self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Usage { quota, complete, at, added: 0 });
        Ok(quota)
    }

    /// The last measurement plus what was uploaded since; the admin's newest limit.
    fn with_added(&self, usage: Usage) -> Quota {
        let used_bytes = usage.quota.used_bytes.saturating_add(usage.added);
        let exceeded = !usage.complete || used_bytes >= self.quota_bytes;
        Quota { used_bytes, quota_bytes: self.quota_bytes, exceeded, ..usage.quota }
    }

    fn usage(&self) -> Option<Usage> {
        *self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_added(&self, bytes: u64) {
        if let Some(usage) = &mut *self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner) {
            usage.added = usage.added.saturating_add(bytes);
        }
    }
}

/// Bytes of the file system.
fn capacity(root: &Folder) -> Result<u64, FileError> {
    let stat = rustix::fs::fstatvfs(root.fd())?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

fn ask_kernel(root: &Folder, mechanism: QuotaMechanism, quota_bytes: u64) -> Result<Quota, FileError> {
    let stat = rustix::fs::fstatvfs(root.fd())?;
    let used_bytes = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize);
    let left = stat.f_bavail.saturating_mul(stat.f_frsize);
    // The file system's own needs make it a little smaller than the quota.
    let quota_bytes = quota_bytes.min(used_bytes.saturating_add(left));
    Ok(Quota { used_bytes, quota_bytes, mechanism, exceeded: left == 0 || used_bytes >= quota_bytes })
}
