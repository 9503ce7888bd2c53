//! What the keys of an X server give: its XKB map, first group only (the server's group stays 0).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::keysym::{self, NO_SYMBOL};

/// Real modifiers as X masks.
pub const SHIFT: u8 = 1;
pub const CONTROL: u8 = 4;

/// Which level of a key the modifiers choose (XKB protocol, 4.2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyType {
    /// Modifiers that matter.
    pub mask: u8,
    /// Modifiers and the level they choose, from 0. What is not listed is level 0.
    pub levels: Vec<(u8, u8)>,
}

/// One key: its keysyms by level and its type, an index of `Keymap::types`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key {
    pub keysyms: Vec<u32>,
    pub key_type: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap {
    keycodes: RangeInclusive<u8>,
    types: Vec<KeyType>,
    keys: BTreeMap<u8, Key>,
    modifiers: BTreeMap<u8, u8>,
    /// What ISO_Level3_Shift sets; 0 where no key does.
    level3: u8,
    /// Modifiers that make a key a shortcut rather than text.
    shortcut: u8,
}

impl Keymap {
    /// `modifiers` says which real modifiers a key sets while it is down.
    pub fn new(
        keycodes: RangeInclusive<u8>,
        types: Vec<KeyType>,
        keys: BTreeMap<u8, Key>,
        modifiers: BTreeMap<u8, u8>,
    ) -> Self {
        let mut map = Self { keycodes, types, keys, modifiers, level3: 0, shortcut: 0 };
        map.level3 = map.mask_of(keysym::LEVEL3_SHIFT);
        let shortcut = [keysym::ALT_L, keysym::META_L, keysym::SUPER_L].map(|keysym| map.mask_of(keysym));
        map.shortcut = shortcut.into_iter().fold(CONTROL, |all, mask| all | mask) & !map.level3;
        map
    }

    fn mask_of(&self, keysym: u32) -> u8 {
        let keys = self.keys.iter().filter(|(_, key)| key.keysyms.first() == Some(&keysym));
        keys.filter_map(|(keycode, _)| self.modifiers.get(keycode)).fold(0, |all, mask| all | mask)
    }

    /// What the key gives while `modifiers` are held.
    pub fn keysym(&self, keycode: u8, modifiers: u8) -> Option<u32> {
        let key = self.keys.get(&keycode)?;
        let level = self.types.get(usize::from(key.key_type)).map_or(0, |key_type| {
            let active = modifiers & key_type.mask;
            key_type.levels.iter().find(|(mask, _)| *mask == active).map_or(0, |(_, level)| *level)
        });
        key.keysyms.get(usize::from(level)).copied().filter(|keysym| *keysym != NO_SYMBOL)
    }

    /// The first keycode that gives `keysym` while `modifiers` are held; `preferred` if it does.
    pub fn find(&self, keysym: u32, modifiers: u8, preferred: u8) -> Option<u8> {
        let gives = |keycode: &u8| self.keysym(*keycode, modifiers) == Some(keysym);
        Some(preferred).filter(gives).or_else(|| self.keys.keys().copied().find(gives))
    }

    /// A keycode that has `keysym` on any level: `preferred`, or one that has it without modifiers, or any.
    pub fn find_on_any_level(&self, keysym: u32, preferred: u8) -> Option<u8> {
        let has = |keycode: &u8| self.keys.get(keycode).is_some_and(|key| key.keysyms.contains(&keysym));
        let plain = || self.find(keysym, 0, preferred);
        Some(preferred).filter(has).or_else(plain).or_else(|| self.keys.keys().copied().find(has))
    }

    /// Modifiers that the key sets while it is down. A layout's own AltGr key is in no modifier map; its keysym tells.
    pub fn modifiers(&self, keycode: u8) -> u8 {
        let mapped = self.modifiers.get(&keycode).copied().unwrap_or(0);
        let level3 = self.keysym(keycode, 0) == Some(keysym::LEVEL3_SHIFT);
        if level3 { mapped | self.level3 } else { mapped }
    }

    pub const fn level3(&self) -> u8 {
        self.level3
    }

    pub const fn shortcut(&self) -> u8 {
        self.shortcut
    }

    /// Whether every level of the key gives `keysym`.
    pub fn gives_only(&self, keycode: u8, keysym: u32) -> bool {
        self.keys.get(&keycode).is_some_and(|key| {
            let mut given = key.keysyms.iter().filter(|given| **given != NO_SYMBOL).peekable();
            given.peek().is_some() && given.all(|given| *given == keysym)
        })
    }

    /// Keys that a keysym may be bound to: those without any first, then multimedia keys, which a browser keeps to
    /// itself. In the usual map 21 keys are without, fewer than Cyrillic has letters.
    pub fn spares(&self) -> Vec<u8> {
        let (mut empty, mut multimedia) = (Vec::new(), Vec::new());
        for keycode in self.keycodes.clone().filter(|keycode| !self.modifiers.contains_key(keycode)) {
            let keysyms = self.keys.get(&keycode).map_or(&[][..], |key| &key.keysyms);
            let mut given = keysyms.iter().filter(|keysym| **keysym != NO_SYMBOL).peekable();
            if given.peek().is_none() {
                empty.push(keycode);
            } else if given.all(|keysym| keysym::is_multimedia(*keysym)) {
                multimedia.push(keycode);
            }
        }
        empty.append(&mut multimedia);
        empty
    }

    /// The key gives `keysym` on each level from now on.
    pub fn bind(&mut self, keycode: u8, keysym: u32) {
        // Two types are the same to a key whose levels are.
        self.keys.insert(keycode, Key { keysyms: vec![keysym; 8], key_type: 0 });
    }
}
