//! What kinds of keysyms there are. Numbers are those of X11's keysymdef.h and XF86keysym.h.

use std::ops::RangeInclusive;

/// Also "no keysym known" of a client.
pub const NO_SYMBOL: u32 = 0;
pub const SHIFT_L: u32 = 0xFFE1;
pub const ALT_L: u32 = 0xFFE9;
pub const META_L: u32 = 0xFFE7;
pub const SUPER_L: u32 = 0xFFEB;
pub const LEVEL3_SHIFT: u32 = 0xFE03;

/// Keysyms have 29 bits.
const LARGEST: u32 = 0x1FFF_FFFF;
/// First keysym of the page of function keys, modifiers and keypad.
const FUNCTIONS: RangeInclusive<u32> = 0xFD00..=0xFFFF;
const DEAD_KEYS: RangeInclusive<u32> = 0xFE50..=0xFE9F;
const KEYPAD: RangeInclusive<u32> = 0xFF80..=0xFFBD;
/// Launchers, media keys and the like.
const MULTIMEDIA: RangeInclusive<u32> = 0x1008_FF00..=0x1008_FFFF;
const UNICODE: u32 = 0x0100_0000;

/// Locks and latches: Caps, Shift, Num; ISO's for levels and groups, but not the plain shifts to levels 3 and 5.
pub fn is_lock(keysym: u32) -> bool {
    matches!(keysym, 0xFFE5 | 0xFFE6 | 0xFF7F | 0xFE01 | 0xFE02 | 0xFE04..=0xFE0F | 0xFE12 | 0xFE13)
}

/// Nothing to press: not a keysym, or a command to the X server itself (sticky keys and mouse keys, screens, the end of
/// the server, pointer keys, virtual terminals).
pub fn is_refused(keysym: u32) -> bool {
    keysym > LARGEST
        || matches!(keysym, 0x00FF_FFFF | 0xFE70..=0xFE7F | 0xFED0..=0xFED5 | 0xFEE0..=0xFEFF | 0x1008_FE00..=0x1008_FEFF)
}

/// Keypad keysyms come in pairs on one key, told apart by Num Lock or Shift.
pub fn is_keypad(keysym: u32) -> bool {
    KEYPAD.contains(&keysym)
}

/// A key with one meaning whatever modifiers are held (Return, F1, Shift), as opposed to a character.
pub fn is_function(keysym: u32) -> bool {
    FUNCTIONS.contains(&keysym) && !DEAD_KEYS.contains(&keysym) && !is_keypad(keysym) || is_multimedia(keysym)
}

pub fn is_multimedia(keysym: u32) -> bool {
    MULTIMEDIA.contains(&keysym)
}

pub fn is_ascii(keysym: u32) -> bool {
    (0x20..0x7F).contains(&keysym)
}

/// A letter of a script other than Latin: no program has shortcuts for it.
pub fn is_foreign_letter(keysym: u32) -> bool {
    match keysym {
        // Kana, Arabic, Cyrillic and Greek; Hebrew; Thai; Korean.
        0x04A1..=0x07FF | 0x0CE0..=0x0CFA | 0x0DA1..=0x0DF9 | 0x0EA1..=0x0EFF => true,
        _ => keysym.checked_sub(UNICODE).and_then(char::from_u32).is_some_and(|letter| {
            letter.is_alphabetic() && letter >= '\u{250}' && !('\u{1E00}'..='\u{1EFF}').contains(&letter)
        }),
    }
}

/// The same ASCII letter as it is with Shift or without; other keysyms as they are.
pub fn with_case(keysym: u32, upper: bool) -> u32 {
    match u8::try_from(keysym) {
        Ok(letter) if upper => letter.to_ascii_uppercase().into(),
        Ok(letter) => letter.to_ascii_lowercase().into(),
        Err(_) => keysym,
    }
}
