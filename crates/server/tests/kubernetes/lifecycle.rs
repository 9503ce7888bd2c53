//! A session's whole way, repeated calls, other servers, and an API server that is away.

use std::process::Command;
use std::time::Duration;

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use protocol::agent::AgentPhase;
use protocol::session::{EndReason, StartStep};
use serde_json::json;
use server::driver::kubernetes::Patience;
use server::driver::{Presence, StartError};

use super::harness::{Play, Stage, claim, container, from_json, kubeconfig, last_words, pod, until};

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn a_session_comes_and_goes_and_its_volume_stays() {
    let stage = Stage::new().await;
    let driver = &stage.driver;
    driver.prepare().await.expect("sees pods");
    let request = stage.request().await;
    assert_eq!(driver.presence(request.session).await.unwrap(), Presence::Gone { last_status: None, lost: None });
    let steps = stage.start(driver, &request).await.expect("starts");
    assert_eq!(steps, [StartStep::CreatingWorkspace, StartStep::StartingDisplay]);

    assert_eq!(driver.presence(request.session).await.unwrap(), Presence::Present);
    assert_eq!(driver.list().await.unwrap(), [request.session]);
    let status = driver.agent(request.session).status().await.expect("the token of the secret is the session's");
    assert_eq!((status.session_id, status.phase), (request.session.0, AgentPhase::Running));
    assert!(driver.media(request.session).is_none());

    driver.remove(request.session).await.expect("removes");
    driver.remove(request.session).await.expect("once more");
    assert_eq!(stage.pod(&request).await, None);
    assert_eq!(driver.presence(request.session).await.unwrap(), Presence::Gone { last_status: None, lost: None });
    assert!(driver.list().await.unwrap().is_empty());
    assert!(driver.agent(request.session).status().await.is_err(), "nobody is there");
    until("the secret to go with its pod", || async {
        stage.secrets().get_opt(&pod(&request)).await.unwrap().is_none().then_some(())
    })
    .await;
    let volume = stage.claims().get(&claim(&request)).await.expect("stays");
    assert!(volume.metadata.deletion_timestamp.is_none() && volume.owner_references().is_empty());

    // The next session of the user has the same volume.
    let again = server::driver::StartRequest { session: server::ids::SessionId::new(), ..request.clone() };
    stage.start(driver, &again).await.expect("starts");
    assert_eq!(stage.claims().get(&claim(&request)).await.unwrap().uid(), volume.uid());
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn starting_twice_changes_nothing() {
    let stage = Stage::new().await;
    let request = stage.request().await;
    stage.start(&stage.driver, &request).await.expect("starts");
    let objects = async || {
        let pod_now = stage.pod(&request).await.expect("is there");
        let secret = stage.secrets().get(&pod(&request)).await.expect("is there");
        let volume = stage.claims().get(&claim(&request)).await.expect("is there");
        [(pod_now.uid(), None), (secret.uid(), secret.resource_version()), (volume.uid(), volume.resource_version())]
    };
    let before = objects().await;
    stage.start(&stage.driver, &request).await.expect("is started");
    // A server that was started anew, with nothing in memory.
    stage.start(&stage.another_driver(), &request).await.expect("is started");
    assert_eq!(objects().await, before);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn servers_that_start_the_same_session_at_once_agree() {
    let stage = Stage::new().await;
    let request = stage.request().await;
    let other = stage.another_driver();
    let (one, two) = tokio::join!(stage.start(&stage.driver, &request), stage.start(&other, &request));
    one.expect("starts");
    two.expect("starts");
    assert_eq!(stage.driver.list().await.unwrap(), [request.session]);
    assert_eq!(other.agent(request.session).status().await.expect("answers").session_id, request.session.0);
    let (one, two) = tokio::join!(stage.driver.remove(request.session), other.remove(request.session));
    one.expect("removes");
    two.expect("removes");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn what_others_wrote_into_our_objects_does_not_stop_a_start() {
    let stage = Stage::new().await;
    let request = stage.request().await;
    // An administrator made the volume by hand, larger than the quota, and holds its size.
    let by_hand = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim(&request), "labels": {"app.kubernetes.io/managed-by": "hand"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "64Mi"}}},
    });
    let hand = PatchParams::apply("hand");
    stage.claims().patch(&claim(&request), &hand, &Patch::Apply(by_hand)).await.expect("makes it");
    stage.start(&stage.driver, &request).await.expect("starts");
    let volume = stage.claims().get(&claim(&request)).await.unwrap();
    assert_eq!(volume.labels()["app.kubernetes.io/managed-by"], "gimp-platform");
    stage.driver.remove(request.session).await.expect("removes");

    // A volume of a fixed size can't grow: the session runs on it as it is.
    let larger = server::driver::StartRequest {
        session: server::ids::SessionId::new(),
        quota_bytes: 128 << 20,
        ..request.clone()
    };
    stage.start(&stage.driver, &larger).await.expect("starts");
    let size = stage.claims().get(&claim(&request)).await.unwrap().spec.unwrap().resources.unwrap().requests.unwrap();
    assert_eq!(size["storage"].0, "64Mi");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn only_pods_of_sessions_are_listed() {
    let stage = Stage::new().await;
    stage.play(Play::Nothing);
    let orphan = server::ids::SessionId::new();
    let named = |name: &str, labels: serde_json::Value| {
        let spec = json!({"containers": [{"name": "c", "image": "x"}]});
        from_json(json!({"metadata": {"name": name, "labels": labels}, "spec": spec}))
    };
    let ours = json!({
        "app.kubernetes.io/name": "gimp-session", "app.kubernetes.io/managed-by": "gimp-platform",
        "gimp-platform/session": orphan.to_string(),
    });
    let foreign = json!({"app.kubernetes.io/name": "gimp-session", "gimp-platform/session": orphan.to_string()});
    stage.pods().create(&PostParams::default(), &named("foreign", foreign)).await.unwrap();
    stage.pods().create(&PostParams::default(), &named(&format!("gimp-session-{orphan}"), ours)).await.unwrap();
    assert_eq!(stage.driver.list().await.unwrap(), [orphan]);
    stage.driver.remove(orphan).await.expect("removes what has no row");
    assert!(stage.driver.list().await.unwrap().is_empty());
    assert!(stage.pods().get_opt("foreign").await.unwrap().is_some());
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn what_a_session_said_last_and_what_took_it_are_known() {
    let stage = Stage::new().await;
    let ended = |state: serde_json::Value| Play::Status(json!({"phase": "Failed", "containerStatuses": [state]}));
    let say = async |request: &server::driver::StartRequest, play: Play| {
        let Play::Status(status) = play else { unreachable!() };
        let status = Patch::Merge(json!({"status": status}));
        stage.pods().patch_status(&pod(request), &PatchParams::default(), &status).await.expect("says it");
        match stage.driver.presence(request.session).await.expect("knows") {
            Presence::Gone { last_status, lost } => {
                (last_status.map(|status| status.phase), lost.map(|lost| lost.reason))
            }
            Presence::Present | Presence::Underway => panic!("it is over"),
        }
    };
    let request = stage.request().await;
    stage.start(&stage.driver, &request).await.expect("starts");
    let words = last_words(&request, EndReason::User);
    let known = say(&request, ended(container("terminated", json!({"exitCode": 0, "message": words})))).await;
    assert_eq!(known, (Some(AgentPhase::Ended { reason: EndReason::User }), None));

    let request = stage.request().await;
    stage.start(&stage.driver, &request).await.expect("starts");
    let killed = json!({"exitCode": 137, "reason": "OOMKilled", "message": "no JSON"});
    assert_eq!(say(&request, ended(container("terminated", killed))).await, (None, Some(EndReason::Crashed)));

    let request = stage.request().await;
    stage.start(&stage.driver, &request).await.expect("starts");
    let evicted = Play::Status(json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}));
    assert_eq!(say(&request, evicted).await.1, Some(EndReason::Evicted));
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn a_pod_that_is_taken_away_while_it_starts_ends_the_start() {
    let stage = Stage::new().await;
    stage.play(Play::Nothing);
    let request = stage.request().await;
    let taken = async {
        until("the pod", || stage.pod(&request)).await;
        stage.pods().delete(&pod(&request), &DeleteParams::default().grace_period(0)).await.expect("takes it away");
    };
    let (started, ()) = tokio::join!(stage.start(&stage.driver, &request), taken);
    assert!(matches!(started, Err(StartError::NoRoom(words)) if words.contains("removed")));
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn a_start_goes_on_where_another_server_died() {
    let stage = Stage::new().await;
    stage.play(Play::Nothing);
    let request = stage.request().await;
    let first = stage.another_driver();
    // It dies with the pod made and the secret not.
    tokio::select! {
        started = stage.start(&first, &request) => panic!("nothing runs: {started:?}"),
        _ = until("the pod", || stage.pod(&request)) => {}
    }
    drop(first);
    let _may_not_be_there = stage.secrets().delete(&pod(&request), &DeleteParams::default()).await;
    let made = stage.pod(&request).await.expect("is there").uid();
    assert_eq!(stage.driver.presence(request.session).await.unwrap(), Presence::Underway);
    stage.play(Play::Run);
    let node = async {
        until("the secret", || async { stage.secrets().get_opt(&pod(&request)).await.unwrap() }).await;
        until("a node", || async { stage.pod(&request).await?.spec?.node_name }).await;
        stage.touch(&request).await;
    };
    let (started, ()) = tokio::join!(stage.start(&stage.driver, &request), node);
    started.expect("starts");
    assert_eq!(stage.pod(&request).await.expect("is there").uid(), made);
    assert_eq!(stage.driver.presence(request.session).await.unwrap(), Presence::Present);
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn a_lost_machine_keeps_the_volume_to_itself() {
    let stage = Stage::new().await;
    let request = stage.request().await;
    stage.start(&stage.driver, &request).await.expect("starts");
    stage.play(Play::Lost);
    // Of the time to end a second is left.
    stage.pods().delete(&pod(&request), &DeleteParams::default().grace_period(1)).await.expect("is told to go");
    let patience = Patience { gone: Duration::from_secs(1), ..Patience::default() };
    let driver = stage.driver_of(stage.client.clone(), patience);
    let error = driver.remove(request.session).await.expect_err("nobody knows whether it still writes");
    assert!(error.to_string().contains("its machine may be lost"), "{error:#}");
    assert_eq!(driver.list().await.unwrap(), [request.session], "it is not forgotten");

    let next = server::driver::StartRequest { session: server::ids::SessionId::new(), ..request.clone() };
    let started = stage.start(&driver, &next).await;
    assert!(matches!(started, Err(StartError::NoRoom(words)) if words.contains("machine of your last session")));
    assert!(stage.pod(&next).await.is_none(), "two never write to one volume");

    // As the cluster does for a node that is gone or tainted as out of service.
    stage.pods().delete(&pod(&request), &DeleteParams::default().grace_period(0)).await.expect("removes it");
    stage.play(Play::Run);
    stage.start(&driver, &next).await.expect("starts");
    driver.remove(request.session).await.expect("is gone");
}

/// The cluster of `scripts/kubernetes`: another can't be interrupted from here.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn an_api_server_that_is_away_ends_no_session() {
    let folder = kubeconfig().parent().expect("a folder").to_owned();
    assert!(folder.join("ports").is_file(), "{} is not of scripts/kubernetes", folder.display());
    let api_server = |what: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kubernetes");
        assert!(
            Command::new(script).args(["apiserver", what]).arg(&folder).status().expect("runs").success(),
            "{what}"
        );
    };
    let stage = Stage::new().await;
    let (running, starting) = (stage.request().await, stage.request().await);
    stage.start(&stage.driver, &running).await.expect("starts");
    stage.play(Play::Nothing);
    let outage = async {
        until("the pod", || stage.pod(&starting)).await;
        until("its secret", || async { stage.secrets().get_opt(&pod(&starting)).await.unwrap() }).await;
        tokio::task::block_in_place(|| api_server("stop"));
        // The picture goes its own way.
        assert_eq!(stage.driver.agent(running.session).status().await.expect("answers").session_id, running.session.0);
        assert!(stage.driver.presence(running.session).await.is_err(), "not known is not gone");
        assert!(stage.driver.list().await.is_err());
        let late = stage.start(&stage.hasty(), &stage.request_without_volume()).await;
        assert!(matches!(late, Err(StartError::NoRoom(words)) if words.contains("does not answer")));
        stage.play(Play::Run);
        tokio::task::block_in_place(|| api_server("start"));
        stage.touch(&starting).await;
    };
    let (started, ()) = tokio::join!(stage.start(&stage.driver, &starting), outage);
    started.expect("goes on where it was");
    assert_eq!(stage.driver.presence(running.session).await.unwrap(), Presence::Present);
    assert_eq!(stage.driver.list().await.unwrap().len(), 2);
    tokio::time::timeout(Duration::from_secs(30), stage.driver.remove(running.session))
        .await
        .unwrap()
        .expect("removes");
}
