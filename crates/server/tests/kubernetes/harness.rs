//! A namespace of its own for each test, a node that is played, and what a test looks at.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Container, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Config, ResourceExt};
use protocol::agent::{AgentPhase, AgentStatus, Capabilities, DisplayServer};
use protocol::session::{EndReason, ScreenSize, StartStep};
use serde_json::{Value, json};
use server::driver::kubernetes::options::KubernetesOptions;
use server::driver::kubernetes::{KubernetesDriver, Patience};
use server::driver::{AgentKey, Driver, StartError, StartRequest};
use server::ids::{SessionId, UserId};
use tokio_util::task::AbortOnDropHandle;

/// Longest wait for anything of the cluster.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the node does with a pod that is given to it.
#[derive(Debug, Clone)]
pub enum Play {
    /// Runs it, with an agent that is played.
    Run,
    /// Runs what the pod says: the real agent, with GIMP.
    RunGimp,
    /// Leaves it alone, until it is to go.
    Nothing,
    /// Nothing at all, as where the machine is lost.
    Lost,
    /// Says this of it.
    Status(Value),
}

pub struct Stage {
    pub client: Client,
    pub config: Config,
    pub namespace: String,
    pub options: KubernetesOptions,
    pub driver: Driver,
    play: Arc<Mutex<Play>>,
    keys: tempfile::TempDir,
    _node: AbortOnDropHandle<()>,
}

/// Where the cluster is.
pub fn kubeconfig() -> PathBuf {
    std::env::var_os("TEST_KUBECONFIG").map(PathBuf::from).expect(
        "TEST_KUBECONFIG must name the kubeconfig of a cluster for tests. `./test kube` starts one; by hand: \
         scripts/kubernetes up FOLDER, then TEST_KUBECONFIG=FOLDER/admin.kubeconfig",
    )
}

pub async fn config() -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig()).expect("reads");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a cluster")
}

/// The test's log goes to its output: what failed is in it.
fn log() {
    let _again = tracing_subscriber::fmt().with_env_filter("info,kube=warn").with_test_writer().try_init();
}

impl Stage {
    pub async fn new() -> Self {
        log();
        let config = config().await;
        let client = Client::try_from(config.clone()).expect("a client");
        let namespace = format!("test-{:x}", rand::random::<u64>());
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let wanted = from_json(json!({"metadata": {"name": namespace}}));
        namespaces.create(&PostParams::default(), &wanted).await.expect("a namespace");
        // Pods are refused until their namespace has it.
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), &namespace);
        until("the default service account", || async { accounts.get_opt("default").await.ok().flatten() }).await;
        make_node(&client, &namespace).await;
        let play = Arc::new(Mutex::new(Play::Run));
        let node = tokio::spawn(play_node(client.clone(), namespace.clone(), play.clone()));
        let options = KubernetesOptions {
            namespace: namespace.clone(),
            image: "registry.example.org/gimp-session:1".to_owned(),
            node_selector: BTreeMap::from([("test".to_owned(), namespace.clone())]),
            ..KubernetesOptions::default()
        };
        let keys = tempfile::tempdir().expect("a folder");
        let driver = driver(&options, &keys, client.clone(), Patience::default());
        Self { client, config, namespace, options, driver, play, keys, _node: AbortOnDropHandle::new(node) }
    }

    /// As after a restart of the server, or another replica.
    pub fn another_driver(&self) -> Driver {
        self.driver_of(self.client.clone(), Patience::default())
    }

    pub fn driver_of(&self, client: Client, patience: Patience) -> Driver {
        driver(&self.options, &self.keys, client, patience)
    }

    /// A driver that does not wait for what may pass.
    pub fn hasty(&self) -> Driver {
        let second = Duration::from_secs(1);
        self.driver_of(self.client.clone(), Patience { hindered: second, silent: second, ..Patience::default() })
    }

    pub fn play(&self, play: Play) {
        *self.play.lock().expect("no panic") = play;
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        <K as kube::Resource>::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub fn secrets(&self) -> Api<Secret> {
        self.api()
    }

    pub fn claims(&self) -> Api<PersistentVolumeClaim> {
        self.api()
    }

    /// Of a user whose volume there is.
    pub async fn request(&self) -> StartRequest {
        let request = self.request_without_volume();
        self.volume_for(request.user, "64Mi").await;
        request
    }

    /// There is a volume for a user.
    pub async fn volume_for(&self, user: UserId, size: &str) {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let name = format!("user-storage-{user}");
        let claim = json!({"kind": "PersistentVolumeClaim", "namespace": self.namespace, "name": name});
        let volume = json!({
            "metadata": {"name": format!("{}-{user}", self.namespace)},
            "spec": {
                "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "claimRef": claim,
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nonexistent"},
            },
        });
        volumes.create(&PostParams::default(), &from_json(volume)).await.expect("a volume");
    }

    /// Of the agents' tokens.
    pub fn key_path(&self) -> PathBuf {
        self.keys.path().join("key")
    }

    /// Of a user who had a session before: nobody has to wait for the volume.
    pub async fn returning(&self) -> StartRequest {
        let first = self.request().await;
        let play = std::mem::replace(&mut *self.play.lock().expect("no panic"), Play::Run);
        self.start(&self.driver, &first).await.expect("starts");
        self.driver.remove(first.session).await.expect("removes");
        self.play(play);
        StartRequest { session: SessionId::new(), ..first }
    }

    pub fn request_without_volume(&self) -> StartRequest {
        StartRequest {
            session: SessionId::new(),
            user: UserId::new(),
            uid_offset: 0,
            screen: ScreenSize::default(),
            cpu_millis: 100,
            memory_bytes: 64 << 20,
            quota_bytes: 64 << 20,
            history: Default::default(),
        }
    }

    /// Starts a session and tells its steps.
    pub async fn start(&self, driver: &Driver, request: &StartRequest) -> Result<Vec<StartStep>, StartError> {
        let steps = Mutex::new(vec![]);
        let tell = |step| steps.lock().expect("no panic").push(step);
        let started = tokio::time::timeout(PATIENCE, driver.start(request, &tell)).await.expect("in time");
        started.map(|()| steps.lock().expect("no panic").clone())
    }

    /// Makes the node look at a pod again that it was told of already.
    pub async fn touch(&self, request: &StartRequest) {
        let touch = Patch::Merge(json!({"metadata": {"annotations": {"test": rand::random::<u32>().to_string()}}}));
        let touched = || async { self.pods().patch(&pod(request), &PatchParams::default(), &touch).await.ok() };
        until("the API server", touched).await;
    }

    pub async fn pod(&self, request: &StartRequest) -> Option<Pod> {
        self.pods().get_opt(&pod(request)).await.expect("the API server answers")
    }
}

/// What is in the namespace goes by itself; what is not goes here.
impl Drop for Stage {
    fn drop(&mut self) {
        let (config, namespace) = (self.config.clone(), self.namespace.clone());
        let cleared = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let client = Client::try_from(config).expect("a client");
                let now = DeleteParams::default().grace_period(0);
                let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
                let _gone = pods.delete_collection(&now, &ListParams::default()).await;
                let _gone = Api::<Namespace>::all(client.clone()).delete(&namespace, &DeleteParams::default()).await;
                let _gone = Api::<Node>::all(client.clone()).delete(&namespace, &DeleteParams::default()).await;
                let volumes: Api<PersistentVolume> = Api::all(client);
                for volume in volumes.list(&ListParams::default()).await.into_iter().flatten() {
                    if volume.name_any().starts_with(&namespace) {
                        let _gone = volumes.delete(&volume.name_any(), &DeleteParams::default()).await;
                    }
                }
            });
        });
        let _panicked = cleared.join();
    }
}

fn driver(options: &KubernetesOptions, keys: &tempfile::TempDir, client: Client, patience: Patience) -> Driver {
    let key = AgentKey::load_or_create(keys.path()).expect("a key");
    Driver::Kubernetes(KubernetesDriver::with_client(options.clone(), DisplayServer::Xorg, key, client, patience))
}

pub fn from_json<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

pub fn pod(request: &StartRequest) -> String {
    format!("gimp-session-{}", request.session)
}

pub fn claim(request: &StartRequest) -> String {
    format!("user-storage-{}", request.user)
}

/// Asks until there is an answer.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    asked.await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A node that the scheduler believes in.
async fn make_node(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    let labels = json!({"test": name, "kubernetes.io/os": "linux"});
    let node = from_json(json!({"metadata": {"name": name, "labels": labels}}));
    nodes.create(&PostParams::default(), &node).await.expect("a node");
    let room = json!({"cpu": "8", "memory": "8Gi", "pods": "100"});
    let status = json!({"status": {
        "capacity": room, "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True", "reason": "Played", "message": ""}],
    }});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("is ready");
    // New nodes are kept free until a controller has seen them.
    let free = json!({"spec": {"taints": null}});
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(free)).await.expect("takes pods");
}

/// Does what a kubelet does with the pods of one namespace, as far as the API server sees.
async fn play_node(client: Client, namespace: String, play: Arc<Mutex<Play>>) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let mut agents: BTreeMap<String, Agent> = BTreeMap::new();
    let given = watcher::Config::default().fields(&format!("spec.nodeName={namespace}"));
    let mut events = watcher::watcher(pods.clone(), given).boxed();
    while let Some(event) = events.next().await {
        let pod = match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => pod,
            Ok(_) => continue,
            // The API server is away: the watch comes back by itself.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let name = pod.name_any();
        let play = play.lock().expect("no panic").clone();
        if matches!(play, Play::Lost) {
            continue;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            if let Some(Agent::Real(real)) = agents.remove(&name) {
                real.terminate().await;
            }
            let _gone = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
            continue;
        }
        let status = match play {
            Play::Nothing | Play::Lost => continue,
            Play::Status(status) => status,
            Play::Run | Play::RunGimp if agents.contains_key(&name) => continue,
            Play::Run | Play::RunGimp => {
                // Containers are not made before their volumes are there.
                let secret = until("the pod's secret", || async { secrets.get_opt(&name).await.ok().flatten() }).await;
                // Many may be free, and this one surely is.
                let address =
                    IpAddr::V4(Ipv4Addr::new(127, rand::random(), rand::random(), rand::random_range(2..250)));
                let agent = match play {
                    Play::RunGimp => Agent::Real(RealAgent::start(&pods, &pod, &secret, address).await),
                    _ => Agent::Played { _serving: play_agent(&secret, address).await },
                };
                agents.insert(name.clone(), agent);
                json!({"phase": "Running", "podIP": address.to_string(), "containerStatuses": [container("running", json!({}))]})
            }
        };
        if pod.status.as_ref().and_then(|now| now.phase.clone()) == status["phase"].as_str().map(str::to_owned) {
            let known = serde_json::to_value(&pod.status).expect("an object");
            if known["containerStatuses"] == status["containerStatuses"] || status["containerStatuses"].is_null() {
                continue;
            }
        }
        let _passing =
            pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await;
    }
}

/// The status of the session's container.
pub fn container(state: &str, detail: Value) -> Value {
    json!({"name": "session", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": {state: detail}})
}

enum Agent {
    Played { _serving: AbortOnDropHandle<()> },
    Real(RealAgent),
}

/// Answers as an agent does to whoever has the token of this secret.
async fn play_agent(secret: &Secret, address: IpAddr) -> AbortOnDropHandle<()> {
    let data = secret.data.as_ref().expect("data");
    let token = String::from_utf8(data["token"].0.clone()).expect("text").trim().to_owned();
    let config: protocol::agent::AgentConfig = serde_json::from_slice(&data["config.json"].0).expect("a configuration");
    let bearer = format!("Bearer {token}");
    let session_id = config.session_id;
    let router = axum::Router::new().route("/health", get(|| async { "ok\n" })).route(
        "/v1/status",
        get(move |headers: HeaderMap| async move {
            if headers.get("authorization").is_none_or(|given| *given != *bearer) {
                return Err(StatusCode::UNAUTHORIZED);
            }
            Ok(axum::Json(status(session_id, AgentPhase::Running)))
        }),
    );
    let listener = tokio::net::TcpListener::bind((address, protocol::agent::PORT)).await.expect("a free address");
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
    AbortOnDropHandle::new(serving)
}

/// The containers of a pod as processes of this machine, one after the other, with the pod's own arguments and environment
/// but for what lies elsewhere here.
struct RealAgent {
    terminate: tokio::sync::oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

impl RealAgent {
    async fn start(pods: &Api<Pod>, pod: &Pod, secret: &Secret, address: IpAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = |name: &str| folder.path().join(name);
        for name in ["handover", "home", "run"] {
            std::fs::create_dir(inside(name)).expect("a folder");
        }
        for (name, content) in secret.data.iter().flatten() {
            std::fs::write(inside("handover").join(name), &content.0).expect("writes");
        }
        let spec = pod.spec.as_ref().expect("a spec");
        let words = inside("termination-log");
        let command = |container: &Container| {
            let mut command = tokio::process::Command::new(agent_program());
            command.args(container.args.iter().flatten()).env_clear().current_dir(inside("home"));
            command.envs(
                container.env.iter().flatten().map(|variable| (&variable.name, variable.value.as_ref().expect("set"))),
            );
            for (name, value) in [("HOME", "home"), ("XDG_RUNTIME_DIR", "run"), ("GIMP_SESSION_HOME", "home")] {
                command.env(name, inside(value));
            }
            for (name, value) in [("GIMP_SESSION_RUN_DIR", "run"), ("GIMP_SESSION_WARM_DIR", "cold")] {
                command.env(name, inside(value));
            }
            command.kill_on_drop(true);
            command
        };
        let [init] = &spec.init_containers.as_ref().expect("init containers")[..] else { panic!("one") };
        let unpacked = command(init).arg("--from").arg(inside("handover")).status().await.expect("runs");
        assert!(unpacked.success(), "{unpacked}");
        let [session] = &spec.containers[..] else { panic!("one container") };
        let listen = session.env.iter().flatten().find(|variable| variable.name == "GIMP_SESSION_LISTEN");
        let port = format!(":{}", protocol::agent::PORT);
        assert!(listen.expect("an address").value.as_ref().expect("set").ends_with(&port));
        let mut session = command(session);
        session.env("GIMP_SESSION_LISTEN", format!("{address}{port}")).env("GIMP_SESSION_LAST_WORDS", &words);
        let mut child = session.spawn().expect("starts");
        let (terminate, terminated) = tokio::sync::oneshot::channel();
        let (pods, name) = (pods.clone(), pod.name_any());
        let ended = tokio::spawn(async move {
            let _folder = folder;
            let by_itself = tokio::select! {
                status = child.wait() => Some(status),
                _ = terminated => None,
            };
            let status = match by_itself {
                Some(status) => status,
                None => {
                    let pid =
                        rustix::process::Pid::from_raw(child.id().expect("runs").cast_signed()).expect("a process");
                    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signals");
                    child.wait().await
                }
            };
            let code = status.expect("waits").code().unwrap_or(137);
            let message = std::fs::read_to_string(&words).unwrap_or_default();
            let state = container("terminated", json!({"exitCode": code, "reason": "Completed", "message": message}));
            let status = json!({"phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [state]});
            let told =
                pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await;
            told.expect("tells how it ended");
        });
        Self { terminate, ended }
    }

    /// As for a pod that is deleted: the time to end belongs to the agent.
    async fn terminate(self) {
        let _ended_already = self.terminate.send(());
        self.ended.await.expect("ends");
    }
}

/// Built beside the tests.
fn agent_program() -> PathBuf {
    let mut path = std::env::current_exe().expect("a path");
    path.pop();
    path.set_file_name("gimp-session");
    assert!(path.is_file(), "{} is missing: cargo build --bin gimp-session", path.display());
    path
}

pub fn status(session_id: uuid::Uuid, phase: AgentPhase) -> AgentStatus {
    AgentStatus {
        protocol_version: protocol::PROTOCOL_VERSION,
        session_id,
        phase,
        idle_ms: 0,
        viewers: 0,
        screen: ScreenSize::default(),
        gimp_version: None,
        capabilities: Capabilities::default(),
        restarts: vec![],
        timings: vec![],
        unattended: false,
        documents: None,
    }
}

pub fn last_words(request: &StartRequest, reason: EndReason) -> String {
    serde_json::to_string(&status(request.session.0, AgentPhase::Ended { reason })).expect("text")
}
