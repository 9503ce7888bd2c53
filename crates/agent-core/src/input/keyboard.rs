//! From keysyms to keys of the X server, and which keys are down.
//!
//! As TigerVNC and x11vnc do it: what the wanted keysym needs of Shift and AltGr is pressed or released around the key
//! and put back, and what no key gives is bound to a key without use. The client's locks already are in its keysyms, so
//! the server's stay off and lock keys are not passed on (TigerVNC ignores them too).

use std::collections::BTreeMap;

use super::Effect;
use super::keymap::{Keymap, SHIFT};
use super::keysym;

/// Does not repeat: GIMP pans for as long as it is down, and would stop and start again each time.
const SPACE: u32 = 0x20;

/// Keys of one X server, shared by all clients.
#[derive(Debug)]
pub struct Keyboard {
    keymap: Keymap,
    /// How many hold each keycode that is down.
    held: BTreeMap<u8, u32>,
    /// In the order in which they are used the first time.
    spares: Vec<Spare>,
    /// Counts presses.
    now: u64,
    locked: bool,
}

/// A key that may be bound to any keysym.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spare {
    keycode: u8,
    bound: Option<u32>,
    /// Press that used it last.
    used: u64,
}

/// A key and the modifiers under which it gives what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    keycode: u8,
    modifiers: u8,
}

impl Keyboard {
    pub fn new(keymap: Keymap) -> Self {
        let mut keyboard =
            Self { keymap: keymap.clone(), held: BTreeMap::new(), spares: Vec::new(), now: 0, locked: false };
        keyboard.set_keymap(keymap);
        keyboard
    }

    /// The server's map as it is now, with what was bound here.
    pub fn set_keymap(&mut self, keymap: Keymap) {
        let free = keymap.spares();
        self.spares.retain_mut(|spare| {
            spare.bound = spare.bound.filter(|keysym| keymap.gives_only(spare.keycode, *keysym));
            spare.bound.is_some() || free.contains(&spare.keycode)
        });
        for keycode in free {
            if self.spares.iter().all(|spare| spare.keycode != keycode) {
                self.spares.push(Spare { keycode, bound: None, used: 0 });
            }
        }
        self.keymap = keymap;
    }

    /// Whether a lock or another group than the first is on; the next key press turns it off.
    pub const fn set_locked(&mut self, locked: bool) {
        self.locked = locked;
    }

    /// Presses what gives `keysym`, on the physical key `hint` if it can be (0: unknown), and returns its keycode. None
    /// when there is nothing to press. What is down already repeats: it goes up and down again.
    pub fn press(&mut self, keysym: u32, hint: u8, effects: &mut Vec<Effect>) -> Option<u8> {
        let Plan { keycode, modifiers } = self.plan(keysym, hint, effects)?;
        if std::mem::take(&mut self.locked) {
            effects.push(Effect::Unlock);
        }
        let count = self.held.get(&keycode).copied().unwrap_or(0);
        if count == 0 {
            self.press_under(keycode, modifiers, effects);
        } else if self.keymap.modifiers(keycode) == 0 && keysym != SPACE {
            // XTEST has no repeats: the server drops a press of a key that is down.
            effects.push(Effect::Key { keycode, down: false });
            self.press_under(keycode, modifiers, effects);
        }
        self.held.insert(keycode, count.saturating_add(1));
        Some(keycode)
    }

    /// One holder lets go of a key that `press` returned.
    pub fn release(&mut self, keycode: u8, effects: &mut Vec<Effect>) {
        match self.held.get_mut(&keycode) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => {
                self.held.remove(&keycode);
                effects.push(Effect::Key { keycode, down: false });
            }
            None => {}
        }
    }

    /// Whether the key is Shift, Control or the like.
    pub fn is_modifier(&self, keycode: u8) -> bool {
        self.keymap.modifiers(keycode) != 0
    }

    fn modifiers(&self) -> u8 {
        self.held.keys().fold(0, |all, keycode| all | self.keymap.modifiers(*keycode))
    }

    fn plan(&mut self, keysym: u32, hint: u8, effects: &mut Vec<Effect>) -> Option<Plan> {
        if keysym::is_lock(keysym) || keysym::is_refused(keysym) {
            return None;
        }
        self.now = self.now.saturating_add(1);
        let modifiers = self.modifiers();
        let at_present = |keycode| Plan { keycode, modifiers };
        let plan = if keysym == keysym::NO_SYMBOL {
            let known = self.keymap.keysym(hint, modifiers).filter(|given| !keysym::is_lock(*given));
            return known.map(|_| at_present(hint));
        } else if keysym::is_function(keysym) {
            self.keymap.find_on_any_level(keysym, hint).map(at_present)
        } else {
            self.plan_character(keysym, hint, modifiers)
        };
        let plan = plan.or_else(|| self.bind(keysym, effects).map(at_present))?;
        if let Some(spare) = self.spares.iter_mut().find(|spare| spare.keycode == plan.keycode) {
            spare.used = self.now;
        }
        Some(plan)
    }

    fn plan_character(&self, keysym: u32, hint: u8, modifiers: u8) -> Option<Plan> {
        let keymap = &self.keymap;
        let shortcut = modifiers & keymap.shortcut() != 0;
        // In a shortcut the Shift that is held counts: Ctrl+Z with Caps Lock on comes as "Z" and is not Ctrl+Shift+Z.
        let keysym = if shortcut { keysym::with_case(keysym, modifiers & SHIFT != 0) } else { keysym };
        if keymap.keysym(hint, modifiers) == Some(keysym) {
            return Some(Plan { keycode: hint, modifiers });
        }
        // Ctrl and the key of Z are Ctrl+Z, whatever letter a Cyrillic layout has there.
        if shortcut
            && keysym::is_foreign_letter(keysym)
            && keymap.keysym(hint, modifiers & SHIFT).is_some_and(keysym::is_ascii)
        {
            return Some(Plan { keycode: hint, modifiers });
        }
        let level3 = keymap.level3();
        let changes = [0, SHIFT, level3, SHIFT | level3];
        let mut possible = changes.into_iter().enumerate().filter(|(at, change)| {
            // Some programs do not take Shift on the keypad for Num Lock, and without AltGr there is nothing to change.
            *at == 0 || !(keysym::is_keypad(keysym) && change & SHIFT != 0) && (*at == 1 || level3 != 0)
        });
        possible.find_map(|(_, change)| {
            let modifiers = modifiers ^ change;
            keymap.find(keysym, modifiers, hint).map(|keycode| Plan { keycode, modifiers })
        })
    }

    /// Binds the keysym to the key whose last use is longest ago; none when all are down.
    fn bind(&mut self, keysym: u32, effects: &mut Vec<Effect>) -> Option<u8> {
        let free = self.spares.iter_mut().filter(|spare| !self.held.contains_key(&spare.keycode));
        let spare = free.min_by_key(|spare| spare.used)?;
        spare.bound = Some(keysym);
        self.keymap.bind(spare.keycode, keysym);
        effects.push(Effect::Bind { keycode: spare.keycode, keysym });
        Some(spare.keycode)
    }

    /// Presses a key while exactly those of Shift and AltGr are down that `wanted` has, then puts them back.
    fn press_under(&self, keycode: u8, wanted: u8, effects: &mut Vec<Effect>) {
        let present = self.modifiers();
        let mut around: Vec<(u8, bool)> = Vec::new();
        for held in self.held.keys() {
            if self.keymap.modifiers(*held) & present & !wanted != 0 {
                around.push((*held, false));
            }
        }
        for (mask, keysym) in [(SHIFT, keysym::SHIFT_L), (self.keymap.level3(), keysym::LEVEL3_SHIFT)] {
            if wanted & !present & mask != 0
                && let Some(modifier) = self.keymap.find_on_any_level(keysym, 0)
            {
                around.push((modifier, true));
            }
        }
        effects.extend(around.iter().map(|(keycode, down)| Effect::Key { keycode: *keycode, down: *down }));
        effects.push(Effect::Key { keycode, down: true });
        effects.extend(around.iter().rev().map(|(keycode, down)| Effect::Key { keycode: *keycode, down: !*down }));
    }
}
