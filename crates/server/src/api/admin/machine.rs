//! `GET /admin/machine`

use std::path::Path;

use anyhow::Context;
use axum::extract::State;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::extract::Json;
use crate::auth::current::CurrentAdmin;
use crate::db::entity::session::{Column, Entity};
use crate::driver::Protection;
use crate::error::Problem;
use crate::gateway::udp::UdpPort;
use crate::state::App;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(machine))
}

/// How the machine is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    cores: usize,
    /// Processes that want to run, mean of the last minute.
    load1: f64,
    /// Bytes.
    memory_total: u64,
    /// Bytes that programs can still get.
    memory_available: u64,
    /// Bytes of the disk that holds the data directory.
    disk_total: u64,
    disk_available: u64,
    /// Sessions that have not ended.
    sessions_running: u64,
    session_limit: u16,
    /// What keeps sessions apart here.
    protections: Vec<Protection>,
    /// The port for WebRTC.
    udp: UdpPort,
    version: &'static str,
    /// Seconds since the server started.
    uptime_seconds: u64,
}

/// Load, room and protections of the machine.
#[utoipa::path(
    get, path = "", tag = "admin", operation_id = "adminMachine",
    responses((status = 200, body = Machine), (status = 403, description = "auth.adminOnly")),
)]
pub async fn machine(State(app): State<App>, _: CurrentAdmin) -> Result<Json<Machine>, Problem> {
    let sessions_running = Entity::find().filter(Column::EndedAt.is_null()).count(&app.db).await?;
    let settings = app.settings.clone();
    let measured = tokio::task::spawn_blocking(move || measure(&settings.data_dir)).await.map_err(Problem::internal)?;
    let room = measured.map_err(|error| Problem::internal(format!("{error:#}")))?;
    Ok(Json(Machine {
        cores: room.cores,
        load1: room.load1,
        memory_total: room.memory.0,
        memory_available: room.memory.1,
        disk_total: room.disk.0,
        disk_available: room.disk.1,
        sessions_running,
        session_limit: app.sessions.limit(),
        protections: app.driver.protections(),
        udp: app.media.shown(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: app.started.elapsed().as_secs(),
    }))
}

struct Room {
    cores: usize,
    load1: f64,
    /// Total and available, bytes.
    memory: (u64, u64),
    disk: (u64, u64),
}

fn measure(data_dir: &Path) -> anyhow::Result<Room> {
    let disk = rustix::fs::statvfs(data_dir).context("the disk of the data directory")?;
    let mut system = sysinfo::System::new()?;
    system.refresh_memory();
    Ok(Room {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        load1: sysinfo::System::load_average()?.one,
        memory: (system.total_memory(), system.available_memory()),
        disk: (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize)),
    })
}
