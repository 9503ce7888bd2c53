//! The table `[kubernetes]` of the settings file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Where pods run and what they are made of. What has no default is left out of the pods, so that the cluster decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesOptions {
    /// How to reach the cluster; none: the service account of the pod that the server runs in.
    pub kubeconfig: Option<PathBuf>,
    /// Of pods, secrets and volumes. For one installation only: what it does not know there it removes.
    pub namespace: String,
    /// Has `gimp-session` in PATH, and everything that it starts.
    pub image: String,
    /// Secrets that the image is pulled with.
    pub image_pull_secrets: Vec<String>,
    pub storage_class: Option<String>,
    pub runtime_class: Option<String>,
    pub priority_class: Option<String>,
    pub node_selector: BTreeMap<String, String>,
    /// As in a pod.
    #[serde(deserialize_with = "whole")]
    pub tolerations: Vec<Toleration>,
    /// As in a pod.
    #[serde(deserialize_with = "whole")]
    pub affinity: Option<Affinity>,
}

impl Default for KubernetesOptions {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            namespace: "gimp-sessions".to_owned(),
            image: String::new(),
            image_pull_secrets: vec![],
            storage_class: None,
            runtime_class: None,
            priority_class: None,
            node_selector: BTreeMap::new(),
            tolerations: vec![],
            affinity: None,
        }
    }
}

const OBJECT_NAME: &str = "the name of an object in Kubernetes: letters a to z, digits, dashes and dots";

/// What is allowed, in words that fit behind "must be".
pub const ALLOWED: &[(&str, &str)] = &[
    ("kubernetes.kubeconfig", "the path of a file"),
    ("kubernetes.namespace", "the name of a namespace: letters a to z, digits and dashes, at most 63"),
    ("kubernetes.image", "the name of an image, where driver is kubernetes"),
    ("kubernetes.image_pull_secrets", "a list of names of secrets"),
    ("kubernetes.storage_class", OBJECT_NAME),
    ("kubernetes.runtime_class", OBJECT_NAME),
    ("kubernetes.priority_class", OBJECT_NAME),
    ("kubernetes.node_selector", "a table of node labels and their values"),
    ("kubernetes.tolerations", "a list of tolerations with the fields they have in a pod, like operator and key"),
    ("kubernetes.affinity", "an affinity with the fields it has in a pod, like nodeAffinity"),
];

impl KubernetesOptions {
    /// The first key whose value can't be used, of what types can't say. `used`: the driver is this one.
    #[must_use]
    pub fn wrong(&self, used: bool) -> Option<&'static str> {
        let named = |name: &Option<String>| name.as_deref().is_none_or(is_name);
        // Qualified names are checked by the cluster as well; this is against mistakes of writing.
        let label = |text: &String| text.len() <= 317 && text.bytes().all(|byte| byte.is_ascii_graphic());
        let rules = [
            ("kubernetes.namespace", is_label(&self.namespace)),
            ("kubernetes.image", !used || is_image(&self.image)),
            ("kubernetes.image_pull_secrets", self.image_pull_secrets.iter().all(|name| is_name(name))),
            ("kubernetes.storage_class", named(&self.storage_class)),
            ("kubernetes.runtime_class", named(&self.runtime_class)),
            ("kubernetes.priority_class", named(&self.priority_class)),
            (
                "kubernetes.node_selector",
                self.node_selector.iter().all(|(key, value)| !key.is_empty() && label(key) && label(value)),
            ),
        ];
        rules.into_iter().find(|(_, holds)| !holds).map(|(key, _)| key)
    }
}

fn is_image(text: &str) -> bool {
    !text.is_empty() && text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 1123, a label.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// RFC 1123, a subdomain.
fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The types of Kubernetes leave out what they don't know: a field with a slip of the pen would be as good as not there.
fn whole<'de, D: Deserializer<'de>, T: DeserializeOwned + Serialize>(deserializer: D) -> Result<T, D::Error> {
    let given = Value::deserialize(deserializer)?;
    let taken: T = serde_json::from_value(given.clone()).map_err(D::Error::custom)?;
    let back = serde_json::to_value(&taken).map_err(D::Error::custom)?;
    match left_out(&given, &back) {
        Some(field) => Err(D::Error::custom(format_args!("there is no field {field}"))),
        None => Ok(taken),
    }
}

/// The first field of `given` that `taken` does not have. What is empty may go.
fn left_out(given: &Value, taken: &Value) -> Option<String> {
    match (given, taken) {
        (Value::Object(given), Value::Object(taken)) => given.iter().find_map(|(name, value)| match taken.get(name) {
            Some(taken) => left_out(value, taken),
            None if matches!(value, Value::Null) => None,
            None => Some(name.clone()),
        }),
        (Value::Array(given), Value::Array(taken)) => {
            given.iter().zip(taken).find_map(|(given, taken)| left_out(given, taken))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KubernetesOptions, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn structured_settings_are_those_of_a_pod() {
        let options = parse(
            r#"
            image = "registry.example.org/gimp-session:1"
            node_selector = { "kubernetes.io/arch" = "amd64" }
            tolerations = [{ key = "gimp", operator = "Exists", effect = "NoSchedule" }]
            [affinity.nodeAffinity]
            preferredDuringSchedulingIgnoredDuringExecution = [
              { weight = 5, preference = { matchExpressions = [{ key = "disk", operator = "In", values = ["ssd"] }] } },
            ]
            "#,
        )
        .unwrap();
        assert_eq!(options.wrong(true), None);
        assert_eq!(options.tolerations[0].key.as_deref(), Some("gimp"));
        let node = options.affinity.unwrap().node_affinity.unwrap();
        assert_eq!(node.preferred_during_scheduling_ignored_during_execution.unwrap()[0].weight, 5);
    }

    #[test]
    fn a_slip_of_the_pen_is_a_mistake() {
        for text in [
            "tolerations = [{ key = \"gimp\", operater = \"Exists\" }]",
            "tolerations = { key = \"gimp\" }",
            "affinity = { nodeAfinity = {} }",
            "affinity = { nodeAffinity = { preferredDuringSchedulingIgnoredDuringExecution = [{ weight = 1, preference = { matchExpression = [] } }] } }",
            "name_space = \"x\"",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_checked() {
        let wrong = |change: fn(&mut KubernetesOptions)| {
            let mut options = KubernetesOptions { image: "x".to_owned(), ..KubernetesOptions::default() };
            change(&mut options);
            options.wrong(true)
        };
        assert_eq!(wrong(|_| {}), None);
        assert_eq!(wrong(|options| options.image.clear()), Some("kubernetes.image"));
        assert_eq!(wrong(|options| options.image.push(' ')), Some("kubernetes.image"));
        assert_eq!(wrong(|options| options.namespace = "Gimp".into()), Some("kubernetes.namespace"));
        assert_eq!(wrong(|options| options.namespace = "a".repeat(64)), Some("kubernetes.namespace"));
        assert_eq!(wrong(|options| options.namespace = "-a".into()), Some("kubernetes.namespace"));
        assert_eq!(wrong(|options| options.storage_class = Some("a..b".into())), Some("kubernetes.storage_class"));
        assert_eq!(wrong(|options| options.storage_class = Some("fast.example".into())), None);
        assert_eq!(wrong(|options| options.runtime_class = Some(String::new())), Some("kubernetes.runtime_class"));
        assert_eq!(wrong(|options| options.priority_class = Some("a b".into())), Some("kubernetes.priority_class"));
        assert_eq!(
            wrong(|options| drop(options.node_selector.insert("a b".into(), String::new()))),
            Some("kubernetes.node_selector")
        );
        assert_eq!(wrong(|options| options.image_pull_secrets.push("A".into())), Some("kubernetes.image_pull_secrets"));
        assert_eq!(KubernetesOptions::default().wrong(false), None, "nobody else needs an image");
    }
}
