//! Tells when GIMP is ready to be used: its main window is on the screen and has stopped repainting.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::damage::{ConnectionExt as _, ReportLevel};
use x11rb::protocol::xproto::{AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, EventMask, MapState, Window};

use super::server::Cookie;
use super::x11::{Client, Error, Result, intern};

/// Role of GIMP's first image window. The splash is `gimp-startup`.
const MAIN_WINDOW_ROLE: &[u8] = b"gimp-image-window-1";
/// No repaint for this long counts as painted.
const QUIET: Duration = Duration::from_millis(120);
/// A GIMP that keeps repainting, say because the user already works in it, is ready too.
const QUIET_LIMIT: Duration = Duration::from_secs(5);
/// How often the window is looked for, and cancelling noticed, when the X server has nothing to tell.
const CHECK: Duration = Duration::from_millis(100);

/// Blocks until GIMP's main window is on the screen, or `cancelled`. Like `wait_until_quiet` it uses a connection of its
/// own, so nothing of it remains afterwards.
pub fn wait_until_mapped(display: u32, cookie: &Cookie, cancelled: &AtomicBool) -> Result<()> {
    let client = Client::connect(display, cookie)?;
    let conn = &client.conn;
    let client_list = intern(conn, "_NET_CLIENT_LIST")?;
    let role = intern(conn, "WM_WINDOW_ROLE")?;
    let watch = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
    conn.change_window_attributes(client.root, &watch)?.check()?;
    while !main_window_is_mapped(&client, client_list, role)? {
        // An event, or none for a while: the window manager lists a window a moment before it maps it.
        next_event(&client, CHECK)?;
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
    }
    Ok(())
}

/// Blocks until nothing has been painted for `QUIET`, or `cancelled`.
pub fn wait_until_quiet(display: u32, cookie: &Cookie, cancelled: &AtomicBool) -> Result<()> {
    let client = Client::connect(display, cookie)?;
    let conn = &client.conn;
    conn.damage_query_version(1, 1)?.reply()?;
    let damage = conn.generate_id()?;
    conn.damage_create(damage, client.root, ReportLevel::NON_EMPTY)?.check()?;
    let begin = Instant::now();
    let mut last_paint = begin;
    while last_paint.elapsed() < QUIET && begin.elapsed() < QUIET_LIMIT {
        if let Some(Event::DamageNotify(_)) = next_event(&client, QUIET.saturating_sub(last_paint.elapsed()))? {
            last_paint = Instant::now();
            conn.damage_subtract(damage, x11rb::NONE, x11rb::NONE)?;
        }
        if cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
    }
    Ok(())
}

fn main_window_is_mapped(client: &Client, client_list: u32, role: u32) -> Result<bool> {
    let conn = &client.conn;
    let list = conn.get_property(false, client.root, client_list, AtomEnum::WINDOW, 0, 1024)?.reply()?;
    let windows: Vec<Window> = list.value32().into_iter().flatten().collect();
    for window in windows {
        // A window may be gone by the time it is asked about.
        let Ok(value) = conn.get_property(false, window, role, AtomEnum::STRING, 0, 64)?.reply() else { continue };
        if value.value == MAIN_WINDOW_ROLE
            && conn.get_window_attributes(window)?.reply().is_ok_and(|found| found.map_state == MapState::VIEWABLE)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits for an event, at most `limit`.
fn next_event(client: &Client, limit: Duration) -> Result<Option<Event>> {
    let deadline = Instant::now() + limit;
    client.conn.flush()?;
    loop {
        if let Some(event) = client.conn.poll_for_event()? {
            return Ok(Some(event));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let stream = client.conn.stream();
        poll(&mut [PollFd::new(&stream.as_fd(), PollFlags::IN)], Some(&timeout))
            .or_else(|error| if error == rustix::io::Errno::INTR { Ok(0) } else { Err(std::io::Error::from(error)) })?;
    }
}
