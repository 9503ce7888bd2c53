//! From clients' input events to what the X server is given. Knows what each client holds, so that nothing stays down.
//!
//! Events may come twice, late or not at all, under one condition: a message that holds an event also holds all keys,
//! buttons and wheels before it that the client does not know to be taken. So what is missing before an event is moves,
//! and an event that is not newer than the newest one has been taken or is not wanted any more.

use std::collections::{BTreeMap, BTreeSet};

use protocol::stream::{Action, InputEvent};

mod keyboard;
pub mod keymap;
mod keysym;
#[cfg(test)]
mod tests;
mod wheel;

use keyboard::Keyboard;
use keymap::Keymap;
use wheel::Wheel;

/// One connection of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What the X server is given, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Pixels of the screen.
    Motion {
        x: u16,
        y: u16,
    },
    /// `number` is X's, 1 the left one.
    Button {
        number: u8,
        down: bool,
    },
    Key {
        keycode: u8,
        down: bool,
    },
    /// Each level of the key gives this keysym from now on.
    Bind {
        keycode: u8,
        keysym: u32,
    },
    /// Caps Lock, Num Lock and other groups off.
    Unlock,
}

/// The input of all clients of one X server.
#[derive(Debug)]
pub struct InputState {
    keyboard: Keyboard,
    clients: BTreeMap<ClientId, Client>,
    /// How many clients hold each button that is down.
    buttons: BTreeMap<u8, u32>,
}

#[derive(Debug, Default)]
struct Client {
    /// Number of its newest event.
    newest: u32,
    /// The X keycode that each of its keys went down with.
    keys: BTreeMap<ClientKey, u8>,
    buttons: BTreeSet<u8>,
    wheel: Wheel,
}

/// A key of a client's keyboard. A keysym alone would not do: it changes with the modifiers while the key is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ClientKey {
    Physical(u8),
    /// Of a keyboard on the screen, which has no physical keys.
    Keysym(u32),
}

impl InputState {
    pub fn new(keymap: Keymap) -> Self {
        Self { keyboard: Keyboard::new(keymap), clients: BTreeMap::new(), buttons: BTreeMap::new() }
    }

    /// The server's map changed.
    pub fn set_keymap(&mut self, keymap: Keymap) {
        self.keyboard.set_keymap(keymap);
    }

    /// Whether the server has a lock on, or another group than its first.
    pub const fn set_locked(&mut self, locked: bool) {
        self.keyboard.set_locked(locked);
    }

    /// Takes a client's events, each number once; returns the newest number taken, 0 for none yet.
    pub fn apply(&mut self, id: ClientId, events: &[InputEvent], effects: &mut Vec<Effect>) -> u32 {
        let Self { keyboard, clients, buttons } = self;
        let client = clients.entry(id).or_default();
        for event in events.iter().filter(|event| event.number != 0) {
            if event.number > client.newest {
                client.newest = event.number;
                client.act(event.action, keyboard, buttons, effects);
            }
        }
        client.newest
    }

    /// The client is gone: lets go of what it alone holds.
    pub fn leave(&mut self, id: ClientId, effects: &mut Vec<Effect>) {
        if let Some(mut client) = self.clients.remove(&id) {
            client.release_all(&mut self.keyboard, &mut self.buttons, effects);
        }
    }

    /// Every client is gone.
    pub fn leave_all(&mut self, effects: &mut Vec<Effect>) {
        while let Some((_, mut client)) = self.clients.pop_first() {
            client.release_all(&mut self.keyboard, &mut self.buttons, effects);
        }
    }
}

impl Client {
    fn act(
        &mut self,
        action: Action,
        keyboard: &mut Keyboard,
        buttons: &mut BTreeMap<u8, u32>,
        effects: &mut Vec<Effect>,
    ) {
        match action {
            Action::Move { x, y } => effects.push(Effect::Motion { x, y }),
            Action::Button { x, y, button, down } => {
                effects.push(Effect::Motion { x, y });
                // 4 to 7 are the wheel's; more than 9 no mouse of a browser has.
                if !matches!(button, 1..=3 | 8 | 9) {
                    return;
                }
                if down && self.buttons.insert(button) {
                    press_button(button, buttons, effects);
                } else if !down && self.buttons.remove(&button) {
                    release_button(button, buttons, effects);
                }
            }
            Action::Wheel { x, y, dx, dy } => {
                effects.push(Effect::Motion { x, y });
                self.wheel.turn(dx, dy, effects);
            }
            Action::Key { keysym, keycode, down: true } => self.press(keysym, keycode, keyboard, effects),
            Action::Key { keysym, keycode, down: false } => self.release(keysym, keycode, keyboard, effects),
            Action::ReleaseAll => self.release_all(keyboard, buttons, effects),
        }
    }

    fn press(&mut self, keysym: u32, keycode: u8, keyboard: &mut Keyboard, effects: &mut Vec<Effect>) {
        let key = if keycode == 0 { ClientKey::Keysym(keysym) } else { ClientKey::Physical(keycode) };
        if let Some(pressed) = keyboard.press(keysym, keycode, effects)
            && let Some(before) = self.keys.insert(key, pressed)
        {
            // It repeats, with the same keysym or with another since a modifier changed.
            keyboard.release(before, effects);
        }
    }

    fn release(&mut self, keysym: u32, keycode: u8, keyboard: &mut Keyboard, effects: &mut Vec<Effect>) {
        let physical = self.keys.remove(&ClientKey::Physical(keycode));
        if let Some(pressed) = physical.or_else(|| self.keys.remove(&ClientKey::Keysym(keysym))) {
            keyboard.release(pressed, effects);
        }
    }

    /// Modifiers last: a line that is drawn with Shift ends with it.
    fn release_all(&mut self, keyboard: &mut Keyboard, buttons: &mut BTreeMap<u8, u32>, effects: &mut Vec<Effect>) {
        for button in std::mem::take(&mut self.buttons) {
            release_button(button, buttons, effects);
        }
        let keys = std::mem::take(&mut self.keys).into_values();
        let (modifiers, others): (Vec<u8>, Vec<u8>) = keys.partition(|keycode| keyboard.is_modifier(*keycode));
        for keycode in others.into_iter().chain(modifiers) {
            keyboard.release(keycode, effects);
        }
        self.wheel = Wheel::default();
    }
}

fn press_button(number: u8, buttons: &mut BTreeMap<u8, u32>, effects: &mut Vec<Effect>) {
    let count = buttons.entry(number).or_default();
    *count = count.saturating_add(1);
    if *count == 1 {
        effects.push(Effect::Button { number, down: true });
    }
}

fn release_button(number: u8, buttons: &mut BTreeMap<u8, u32>, effects: &mut Vec<Effect>) {
    match buttons.get_mut(&number) {
        Some(count) if *count > 1 => *count -= 1,
        _ => {
            buttons.remove(&number);
            effects.push(Effect::Button { number, down: false });
        }
    }
}
