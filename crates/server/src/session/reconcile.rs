//! Brings what SQL says and what the driver sees together: at start and on a timer. Safe to repeat, and the answer to
//! a server that died on any line.

use std::sync::{PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use protocol::agent::AgentPhase;
use protocol::session::EndReason;

use super::lifecycle::{Rules, Silence};
use super::{Owner, Sessions, keeper, row};
use crate::ids::SessionId;

/// Between two rounds. What is found then was left by a crash or a failed removal, so nobody waits for it.
const INTERVAL: Duration = Duration::from_secs(30);
/// Until the first round is tried again when the database or the driver fails.
const RETRY: Duration = Duration::from_secs(2);

pub(super) async fn run(owner: Weak<Owner>) {
    loop {
        let Some(owner) = owner.upgrade() else { return };
        let pause = match Sessions(owner).reconcile().await {
            Ok(()) => INTERVAL,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "sessions could not be reconciled; trying again");
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

impl Sessions {
    /// One round: a keeper for every row that has not ended, an end for every sandbox without such a row and for
    /// sessions of users who were deactivated.
    ///
    /// # Errors
    /// When the database or the driver fails.
    pub async fn reconcile(&self) -> anyhow::Result<()> {
        // In this order: a row is always made before its sandbox.
        let sandboxes = self.0.context.driver.list().await?;
        let rows = row::active(&self.0.context.db).await?;
        let strays: Vec<_> =
            sandboxes.into_iter().filter(|sandbox| rows.iter().all(|row| row.id != sandbox.0)).collect();
        for row in rows {
            if self.handle(SessionId(row.id)).is_none() {
                tracing::info!(session = %row.id, status = row.status, "session of an earlier run found");
                self.keep_found(row);
            }
        }
        for stray in strays {
            if self.handle(stray).is_none() {
                self.retire(stray);
            }
        }
        Ok(self.end_deactivated().await?)
    }

    /// Ends a sandbox that has no row: its row was removed, or ended when the sandbox could not be removed.
    fn retire(&self, session: SessionId) {
        if !self.retiring().insert(session) {
            return;
        }
        let (context, owner) = (self.0.context.clone(), std::sync::Arc::downgrade(&self.0));
        self.spawn(async move {
            let until = context.clock.now() + Rules::new(&context.settings).ending;
            tokio::select! {
                () = end_stray(&context, session) => {}
                () = context.clock.sleep_until(until) => {}
            }
            match context.driver.remove(session).await {
                Ok(()) => tracing::info!(%session, "a sandbox without a session was removed"),
                Err(error) => {
                    tracing::warn!(%session, error = format!("{error:#}"), "a sandbox could not be removed");
                }
            }
            if let Some(owner) = owner.upgrade() {
                owner.retiring.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
            }
        });
    }

    pub(super) fn retiring(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<SessionId>> {
        self.0.retiring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its GIMP may hold work that nobody has saved: it goes through the stages like any other.
async fn end_stray(context: &std::sync::Arc<super::Context>, session: SessionId) {
    let agent = context.driver.agent(session);
    if agent.end(EndReason::Evicted).await.is_err() {
        return;
    }
    let mut said = Box::pin(keeper::follow(context.clone(), session));
    while let Some(said) = said.next().await {
        match said {
            Ok(report) if matches!(report.phase, AgentPhase::Ended { .. }) => return,
            Err(Silence::Unreachable) => return,
            Ok(_) | Err(Silence::Unresponsive) => {}
        }
    }
}
