//! The programs sessions need, as `gimp-session check` reports them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Check, State};

/// Longest wait for the report; GIMP is asked for its version.
const LIMIT: Duration = Duration::from_secs(30);

/// What `gimp-session check` prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    present: bool,
    required: bool,
    found: Option<String>,
    package: String,
    instead: Option<String>,
}

/// `agent`: the path of `gimp-session`, or why there is none.
pub async fn examine(agent: Result<PathBuf, impl std::fmt::Display>) -> Vec<Check> {
    let name = "gimp-session";
    let path = match agent {
        Ok(path) => path,
        Err(error) => return vec![Check::failed(name, error.to_string())],
    };
    let mut checks = vec![Check::ok(name, path.display().to_string())];
    let running = tokio::process::Command::new(&path).arg("check").kill_on_drop(true).output();
    let report = match tokio::time::timeout(LIMIT, running).await {
        Err(_) => Err("did not answer in time".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) => serde_json::from_slice::<Report>(&output.stdout).map_err(|error| {
            format!("said nothing that makes sense ({error}): {}", String::from_utf8_lossy(&output.stderr).trim())
        }),
    };
    match report {
        Ok(report) => checks.extend(items(report)),
        Err(why) => checks.push(
            Check::failed(name, format!("`{} check` {why}", path.display()))
                .fix("use gimp-session and gimp-platform of the same version"),
        ),
    }
    checks
}

fn items(report: Report) -> Vec<Check> {
    let present: Vec<String> = report.items.iter().filter(|item| item.present).map(|item| item.name.clone()).collect();
    report
        .items
        .into_iter()
        .map(|item| {
            if item.present {
                return Check::ok(item.name, item.found.unwrap_or_default());
            }
            let other = item.instead.filter(|instead| present.contains(instead));
            let state = if item.required && other.is_none() { State::Failed } else { State::Off };
            let detail =
                other.map_or_else(|| "not found".to_owned(), |other| format!("not found; {other} does instead"));
            Check::new(item.name, state, detail).fix(format!("apt install {}", item.package))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that prints `text`.
    async fn examine_saying(text: &str) -> Vec<Check> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gimp-session");
        std::fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = check ] && cat <<'END'\n{text}\nEND\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        examine(Ok::<_, String>(path)).await
    }

    #[tokio::test]
    async fn says_what_is_missing_and_which_package_brings_it() {
        let item = |name: &str, present: bool, required: bool, instead: Option<&str>| {
            serde_json::json!({"name": name, "present": present, "required": required, "instead": instead,
                "found": present.then_some("/x"), "package": format!("lib-{name}")})
        };
        let report = serde_json::json!({"usable": false, "items": [
            item("gimp", false, true, None), item("Xorg", false, true, Some("Xvnc")), item("Xvnc", true, false, None),
            item("icons", false, false, None), item("dummy", false, true, Some("nothing")),
        ]});
        let checks = examine_saying(&report.to_string()).await;
        let states: Vec<(&str, State)> = checks.iter().map(|check| (check.name.as_str(), check.state)).collect();
        assert_eq!(
            states,
            [
                ("gimp-session", State::Ok),
                ("gimp", State::Failed),
                ("Xorg", State::Off),
                ("Xvnc", State::Ok),
                ("icons", State::Off),
                ("dummy", State::Failed),
            ]
        );
        assert_eq!(checks[1].fix.as_deref(), Some("apt install lib-gimp"));
        assert_eq!(checks[2].detail, "not found; Xvnc does instead");
    }

    #[tokio::test]
    async fn an_agent_that_is_missing_or_strange_fails() {
        let checks = examine(Err("It is missing.")).await;
        assert_eq!((checks.len(), checks[0].state, checks[0].detail.as_str()), (1, State::Failed, "It is missing."));
        let checks = examine_saying("hello").await;
        assert_eq!(checks[1].state, State::Failed);
        assert!(checks[1].detail.contains("makes sense"), "{}", checks[1].detail);
        let checks = examine(Ok::<_, String>(PathBuf::from("/nonexistent/gimp-session"))).await;
        assert!(checks[1].detail.contains("No such file"), "{}", checks[1].detail);
    }
}
