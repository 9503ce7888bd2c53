//! `/metrics`: what one session is and costs, measured when asked.

use metrics::{Key, Label};
use metrics_exporter_prometheus::PrometheusBuilder;
use protocol::agent::{AgentPhase, AgentStatus, Supervised};

/// Renders the status as Prometheus text.
pub fn render(status: &AgentStatus, processes: &[(Supervised, i32)]) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        set("gimp_session_ready", &[], f64::from(u8::from(status.phase == AgentPhase::Running)));
        set("gimp_session_viewers", &[], f64::from(status.viewers));
        set("gimp_session_idle_seconds", &[], seconds(status.idle_ms));
        set("gimp_session_screen_pixels", &[], f64::from(status.screen.width) * f64::from(status.screen.height));
        for timing in &status.timings {
            set("gimp_session_start_step_seconds", &[("step", timing.step.as_str())], seconds(timing.at_ms));
        }
        for what in [Supervised::Display, Supervised::Bus, Supervised::WindowManager, Supervised::Gimp] {
            let restarts = status.restarts.iter().filter(|restart| restart.what == what).count();
            set("gimp_session_restarts", &[("process", name(what))], f64::from(u32::try_from(restarts).unwrap_or(0)));
        }
        for (what, pid) in processes {
            if let Some(bytes) = resident_bytes(*pid) {
                set("gimp_session_resident_bytes", &[("process", name(*what))], bytes);
            }
        }
    });
    handle.render()
}

fn set(metric: &'static str, labels: &[(&'static str, &'static str)], value: f64) {
    let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::from_static_parts(name, value)).collect();
    let key = Key::from_parts(metric, labels);
    let metadata = metrics::Metadata::new(module_path!(), metrics::Level::INFO, None);
    metrics::with_recorder(|recorder| recorder.register_gauge(&key, &metadata)).set(value);
}

fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

fn name(what: Supervised) -> &'static str {
    match what {
        Supervised::Display => "display",
        Supervised::WindowManager => "windowManager",
        Supervised::Bus => "bus",
        Supervised::Gimp => "gimp",
    }
}

/// Second field of /proc/PID/statm, in pages.
fn resident_bytes(pid: i32) -> Option<f64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u32 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = u32::try_from(rustix::param::page_size()).ok()?;
    Some(f64::from(pages) * f64::from(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_measured() {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        assert!(resident_bytes(pid).is_some_and(|bytes| bytes > 100_000.0));
        assert_eq!(resident_bytes(-1), None);
    }
}
