//! What is in the way of a session, read from what the cluster says of its pod. Pure.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, Pod, PodStatus};
use protocol::session::EndReason;

use super::template::{self, CONTAINER};
use crate::driver::StartError;

/// In words that a user understands. What the cluster says itself is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Hindrance {
    #[error("No machine of the cluster has room for your session right now. Try again in a few minutes.")]
    NoNode,
    #[error("The cluster's quota for sessions is used up. Try again when others have ended theirs.")]
    Quota,
    #[error(
        "Your workspace can't be attached to the session. Your files are safe. Try again in a few minutes; if it stays, \
         tell your administrator that the volume is not available."
    )]
    Volume,
    #[error(
        "The machine of your last session can't be reached, and may still hold your workspace. Your files are safe. Try \
         again in a few minutes; if it stays, tell your administrator that a machine of the cluster is lost."
    )]
    Held,
    #[error("GIMP can't be loaded onto the cluster's machine. Tell your administrator that the image can't be pulled.")]
    Image,
    #[error("The cluster needed the room, so it ended your session.")]
    Evicted,
    #[error("The session used more memory than it may, so it was ended. Open fewer or smaller images at once.")]
    OutOfMemory,
    #[error("The session was removed from the cluster.")]
    Removed,
    #[error("The cluster does not answer. Nothing is lost; try again in a moment.")]
    Silent,
    #[error("GIMP did not start in time. The cluster may be very busy: try again in a few minutes.")]
    Slow,
    #[error("The session's machine can't be reached. Tell your administrator: pods must be reachable from the server.")]
    Unreachable,
    #[error("The cluster does not let sessions start as they are set up. Tell your administrator; the log says more.")]
    Refused,
    #[error("The session ended while it started. Try again; if it stays, tell your administrator.")]
    Ended,
}

impl Hindrance {
    /// What the end is called that follows from it.
    #[must_use]
    pub const fn reason(self) -> EndReason {
        match self {
            Self::NoNode | Self::Quota | Self::Volume | Self::Held | Self::Evicted | Self::Removed | Self::Silent => {
                EndReason::Evicted
            }
            Self::Image | Self::OutOfMemory | Self::Slow | Self::Unreachable | Self::Refused | Self::Ended => {
                EndReason::Crashed
            }
        }
    }
}

impl From<Hindrance> for StartError {
    fn from(hindrance: Hindrance) -> Self {
        match hindrance.reason() {
            EndReason::Evicted => Self::NoRoom(hindrance.to_string()),
            _ => Self::Unsupported(hindrance.to_string()),
        }
    }
}

/// How it stands with a pod that is to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    Underway,
    /// The session's program runs; its agent is to be asked at this address.
    Running(IpAddr),
    /// May pass: a machine may come, a registry may answer again. With what the cluster says.
    Hindered(Hindrance, String),
    /// Will not pass.
    Hopeless(Hindrance, String),
}

/// `events` are those of the pod, in any order.
#[must_use]
pub fn outlook(pod: &Pod, events: &[Event]) -> Outlook {
    let status = pod.status.clone().unwrap_or_default();
    if let Some((hindrance, cause)) = ended(&status) {
        return Outlook::Hopeless(hindrance, cause);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Outlook::Hopeless(Hindrance::Removed, "it is being deleted".to_owned());
    }
    let running = session(&status).and_then(|session| session.state.as_ref()?.running.as_ref());
    if running.is_some()
        && let Some(address) = address(pod)
    {
        return Outlook::Running(address);
    }
    if let Some(hindered) = containers(&status).find_map(waiting) {
        return hindered;
    }
    if let Some(cause) = unschedulable(&status) {
        let volume = ["persistentvolumeclaim", "PersistentVolume", "volume node affinity", "max volume count"];
        let of_volume = volume.iter().any(|words| cause.contains(words));
        // Room on a machine is spoken of, too, where the volume is the matter on others.
        let of_room = cause.contains("Insufficient");
        let hindrance = if of_volume && !of_room { Hindrance::Volume } else { Hindrance::NoNode };
        return Outlook::Hindered(hindrance, cause);
    }
    match events.iter().filter_map(told).max_by_key(|(at, _)| *at) {
        Some((_, Some((hindrance, cause)))) => Outlook::Hindered(hindrance, cause),
        Some((_, None)) | None => Outlook::Underway,
    }
}

/// Where the pod is reached.
#[must_use]
pub fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// Nothing of the pod runs any more.
#[must_use]
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Nothing of the session runs yet.
#[must_use]
pub fn is_pending(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && matches!(phase, None | Some("Pending"))
}

/// Told to go, and not known to have ended: on a machine that is lost it may run on.
#[must_use]
pub fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && !is_over(pod)
}

/// How much of the time is left, of `now`, that a pod has to end which was told to go; all of it for others. Clocks may
/// differ, so never more.
#[must_use]
pub fn time_to_leave(pod: &Pod, now: SystemTime) -> Duration {
    let whole = Duration::from_secs(template::grace_seconds().unsigned_abs());
    let Some(by) = &pod.metadata.deletion_timestamp else { return whole };
    let by = UNIX_EPOCH + Duration::from_secs(by.0.as_second().unsigned_abs());
    by.duration_since(now).unwrap_or_default().min(whole)
}

/// Why a pod that ran is over, where the cluster knows better than the agent's last words.
#[must_use]
pub fn loss(pod: &Pod) -> Option<(Hindrance, String)> {
    let known = ended(pod.status.as_ref()?)?;
    (known.0 != Hindrance::Ended).then_some(known)
}

/// What the agent left at its end.
#[must_use]
pub fn last_words(pod: &Pod) -> Option<&str> {
    session(pod.status.as_ref()?)?.state.as_ref()?.terminated.as_ref()?.message.as_deref()
}

fn session(status: &PodStatus) -> Option<&ContainerStatus> {
    status.container_statuses.iter().flatten().find(|container| container.name == CONTAINER)
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().chain(&status.container_statuses).flatten()
}

/// Why it is over, if it is.
fn ended(status: &PodStatus) -> Option<(Hindrance, String)> {
    let over = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    let killed = containers(status).find_map(|container| {
        let ended = container.state.as_ref()?.terminated.as_ref()?;
        (ended.reason.as_deref() == Some("OOMKilled")).then(|| format!("container {} is out of memory", container.name))
    });
    if let Some(cause) = killed {
        return Some((Hindrance::OutOfMemory, cause));
    }
    if !over {
        return None;
    }
    let reason = status.reason.as_deref().unwrap_or_default();
    let cause = said(Some(reason), status.message.as_deref());
    let disrupted = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True");
    let hindrance = match reason {
        "Evicted" | "NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated" | "Preempting" => Hindrance::Evicted,
        // The kubelet's own word when others were quicker with the room.
        "OutOfcpu" | "OutOfmemory" | "OutOfpods" | "OutOfephemeral-storage" => Hindrance::NoNode,
        "NodeAffinity" | "UnexpectedAdmissionError" | "AppArmor" | "SysctlForbidden" => Hindrance::Refused,
        _ if disrupted => Hindrance::Evicted,
        _ => {
            let how = containers(status).find_map(|container| {
                let ended = container.state.as_ref()?.terminated.as_ref()?;
                (ended.exit_code != 0).then(|| format!("container {} ended with {}", container.name, ended.exit_code))
            });
            return Some((Hindrance::Ended, how.unwrap_or(cause)));
        }
    };
    Some((hindrance, cause))
}

fn waiting(container: &ContainerStatus) -> Option<Outlook> {
    let ContainerState { waiting: Some(waiting), .. } = container.state.as_ref()? else { return None };
    let cause = said(waiting.reason.as_deref(), waiting.message.as_deref());
    match waiting.reason.as_deref()? {
        "InvalidImageName" | "ErrImageNeverPull" => Some(Outlook::Hopeless(Hindrance::Image, cause)),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            Some(Outlook::Hindered(Hindrance::Image, cause))
        }
        // Its secret may be on its way.
        "CreateContainerConfigError" => Some(Outlook::Hindered(Hindrance::Refused, cause)),
        "CreateContainerError" | "RunContainerError" => Some(Outlook::Hindered(Hindrance::Refused, cause)),
        "CrashLoopBackOff" => Some(Outlook::Hopeless(Hindrance::Ended, cause)),
        _ => None,
    }
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled")?;
    let waits = condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable");
    waits.then(|| said(condition.reason.as_deref(), condition.message.as_deref()))
}

/// When, and what is in the way by it; nothing, if it tells of progress.
fn told(event: &Event) -> Option<(k8s_openapi::jiff::Timestamp, Option<(Hindrance, String)>)> {
    let at = event.last_timestamp.as_ref().map(|time| time.0).or(event.event_time.as_ref().map(|time| time.0));
    let hindrance = match event.reason.as_deref()? {
        "FailedAttachVolume" | "FailedMount" | "FailedMapVolume" | "ProvisioningFailed" => Some(Hindrance::Volume),
        "FailedCreatePodSandBox" => Some(Hindrance::Refused),
        "Scheduled" | "SuccessfulAttachVolume" | "Pulling" | "Pulled" | "Created" | "Started" => None,
        _ => return None,
    };
    let cause = said(event.reason.as_deref(), event.message.as_deref());
    Some((at.unwrap_or_default(), hindrance.map(|hindrance| (hindrance, cause))))
}

fn said(reason: Option<&str>, message: Option<&str>) -> String {
    [reason, message].into_iter().flatten().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(": ")
}

/// What an answer of the API server means for a start. None: worth asking again at once or in a moment.
#[must_use]
pub fn refusal(error: &kube::Error) -> Option<Hindrance> {
    let kube::Error::Api(status) = error else {
        // Nobody answers, or not in the way of an API server.
        return None;
    };
    match status.code {
        403 if status.message.contains("exceeded quota") => Some(Hindrance::Quota),
        // Another start was quicker to count itself in: asked again, it works.
        409 => None,
        408 | 429 | 500.. => None,
        _ => Some(Hindrance::Refused),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn event(reason: &str, second: u32) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": format!("e{second}")}, "involvedObject": {"name": "p"},
            "reason": reason, "message": "words of the cluster", "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        }))
        .unwrap()
    }

    fn hindrance(status: Value) -> Option<Hindrance> {
        match outlook(&pod(status), &[]) {
            Outlook::Hindered(hindrance, cause) | Outlook::Hopeless(hindrance, cause) => {
                assert!(!cause.is_empty());
                Some(hindrance)
            }
            Outlook::Underway | Outlook::Running(_) => None,
        }
    }

    fn unscheduled(message: &str) -> Value {
        json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ]})
    }

    fn waits(reason: &str) -> Value {
        json!({"phase": "Pending", "containerStatuses": [
            {"name": CONTAINER, "ready": false, "restartCount": 0, "image": "", "imageID": "",
             "state": {"waiting": {"reason": reason, "message": "words"}}},
        ]})
    }

    fn ends(phase: &str, code: i32, reason: &str) -> Value {
        json!({"phase": phase, "containerStatuses": [
            {"name": CONTAINER, "ready": false, "restartCount": 0, "image": "", "imageID": "",
             "state": {"terminated": {"exitCode": code, "reason": reason, "message": "last words"}}},
        ]})
    }

    #[test]
    fn a_pod_on_its_way_is_not_hindered() {
        assert_eq!(outlook(&Pod::default(), &[]), Outlook::Underway);
        assert_eq!(outlook(&pod(waits("ContainerCreating")), &[]), Outlook::Underway);
        assert_eq!(outlook(&pod(waits("PodInitializing")), &[event("Pulling", 1)]), Outlook::Underway);
        let running = json!({"phase": "Running", "podIP": "10.1.2.3", "containerStatuses": [
            {"name": CONTAINER, "ready": false, "restartCount": 0, "image": "", "imageID": "",
             "state": {"running": {}}},
        ]});
        assert_eq!(outlook(&pod(running.clone()), &[event("FailedMount", 1)]), Outlook::Running([10, 1, 2, 3].into()));
        let mut without_address = running;
        without_address["podIP"] = json!("");
        assert_eq!(outlook(&pod(without_address), &[]), Outlook::Underway);
    }

    /// Messages of schedulers 1.20 to 1.33.
    #[test]
    fn why_no_node_takes_it() {
        for message in [
            "no nodes available to schedule pods",
            "0/3 nodes are available: 3 Insufficient memory.",
            "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: true}, 2 Insufficient cpu. preemption: 0/3 \
             nodes are available: 3 No preemption victims found for incoming pod.",
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had volume node affinity conflict.",
        ] {
            assert_eq!(hindrance(unscheduled(message)), Some(Hindrance::NoNode), "{message}");
        }
        for message in [
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            "0/1 nodes are available: 1 pod has unbound immediate PersistentVolumeClaims.",
            "persistentvolumeclaim \"user-storage-x\" not found",
            "0/1 nodes are available: 1 node(s) had volume node affinity conflict.",
            "0/1 nodes are available: 1 node(s) exceed max volume count.",
            "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind. PersistentVolume",
        ] {
            assert_eq!(hindrance(unscheduled(message)), Some(Hindrance::Volume), "{message}");
        }
        assert!(matches!(outlook(&pod(unscheduled("x")), &[]), Outlook::Hindered(..)), "an autoscaler may bring one");
    }

    #[test]
    fn why_the_image_is_not_there() {
        for reason in ["ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"] {
            assert!(matches!(outlook(&pod(waits(reason)), &[]), Outlook::Hindered(Hindrance::Image, _)), "{reason}");
        }
        for reason in ["InvalidImageName", "ErrImageNeverPull"] {
            assert!(matches!(outlook(&pod(waits(reason)), &[]), Outlook::Hopeless(Hindrance::Image, _)), "{reason}");
        }
        assert_eq!(hindrance(waits("CreateContainerConfigError")), Some(Hindrance::Refused));
    }

    #[test]
    fn the_newest_event_counts() {
        let pending = pod(waits("ContainerCreating"));
        let hindered = |events: &[Event]| matches!(outlook(&pending, events), Outlook::Hindered(Hindrance::Volume, _));
        assert!(hindered(&[event("Scheduled", 1), event("FailedAttachVolume", 2)]));
        assert!(hindered(&[event("FailedMount", 3), event("Scheduled", 1)]), "in any order");
        assert!(!hindered(&[event("FailedMount", 3), event("SuccessfulAttachVolume", 4)]));
        assert!(!hindered(&[event("SomethingNew", 3)]));
    }

    #[test]
    fn how_pods_end() {
        let evicted =
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
        assert_eq!(hindrance(evicted.clone()), Some(Hindrance::Evicted));
        assert_eq!(loss(&pod(evicted)).map(|(hindrance, _)| hindrance), Some(Hindrance::Evicted));
        let drained = json!({"phase": "Failed", "conditions": [{"type": "DisruptionTarget", "status": "True"}]});
        assert_eq!(hindrance(json!({"phase": "Failed", "reason": "OutOfmemory"})), Some(Hindrance::NoNode));
        assert_eq!(loss(&pod(drained)).map(|(hindrance, _)| hindrance), Some(Hindrance::Evicted));
        // The kernel kills one process of the container; the rest may go on until it is noticed.
        for phase in ["Running", "Failed"] {
            assert_eq!(hindrance(ends(phase, 137, "OOMKilled")), Some(Hindrance::OutOfMemory), "{phase}");
        }
        assert_eq!(hindrance(ends("Failed", 78, "Error")), Some(Hindrance::Ended));
        assert_eq!(loss(&pod(ends("Failed", 1, "Error"))), None, "the agent's last words say more");
        assert_eq!(last_words(&pod(ends("Failed", 1, "Error"))), Some("last words"));
        assert!(is_over(&pod(ends("Succeeded", 0, "Completed"))) && !is_over(&pod(waits("x"))));
        let mut leaving = pod(waits("ContainerCreating"));
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert!(matches!(outlook(&leaving, &[]), Outlook::Hopeless(Hindrance::Removed, _)));
    }

    #[test]
    fn pods_that_are_told_to_go_have_their_time() {
        let mut leaving = pod(json!({"phase": "Running"}));
        let whole = Duration::from_secs(template::grace_seconds().unsigned_abs());
        let at = |second: u64| UNIX_EPOCH + Duration::from_secs(second);
        assert!(!is_leaving(&leaving) && !is_pending(&leaving));
        assert_eq!(time_to_leave(&leaving, at(0)), whole);
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("1970-01-01T01:00:00Z")).unwrap();
        assert!(is_leaving(&leaving));
        assert_eq!(time_to_leave(&leaving, at(3597)), Duration::from_secs(3));
        assert_eq!(time_to_leave(&leaving, at(4000)), Duration::ZERO);
        assert_eq!(time_to_leave(&leaving, at(0)), whole, "the clocks differ");
        leaving.status = pod(json!({"phase": "Failed"})).status;
        assert!(!is_leaving(&leaving), "nothing runs any more");
        let mut pending = pod(json!({"phase": "Pending"}));
        assert!(is_pending(&pending) && is_pending(&Pod::default()));
        pending.metadata.deletion_timestamp.clone_from(&leaving.metadata.deletion_timestamp);
        assert!(!is_pending(&pending));
    }

    #[test]
    fn what_the_api_server_refuses() {
        let refused = |code: u16, message: &str| {
            let status = json!({"status": "Failure", "code": code, "message": message, "reason": ""});
            refusal(&kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
        };
        let quota =
            "pods \"p\" is forbidden: exceeded quota: sessions, requested: pods=1, used: pods=2, limited: pods=2";
        assert_eq!(refused(403, quota), Some(Hindrance::Quota));
        assert_eq!(refused(403, "pods is forbidden: User \"x\" cannot create resource"), Some(Hindrance::Refused));
        assert_eq!(refused(422, "Pod \"p\" is invalid"), Some(Hindrance::Refused));
        assert_eq!(refused(404, "namespaces \"x\" not found"), Some(Hindrance::Refused));
        for passing in [409, 429, 500, 503, 504] {
            assert_eq!(refused(passing, "x"), None, "{passing}");
        }
    }

    #[test]
    fn words_are_for_users() {
        for hindrance in [
            Hindrance::NoNode,
            Hindrance::Quota,
            Hindrance::Volume,
            Hindrance::Held,
            Hindrance::Image,
            Hindrance::Evicted,
            Hindrance::OutOfMemory,
            Hindrance::Removed,
            Hindrance::Silent,
            Hindrance::Slow,
            Hindrance::Unreachable,
            Hindrance::Refused,
            Hindrance::Ended,
        ] {
            let words = hindrance.to_string();
            assert!(words.ends_with('.') && !words.contains("PersistentVolume"), "{words}");
            match StartError::from(hindrance) {
                StartError::NoRoom(said) => assert_eq!((said, hindrance.reason()), (words, EndReason::Evicted)),
                StartError::Unsupported(said) => assert_eq!((said, hindrance.reason()), (words, EndReason::Crashed)),
                StartError::Internal(error) => panic!("{error}"),
            }
        }
    }
}
