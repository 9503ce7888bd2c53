//! Sessions as pods of a Kubernetes cluster, one each.
//!
//! Files: `template` has the objects that make a session, `hindrance` reads from a pod what is in its way, `pods` watches
//! them, `options` are the settings. This file puts them in order. Nothing but addresses is remembered, and those can be
//! asked for again.
//!
//! A pod is made before its secret, which belongs to it from the beginning: whatever happens in between, nothing is left
//! over once the pod is gone, and the server need not be allowed to read secrets. A pod without one waits for it, and the
//! next server, which finds it waiting, starts the session once more.
//!
//! Nothing is ever removed by force. A pod on a machine that can't be reached may still write to its user's volume; only
//! Kubernetes, told by its administrator or the cloud, knows when it can't. Until then the user's next session has to wait.

mod hindrance;
pub mod options;
mod pods;
#[cfg(test)]
mod restricted;
mod template;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use kube::{Api, Client, Config, ResourceExt};
use protocol::agent::{self, CopyTimes, DisplayServer};
use protocol::session::StartStep;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use self::hindrance::{Hindrance, Outlook};
use self::options::KubernetesOptions;
use self::pods::Pods;
use super::agent_client::{AgentClient, Endpoint};
use super::{AgentKey, Lost, Presence, Protection, StartError, StartRequest};
use crate::config::Settings;
use crate::ids::SessionId;
use crate::session::report::plain;

/// Who has written what, as the cluster keeps it.
const FIELD_MANAGER: &str = "gimp-platform";
/// Between two attempts to reach the API server: from this ...
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// ... doubling up to this.
const RETRY_LAST: Duration = Duration::from_secs(2);
/// Between two looks whether an agent answers.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Between two questions whether a pod is gone, at least.
const GONE_AGAIN: Duration = Duration::from_millis(200);
/// A connection to the API server on which nothing comes for longer is dead. Watches are never quiet for so long.
const READ_LIMIT: Duration = Duration::from_secs(pods::QUIET_LIMIT.as_secs() + 15);
/// For a connection within the cluster.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts to reach the cluster at the server's start.
const PREPARE_AGAIN: Duration = Duration::from_secs(5);
/// Characters of the cluster's own words that go to the log.
const SAID_MAX: usize = 500;
/// Events of a pod that are looked at.
const MAX_EVENTS: usize = 64;

/// How long a start waits, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For what may pass that is in the way: a machine may be on its way.
    pub hindered: Duration,
    /// For the API server.
    pub silent: Duration,
    /// For the agent of a pod that runs.
    pub answer: Duration,
    /// For all of it.
    pub whole: Duration,
    /// For a pod that is told to go, on top of the time that its agent has to end.
    pub gone: Duration,
}

/// All below `lifecycle::START_LIMIT`, whose words say less.
impl Default for Patience {
    fn default() -> Self {
        Self {
            hindered: Duration::from_secs(120),
            silent: Duration::from_secs(20),
            answer: Duration::from_secs(20),
            whole: Duration::from_secs(165),
            gone: Duration::from_secs(30),
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct KubernetesDriver {
    inner: Arc<Inner>,
}

struct Inner {
    options: KubernetesOptions,
    display: DisplayServer,
    copies: CopyTimes,
    key: AgentKey,
    patience: Patience,
    cluster: OnceCell<Cluster>,
}

/// The way to the objects of one namespace.
struct Cluster {
    pods: Api<Pod>,
    secrets: Api<Secret>,
    claims: Api<PersistentVolumeClaim>,
    events: Api<Event>,
    seen: Pods,
    patience: Patience,
}

impl KubernetesDriver {
    /// # Errors
    /// When the agents' key can't be made or read.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let key = AgentKey::of(settings).context("the key of the agents' tokens")?;
        let display = settings.display_server().unwrap_or_default();
        let (options, copies) = (settings.kubernetes.clone(), settings.copy_times());
        let patience = Patience::default();
        Ok(Self { inner: Arc::new(Inner { options, display, copies, key, patience, cluster: OnceCell::new() }) })
    }

    /// On a cluster that is reached already. Needs a runtime: begins to watch.
    #[must_use]
    pub fn with_client(
        options: KubernetesOptions,
        display: DisplayServer,
        key: AgentKey,
        client: Client,
        patience: Patience,
    ) -> Self {
        let cluster = OnceCell::new_with(Some(Cluster::new(client, &options.namespace, patience)));
        let copies = CopyTimes::default();
        Self { inner: Arc::new(Inner { options, display, copies, key, patience, cluster }) }
    }

    /// Whether sessions can start.
    ///
    /// # Errors
    /// When the cluster can't be reached, or does not let this server see pods. The message says what to do.
    pub async fn examine(&self) -> anyhow::Result<()> {
        self.inner.look().await?.map_err(|error| self.inner.explained(error))
    }

    /// Begins to watch. Returns once the cluster lets this server see pods, however long that takes: a role that was made
    /// a moment ago may not count yet, or an administrator may mend it.
    ///
    /// # Errors
    /// When the settings can't be right.
    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        let mut told = String::new();
        while let Err(error) = self.inner.look().await? {
            let error = format!("{:#}", self.inner.explained(error));
            if error != told {
                tracing::warn!(error, "sessions can't start yet; asking the cluster again");
                told = error;
            }
            tokio::time::sleep(PREPARE_AGAIN).await;
        }
        Ok(())
    }

    pub(super) async fn start(
        &self,
        request: &StartRequest,
        progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        let started = self.inner.start(request, progress).await;
        if started.is_err()
            && let Err(error) = self.inner.remove(request.session).await
        {
            tracing::warn!(session = %request.session, error = %format!("{error:#}"), "after a failed start");
        }
        started
    }

    pub(super) fn agent(&self, session: SessionId) -> AgentClient {
        self.inner.agent(session, None)
    }

    pub(super) async fn presence(&self, session: SessionId) -> anyhow::Result<Presence> {
        let cluster = self.inner.cluster().await?;
        let pod = cluster.pods.get_opt(&template::pod_name(session)).await?;
        let Some(pod) = pod else { return Ok(Presence::Gone { last_status: None, lost: None }) };
        if hindrance::is_pending(&pod) {
            return Ok(Presence::Underway);
        }
        if !hindrance::is_over(&pod) {
            return Ok(Presence::Present);
        }
        let lost = hindrance::loss(&pod).map(|(hindrance, cause)| {
            tracing::info!(%session, cause = plain(&cause, SAID_MAX), "a session's pod is over");
            Lost { reason: hindrance.reason(), detail: hindrance.to_string() }
        });
        let last_status = hindrance::last_words(&pod).and_then(|words| serde_json::from_str(words).ok());
        Ok(Presence::Gone { last_status, lost })
    }

    /// Sessions with a pod. Secrets go with theirs.
    pub(super) async fn list(&self) -> anyhow::Result<Vec<SessionId>> {
        let ours = ListParams::default().labels(&pods::selector());
        let pods = self.inner.cluster().await?.pods.list_metadata(&ours).await?;
        Ok(pods.iter().filter_map(|pod| template::session_of(&pod.metadata)).collect())
    }

    pub(super) async fn remove(&self, session: SessionId) -> anyhow::Result<()> {
        self.inner.remove(session).await
    }

    pub(super) fn protections(&self) -> Vec<Protection> {
        let on = |name, detail: &str| Protection { name, on: true, detail: detail.to_owned() };
        vec![
            on("separate pods", "one for each session, uid 1000, without capabilities or a way to more rights"),
            on("read-only system", "the root file system of pods can't be written to"),
            on("system call filter", "that of the container runtime (RuntimeDefault)"),
            on("memory limit", "twice what a session asks for"),
            Protection {
                name: "no network",
                on: false,
                detail:
                    "not known here: a NetworkPolicy has to close it, and the cluster's network has to enforce it; \
                         the Helm chart has one"
                        .to_owned(),
            },
        ]
    }
}

impl Inner {
    async fn cluster(&self) -> anyhow::Result<&Cluster> {
        self.cluster
            .get_or_try_init(|| async {
                let mut config = match &self.options.kubeconfig {
                    Some(path) => {
                        let kubeconfig = Kubeconfig::read_from(path)
                            .with_context(|| format!("the setting kubernetes.kubeconfig, {}", path.display()))?;
                        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
                    }
                    None => Config::incluster().context(
                        "this server does not run in a pod with a service account; set kubernetes.kubeconfig",
                    )?,
                };
                config.read_timeout = Some(READ_LIMIT);
                Ok(Cluster::new(Client::try_from(config)?, &self.options.namespace, self.patience))
            })
            .await
    }

    async fn look(&self) -> anyhow::Result<kube::Result<()>> {
        let one = ListParams::default().labels(&pods::selector()).limit(1);
        Ok(self.cluster().await?.pods.list_metadata(&one).await.map(drop))
    }

    fn explained(&self, error: kube::Error) -> anyhow::Error {
        anyhow::Error::new(error).context(format!(
            "the pods of the namespace {} can't be seen; the role in the Helm chart has what the server must be allowed",
            self.options.namespace
        ))
    }

    fn agent(self: &Arc<Self>, session: SessionId, address: Option<IpAddr>) -> AgentClient {
        let endpoint = Endpoint::Pod(Dial { inner: self.clone(), session, address });
        AgentClient { endpoint, token: self.key.token(session) }
    }

    async fn start(
        self: &Arc<Self>,
        request: &StartRequest,
        progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        let cluster = self.cluster().await.map_err(StartError::Internal)?;
        let session = request.session;
        let refused = |error: Refused| error.into_start_error(session);
        let name = template::pod_name(session);
        let found = patiently(self.patience.silent, || cluster.pods.get_opt(&name)).await.map_err(refused)?;
        if let Some(pod) = found {
            if hindrance::is_over(&pod) || pod.metadata.deletion_timestamp.is_some() {
                // Of an attempt before.
                self.remove(session).await.map_err(StartError::Internal)?;
            } else {
                cluster.hand_over(request, self, &pod).await.map_err(refused)?;
                return self.wait(cluster, session, &pod, progress).await;
            }
        }
        progress(StartStep::CreatingWorkspace);
        cluster.release(request).await.map_err(refused)?;
        cluster.claim(request, &self.options).await.map_err(refused)?;
        let wanted = Patch::Apply(template::pod(request, &self.options));
        let params = PatchParams::apply(FIELD_MANAGER);
        let pod =
            patiently(self.patience.silent, || cluster.pods.patch(&name, &params, &wanted)).await.map_err(refused)?;
        cluster.hand_over(request, self, &pod).await.map_err(refused)?;
        self.wait(cluster, session, &pod, progress).await
    }

    /// Until the agent of this pod answers.
    async fn wait(
        self: &Arc<Self>,
        cluster: &Cluster,
        session: SessionId,
        this: &Pod,
        progress: &(dyn Fn(StartStep) + Send + Sync),
    ) -> Result<(), StartError> {
        let name = template::pod_name(session);
        let mut known = cluster.seen.subscribe();
        let of_pod = pods::not_quiet_for_ever().fields(&format!("involvedObject.name={name}"));
        let mut told = watcher::watcher(cluster.events.clone(), of_pod).default_backoff().touched_objects().boxed();
        let mut events: Vec<Event> = vec![];
        let began = Instant::now();
        let mut hindered: Option<(Instant, Hindrance, String)> = None;
        let mut was_there = false;
        let mut answering: Option<Answering> = None;
        loop {
            // The watch may not have come to it yet, and know one of an attempt before.
            let is_this = |pod: &Arc<Pod>| pod.metadata.uid == this.metadata.uid;
            let pod = known.borrow_and_update().get(&session).filter(|pod| is_this(pod)).cloned();
            let outlook = match &pod {
                Some(pod) => hindrance::outlook(pod, &events),
                None if was_there => Outlook::Hopeless(Hindrance::Removed, "there is no pod any more".to_owned()),
                None => Outlook::Underway,
            };
            was_there |= pod.is_some();
            match outlook {
                Outlook::Hopeless(hindrance, cause) => return Err(give_up(session, hindrance, &cause)),
                Outlook::Running(address) if answering.as_ref().is_none_or(|asked| asked.address != address) => {
                    progress(StartStep::StartingDisplay);
                    hindered = None;
                    answering = Some(Answering::at(address, self.agent(session, Some(address)), self.patience.answer));
                }
                Outlook::Running(_) => {}
                Outlook::Underway => hindered = None,
                Outlook::Hindered(hindrance, cause) => match &mut hindered {
                    Some((_, known, _)) if *known == hindrance => {}
                    Some((_, known, said)) => (*known, *said) = (hindrance, cause),
                    None => {
                        tracing::info!(%session, cause = plain(&cause, SAID_MAX), "a session has to wait: {hindrance}");
                        hindered = Some((Instant::now(), hindrance, cause));
                    }
                },
            }
            let until = hindered.as_ref().map_or(began + self.patience.whole, |(since, ..)| {
                (*since + self.patience.hindered).min(began + self.patience.whole)
            });
            tokio::select! {
                changed = known.changed() => {
                    changed.map_err(|_| StartError::Internal(anyhow::anyhow!("the watch of pods has ended")))?;
                }
                Some(event) = told.next() => match event {
                    Ok(event) if events.len() < MAX_EVENTS => events.push(event),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%session, %error, "events of a pod can't be seen"),
                },
                answered = async { answering.as_mut().expect("guarded").answered.as_mut().await }, if answering.is_some() => {
                    return match answered {
                        true => Ok(()),
                        false => Err(give_up(session, Hindrance::Unreachable, "its agent does not answer")),
                    };
                }
                () = tokio::time::sleep_until(until) => {
                    return Err(match hindered {
                        Some((_, hindrance, cause)) => give_up(session, hindrance, &cause),
                        None => give_up(session, Hindrance::Slow, "nothing is said to be in its way"),
                    });
                }
            }
        }
    }

    /// Its agent gets the time to end everything in its own order. Returns when the pod is gone.
    async fn remove(&self, session: SessionId) -> anyhow::Result<()> {
        let cluster = self.cluster().await?;
        let name = template::pod_name(session);
        let Some(pod) = cluster.pods.get_opt(&name).await? else { return Ok(()) };
        let this = Preconditions { uid: pod.uid(), resource_version: None };
        let this = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
        let leaving = match cluster.pods.delete(&name, &this).await {
            Ok(answer) => answer.left().unwrap_or_else(|| pod.clone()),
            // Gone meanwhile, or another of the same name: not ours to remove.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_there = || async {
            let found = cluster.pods.get_metadata_opt(&name).await;
            found.map(|found| found.is_some_and(|found| found.metadata.uid == pod.metadata.uid))
        };
        let gone = cluster.passes(cluster.time_to_leave(&leaving), is_there).await;
        anyhow::ensure!(
            gone.context("whether the pod is gone can't be told")?,
            "the pod is still there; its machine may be lost"
        );
        Ok(())
    }

    async fn address(&self, session: SessionId) -> io::Result<IpAddr> {
        let none = || io::Error::new(io::ErrorKind::NotConnected, "the session's pod has no address");
        let cluster = self.cluster().await.map_err(io::Error::other)?;
        if let Some(address) = cluster.seen.get(session).as_deref().and_then(hindrance::address) {
            return Ok(address);
        }
        let pod = cluster.pods.get_opt(&template::pod_name(session)).await.map_err(io::Error::other)?;
        pod.as_ref().and_then(hindrance::address).ok_or_else(none)
    }
}

/// Whether an agent answers, being found out.
struct Answering {
    address: IpAddr,
    answered: futures::future::BoxFuture<'static, bool>,
}

impl Answering {
    fn at(address: IpAddr, agent: AgentClient, limit: Duration) -> Self {
        let asking = async move {
            while agent.health().await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        Self { address, answered: Box::pin(async move { tokio::time::timeout(limit, asking).await.is_ok() }) }
    }
}

impl Cluster {
    fn new(client: Client, namespace: &str, patience: Patience) -> Self {
        let pods = Api::namespaced(client.clone(), namespace);
        Self {
            patience,
            seen: Pods::watch(pods.clone()),
            pods,
            secrets: Api::namespaced(client.clone(), namespace),
            claims: Api::namespaced(client.clone(), namespace),
            events: Api::namespaced(client, namespace),
        }
    }

    /// Within this a pod that was told to go is gone, unless its machine is lost.
    fn time_to_leave(&self, pod: &Pod) -> Duration {
        hindrance::time_to_leave(pod, SystemTime::now()) + self.patience.gone
    }

    /// Asks again whenever pods change, and at the end of the time. False: it still lasts.
    async fn passes<F>(&self, limit: Duration, mut lasts: impl FnMut() -> F) -> kube::Result<bool>
    where
        F: Future<Output = kube::Result<bool>>,
    {
        let deadline = Instant::now() + limit;
        let mut changes = self.seen.subscribe();
        loop {
            changes.mark_unchanged();
            if !lasts().await? {
                return Ok(true);
            }
            if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return lasts().await.map(|lasts| !lasts);
            }
            tokio::time::sleep(GONE_AGAIN).await;
        }
    }

    /// Waits until no earlier session of the user, having been told to go, may still write to the volume.
    async fn release(&self, request: &StartRequest) -> Result<(), Refused> {
        let of_user =
            ListParams::default().labels(&format!("{},{}", pods::selector(), template::of_user(request.user)));
        let pods = patiently(self.patience.silent, || self.pods.list(&of_user)).await?;
        for pod in pods.into_iter().filter(hindrance::is_leaving) {
            let name = pod.name_any();
            let holds = || async {
                let is_this = |found: &Pod| found.metadata.uid == pod.metadata.uid;
                let found = self.pods.get_opt(&name).await;
                found.map(|found| found.is_some_and(|found| is_this(&found) && hindrance::is_leaving(&found)))
            };
            match self.passes(self.time_to_leave(&pod), holds).await {
                Ok(true) => {}
                Ok(false) => return Err(Refused(Hindrance::Held, format!("pod {name} is still being removed"))),
                Err(error) => return Err(Refused(Hindrance::Silent, said(&error))),
            }
        }
        Ok(())
    }

    /// The user's volume as it should be: made, or made larger.
    async fn claim(&self, request: &StartRequest, options: &KubernetesOptions) -> Result<(), Refused> {
        let name = template::claim_name(request.user);
        let found = patiently(self.patience.silent, || self.claims.get_opt(&name)).await?;
        let wanted = Patch::Apply(template::claim(request, options, found.as_ref()));
        // Its size is ours to say, whoever has said another.
        let ours = PatchParams::apply(FIELD_MANAGER).force();
        let applied = patiently(self.patience.silent, || self.claims.patch(&name, &ours, &wanted)).await;
        match (applied, found) {
            (Ok(_), _) => Ok(()),
            // Not every class of volumes can grow. Better a session on a small volume than none.
            (Err(Refused(Hindrance::Refused, said)), Some(_)) => {
                tracing::warn!(user = %request.user, said = plain(&said, SAID_MAX), "a volume can't be made larger");
                Ok(())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Configuration and token, for this pod only.
    async fn hand_over(&self, request: &StartRequest, inner: &Inner, pod: &Pod) -> Result<(), Refused> {
        let token = inner.key.token(request.session);
        let pod_uid = pod.uid().unwrap_or_default();
        let secret = template::secret(request, &inner.display, inner.copies, &token, &pod_uid);
        let secret = Patch::Apply(secret);
        let name = template::pod_name(request.session);
        let ours = PatchParams::apply(FIELD_MANAGER).force();
        patiently(self.patience.silent, || self.secrets.patch(&name, &ours, &secret)).await.map(drop)
    }
}

/// What the API server would not do, and what it said.
#[derive(Debug)]
struct Refused(Hindrance, String);

impl Refused {
    fn into_start_error(self, session: SessionId) -> StartError {
        give_up(session, self.0, &self.1)
    }
}

fn give_up(session: SessionId, hindrance: Hindrance, cause: &str) -> StartError {
    tracing::warn!(%session, ?hindrance, cause = plain(cause, SAID_MAX), "a session can't start in the cluster");
    hindrance.into()
}

/// Asks again while the API server is away or busy.
async fn patiently<T, F>(limit: Duration, mut ask: impl FnMut() -> F) -> Result<T, Refused>
where
    F: Future<Output = kube::Result<T>>,
{
    let deadline = Instant::now() + limit;
    let mut pause = RETRY_FIRST;
    loop {
        let error = match tokio::time::timeout_at(deadline, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => return Err(Refused(Hindrance::Silent, "no answer in time".to_owned())),
        };
        if let Some(hindrance) = hindrance::refusal(&error) {
            return Err(Refused(hindrance, said(&error)));
        }
        if Instant::now() + pause > deadline {
            return Err(Refused(Hindrance::Silent, said(&error)));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LAST);
    }
}

fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => format!("{:#}", anyhow::anyhow!(other.to_string())),
    }
}

/// Connects to the agent in a session's pod.
#[derive(Clone)]
pub struct Dial {
    inner: Arc<Inner>,
    session: SessionId,
    /// None: to be found.
    address: Option<IpAddr>,
}

impl Dial {
    /// # Errors
    /// When the pod has no address, nobody listens there, or nobody answers for five seconds.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let address = match self.address {
            Some(address) => address,
            None => self.inner.address(self.session).await?,
        };
        let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((address, agent::PORT))).await;
        let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
