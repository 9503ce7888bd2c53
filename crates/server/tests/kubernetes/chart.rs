//! What the chart renders is taken by the API server, all of it.

use std::collections::BTreeSet;
use std::path::Path;

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use serde_json::Value;

use super::harness::{Stage, from_json};

/// The objects of one set of values, in this test's namespace.
pub fn rendered(stage: &Stage, values: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../deploy/helm/rendered/{values}.yaml"));
    let text = std::fs::read_to_string(path).expect("reads").replace("gimp-sessions", &stage.namespace);
    // The same kinds under the names that this older cluster knows them by.
    let text = text.replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n");
    let text = text.replace("apiVersion: autoscaling/v2\n", "apiVersion: autoscaling/v2beta2\n");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The kinds that this cluster does not know. Everything else is taken as it is written.
async fn unknown_kinds(stage: &Stage, values: &str) -> BTreeSet<String> {
    let mut unknown = BTreeSet::new();
    for wanted in rendered(stage, values) {
        let mut object: DynamicObject = from_json(wanted.clone());
        let types = object.types.clone().expect("a kind");
        let kind = GroupVersionKind::try_from(&types).expect("a kind");
        let Ok((resource, capabilities)) = pinned_kind(&stage.client, &kind).await else {
            unknown.insert(types.kind);
            continue;
        };
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(stage.client.clone(), &resource),
            Scope::Namespaced => {
                // The release's does not exist here, and nothing is written.
                object.metadata.namespace = Some(stage.namespace.clone());
                Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource)
            }
        };
        let name = object.metadata.name.clone().expect("a name");
        let dry = PatchParams::apply("test").force().dry_run();
        let taken = api.patch(&name, &dry, &Patch::Apply(&object)).await;
        let taken = taken.unwrap_or_else(|error| panic!("{values}, {} {name}: {error}", types.kind));
        let taken = serde_json::to_value(&taken).expect("an object");
        // This API server leaves out what it does not know, in silence.
        assert_eq!(left_out(&wanted, &taken), None, "{values}, {} {name}", types.kind);
    }
    unknown
}

/// The path of the first field of `wanted` that `taken` does not have.
fn left_out(wanted: &Value, taken: &Value) -> Option<String> {
    match (wanted, taken) {
        (Value::Object(wanted), Value::Object(taken)) => {
            wanted.iter().find_map(|(name, value)| match taken.get(name) {
                Some(taken) => left_out(value, taken).map(|rest| format!("{name}.{rest}")),
                None => Some(name.clone()),
            })
        }
        (Value::Array(wanted), Value::Array(taken)) => {
            let short = (wanted.len() > taken.len()).then(|| "[]".to_owned());
            short.or_else(|| wanted.iter().zip(taken).find_map(|(wanted, taken)| left_out(wanted, taken)))
        }
        _ => None,
    }
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn every_object_of_the_chart_is_taken() {
    let stage = Stage::new().await;
    assert_eq!(unknown_kinds(&stage, "trial").await, BTreeSet::new());
    assert_eq!(unknown_kinds(&stage, "ingress").await, BTreeSet::new());
    // Of the Prometheus operator.
    let operator = ["PrometheusRule", "ServiceMonitor"].map(str::to_owned);
    assert_eq!(unknown_kinds(&stage, "large").await, operator.into());
}

#[tokio::test]
#[ignore = "needs a Kubernetes API server: ./test kube"]
async fn sessions_are_reached_by_the_server_only_and_reach_nothing() {
    let stage = Stage::new().await;
    let policies = rendered(&stage, "trial").into_iter().filter(|object| object["kind"] == "NetworkPolicy");
    let policy = policies.into_iter().find(|policy| policy["metadata"]["namespace"] == *stage.namespace).expect("one");
    let spec = &policy["spec"];
    assert_eq!((&spec["podSelector"], &spec["egress"]), (&serde_json::json!({}), &Value::Null));
    assert_eq!(spec["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
    let [way] = &spec["ingress"].as_array().expect("a way in")[..] else { panic!("one way: {spec}") };
    assert_eq!(way["ports"], serde_json::json!([{"protocol": "TCP", "port": protocol::agent::PORT}]));
    let [peer] = &way["from"].as_array().expect("from somewhere")[..] else { panic!("one peer: {way}") };
    // The labels of the server's pod, in the namespace that it is in.
    let server =
        rendered(&stage, "trial").into_iter().find(|object| object["kind"] == "StatefulSet").expect("a server");
    assert_eq!(peer["podSelector"]["matchLabels"], server["spec"]["template"]["metadata"]["labels"]);
    let namespace = &peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
    assert_eq!(*namespace, server["metadata"]["namespace"]);
}
