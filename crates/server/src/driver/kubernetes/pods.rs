//! The sessions' pods as the cluster tells of them: one watch for all, which resumes where it broke off.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::template;
use crate::ids::SessionId;

/// A watch that is quiet for longer is asked for anew: a connection may be dead without anybody having said so.
pub const QUIET_LIMIT: Duration = Duration::from_secs(60);

/// What is known of a session's pod.
pub type Known = HashMap<SessionId, Arc<Pod>>;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Pods {
    known: watch::Receiver<Known>,
    _watching: AbortOnDropHandle<()>,
}

impl Pods {
    pub fn watch(api: Api<Pod>) -> Self {
        let (tell, known) = watch::channel(Known::new());
        Self { known, _watching: AbortOnDropHandle::new(tokio::spawn(follow(api, tell))) }
    }

    /// Changes whenever any pod does.
    pub fn subscribe(&self) -> watch::Receiver<Known> {
        self.known.clone()
    }

    pub fn get(&self, session: SessionId) -> Option<Arc<Pod>> {
        self.known.borrow().get(&session).cloned()
    }
}

/// Of our pods in the namespace.
pub fn selector() -> String {
    let [(name, app), (manager, platform)] = [template::NAME_LABEL, template::MANAGER_LABEL];
    format!("{name}={app},{manager}={platform}")
}

/// For watches.
pub fn not_quiet_for_ever() -> watcher::Config {
    watcher::Config::default().timeout(QUIET_LIMIT.as_secs() as u32)
}

async fn follow(api: Api<Pod>, tell: watch::Sender<Known>) {
    let config = not_quiet_for_ever().labels(&selector());
    let mut events = watcher::watcher(api, config).default_backoff().boxed();
    let mut fresh = Known::new();
    let mut broken = false;
    while let Some(event) = events.next().await {
        if event.is_ok() && broken {
            broken = false;
            tracing::info!("the cluster tells of pods again");
        }
        match event {
            Ok(Event::Apply(pod)) => {
                if let Some(session) = template::session_of(&pod.metadata) {
                    tell.send_modify(|known| drop(known.insert(session, Arc::new(pod))));
                }
            }
            Ok(Event::Delete(pod)) => {
                if let Some(session) = template::session_of(&pod.metadata) {
                    tell.send_modify(|known| drop(known.remove(&session)));
                }
            }
            Ok(Event::Init) => fresh = Known::new(),
            Ok(Event::InitApply(pod)) => {
                if let Some(session) = template::session_of(&pod.metadata) {
                    fresh.insert(session, Arc::new(pod));
                }
            }
            Ok(Event::InitDone) => drop(tell.send_replace(std::mem::take(&mut fresh))),
            Err(error) => {
                if !broken {
                    tracing::warn!(%error, "the cluster does not tell of pods; asking again");
                }
                broken = true;
            }
        }
    }
}
