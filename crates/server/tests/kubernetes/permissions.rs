//! With the role of the chart the server can do what it needs, and nothing else.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::PostParams;
use kube::{Api, Client};
use server::driver::kubernetes::Patience;

use super::chart::rendered;
use super::harness::{Stage, from_json};

/// The stage's cluster with no more rights than the server's.
async fn restricted(stage: &Stage) -> Client {
    let of_kind = |kind: &str| rendered(stage, "trial").into_iter().find(|object| object["kind"] == kind).expect(kind);
    let role: Role = from_json(of_kind("Role"));
    stage.api::<Role>().create(&PostParams::default(), &role).await.expect("a role");
    let binding: RoleBinding = from_json(of_kind("RoleBinding"));
    stage.api::<RoleBinding>().create(&PostParams::default(), &binding).await.expect("a binding");
    let mut config = stage.config.clone();
    config.auth_info.impersonate = Some("system:serviceaccount:gimp-platform:gimp-platform".to_owned());
    Client::try_from(config).expect("a client")
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn the_role_is_enough_for_a_session() {
    let stage = Stage::new().await;
    let driver = stage.driver_of(restricted(&stage).await, Patience::default());
    driver.prepare().await.expect("sees pods");
    let request = stage.request().await;
    stage.start(&driver, &request).await.expect("starts");
    stage.start(&driver, &request).await.expect("once more");
    assert_eq!(driver.list().await.expect("lists"), [request.session]);
    driver.presence(request.session).await.expect("knows");
    driver.agent(request.session).status().await.expect("answers");
    driver.remove(request.session).await.expect("removes");
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn the_role_is_for_nothing_else() {
    let stage = Stage::new().await;
    let client = restricted(&stage).await;
    let may = async |namespace: &str, verb: &str, resource: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (group, resource) = resource.split_once(':').unwrap_or(("", resource));
        let attributes = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
            ..Default::default()
        };
        let answer = Api::<SelfSubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await;
        answer.expect("may always be asked").status.expect("an answer").allowed
    };
    let resources = [
        ("pods", &["get", "list", "watch", "create", "patch", "delete"][..]),
        ("secrets", &["create", "patch"]),
        ("persistentvolumeclaims", &["get", "create", "patch"]),
        ("events", &["list", "watch"]),
        ("pods/exec", &[]),
        ("pods/attach", &[]),
        ("pods/log", &[]),
        ("pods/portforward", &[]),
        ("pods/ephemeralcontainers", &[]),
        ("pods/status", &[]),
        ("pods/eviction", &[]),
        ("serviceaccounts", &[]),
        ("serviceaccounts/token", &[]),
        ("configmaps", &[]),
        ("services", &[]),
        ("resourcequotas", &[]),
        ("namespaces", &[]),
        ("nodes", &[]),
        ("persistentvolumes", &[]),
        ("apps:deployments", &[]),
        ("batch:jobs", &[]),
        ("networking.k8s.io:networkpolicies", &[]),
        ("rbac.authorization.k8s.io:roles", &[]),
        ("rbac.authorization.k8s.io:rolebindings", &[]),
    ];
    let verbs = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "escalate",
        "bind",
        "impersonate",
    ];
    for (resource, allowed) in resources {
        for verb in verbs {
            assert_eq!(may(&stage.namespace, verb, resource).await, allowed.contains(&verb), "{verb} {resource}");
        }
        for verb in allowed {
            assert!(!may("default", verb, resource).await, "{verb} {resource} elsewhere");
        }
    }
}
