//! The Kubernetes driver against a real API server, scheduler and controllers. There is no node: `harness` plays one, and
//! the agents on it. Run by `./test kube`; without a cluster each of these tests is shown as ignored, with the reason.

#[path = "kubernetes/chart.rs"]
mod chart;
#[path = "kubernetes/gimp.rs"]
mod gimp;
#[path = "kubernetes/harness.rs"]
mod harness;
#[path = "kubernetes/lifecycle.rs"]
mod lifecycle;
#[path = "kubernetes/permissions.rs"]
mod permissions;
#[allow(dead_code, reason = "another test has more use for it")]
#[path = "../src/test_app/postgres.rs"]
mod postgres;
#[allow(dead_code, clippy::unwrap_used, reason = "another test has more use for it; a failed step fails the test")]
#[path = "serve/program.rs"]
mod program;
#[path = "kubernetes/refusals.rs"]
mod refusals;
#[path = "kubernetes/replicas.rs"]
mod replicas;
