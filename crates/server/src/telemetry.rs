//! Logs and metrics.

use std::sync::OnceLock;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Settings};

/// Upper bounds of durations, seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Sends logs to standard error, as the settings ask, and starts to count.
///
/// # Errors
/// When the filter makes no sense or logging is set up already.
pub fn init(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log).context("the setting `log`")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!(error))?;
    log_panics();
    metrics();
    Ok(())
}

/// Panics go to the log like other errors of ours, within the span of the request they happened in.
pub fn log_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("no message"));
        usual(panic);
    }));
}

/// What has been counted. The first call begins to count, for the whole process.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("somebody else counts already");
        }
        describe();
        handle
    })
}

fn describe() {
    metrics::describe_counter!("gimp_platform_http_requests_total", "Requests by method, route template and status");
    metrics::describe_histogram!(
        "gimp_platform_http_request_seconds",
        "Time until an answer's headers, by route template"
    );
    metrics::describe_counter!(
        "gimp_platform_access_log_dropped_total",
        "Rows of the access log that were not written"
    );
    metrics::describe_gauge!("gimp_platform_connections", "Open connections");
    metrics::describe_counter!(
        "gimp_platform_media_datagrams_total",
        "Datagrams of WebRTC forwarded, by transport and direction"
    );
    metrics::describe_counter!(
        "gimp_platform_media_dropped_total",
        "Datagrams of WebRTC that were not forwarded, by transport and reason"
    );
    metrics::describe_gauge!(
        "gimp_platform_media_flows",
        "Browsers' ends that datagrams of WebRTC go to and fro, by transport"
    );
    metrics::describe_counter!("gimp_platform_account_events_total", "Entries of the audit trail, by kind");
    metrics::describe_gauge!("gimp_platform_sessions", "Sessions by status");
    metrics::describe_counter!("gimp_platform_session_ends_total", "Ended sessions, by reason");
    metrics::describe_counter!("gimp_platform_sessions_taken_total", "Sessions taken from servers that were gone");
    metrics::describe_gauge!("gimp_platform_keeps_sessions", "1 while this server may look after sessions, else 0");
    metrics::describe_histogram!("gimp_platform_session_start_seconds", "Time from a session's start to each step");
    metrics::describe_gauge!("process_resident_memory_bytes", "Memory of the server itself");
    metrics::describe_gauge!("process_open_fds", "Open files of the server");
    metrics::describe_gauge!("gimp_platform_build_info", "Always 1; the version is a label");
    metrics::gauge!("gimp_platform_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Looks at the process itself; called when somebody asks.
pub fn measure_process() {
    if let Some(bytes) = resident_bytes() {
        metrics::gauge!("process_resident_memory_bytes").set(bytes);
    }
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        let count = u32::try_from(entries.count()).unwrap_or(u32::MAX);
        metrics::gauge!("process_open_fds").set(count);
    }
    metrics().run_upkeep();
}

fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u32 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let page = u32::try_from(rustix::param::page_size()).ok()?;
    Some(f64::from(pages) * f64::from(page))
}
