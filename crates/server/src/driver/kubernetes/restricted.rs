//! The rules of the Pod Security Standards' profile `restricted`, those of `baseline` included, as of Kubernetes 1.34: our
//! pods keep to each, and for each there is a pod that does not, so that a rule that lets everything through is noticed.
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities, Container, ContainerPort, ExecAction, HTTPGetAction, HostPathVolumeSource,
    Lifecycle, LifecycleHandler, NFSVolumeSource, Pod, PodSecurityContext, PodSpec, Probe, SELinuxOptions,
    SeccompProfile, SecurityContext, Sysctl, TCPSocketAction, Volume, WindowsSecurityContextOptions,
};

use super::options::KubernetesOptions;
use super::template;
use crate::driver::StartRequest;
use crate::ids::{SessionId, UserId};

struct Rule {
    name: &'static str,
    holds: fn(&PodSpec) -> bool,
    /// Each makes a good pod break the rule.
    broken_by: &'static [fn(&mut Pod)],
}

const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

const RULES: &[Rule] = &[
    Rule {
        name: "no HostProcess",
        holds: |pod| {
            let host =
                |options: Option<&WindowsSecurityContextOptions>| options.and_then(|windows| windows.host_process);
            host(of_pod(pod).windows_options.as_ref()) != Some(true)
                && all(pod, |container| host(of(container).windows_options.as_ref()) != Some(true))
        },
        broken_by: &[
            |pod| pod_context(pod).windows_options = Some(host_process()),
            |pod| context(pod).windows_options = Some(host_process()),
        ],
    },
    Rule {
        name: "no namespaces of the host",
        holds: |pod| ![pod.host_network, pod.host_pid, pod.host_ipc].contains(&Some(true)),
        broken_by: &[
            |pod| spec(pod).host_network = Some(true),
            |pod| spec(pod).host_pid = Some(true),
            |pod| spec(pod).host_ipc = Some(true),
        ],
    },
    Rule {
        name: "no privileged containers",
        holds: |pod| all(pod, |container| of(container).privileged != Some(true)),
        broken_by: &[|pod| context(pod).privileged = Some(true), |pod| init_context(pod).privileged = Some(true)],
    },
    Rule {
        name: "no paths of the host",
        holds: |pod| volumes(pod).all(|volume| volume.host_path.is_none()),
        broken_by: &[|pod| {
            let host_path = Some(HostPathVolumeSource { path: "/".into(), type_: None });
            add_volume(pod, Volume { host_path, ..Volume::default() });
        }],
    },
    Rule {
        name: "no ports of the host",
        holds: |pod| {
            all(pod, |container| container.ports.iter().flatten().all(|port| port.host_port.unwrap_or(0) == 0))
        },
        broken_by: &[|pod| {
            let port = ContainerPort { container_port: 1, host_port: Some(1), ..ContainerPort::default() };
            session(pod).ports.get_or_insert_default().push(port);
        }],
    },
    Rule {
        name: "no probes or hooks at another host",
        holds: |pod| all(pod, |container| hosts(container).all(str::is_empty)),
        broken_by: &[
            |pod| {
                let tcp_socket = Some(TCPSocketAction { host: Some("192.0.2.1".into()), ..TCPSocketAction::default() });
                session(pod).startup_probe = Some(Probe { tcp_socket, ..Probe::default() });
            },
            |pod| {
                let http_get = Some(HTTPGetAction { host: Some("192.0.2.1".into()), ..HTTPGetAction::default() });
                let pre_stop = Some(LifecycleHandler { http_get, ..LifecycleHandler::default() });
                session(pod).lifecycle = Some(Lifecycle { pre_stop, ..Lifecycle::default() });
            },
        ],
    },
    Rule {
        name: "AppArmor as the runtime or the machine has it",
        holds: |pod| {
            let allowed = |profile: Option<&AppArmorProfile>| {
                profile.is_none_or(|profile| ["RuntimeDefault", "Localhost"].contains(&profile.type_.as_str()))
            };
            allowed(of_pod(pod).app_armor_profile.as_ref())
                && all(pod, |container| allowed(of(container).app_armor_profile.as_ref()))
        },
        broken_by: &[
            |pod| pod_context(pod).app_armor_profile = Some(unconfined_app_armor()),
            |pod| context(pod).app_armor_profile = Some(unconfined_app_armor()),
        ],
    },
    Rule {
        name: "SELinux of a container's type, without user and role",
        holds: |pod| {
            const TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
            let allowed = |options: Option<&SELinuxOptions>| {
                options.is_none_or(|options| {
                    TYPES.contains(&options.type_.as_deref().unwrap_or_default())
                        && options.user.as_deref().unwrap_or_default().is_empty()
                        && options.role.as_deref().unwrap_or_default().is_empty()
                })
            };
            allowed(of_pod(pod).se_linux_options.as_ref())
                && all(pod, |container| allowed(of(container).se_linux_options.as_ref()))
        },
        broken_by: &[
            |pod| {
                context(pod).se_linux_options =
                    Some(SELinuxOptions { type_: Some("spc_t".into()), ..SELinuxOptions::default() });
            },
            |pod| {
                pod_context(pod).se_linux_options =
                    Some(SELinuxOptions { user: Some("system_u".into()), ..SELinuxOptions::default() });
            },
            |pod| {
                context(pod).se_linux_options =
                    Some(SELinuxOptions { role: Some("sysadm_r".into()), ..SELinuxOptions::default() });
            },
        ],
    },
    Rule {
        name: "/proc as it is by default",
        holds: |pod| all(pod, |container| of(container).proc_mount.is_none_or(|mount| mount == "Default")),
        broken_by: &[|pod| context(pod).proc_mount = Some("Unmasked".into())],
    },
    Rule {
        name: "only safe settings of the kernel",
        holds: |pod| of_pod(pod).sysctls.iter().flatten().all(|sysctl| SAFE_SYSCTLS.contains(&sysctl.name.as_str())),
        broken_by: &[|pod| {
            pod_context(pod).sysctls = Some(vec![Sysctl { name: "kernel.msgmax".into(), value: "1".into() }]);
        }],
    },
    Rule {
        name: "only volumes of the allowed kinds",
        holds: |pod| {
            volumes(pod).all(|volume| {
                volume.config_map.is_some()
                    || volume.csi.is_some()
                    || volume.downward_api.is_some()
                    || volume.empty_dir.is_some()
                    || volume.ephemeral.is_some()
                    || volume.persistent_volume_claim.is_some()
                    || volume.projected.is_some()
                    || volume.secret.is_some()
            })
        },
        broken_by: &[|pod| {
            let nfs = Some(NFSVolumeSource { path: "/".into(), server: "x".into(), read_only: None });
            add_volume(pod, Volume { nfs, ..Volume::default() });
        }],
    },
    Rule {
        name: "no way to more privileges",
        holds: |pod| all(pod, |container| of(container).allow_privilege_escalation == Some(false)),
        broken_by: &[
            |pod| context(pod).allow_privilege_escalation = None,
            |pod| context(pod).allow_privilege_escalation = Some(true),
            |pod| init_context(pod).allow_privilege_escalation = None,
            |pod| session(pod).security_context = None,
        ],
    },
    Rule {
        name: "runs as somebody other than root",
        holds: |pod| {
            let whole = of_pod(pod).run_as_non_root == Some(true);
            all(pod, |container| match of(container).run_as_non_root {
                Some(says) => says,
                None => whole,
            })
        },
        broken_by: &[
            |pod| pod_context(pod).run_as_non_root = None,
            |pod| pod_context(pod).run_as_non_root = Some(false),
            |pod| context(pod).run_as_non_root = Some(false),
        ],
    },
    Rule {
        name: "its uid is not 0",
        holds: |pod| of_pod(pod).run_as_user != Some(0) && all(pod, |container| of(container).run_as_user != Some(0)),
        broken_by: &[|pod| pod_context(pod).run_as_user = Some(0), |pod| init_context(pod).run_as_user = Some(0)],
    },
    Rule {
        name: "a filter of system calls",
        holds: |pod| {
            let filters = |profile: Option<&SeccompProfile>| {
                profile.map(|profile| ["RuntimeDefault", "Localhost"].contains(&profile.type_.as_str()))
            };
            let whole = filters(of_pod(pod).seccomp_profile.as_ref());
            whole != Some(false)
                && all(pod, |container| filters(of(container).seccomp_profile.as_ref()).or(whole).unwrap_or(false))
        },
        broken_by: &[
            |pod| pod_context(pod).seccomp_profile = None,
            |pod| pod_context(pod).seccomp_profile = Some(unconfined()),
            |pod| context(pod).seccomp_profile = Some(unconfined()),
        ],
    },
    Rule {
        name: "no capabilities",
        holds: |pod| {
            all(pod, |container| {
                let capabilities = of(container).capabilities.unwrap_or_default();
                capabilities.drop.iter().flatten().any(|dropped| dropped == "ALL")
                    && capabilities.add.iter().flatten().all(|added| added == "NET_BIND_SERVICE")
            })
        },
        broken_by: &[
            |pod| context(pod).capabilities = None,
            |pod| init_context(pod).capabilities = None,
            |pod| {
                context(pod).capabilities =
                    Some(Capabilities { add: Some(vec!["SYS_ADMIN".into()]), drop: Some(vec!["ALL".into()]) });
            },
            |pod| context(pod).capabilities = Some(Capabilities { add: None, drop: Some(vec!["CHOWN".into()]) }),
        ],
    },
];

fn of_pod(pod: &PodSpec) -> PodSecurityContext {
    pod.security_context.clone().unwrap_or_default()
}

fn of(container: &Container) -> SecurityContext {
    container.security_context.clone().unwrap_or_default()
}

fn all(pod: &PodSpec, holds: impl Fn(&Container) -> bool) -> bool {
    pod.containers.iter().chain(pod.init_containers.iter().flatten()).all(holds)
        && pod.ephemeral_containers.iter().flatten().next().is_none()
}

fn volumes(pod: &PodSpec) -> impl Iterator<Item = &Volume> {
    pod.volumes.iter().flatten()
}

/// Wherever probes and hooks of a container go, if not to itself.
fn hosts(container: &Container) -> impl Iterator<Item = &str> {
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let of_probes = probes.into_iter().flatten().flat_map(|probe| {
        let Probe { http_get, tcp_socket, .. } = probe;
        [http_get.as_ref().and_then(|get| get.host.as_deref()), tcp_socket.as_ref().and_then(|tcp| tcp.host.as_deref())]
    });
    let hooks = container.lifecycle.iter().flat_map(|hooks| [&hooks.post_start, &hooks.pre_stop]).flatten();
    let of_hooks = hooks.flat_map(|hook| {
        let LifecycleHandler { http_get, tcp_socket, .. } = hook;
        [http_get.as_ref().and_then(|get| get.host.as_deref()), tcp_socket.as_ref().and_then(|tcp| tcp.host.as_deref())]
    });
    of_probes.chain(of_hooks).flatten()
}

fn spec(pod: &mut Pod) -> &mut PodSpec {
    pod.spec.get_or_insert_default()
}

fn pod_context(pod: &mut Pod) -> &mut PodSecurityContext {
    spec(pod).security_context.get_or_insert_default()
}

fn session(pod: &mut Pod) -> &mut Container {
    spec(pod).containers.first_mut().expect("a container")
}

fn context(pod: &mut Pod) -> &mut SecurityContext {
    session(pod).security_context.get_or_insert_default()
}

fn init_context(pod: &mut Pod) -> &mut SecurityContext {
    let init = spec(pod).init_containers.get_or_insert_default().first_mut();
    init.expect("an init container").security_context.get_or_insert_default()
}

fn add_volume(pod: &mut Pod, volume: Volume) {
    spec(pod).volumes.get_or_insert_default().push(Volume { name: "bad".into(), ..volume });
}

fn host_process() -> WindowsSecurityContextOptions {
    WindowsSecurityContextOptions { host_process: Some(true), ..WindowsSecurityContextOptions::default() }
}

fn unconfined() -> SeccompProfile {
    SeccompProfile { type_: "Unconfined".into(), ..SeccompProfile::default() }
}

fn unconfined_app_armor() -> AppArmorProfile {
    AppArmorProfile { type_: "Unconfined".into(), ..AppArmorProfile::default() }
}

fn request() -> StartRequest {
    StartRequest {
        session: SessionId::new(),
        user: UserId::new(),
        uid_offset: 0,
        screen: protocol::session::ScreenSize::default(),
        cpu_millis: 1000,
        memory_bytes: 2 << 30,
        quota_bytes: 20 << 30,
        history: Default::default(),
    }
}

fn options() -> KubernetesOptions {
    KubernetesOptions { image: "gimp-session:1".to_owned(), ..KubernetesOptions::default() }
}

#[test]
fn our_pods_keep_to_every_rule() {
    let pod = template::pod(&request(), &options());
    for rule in RULES {
        assert!((rule.holds)(pod.spec.as_ref().expect("a spec")), "{}", rule.name);
    }
}

/// The server's, and those that keep room and image: so that the release's namespace can have the profile as well.
#[test]
fn the_charts_pods_keep_to_every_rule() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/rendered");
    let mut checked = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("reads") {
        let text = std::fs::read_to_string(file.expect("reads").path()).expect("reads");
        let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        for object in objects {
            let Some(spec) = object.pointer("/spec/template/spec") else { continue };
            let pod: PodSpec = serde_json::from_value(spec.clone()).expect("a pod");
            for rule in RULES {
                assert!((rule.holds)(&pod), "{} {}: {}", object["kind"], object["metadata"]["name"], rule.name);
            }
            checked.insert(object["kind"].as_str().expect("a kind").to_owned());
        }
    }
    assert_eq!(checked, ["DaemonSet", "Deployment", "StatefulSet"].map(str::to_owned).into());
}

#[test]
fn every_rule_is_broken_by_what_it_forbids() {
    for rule in RULES {
        for (number, break_it) in rule.broken_by.iter().enumerate() {
            let mut pod = template::pod(&request(), &options());
            break_it(&mut pod);
            assert!(!(rule.holds)(pod.spec.as_ref().expect("a spec")), "{}, {number}", rule.name);
        }
        assert!(!rule.broken_by.is_empty(), "{}", rule.name);
    }
    // Hooks that stay in the pod are allowed.
    let mut pod = template::pod(&request(), &options());
    let exec = Some(ExecAction { command: Some(vec!["true".into()]) });
    let pre_stop = Some(LifecycleHandler { exec, ..LifecycleHandler::default() });
    session(&mut pod).lifecycle = Some(Lifecycle { pre_stop, ..Lifecycle::default() });
    assert!(RULES.iter().all(|rule| (rule.holds)(pod.spec.as_ref().expect("a spec"))));
}
