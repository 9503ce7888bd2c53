//! Gives the X server the input of all clients by XTEST, on a connection of its own. Decisions are
//! `agent_core::input`'s; here is no round trip for an event, only for a map that has changed.

use std::collections::BTreeMap;

use agent_core::input::keymap::{Key, KeyType, Keymap};
use agent_core::input::{ClientId, Effect, InputState};
use protocol::stream::InputEvent;
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xkb::{self, ConnectionExt as _, EventType, MapPart, StatePart};
use x11rb::protocol::xproto::{
    BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, ConnectionExt as _, KEY_PRESS_EVENT, KEY_RELEASE_EVENT,
    MOTION_NOTIFY_EVENT, ModMask,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

use super::server::Cookie;
use super::x11::{Client, Result};

/// The keyboard that all devices feed.
const CORE_KEYBOARD: u16 = 256;
/// The keyboard that XTEST presses keys of, in every server since X.Org 1.7: the fourth device after the core pair. Its
/// map is its own; the core keyboard takes on that of whichever device was used last.
const XTEST_KEYBOARD: u16 = 5;
const XTEST_KEYBOARD_NAME: &[u8] = b"Virtual core XTEST keyboard";
/// Buttons that clients press (1 to 3, 8, 9).
const BUTTONS: [u8; 5] = [1, 2, 3, 8, 9];
/// The longest delay until the server itself repeats a held key, ms. Clients repeat their keys: a release that is late
/// on a bad line must not move a layer by another twenty pixels. Turning repeats off would also drop those that VNC
/// viewers send.
const REPEAT_DELAY: u16 = u16::MAX;

/// Mouse and keyboard of all clients of one X server.
#[derive(Debug)]
pub struct InputDevice {
    client: Client,
    state: InputState,
    /// The device whose map counts, as XKB numbers it.
    keyboard: u16,
    effects: Vec<Effect>,
}

impl InputDevice {
    /// Connects, reads the keyboard and lets go of what a killed agent may have left down.
    pub fn open(display: u32, cookie: &Cookie) -> Result<Self> {
        let client = Client::connect(display, cookie)?;
        let conn = &client.conn;
        conn.xtest_get_version(2, 2)?.reply()?;
        conn.xkb_use_extension(1, 0)?.reply()?;
        let keyboard = xtest_keyboard(conn)?;
        select_events(conn)?;
        let keymap = read_keymap(conn, keyboard)?;
        let device = Self { client, state: InputState::new(keymap), keyboard, effects: Vec::new() };
        device.reset()?;
        Ok(device)
    }

    /// Takes a client's events and returns the newest number taken.
    pub fn apply(&mut self, client: ClientId, events: &[InputEvent]) -> Result<u32> {
        self.notice_changes()?;
        let newest = self.state.apply(client, events, &mut self.effects);
        self.execute()?;
        Ok(newest)
    }

    /// Lets go of what only this client holds.
    pub fn leave(&mut self, client: ClientId) -> Result<()> {
        self.state.leave(client, &mut self.effects);
        self.execute()
    }

    /// Lets go of everything, and waits until the server has: of a client that is gone before it can be told of a new map,
    /// say, the server throws away what it has not done yet.
    pub fn leave_all(&mut self) -> Result<()> {
        self.state.leave_all(&mut self.effects);
        self.execute()?;
        self.client.conn.get_input_focus()?.reply()?;
        Ok(())
    }

    fn reset(&self) -> Result<()> {
        let conn = &self.client.conn;
        let down = conn.query_keymap()?.reply()?.keys;
        for keycode in 0..=u8::MAX {
            if down.get(usize::from(keycode / 8)).is_some_and(|byte| byte >> (keycode % 8) & 1 == 1) {
                self.fake(KEY_RELEASE_EVENT, keycode, 0, 0)?;
            }
        }
        for button in BUTTONS {
            self.fake(BUTTON_RELEASE_EVENT, button, 0, 0)?;
        }
        unlock(conn)?;
        delay_repeat(conn)?;
        conn.flush()?;
        Ok(())
    }

    /// What the server has told since the last call.
    fn notice_changes(&mut self) -> Result<()> {
        let mut remapped = false;
        while let Some(event) = self.client.conn.poll_for_event()? {
            match event {
                Event::XkbMapNotify(event) => remapped |= self.concerns(event.device_id),
                Event::XkbNewKeyboardNotify(event) => remapped |= self.concerns(event.device_id),
                Event::XkbStateNotify(event) => {
                    self.state.set_locked(u16::from(event.locked_mods) != 0 || u8::from(event.locked_group) != 0);
                }
                Event::Error(error) => tracing::warn!(?error, "the X server refused input"),
                _ => {}
            }
        }
        if remapped {
            let keymap = read_keymap(&self.client.conn, self.keyboard)?;
            self.state.set_keymap(keymap);
        }
        Ok(())
    }

    fn concerns(&self, device: u8) -> bool {
        self.keyboard == CORE_KEYBOARD || self.keyboard == u16::from(device)
    }

    fn execute(&mut self) -> Result<()> {
        let effects = std::mem::take(&mut self.effects);
        for effect in &effects {
            match *effect {
                Effect::Motion { x, y } => self.fake(MOTION_NOTIFY_EVENT, 0, x, y)?,
                Effect::Button { number, down: true } => self.fake(BUTTON_PRESS_EVENT, number, 0, 0)?,
                Effect::Button { number, down: false } => self.fake(BUTTON_RELEASE_EVENT, number, 0, 0)?,
                Effect::Key { keycode, down: true } => self.fake(KEY_PRESS_EVENT, keycode, 0, 0)?,
                Effect::Key { keycode, down: false } => self.fake(KEY_RELEASE_EVENT, keycode, 0, 0)?,
                // Twice: a single letter would get its other case on the second level.
                Effect::Bind { keycode, keysym } => {
                    self.client.conn.change_keyboard_mapping(1, keycode, 2, &[keysym, keysym])?.ignore_error();
                }
                Effect::Unlock => unlock(&self.client.conn)?,
            }
        }
        self.client.conn.flush()?;
        self.effects = effects;
        self.effects.clear();
        Ok(())
    }

    fn fake(&self, kind: u8, detail: u8, x: u16, y: u16) -> Result<()> {
        let [x, y] = [x, y].map(|at| i16::try_from(at).unwrap_or(i16::MAX));
        self.client.conn.xtest_fake_input(kind, detail, 0, self.client.root, x, y, 0)?;
        Ok(())
    }
}

fn xtest_keyboard(conn: &RustConnection) -> Result<u16> {
    let none = xkb::XIFeature::from(0_u16);
    let (class, id) = (xkb::LedClass::from(u16::from(xkb::ID::DFLT_XI_CLASS)), u16::from(xkb::ID::DFLT_XI_ID));
    let asked = conn.xkb_get_device_info(XTEST_KEYBOARD, none, false, 0, 0, class, id)?.reply();
    Ok(match asked {
        Ok(device) if device.name == XTEST_KEYBOARD_NAME => XTEST_KEYBOARD,
        _ => CORE_KEYBOARD,
    })
}

fn select_events(conn: &RustConnection) -> Result<()> {
    let parts = MapPart::KEY_TYPES | MapPart::KEY_SYMS | MapPart::MODIFIER_MAP;
    let locks = StatePart::MODIFIER_LOCK | StatePart::GROUP_LOCK;
    let details = xkb::SelectEventsAux::new()
        .state_notify(xkb::SelectEventsAuxStateNotify { affect_state: locks, state_details: locks });
    let whole = EventType::MAP_NOTIFY | EventType::NEW_KEYBOARD_NOTIFY;
    conn.xkb_select_events(CORE_KEYBOARD, EventType::from(0_u16), whole, parts, parts, &details)?.check()?;
    Ok(())
}

fn read_keymap(conn: &RustConnection, keyboard: u16) -> Result<Keymap> {
    let parts = MapPart::KEY_TYPES | MapPart::KEY_SYMS | MapPart::MODIFIER_MAP;
    let (none, no_vmods) = (MapPart::from(0_u16), xkb::VMod::from(0_u16));
    let reply = conn.xkb_get_map(keyboard, parts, none, 0, 0, 0, 0, 0, 0, 0, 0, no_vmods, 0, 0, 0, 0, 0, 0)?.reply()?;
    let types = reply.map.types_rtrn.unwrap_or_default().iter().map(key_type).collect();
    let symbols = reply.map.syms_rtrn.unwrap_or_default();
    let keys: BTreeMap<u8, Key> = (reply.first_key_sym..=u8::MAX).zip(symbols.iter().map(first_group)).collect();
    let modifiers = reply.map.modmap_rtrn.unwrap_or_default();
    let modifiers = modifiers.iter().map(|key| (key.keycode, low_byte(key.mods))).filter(|(_, mods)| *mods != 0);
    Ok(Keymap::new(reply.min_key_code..=reply.max_key_code, types, keys, modifiers.collect()))
}

fn key_type(reported: &xkb::KeyType) -> KeyType {
    // An entry whose virtual modifiers are bound to nothing is inactive and never matches.
    let active = reported.map.iter().filter(|entry| entry.active);
    KeyType {
        mask: low_byte(reported.mods_mask),
        levels: active.map(|entry| (low_byte(entry.mods_mask), entry.level)).collect(),
    }
}

fn first_group(reported: &xkb::KeySymMap) -> Key {
    let groups = reported.group_info & 0x0F;
    let width = if groups == 0 { 0 } else { usize::from(reported.width) };
    Key { keysyms: reported.syms.iter().take(width).copied().collect(), key_type: reported.kt_index[0] }
}

/// The eight real modifiers of a mask.
fn low_byte(mask: ModMask) -> u8 {
    u16::from(mask).to_le_bytes()[0]
}

fn unlock(conn: &RustConnection) -> Result<()> {
    let (all, none) = (ModMask::from(0xFF_u16), ModMask::from(0_u16));
    conn.xkb_latch_lock_state(CORE_KEYBOARD, all, none, true, xkb::Group::M1, none, false, 0)?;
    Ok(())
}

fn delay_repeat(conn: &RustConnection) -> Result<()> {
    let controls = conn.xkb_get_controls(CORE_KEYBOARD)?.reply()?;
    let (no_mods, no_vmods) = (ModMask::from(0_u16), xkb::VMod::from(0_u16));
    let (no_controls, no_options) = (xkb::BoolCtrl::from(0_u32), xkb::AXOption::from(0_u16));
    conn.xkb_set_controls(
        CORE_KEYBOARD,
        no_mods,
        no_mods,
        no_mods,
        no_mods,
        no_vmods,
        no_vmods,
        no_vmods,
        no_vmods,
        controls.mouse_keys_dflt_btn,
        controls.groups_wrap,
        no_options,
        no_controls,
        no_controls,
        xkb::Control::from(u32::from(xkb::BoolCtrl::REPEAT_KEYS)),
        REPEAT_DELAY,
        controls.repeat_interval,
        controls.slow_keys_delay,
        controls.debounce_delay,
        controls.mouse_keys_delay,
        controls.mouse_keys_interval,
        controls.mouse_keys_time_to_max,
        controls.mouse_keys_max_speed,
        controls.mouse_keys_curve,
        controls.access_x_timeout,
        no_controls,
        no_controls,
        no_options,
        no_options,
        &controls.per_key_repeat,
    )?
    .check()?;
    Ok(())
}

#[cfg(test)]
mod tests;
