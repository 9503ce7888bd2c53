use std::collections::BTreeMap;

use protocol::stream::{Action, InputEvent};

use super::keymap::{Key, KeyType, Keymap, SHIFT};
use super::*;

mod random;

const A: u8 = 38;
const Z: u8 = 52;
const Q: u8 = 24;
const TWO: u8 = 11;
const SHIFT_L: u8 = 50;
const CONTROL_L: u8 = 37;
const ALTGR: u8 = 92;
const RETURN: u8 = 36;
const KEYPAD_7: u8 = 79;
const LOCK: u8 = 2;
const NUM_LOCK: u8 = 16;
const MOD5: u8 = 128;
/// Keys without keysyms, then one with a multimedia keysym.
const SPARES: [u8; 4] = [93, 97, 103, 121];

/// The part of the usual map that the tests need, as Xorg has it.
fn keymap() -> Keymap {
    let types = vec![
        KeyType::default(),
        KeyType { mask: SHIFT, levels: vec![(SHIFT, 1)] },
        KeyType { mask: SHIFT | LOCK, levels: vec![(SHIFT, 1), (LOCK, 1)] },
        KeyType { mask: SHIFT | NUM_LOCK, levels: vec![(SHIFT, 1), (NUM_LOCK, 1)] },
        KeyType { mask: SHIFT | MOD5, levels: vec![(SHIFT, 1), (MOD5, 2), (SHIFT | MOD5, 3)] },
    ];
    let key = |key_type: u8, keysyms: &[u32]| Key { keysyms: keysyms.to_vec(), key_type };
    let letter = |letter: char| key(2, &[letter.into(), letter.to_ascii_uppercase().into()]);
    let mut keys = BTreeMap::from([
        (A, letter('a')),
        (Z, letter('z')),
        (Q, letter('q')),
        (25, letter('w')),
        (TWO, key(1, &['2'.into(), '@'.into()])),
        (59, key(4, &[','.into(), '<'.into(), 0x00B7, 0x00D7])),
        (SHIFT_L, key(0, &[0xFFE1])),
        (CONTROL_L, key(0, &[0xFFE3])),
        (64, key(1, &[0xFFE9, 0xFFE7])),
        (ALTGR, key(0, &[0xFE03])),
        (RETURN, key(0, &[0xFF0D])),
        (23, key(1, &[0xFF09, 0xFE20])),
        (67, key(1, &[0xFFBE, 0x1008_FE01])),
        (KEYPAD_7, key(3, &[0xFF95, 0xFFB7])),
        (66, key(0, &[0xFFE5])),
        (121, key(0, &[0x1008_FF12])),
    ]);
    for keycode in [93, 97, 103] {
        keys.insert(keycode, Key::default());
    }
    let modifiers = [(SHIFT_L, SHIFT), (CONTROL_L, 4), (64, 8), (ALTGR, MOD5), (66, LOCK)];
    // One keycode more than there are keys must not be a spare key: it has a modifier.
    Keymap::new(23..=121, types, keys, modifiers.into_iter().chain(unused()).collect())
}

/// Keycodes that the tests do not want as spare ones.
fn unused() -> impl Iterator<Item = (u8, u8)> {
    let known = [A, Z, Q, 25, TWO, 59, SHIFT_L, CONTROL_L, 64, ALTGR, RETURN, 23, 67, KEYPAD_7, 66];
    (23..=121).filter(move |keycode| !known.contains(keycode) && !SPARES.contains(keycode)).map(|keycode| (keycode, 64))
}

/// A client that numbers its events.
struct Hands {
    input: InputState,
    client: ClientId,
    number: u32,
}

impl Hands {
    fn new() -> Self {
        Self { input: InputState::new(keymap()), client: ClientId(1), number: 0 }
    }

    fn act(&mut self, action: Action) -> Vec<Effect> {
        self.number += 1;
        let mut effects = Vec::new();
        let event = InputEvent { number: self.number, at_us: 0, action };
        assert_eq!(self.input.apply(self.client, &[event], &mut effects), self.number);
        effects
    }

    fn press(&mut self, keysym: u32, keycode: u8) -> Vec<Effect> {
        self.act(Action::Key { keysym, keycode, down: true })
    }

    fn release(&mut self, keysym: u32, keycode: u8) -> Vec<Effect> {
        self.act(Action::Key { keysym, keycode, down: false })
    }
}

fn down(keycode: u8) -> Effect {
    Effect::Key { keycode, down: true }
}

fn up(keycode: u8) -> Effect {
    Effect::Key { keycode, down: false }
}

fn click(number: u8) -> [Effect; 2] {
    [true, false].map(|down| Effect::Button { number, down })
}

#[test]
fn a_key_of_the_same_layout_is_pressed_as_it_is() {
    let mut hands = Hands::new();
    assert_eq!(hands.press('a'.into(), A), [down(A)]);
    assert_eq!(hands.press('a'.into(), A), [up(A), down(A)], "repeats");
    assert_eq!(hands.release('a'.into(), A), [up(A)]);
    assert_eq!(hands.press(0xFFE1, SHIFT_L), [down(SHIFT_L)]);
    assert_eq!(hands.press(0xFFE1, SHIFT_L), [], "modifiers do not repeat");
    assert_eq!(hands.press('A'.into(), A), [down(A)]);
    assert_eq!(hands.release(0xFFE1, SHIFT_L), [up(SHIFT_L)]);
    assert_eq!(hands.release('a'.into(), A), [up(A)], "known by its physical key");
}

#[test]
fn another_layout_gets_the_characters_it_asks_for() {
    let mut hands = Hands::new();
    // A French keyboard has A where the server has Q, and "2" on Shift.
    assert_eq!(hands.press('a'.into(), Q), [down(A)]);
    assert_eq!(hands.release('a'.into(), Q), [up(A)]);
    hands.press(0xFFE1, SHIFT_L);
    assert_eq!(hands.press('2'.into(), TWO), [up(SHIFT_L), down(TWO), down(SHIFT_L)]);
    assert_eq!(hands.release('2'.into(), TWO), [up(TWO)]);
    hands.release(0xFFE1, SHIFT_L);
    // A German one has "@" on AltGr and Q.
    assert_eq!(hands.press(0xFE03, 108), [down(ALTGR)]);
    assert_eq!(hands.press('@'.into(), Q), [down(SHIFT_L), down(TWO), up(SHIFT_L)]);
    hands.release('@'.into(), Q);
    assert_eq!(hands.press(','.into(), 59), [up(ALTGR), down(59), down(ALTGR)]);
    hands.release(','.into(), 59);
    assert_eq!(hands.release(0xFE03, 108), [up(ALTGR)]);
    assert_eq!(hands.press(0x00D7, 0), [down(SHIFT_L), down(ALTGR), down(59), up(ALTGR), up(SHIFT_L)]);
}

#[test]
fn what_no_key_gives_is_bound_to_the_spare_key_used_longest_ago() {
    let mut hands = Hands::new();
    let euro = 0x20AC;
    assert_eq!(hands.press(euro, 26), [Effect::Bind { keycode: 93, keysym: euro }, down(93)]);
    assert_eq!(hands.press(0xE4, 48), [Effect::Bind { keycode: 97, keysym: 0xE4 }, down(97)]);
    hands.release(0xE4, 48);
    assert_eq!(hands.press(0xF6, 47), [Effect::Bind { keycode: 103, keysym: 0xF6 }, down(103)]);
    hands.release(0xF6, 47);
    assert_eq!(hands.press(0xE4, 48), [down(97)], "bound already");
    hands.release(0xE4, 48);
    assert_eq!(hands.press(0xFC, 34), [Effect::Bind { keycode: 121, keysym: 0xFC }, down(121)]);
    assert_eq!(hands.press(0xDF, 20), [Effect::Bind { keycode: 103, keysym: 0xDF }, down(103)], "ö was used before ä");
    assert_eq!(hands.press(0xF1, 21), [Effect::Bind { keycode: 97, keysym: 0xF1 }, down(97)]);
    assert_eq!(hands.press(0xE9, 22), [], "all are down");
    assert_eq!(hands.release(euro, 26), [up(93)]);
    assert_eq!(hands.press(0xE9, 22), [Effect::Bind { keycode: 93, keysym: 0xE9 }, down(93)]);
}

#[test]
fn a_new_map_takes_back_what_is_bound_no_longer() {
    let mut hands = Hands::new();
    hands.press(0xE4, 48);
    hands.release(0xE4, 48);
    let mut known = keymap();
    known.bind(93, 0xE4);
    hands.input.set_keymap(known);
    assert_eq!(hands.press(0xE4, 48), [down(93)]);
    hands.release(0xE4, 48);
    hands.input.set_keymap(keymap());
    assert_eq!(hands.press(0xE4, 48), [Effect::Bind { keycode: 97, keysym: 0xE4 }, down(97)]);
}

#[test]
fn shortcuts_go_by_the_key_where_no_program_knows_the_letter() {
    let mut hands = Hands::new();
    hands.press(0xFFE3, CONTROL_L);
    let ya = 0x0100_044F;
    assert_eq!(hands.press(ya, Z), [down(Z)], "Ctrl+Z with a Russian layout");
    assert_eq!(hands.release(ya, Z), [up(Z)]);
    assert_eq!(hands.press(0x06D1, Z), [down(Z)], "the older number of the same letter");
    hands.release(0x06D1, Z);
    assert_eq!(hands.press('w'.into(), Z), [down(25)], "Ctrl+W of a French layout is not Ctrl+Z");
    hands.release('w'.into(), Z);
    assert_eq!(hands.press('Z'.into(), Z), [down(Z)], "Caps Lock makes no Ctrl+Shift+Z");
    hands.release('Z'.into(), Z);
    hands.release(0xFFE3, CONTROL_L);
    assert_eq!(hands.press(ya, Z), [Effect::Bind { keycode: 93, keysym: ya }, down(93)], "a letter");
}

#[test]
fn the_keypad_gives_digits_without_shift_and_function_keys_keep_all_modifiers() {
    let mut hands = Hands::new();
    assert_eq!(hands.press(0xFF95, KEYPAD_7), [down(KEYPAD_7)]);
    hands.release(0xFF95, KEYPAD_7);
    assert_eq!(hands.press(0xFFB7, KEYPAD_7), [Effect::Bind { keycode: 93, keysym: 0xFFB7 }, down(93)]);
    hands.release(0xFFB7, KEYPAD_7);
    hands.press(0xFFE1, SHIFT_L);
    assert_eq!(hands.press(0xFF09, 23), [down(23)], "Shift+Tab is a keysym of its own only to X");
    hands.release(0xFF09, 23);
    assert_eq!(hands.press(0xFFBE, 67), [down(67)], "Shift+F1");
    hands.release(0xFFBE, 67);
    assert_eq!(hands.press(0xFFE9, 64), [down(64)], "Shift+Alt is not Meta");
}

#[test]
fn locks_are_the_clients_business() {
    let mut hands = Hands::new();
    assert_eq!(hands.press(0xFFE5, 66), []);
    assert_eq!(hands.release(0xFFE5, 66), []);
    assert_eq!(hands.press(0, 66), [], "nor by their physical key");
    assert_eq!(hands.press('A'.into(), A), [down(SHIFT_L), down(A), up(SHIFT_L)], "capitals come as capitals");
    hands.release('A'.into(), A);
    hands.input.set_locked(true);
    assert_eq!(hands.press('a'.into(), A), [Effect::Unlock, down(A)]);
    hands.release('a'.into(), A);
    assert_eq!(hands.press('a'.into(), A), [down(A)], "once");
}

#[test]
fn what_would_command_the_server_or_is_no_keysym_is_refused() {
    let mut hands = Hands::new();
    for keysym in [0xFED5, 0x1008_FE01, 0xFE70, 0xFEF9, 0x00FF_FFFF, 0x2000_0000, u32::MAX, 0] {
        assert_eq!(hands.press(keysym, 0), [], "{keysym:x}");
        assert_eq!(hands.release(keysym, 0), [], "{keysym:x}");
    }
    assert_eq!(hands.press(0, A), [down(A)], "a key whose keysym the client does not know");
}

#[test]
fn buttons_and_wheel_come_where_the_pointer_is() {
    let mut hands = Hands::new();
    let motion = Effect::Motion { x: 7, y: 9 };
    let button = |button, down| Action::Button { x: 7, y: 9, button, down };
    assert_eq!(hands.act(button(1, true)), [motion, Effect::Button { number: 1, down: true }]);
    assert_eq!(hands.act(button(1, true)), [motion], "is down already");
    assert_eq!(hands.act(button(3, false)), [motion], "is not down");
    assert_eq!(hands.act(button(4, true)), [motion], "is the wheel's");
    assert_eq!(hands.act(button(1, false)), [motion, Effect::Button { number: 1, down: false }]);

    let mut turn = |dx, dy| hands.act(Action::Wheel { x: 7, y: 9, dx, dy })[1..].to_vec();
    assert_eq!(turn(0, 120), click(5));
    assert_eq!(turn(0, 119), []);
    assert_eq!(turn(0, 2), click(5));
    assert_eq!(turn(0, 118), [], "one is left over");
    assert_eq!(turn(0, -120), click(4), "a change of direction forgets the rest");
    assert_eq!(turn(-120, -240), [click(4), click(4), click(6)].concat());
    assert_eq!(turn(120, 0), click(7));
}

#[test]
fn a_number_is_taken_once_and_what_is_older_than_the_newest_not_at_all() {
    let mut input = InputState::new(keymap());
    let key =
        |number, down| InputEvent { number, at_us: 0, action: Action::Key { keysym: 'a'.into(), keycode: A, down } };
    let motion = |number| InputEvent { number, at_us: 0, action: Action::Move { x: 1, y: 2 } };
    let mut effects = Vec::new();
    assert_eq!(input.apply(ClientId(1), &[key(0, true)], &mut effects), 0);
    assert_eq!(input.apply(ClientId(1), &[key(2, true), key(2, true), motion(4)], &mut effects), 4);
    assert_eq!(input.apply(ClientId(1), &[motion(1), key(2, true), motion(3)], &mut effects), 4);
    assert_eq!(effects, [down(A), Effect::Motion { x: 1, y: 2 }]);
    effects.clear();
    assert_eq!(input.apply(ClientId(2), &[key(1, true)], &mut effects), 1, "each client counts for itself");
    input.leave(ClientId(1), &mut effects);
    assert_eq!(effects, [up(A), down(A)], "the second still holds it");
    effects.clear();
    input.leave(ClientId(2), &mut effects);
    input.leave(ClientId(2), &mut effects);
    assert_eq!(effects, [up(A)]);
}
