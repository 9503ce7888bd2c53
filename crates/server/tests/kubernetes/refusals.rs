//! What a user is told when the cluster does not give a session.

use k8s_openapi::api::core::v1::{Event, ResourceQuota};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use server::driver::StartError;

use super::harness::{Play, Stage, claim, container, from_json, pod, until};

fn words(started: Result<impl std::fmt::Debug, StartError>) -> String {
    match started.expect_err("can't start") {
        StartError::NoRoom(words) => format!("later: {words}"),
        StartError::Unsupported(words) => format!("never: {words}"),
        StartError::Internal(error) => panic!("{error:#}"),
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn a_quota_that_is_used_up() {
    let stage = Stage::new().await;
    let quota = json!({"metadata": {"name": "sessions"}, "spec": {"hard": {"count/pods": "1"}}});
    let quotas = stage.api::<ResourceQuota>();
    quotas.create(&PostParams::default(), &from_json(quota)).await.expect("a quota");
    until("the quota to count", || async { quotas.get("sessions").await.unwrap().status?.used }).await;
    let (first, second) = (stage.request().await, stage.request().await);
    stage.start(&stage.driver, &first).await.expect("starts");
    let said = words(stage.start(&stage.driver, &second).await);
    assert_eq!(said, "later: The cluster's quota for sessions is used up. Try again when others have ended theirs.");
    assert_eq!(stage.driver.list().await.unwrap(), [first.session], "nothing is left of the other");
    assert!(stage.secrets().get_opt(&pod(&second)).await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn no_node_with_room() {
    let stage = Stage::new().await;
    let mut request = stage.returning().await;
    request.memory_bytes = 64 << 30;
    let said = words(stage.start(&stage.hasty(), &request).await);
    assert!(said.starts_with("later: No machine of the cluster has room"), "{said}");
    assert!(stage.pod(&request).await.is_none(), "it does not begin behind the user's back");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn a_volume_that_nobody_provides() {
    let stage = Stage::new().await;
    let request = stage.request_without_volume();
    let said = words(stage.start(&stage.hasty(), &request).await);
    assert!(said.starts_with("later: Your workspace can't be attached"), "{said}");
    assert!(stage.claims().get_opt(&claim(&request)).await.unwrap().is_some(), "volumes are never removed");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn an_event_says_that_the_volume_can_t_be_attached() {
    let stage = Stage::new().await;
    let request = stage.returning().await;
    stage.play(Play::Nothing);
    let driver = stage.hasty();
    let attaching = async {
        let there = until("the pod", || stage.pod(&request)).await;
        let event = json!({
            "metadata": {"name": "attach"}, "type": "Warning", "reason": "FailedAttachVolume",
            "message": "Multi-Attach error for volume",
            "involvedObject": {
                "kind": "Pod", "apiVersion": "v1", "namespace": stage.namespace, "name": pod(&request), "uid": there.uid(),
            },
        });
        // The newest event counts, and the scheduler's own is of the time when it found the node.
        let scheduled = until("the node", || async { scheduled_at(&stage, &pod(&request)).await }).await;
        let mut event: Event = from_json(event);
        event.last_timestamp = Some(Time(scheduled + std::time::Duration::from_secs(1)));
        stage.api::<Event>().create(&PostParams::default(), &event).await.expect("an event");
    };
    let (started, ()) = tokio::join!(stage.start(&driver, &request), attaching);
    let said = words(started);
    assert!(said.starts_with("later: Your workspace can't be attached"), "{said}");
}

async fn scheduled_at(stage: &Stage, pod: &str) -> Option<Timestamp> {
    let of_pod = ListParams::default().fields(&format!("involvedObject.name={pod},reason=Scheduled"));
    let event = stage.api::<Event>().list(&of_pod).await.ok()?.items.pop()?;
    event.last_timestamp.map(|time| time.0).or(event.event_time.map(|time| time.0))
}

/// What a node says of a pod, and how its user is told.
async fn told(status: Value) -> String {
    let stage = Stage::new().await;
    let request = stage.returning().await;
    stage.play(Play::Status(status));
    words(stage.start(&stage.hasty(), &request).await)
}

fn waiting(reason: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [container("waiting", json!({"reason": reason, "message": "said"}))]})
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn an_image_that_can_t_be_pulled() {
    let said = told(waiting("ImagePullBackOff")).await;
    assert!(said.starts_with("never: GIMP can't be loaded"), "{said}");
    let said = told(waiting("InvalidImageName")).await;
    assert!(said.starts_with("never: GIMP can't be loaded"), "{said}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn pods_that_end_while_they_start() {
    let said = told(json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})).await;
    assert!(said.starts_with("later: The cluster needed the room"), "{said}");
    let killed = json!({"exitCode": 137, "reason": "OOMKilled"});
    let said = told(json!({"phase": "Failed", "containerStatuses": [container("terminated", killed)]})).await;
    assert!(said.starts_with("never: The session used more memory"), "{said}");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn settings_that_the_cluster_refuses() {
    let mut stage = Stage::new().await;
    stage.options.priority_class = Some("there-is-none".to_owned());
    let said = words(stage.start(&stage.another_driver(), &stage.request().await).await);
    assert!(said.starts_with("never: The cluster does not let sessions start as they are set up"), "{said}");
    stage.options.priority_class = None;
    stage.options.namespace = "there-is-none".to_owned();
    let said = words(stage.start(&stage.another_driver(), &stage.request().await).await);
    assert!(said.starts_with("never: The cluster does not let sessions start as they are set up"), "{said}");
}

/// The pod's program runs, but what listens at its address, if anything, does not answer.
#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn an_agent_that_can_t_be_reached() {
    let stage = Stage::new().await;
    let running =
        json!({"phase": "Running", "podIP": "127.255.255.254", "containerStatuses": [container("running", json!({}))]});
    stage.play(Play::Status(running));
    let second = std::time::Duration::from_secs(1);
    let patience = server::driver::kubernetes::Patience { answer: second, ..Default::default() };
    let driver = stage.driver_of(stage.client.clone(), patience);
    let request = stage.request().await;
    let said = words(stage.start(&driver, &request).await);
    assert!(said.starts_with("never: The session's machine can't be reached"), "{said}");
    assert!(stage.pod(&request).await.is_none(), "it is removed");
}
