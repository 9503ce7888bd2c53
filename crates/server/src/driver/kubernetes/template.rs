//! What a session is in the cluster: a pod, a secret that goes with it, and its user's volume. Pure: the same request and
//! settings make the same objects, so that applying them again changes nothing.
//!
//! The pod keeps to the profile `restricted` of the Pod Security Standards; `restricted` has its rules.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction, LocalObjectReference,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext,
    PodSpec, Probe, ResourceRequirements, SeccompProfile, Secret, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::{ByteString, DeepMerge};
use protocol::agent::{self, AgentConfig, CopyTimes, DisplayServer, EndLimits, paths};

use super::options::KubernetesOptions;
use crate::driver::{ENVIRONMENT, MAX_SCREEN, StartRequest};
use crate::ids::{SessionId, UserId};

/// Labels of everything that is ours.
pub const NAME_LABEL: (&str, &str) = ("app.kubernetes.io/name", "gimp-session");
pub const MANAGER_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "gimp-platform");
pub const SESSION_LABEL: &str = "gimp-platform/session";
pub const USER_LABEL: &str = "gimp-platform/user";

/// The container that the session runs in.
pub const CONTAINER: &str = "session";
/// uid and gid of everything in the pod.
const ID: i64 = 1000;
/// A session may take so many times what is set aside for it while the node has it.
const BURST: u64 = 2;
/// Part of the memory set aside that `/tmp` may take, and `/dev/shm` as much again: what lies there is not freed by ending
/// a process.
const SCRATCH_PART: u64 = 4;
/// Sockets, status, logs of GIMP.
const RUN_BYTES: u64 = 64 << 20;
/// Beyond the stages of an end: for the agent's own.
const GRACE_SLACK_MS: u64 = 10_000;

#[must_use]
pub fn pod_name(session: SessionId) -> String {
    format!("gimp-session-{session}")
}

#[must_use]
pub fn claim_name(user: UserId) -> String {
    format!("user-storage-{user}")
}

/// The session that an object belongs to, if it is one of ours.
#[must_use]
pub fn session_of(metadata: &ObjectMeta) -> Option<SessionId> {
    metadata.labels.as_ref()?.get(SESSION_LABEL)?.parse().ok().map(SessionId)
}

/// Selects the pods of a user's sessions.
#[must_use]
pub fn of_user(user: UserId) -> String {
    format!("{USER_LABEL}={user}")
}

/// Seconds that an agent has to end everything in its own order, saving first.
#[must_use]
pub fn grace_seconds() -> i64 {
    let EndLimits { save_ms, quit_ms, terminate_ms, kill_ms, display_ms } = EndLimits::default();
    let all = save_ms + quit_ms + terminate_ms + kill_ms + display_ms + GRACE_SLACK_MS;
    i64::try_from(all.div_ceil(1000)).unwrap_or(i64::MAX)
}

fn labels(user: UserId) -> BTreeMap<String, String> {
    [NAME_LABEL, MANAGER_LABEL]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain([(USER_LABEL.to_owned(), user.to_string())])
        .collect()
}

fn session_labels(request: &StartRequest) -> BTreeMap<String, String> {
    let mut labels = labels(request.user);
    labels.insert(SESSION_LABEL.to_owned(), request.session.to_string());
    labels
}

/// What the pod hands over to the agent. Goes when the pod goes.
#[must_use]
pub fn secret(
    request: &StartRequest,
    display: &DisplayServer,
    copies: CopyTimes,
    token: &str,
    pod_uid: &str,
) -> Secret {
    let config = AgentConfig {
        session_id: request.session.0,
        screen: request.screen,
        max_screen: MAX_SCREEN,
        memory_bytes: request.memory_bytes,
        cpus: u16::try_from(u64::from(request.cpu_millis).saturating_mul(BURST).div_ceil(1000))
            .unwrap_or(u16::MAX)
            .max(1),
        display: display.clone(),
        time_limits: EndLimits::default(),
        history: request.history,
        copies,
    };
    // Its fields are numbers and names: they can always be written.
    let config = serde_json::to_string(&config).unwrap_or_default();
    Secret {
        metadata: ObjectMeta {
            name: Some(pod_name(request.session)),
            labels: Some(session_labels(request)),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name: pod_name(request.session),
                uid: pod_uid.to_owned(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            (paths::CONFIG_FILE.to_owned(), ByteString(config.into_bytes())),
            (paths::TOKEN_FILE.to_owned(), ByteString(format!("{token}\n").into_bytes())),
        ])),
        ..Secret::default()
    }
}

/// The user's volume, which outlives every session. One that is there keeps its class, and is never made smaller.
#[must_use]
pub fn claim(
    request: &StartRequest,
    options: &KubernetesOptions,
    found: Option<&PersistentVolumeClaim>,
) -> PersistentVolumeClaim {
    let spec = found.and_then(|found| found.spec.as_ref());
    let has = spec
        .and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"))
        .filter(|size| bytes_of(size).is_some_and(|bytes| bytes >= request.quota_bytes));
    let size = has.cloned().unwrap_or_else(|| bytes(request.quota_bytes));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(claim_name(request.user)),
            labels: Some(labels(request.user)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(
                spec.and_then(|spec| spec.access_modes.clone()).unwrap_or_else(|| vec!["ReadWriteOnce".to_owned()]),
            ),
            storage_class_name: match spec {
                Some(spec) => spec.storage_class_name.clone(),
                None => options.storage_class.clone(),
            },
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

#[must_use]
pub fn pod(request: &StartRequest, options: &KubernetesOptions) -> Pod {
    let scratch = request.memory_bytes / SCRATCH_PART;
    let mut node_selector = options.node_selector.clone();
    // What the image is built for.
    node_selector.entry("kubernetes.io/os".to_owned()).or_insert_with(|| "linux".to_owned());
    Pod {
        metadata: ObjectMeta {
            name: Some(pod_name(request.session)),
            labels: Some(session_labels(request)),
            // Whoever makes room on a node asks us first: there is a person at work.
            annotations: Some(BTreeMap::from([(
                "cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(),
                "false".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            hostname: Some("gimp".to_owned()),
            termination_grace_period_seconds: Some(grace_seconds()),
            runtime_class_name: options.runtime_class.clone(),
            priority_class_name: options.priority_class.clone(),
            node_selector: Some(node_selector),
            tolerations: (!options.tolerations.is_empty()).then(|| options.tolerations.clone()),
            affinity: options.affinity.clone(),
            image_pull_secrets: (!options.image_pull_secrets.is_empty()).then(|| {
                options.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect()
            }),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(ID),
                run_as_group: Some(ID),
                fs_group: Some(ID),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            init_containers: Some(vec![unpack(request, options)]),
            containers: vec![session(request, options)],
            volumes: Some(vec![
                Volume {
                    name: "home".to_owned(),
                    persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                        claim_name: claim_name(request.user),
                        ..PersistentVolumeClaimVolumeSource::default()
                    }),
                    ..Volume::default()
                },
                Volume {
                    name: "handover".to_owned(),
                    secret: Some(SecretVolumeSource {
                        secret_name: Some(pod_name(request.session)),
                        default_mode: Some(0o440),
                        ..SecretVolumeSource::default()
                    }),
                    ..Volume::default()
                },
                in_memory("run", RUN_BYTES),
                in_memory("tmp", scratch),
                in_memory("shm", scratch),
            ]),
            ..PodSpec::default()
        }),
        ..Pod::default()
    }
}

/// Puts the token where the agent takes it from and removes it: the secret itself is not to be seen in the session.
fn unpack(request: &StartRequest, options: &KubernetesOptions) -> Container {
    let mut container = container(request, options);
    container.merge_from(Container {
        name: "unpack".to_owned(),
        args: Some(vec!["unpack".to_owned()]),
        volume_mounts: Some(vec![
            VolumeMount { read_only: Some(true), ..mount("handover", paths::HANDOVER_DIR) },
            mount("run", paths::RUN_DIR),
        ]),
        ..Container::default()
    });
    container
}

fn session(request: &StartRequest, options: &KubernetesOptions) -> Container {
    let probe = |path: &str| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(agent::PORT.into()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(5),
        ..Probe::default()
    };
    let mut container = container(request, options);
    container.merge_from(Container {
        name: CONTAINER.to_owned(),
        args: Some(vec!["run".to_owned()]),
        ports: Some(vec![ContainerPort {
            name: Some("agent".to_owned()),
            container_port: agent::PORT.into(),
            ..ContainerPort::default()
        }]),
        env: Some(
            [
                ("GIMP_SESSION_LISTEN", format!("0.0.0.0:{}", agent::PORT)),
                ("GIMP_SESSION_LAST_WORDS", paths::LAST_WORDS_FILE.to_owned()),
            ]
            .map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() })
            .into(),
        ),
        working_dir: Some(paths::HOME.to_owned()),
        // The server looks after agents that hang, and sooner; this is for when there is no server.
        liveness_probe: Some(Probe {
            period_seconds: Some(20),
            failure_threshold: Some(9),
            ..probe(agent::HEALTH_PATH)
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(5),
            failure_threshold: Some(2),
            ..probe(agent::READY_PATH)
        }),
        termination_message_path: Some(paths::LAST_WORDS_FILE.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(vec![
            mount("home", paths::HOME),
            mount("run", paths::RUN_DIR),
            mount("tmp", "/tmp"),
            mount("shm", "/dev/shm"),
        ]),
        ..Container::default()
    });
    container
}

/// What is the same for all containers.
fn container(request: &StartRequest, options: &KubernetesOptions) -> Container {
    let resources = |times: u64| {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(format!("{}m", u64::from(request.cpu_millis).saturating_mul(times)))),
            ("memory".to_owned(), bytes(request.memory_bytes.saturating_mul(times))),
        ])
    };
    Container {
        image: Some(options.image.clone()),
        command: Some(vec!["gimp-session".to_owned()]),
        env: Some(
            ENVIRONMENT
                .iter()
                .map(|(name, value)| EnvVar {
                    name: (*name).to_owned(),
                    value: Some((*value).to_owned()),
                    ..EnvVar::default()
                })
                .collect(),
        ),
        resources: Some(ResourceRequirements {
            requests: Some(resources(1)),
            limits: Some(resources(BURST)),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// Counts as memory of the session, and is full at `size`. On the node's disk it would not be: who fills it there is
/// killed, with no time to save anything.
fn in_memory(name: &str, size: u64) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium: Some("Memory".to_owned()), size_limit: Some(bytes(size)) }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// In the cluster's own way of writing, so that it finds no difference: whole units where there are any.
fn bytes(count: u64) -> Quantity {
    let units = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let unit = units.into_iter().find(|(bits, _)| count > 0 && count.is_multiple_of(1 << bits));
    Quantity(unit.map_or_else(|| count.to_string(), |(bits, unit)| format!("{}{unit}", count >> bits)))
}

/// None where the amount is written in a way that nobody writes sizes of volumes in.
fn bytes_of(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.as_str();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> StartRequest {
        StartRequest {
            session: SessionId::new(),
            user: UserId::new(),
            uid_offset: 7,
            screen: protocol::session::ScreenSize { width: 1920, height: 1080, scale: 2.0 },
            cpu_millis: 1000,
            memory_bytes: 2 << 30,
            quota_bytes: 20 << 30,
            history: Default::default(),
        }
    }

    fn size(claim: &PersistentVolumeClaim) -> &str {
        let resources = claim.spec.as_ref().unwrap().resources.as_ref().unwrap();
        &resources.requests.as_ref().unwrap()["storage"].0
    }

    #[test]
    fn the_same_makes_the_same() {
        let (request, options) = (request(), KubernetesOptions::default());
        assert_eq!(pod(&request, &options), pod(&request, &options));
        assert_eq!(claim(&request, &options, None), claim(&request, &options, None));
    }

    #[test]
    fn a_pod_asks_for_what_its_session_needs_and_may_burst() {
        let pod = pod(&request(), &KubernetesOptions::default()).spec.unwrap();
        for container in pod.containers.iter().chain(pod.init_containers.iter().flatten()) {
            let resources = container.resources.clone().unwrap();
            let (requests, limits) = (resources.requests.unwrap(), resources.limits.unwrap());
            assert_eq!((requests["cpu"].0.as_str(), requests["memory"].0.as_str()), ("1000m", "2Gi"));
            assert_eq!((limits["cpu"].0.as_str(), limits["memory"].0.as_str()), ("2000m", "4Gi"));
        }
        let sizes: BTreeMap<String, String> = pod
            .volumes
            .unwrap()
            .into_iter()
            .filter_map(|volume| Some((volume.name, volume.empty_dir?.size_limit?.0)))
            .collect();
        let wanted = [("run", "64Mi"), ("shm", "512Mi"), ("tmp", "512Mi")];
        assert_eq!(sizes, wanted.map(|(name, size)| (name.to_owned(), size.to_owned())).into());
    }

    #[test]
    fn an_agent_has_the_time_to_save() {
        let pod = pod(&request(), &KubernetesOptions::default()).spec.unwrap();
        assert_eq!(pod.termination_grace_period_seconds, Some(70));
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"), "a GIMP that is gone does not come back empty");
    }

    #[test]
    fn the_session_does_not_see_the_secret() {
        let pod = pod(&request(), &KubernetesOptions::default()).spec.unwrap();
        let sees =
            |container: &Container| container.volume_mounts.iter().flatten().any(|mount| mount.name == "handover");
        assert!(!pod.containers.iter().any(sees));
        assert!(pod.init_containers.iter().flatten().any(sees));
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.enable_service_links, Some(false));
    }

    #[test]
    fn a_secret_belongs_to_its_pod_and_has_what_the_agent_reads() {
        let request = request();
        let secret = secret(&request, &DisplayServer::Xvnc, CopyTimes::default(), "token", "uid-1");
        let owners = secret.metadata.owner_references.unwrap();
        assert_eq!((owners.len(), owners[0].kind.as_str(), owners[0].uid.as_str()), (1, "Pod", "uid-1"));
        assert_eq!(owners[0].name, pod_name(request.session));
        let data = secret.data.unwrap();
        assert_eq!(data[paths::TOKEN_FILE].0, b"token\n");
        let config: AgentConfig = serde_json::from_slice(&data[paths::CONFIG_FILE].0).unwrap();
        assert_eq!((config.session_id, config.screen), (request.session.0, request.screen));
        assert_eq!((config.memory_bytes, config.cpus, config.display), (2 << 30, 2, DisplayServer::Xvnc));
    }

    #[test]
    fn settings_reach_the_pod() {
        let options: KubernetesOptions = toml::from_str(
            r#"
            image = "registry.example.org/gimp-session:1"
            image_pull_secrets = ["registry"]
            runtime_class = "gvisor"
            priority_class = "sessions"
            node_selector = { pool = "gimp" }
            tolerations = [{ key = "gimp", operator = "Exists" }]
            affinity = { podAntiAffinity = {} }
            "#,
        )
        .unwrap();
        let pod = pod(&request(), &options).spec.unwrap();
        assert_eq!(pod.containers[0].image.as_ref(), Some(&options.image));
        assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "registry");
        assert_eq!((pod.runtime_class_name, pod.priority_class_name), (options.runtime_class, options.priority_class));
        assert_eq!(pod.node_selector.unwrap()["pool"], "gimp");
        assert_eq!((pod.tolerations.unwrap(), pod.affinity), (options.tolerations, options.affinity));
    }

    #[test]
    fn a_volume_grows_and_never_shrinks() {
        let mut request = request();
        let options = KubernetesOptions { storage_class: Some("fast".into()), ..KubernetesOptions::default() };
        let first = claim(&request, &options, None);
        assert_eq!(first.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("fast"));
        assert!(first.metadata.owner_references.is_none(), "nothing takes it along");
        assert_eq!(size(&first), "20Gi");
        request.quota_bytes = 30 << 30;
        assert_eq!(size(&claim(&request, &options, Some(&first))), "30Gi");
        request.quota_bytes = 10 << 30;
        let slow = KubernetesOptions { storage_class: Some("slow".into()), ..KubernetesOptions::default() };
        let now = claim(&request, &slow, Some(&first));
        assert_eq!(size(&now), "20Gi");
        assert_eq!(now.spec.unwrap().storage_class_name.as_deref(), Some("fast"), "a class can't be changed");
    }

    #[test]
    fn sizes_are_written_as_the_cluster_writes_them() {
        for (count, text) in [(0, "0"), (1000, "1000"), (1024, "1Ki"), (3 << 30, "3Gi"), ((1 << 30) + 1, "1073741825")]
        {
            assert_eq!(bytes(count).0, text);
            assert_eq!(bytes_of(&Quantity(text.into())), Some(count));
        }
        assert_eq!(bytes_of(&Quantity("5G".into())), Some(5_000_000_000));
        for odd in ["", "Gi", "1e3", "1.5Gi", "-1", "99999999999Ti"] {
            assert_eq!(bytes_of(&Quantity(odd.into())), None, "{odd}");
        }
    }

    #[test]
    fn objects_tell_their_session() {
        let request = request();
        let metadata = pod(&request, &KubernetesOptions::default()).metadata;
        assert_eq!(session_of(&metadata), Some(request.session));
        assert_eq!(session_of(&claim(&request, &KubernetesOptions::default(), None).metadata), None);
    }
}
