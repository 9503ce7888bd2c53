//! Tells when somebody begins to do something, so that nothing has to be looked for while nobody does.

use std::time::Duration;

use tokio::sync::Notify;
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::screensaver::ConnectionExt as _;
use x11rb::protocol::sync::{ConnectionExt as _, CreateAlarmAux, Int64, TESTTYPE, VALUETYPE};

use super::server::Cookie;
use super::x11::{Client, Result};

/// Input after so long without any is a beginning, milliseconds.
const QUIET_MS: u32 = 1000;
/// How often a server without a counter of idle time is asked.
const POLL: Duration = Duration::from_secs(2);

/// Blocks until the display is gone; notifies at each beginning.
pub fn watch(display: u32, cookie: &Cookie, begun: &Notify) -> Result<()> {
    let client = Client::connect(display, cookie)?;
    match set_alarm(&client) {
        Ok(true) => loop {
            if let Event::SyncAlarmNotify(_) = client.conn.wait_for_event()? {
                begun.notify_one();
            }
        },
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "the display server does not tell when there is input: it is asked"),
    }
    loop {
        let info = client.conn.screensaver_query_info(client.root)?.reply()?;
        if Duration::from_millis(info.ms_since_user_input.into()) <= POLL {
            begun.notify_one();
        }
        std::thread::sleep(POLL);
    }
}

/// False: the server has no counter of idle time.
fn set_alarm(client: &Client) -> Result<bool> {
    let conn = &client.conn;
    conn.sync_initialize(3, 1)?.reply()?;
    let counters = conn.sync_list_system_counters()?.reply()?.counters;
    let Some(idle) = counters.iter().find(|counter| counter.name == b"IDLETIME") else { return Ok(false) };
    let alarm = conn.generate_id()?;
    // A transition: the alarm stays set after it went off, and input without a pause sets it off once.
    let wanted = CreateAlarmAux::new()
        .counter(idle.counter)
        .value_type(VALUETYPE::ABSOLUTE)
        .value(Int64 { hi: 0, lo: QUIET_MS })
        .test_type(TESTTYPE::NEGATIVE_TRANSITION)
        .delta(Int64 { hi: 0, lo: 0 })
        .events(1);
    conn.sync_create_alarm(alarm, &wanted)?.check()?;
    Ok(true)
}
