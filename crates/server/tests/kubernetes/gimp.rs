//! The real agent and GIMP, started as the pod says, reached as a pod is.

use protocol::agent::{AgentPhase, AgentStatus};
use protocol::session::EndReason;
use server::driver::Presence;
use tokio::io::AsyncReadExt;

use super::harness::{Play, Stage, until};

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn gimp_runs_as_the_pod_says_and_is_reached_by_tcp() {
    let stage = Stage::new().await;
    stage.play(Play::RunGimp);
    let request = server::driver::StartRequest { memory_bytes: 1 << 30, cpu_millis: 1000, ..stage.request().await };
    stage.start(&stage.driver, &request).await.expect("starts");
    let agent = stage.driver.agent(request.session);
    let running = || async { agent.status().await.ok().filter(|status| status.phase == AgentPhase::Running) };
    let status: AgentStatus = until("GIMP", running).await;
    assert_eq!(status.session_id, request.session.0);

    // The display, by the way that viewers of VNC take.
    let mut greeting = [0; 12];
    agent.vnc().await.expect("a way to the display").read_exact(&mut greeting).await.expect("greets");
    assert_eq!(&greeting, b"RFB 003.008\n");
    // The picture stream: nothing is sent before its browser has said hello.
    drop(agent.stream(None).await.expect("a way to the picture"));

    let mut foreign = stage.driver.agent(request.session);
    foreign.token = "f".repeat(43);
    assert!(foreign.status().await.is_err(), "not without the session's token");

    // It ends by itself, and what it said last outlives it.
    agent.end(EndReason::User).await.expect("is told");
    let last = until("its end", || async {
        match stage.driver.presence(request.session).await.expect("knows") {
            Presence::Present | Presence::Underway => None,
            Presence::Gone { last_status, lost } => Some((last_status.map(|status| status.phase), lost)),
        }
    })
    .await;
    assert_eq!(last, (Some(AgentPhase::Ended { reason: EndReason::User }), None));
    stage.driver.remove(request.session).await.expect("removes");

    // Another is removed while it runs: its agent has the time to end everything.
    let request = server::driver::StartRequest { session: server::ids::SessionId::new(), ..request };
    stage.start(&stage.driver, &request).await.expect("starts");
    let agent = stage.driver.agent(request.session);
    let running = || async { agent.status().await.ok().filter(|status| status.phase == AgentPhase::Running) };
    until("GIMP", running).await;
    stage.driver.remove(request.session).await.expect("removes");
    assert_eq!(stage.driver.presence(request.session).await.unwrap(), Presence::Gone { last_status: None, lost: None });
}
