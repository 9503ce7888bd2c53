//! With real servers: what a program sees when clients type and point.

use std::os::fd::AsFd;
use std::time::Duration;

use protocol::agent::DisplayServer;
use protocol::stream::Action;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::protocol::xproto::{CreateWindowAux, EventMask, InputFocus, Window, WindowClass};

use super::super::input_queue::InputQueue;
use super::super::test_server::TestServer;
use super::*;

const SHIFT_L: (u32, u8) = (0xFFE1, 50);
const CONTROL_L: (u32, u8) = (0xFFE3, 37);
const ALT_GR: (u32, u8) = (0xFE03, 108);
const SHIFT: u16 = 1;
const CONTROL: u16 = 4;
/// What the states of keys and buttons have of the modifiers that programs look at.
const KNOWN_MODIFIERS: u16 = 0x0F;
const LIMIT: Duration = Duration::from_secs(30);

/// What a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Keysym and modifiers.
    Key(u32, u16),
    KeyUp(u8),
    Button(u8, i16, i16),
    ButtonUp(u8),
    Motion(i16, i16),
}

/// A program with a window over the whole screen that has the keyboard. It knows keysyms as X11 defined them long
/// before XKB.
struct Program {
    client: Client,
    window: Window,
}

impl Program {
    fn new(server: &TestServer) -> Self {
        let client = server.client();
        let conn = &client.conn;
        let window = conn.generate_id().expect("an id");
        let mask = EventMask::KEY_PRESS
            | EventMask::KEY_RELEASE
            | EventMask::BUTTON_PRESS
            | EventMask::BUTTON_RELEASE
            | EventMask::POINTER_MOTION;
        let aux = CreateWindowAux::new().event_mask(mask).override_redirect(1);
        conn.create_window(0, window, client.root, 0, 0, 1024, 768, 0, WindowClass::INPUT_ONLY, 0, &aux)
            .expect("asks")
            .check()
            .expect("creates");
        conn.map_window(window).expect("asks").check().expect("maps");
        conn.set_input_focus(InputFocus::PARENT, window, x11rb::CURRENT_TIME).expect("asks").check().expect("focus");
        let mut program = Self { client, window };
        program.skip_motion_to_window();
        program
    }

    /// A window that appears below the pointer may be told of it.
    fn skip_motion_to_window(&mut self) {
        self.client.conn.get_input_focus().expect("asks").reply().expect("answers");
        while self.client.conn.poll_for_event().expect("connected").is_some() {}
    }

    fn next(&self) -> Seen {
        loop {
            let conn = &self.client.conn;
            let event = match conn.poll_for_event().expect("connected") {
                Some(event) => event,
                None => {
                    conn.flush().expect("connected");
                    let limit = Timespec::try_from(LIMIT).expect("short");
                    let stream = conn.stream();
                    let ready = poll(&mut [PollFd::new(&stream.as_fd(), PollFlags::IN)], Some(&limit));
                    assert_ne!(ready.expect("polls"), 0, "nothing comes");
                    continue;
                }
            };
            return match event {
                Event::KeyPress(key) => Seen::Key(self.keysym(key.detail, key.state.into()), known(key.state.into())),
                Event::KeyRelease(key) => Seen::KeyUp(key.detail),
                Event::ButtonPress(button) => Seen::Button(button.detail, button.event_x, button.event_y),
                Event::ButtonRelease(button) => Seen::ButtonUp(button.detail),
                Event::MotionNotify(motion) => Seen::Motion(motion.event_x, motion.event_y),
                _ => continue,
            };
        }
    }

    /// The next key that is not a modifier.
    fn next_key(&self) -> (u32, u16) {
        loop {
            if let Seen::Key(keysym, modifiers) = self.next()
                && !matches!(keysym, 0xFFE1..=0xFFEE | 0xFE03)
            {
                return (keysym, modifiers);
            }
        }
    }

    fn keysym(&self, keycode: u8, state: u16) -> u32 {
        let map = self.client.conn.get_keyboard_mapping(keycode, 1).expect("asks").reply().expect("answers");
        let shift = usize::from(state & SHIFT);
        let level3 = if state & 0x80 == 0 { 0 } else { 4 };
        let at = |column: usize| map.keysyms.get(column).copied().filter(|keysym| *keysym != 0);
        at(level3 + shift).or_else(|| at(level3)).or_else(|| at(shift)).or_else(|| at(0)).unwrap_or(0)
    }

    fn nothing_is_down(&self) -> bool {
        let keys = self.client.conn.query_keymap().expect("asks").reply().expect("answers").keys;
        let pointer = self.client.conn.query_pointer(self.window).expect("asks").reply().expect("answers");
        keys == [0; 32] && u16::from(pointer.mask) == 0
    }
}

fn known(state: u16) -> u16 {
    state & KNOWN_MODIFIERS
}

/// A client at its keyboard and mouse.
struct Hands {
    device: InputDevice,
    client: ClientId,
    number: u32,
}

impl Hands {
    fn new(server: &TestServer) -> Self {
        let device = InputDevice::open(server.display, &server.cookie).expect("opens");
        Self { device, client: ClientId(1), number: 0 }
    }

    fn act(&mut self, actions: &[Action]) {
        let mut events = Vec::new();
        for action in actions {
            self.number += 1;
            events.push(InputEvent { number: self.number, at_us: 0, action: *action });
        }
        assert_eq!(self.device.apply(self.client, &events).expect("applies"), self.number);
        self.wait();
    }

    fn key(&mut self, (keysym, keycode): (u32, u8), down: bool) {
        self.act(&[Action::Key { keysym, keycode, down }]);
    }

    /// Returns when the server has done what it was given.
    fn wait(&self) {
        self.device.client.conn.get_input_focus().expect("asks").reply().expect("answers");
    }

    fn tap(&mut self, keysym: u32, keycode: u8) {
        self.act(&[true, false].map(|down| Action::Key { keysym, keycode, down }));
    }
}

/// Each of the servers that are installed.
fn on_all_servers(test: impl Fn(&TestServer)) {
    for wanted in [DisplayServer::Xorg, DisplayServer::Xvnc] {
        test(&TestServer::start(&wanted));
    }
}

#[test]
fn programs_get_the_keysyms_that_clients_send() {
    on_all_servers(|server| {
        let (program, mut hands) = (Program::new(server), Hands::new(server));
        let unicode = |letter: char| 0x0100_0000 + u32::from(letter);
        // Without the client's keyboard (0), or with it: the place of the letter on a German or Russian one.
        let letters: [(u32, u8); 14] = [
            ('a'.into(), 38),
            ('A'.into(), 38),
            ('z'.into(), 29),
            ('@'.into(), 24),
            ('@'.into(), 0),
            ('<'.into(), 94),
            (0x20AC, 26),
            (0xE4, 48),
            (unicode('я'), 52),
            (unicode('Я'), 52),
            (unicode('日'), 0),
            (0xFF0D, 36),
            (0xFFB7, 79),
            (0xFFC9, 96),
        ];
        for (keysym, keycode) in letters {
            hands.tap(keysym, keycode);
            assert_eq!(program.next_key().0, keysym, "{keysym:x}");
        }
        hands.key(SHIFT_L, true);
        for keysym in ['A', '/', '2', '!', 'a'] {
            hands.tap(keysym.into(), 0);
            assert_eq!(program.next_key().0, u32::from(keysym));
        }
        hands.tap(0xFFC2, 71);
        assert_eq!(program.next_key(), (0xFFC2, SHIFT), "Shift+F5");
        hands.key(SHIFT_L, false);
        hands.key(ALT_GR, true);
        for (keysym, keycode) in [('@'.into(), 24), ('{'.into(), 16), (0x20AC, 26), ('q'.into(), 24)] {
            hands.tap(keysym, keycode);
            assert_eq!(program.next_key().0, keysym);
        }
        hands.key(ALT_GR, false);
        assert!(program.nothing_is_down());
    });
}

#[test]
fn shortcuts_arrive_as_programs_know_them() {
    on_all_servers(|server| {
        let (program, mut hands) = (Program::new(server), Hands::new(server));
        hands.key(CONTROL_L, true);
        for (keysym, keycode) in
            [(u32::from('z'), 52), (0x0100_044F, 52), (0x06D1, 52), ('Z'.into(), 52), ('z'.into(), 29)]
        {
            hands.tap(keysym, keycode);
            assert_eq!(program.next_key(), ('z'.into(), CONTROL), "{keysym:x}");
        }
        hands.key(SHIFT_L, true);
        hands.tap('Z'.into(), 52);
        assert_eq!(program.next_key(), ('Z'.into(), CONTROL | SHIFT));
        hands.key(SHIFT_L, false);
        hands.key((0xFFE9, 64), true);
        hands.tap(0xFFBF, 68);
        hands.tap('a'.into(), 38);
        loop {
            // Ctrl+Alt+F2 is the server's, which has no other terminal to go to, and lives.
            let (keysym, modifiers) = program.next_key();
            if keysym == u32::from('a') {
                assert_eq!(modifiers, CONTROL | 8);
                break;
            }
        }
    });
}

#[test]
fn more_letters_than_there_are_spare_keys_can_be_typed() {
    on_all_servers(|server| {
        let (program, mut hands) = (Program::new(server), Hands::new(server));
        let letters = ('\u{400}'..'\u{4FF}').map(|letter| 0x0100_0000 + u32::from(letter));
        for keysym in letters {
            hands.tap(keysym, 0);
            assert_eq!(program.next_key().0, keysym, "{keysym:x}");
        }
        hands.tap(0xFF0D, 36);
        assert_eq!(program.next_key().0, 0xFF0D);
    });
}

#[test]
fn held_keys_repeat_as_the_client_says_and_not_by_themselves() {
    on_all_servers(|server| {
        let (program, mut hands) = (Program::new(server), Hands::new(server));
        for n in 0..3 {
            hands.key(('a'.into(), 38), true);
            if n > 0 {
                assert_eq!(program.next(), Seen::KeyUp(38));
            }
            assert_eq!(program.next(), Seen::Key('a'.into(), 0));
        }
        hands.key(('a'.into(), 38), false);
        assert_eq!(program.next(), Seen::KeyUp(38));
        let conn = &hands.device.client.conn;
        for keyboard in [CORE_KEYBOARD, XTEST_KEYBOARD] {
            let controls = conn.xkb_get_controls(keyboard).expect("asks").reply().expect("answers");
            assert_eq!(controls.repeat_delay, REPEAT_DELAY);
        }
    });
}

#[test]
fn another_map_and_locks_are_noticed() {
    on_all_servers(|server| {
        let (program, mut hands) = (Program::new(server), Hands::new(server));
        hands.tap(0xE4, 48);
        assert_eq!(program.next_key().0, 0xE4);
        // Another program exchanges A and B and takes back all spare keys, then locks Caps.
        let other = server.client();
        let clear = vec![0; 2 * 248];
        let map = other.conn.get_keyboard_mapping(8, 248).expect("asks").reply().expect("answers");
        let width = usize::from(map.keysyms_per_keycode);
        for keycode in 8..=255_u8 {
            let at = usize::from(keycode - 8) * width;
            if map.keysyms[at] == 0xE4 {
                other.conn.change_keyboard_mapping(1, keycode, 2, &clear[..2]).expect("asks").check().expect("sets");
            }
        }
        for (keycode, letter) in [(38, 'b'), (56, 'a')] {
            let pair = [u32::from(letter), u32::from(letter.to_ascii_uppercase())];
            other.conn.change_keyboard_mapping(1, keycode, 2, &pair).expect("asks").check().expect("sets");
        }
        other.conn.xkb_use_extension(1, 0).expect("asks").reply().expect("answers");
        let lock = ModMask::LOCK;
        let unlatched = (xkb::Group::M1, ModMask::from(0_u16));
        other
            .conn
            .xkb_latch_lock_state(CORE_KEYBOARD, lock, lock, false, unlatched.0, unlatched.1, false, 0)
            .expect("asks")
            .check()
            .expect("locks");
        for keysym in ['a'.into(), 'B'.into(), 0xE4, 'b'.into()] {
            hands.tap(keysym, 38);
            let (seen, state) = program.next_key();
            assert_eq!((seen, state & 2), (keysym, 0), "{keysym:x}");
        }
    });
}

#[test]
fn pointer_buttons_and_wheel_arrive_where_they_are() {
    on_all_servers(|server| {
        let (program, mut hands) = (Program::new(server), Hands::new(server));
        hands.act(&[
            Action::Move { x: 100, y: 200 },
            Action::Button { x: 101, y: 201, button: 1, down: true },
            Action::Move { x: 300, y: 50 },
            Action::Button { x: 300, y: 50, button: 1, down: false },
            Action::Wheel { x: 300, y: 50, dx: 0, dy: 180 },
            Action::Wheel { x: 300, y: 50, dx: -120, dy: 60 },
            Action::Button { x: 5, y: 6, button: 9, down: true },
        ]);
        let expected = [
            Seen::Motion(100, 200),
            Seen::Motion(101, 201),
            Seen::Button(1, 101, 201),
            Seen::Motion(300, 50),
            Seen::ButtonUp(1),
            Seen::Button(5, 300, 50),
            Seen::ButtonUp(5),
            Seen::Button(5, 300, 50),
            Seen::ButtonUp(5),
            Seen::Button(6, 300, 50),
            Seen::ButtonUp(6),
            Seen::Motion(5, 6),
            Seen::Button(9, 5, 6),
        ];
        let mut before = None;
        for expected in expected {
            // A pointer that stays where it is may be told of again.
            let seen = std::iter::repeat_with(|| program.next()).find(|seen| Some(*seen) != before);
            assert_eq!(seen, Some(expected));
            before = if let Seen::Motion(..) = expected { Some(expected) } else { before };
        }
        hands.act(&[Action::Move { x: u16::MAX, y: u16::MAX }]);
        while program.next() != Seen::Motion(1023, 767) {}
    });
}

#[test]
fn nothing_stays_down_when_clients_leave_or_an_agent_was_killed() {
    on_all_servers(|server| {
        let (program, mut hands) = (Program::new(server), Hands::new(server));
        let hold = [
            Action::Key { keysym: SHIFT_L.0, keycode: SHIFT_L.1, down: true },
            Action::Key { keysym: 'a'.into(), keycode: 38, down: true },
            Action::Key { keysym: 0x20AC, keycode: 26, down: true },
            Action::Button { x: 1, y: 1, button: 1, down: true },
        ];
        hands.act(&hold);
        assert!(!program.nothing_is_down());
        hands.device.leave(hands.client).expect("leaves");
        hands.wait();
        assert!(program.nothing_is_down());
        (hands.client, hands.number) = (ClientId(2), 0);
        hands.act(&hold);
        hands.act(&[Action::ReleaseAll]);
        assert!(program.nothing_is_down());
        hands.act(&hold);
        drop(hands);
        assert!(!program.nothing_is_down(), "XTEST does not let go by itself");
        Hands::new(server).wait();
        assert!(program.nothing_is_down());
    });
}

#[tokio::test]
async fn the_queue_gives_and_takes_numbers_and_lets_go_at_its_end() {
    let server = TestServer::start(&DisplayServer::Xorg);
    let program = Program::new(&server);
    let device = InputDevice::open(server.display, &server.cookie).expect("opens");
    let queue = InputQueue::start(device).expect("starts");
    let action = Action::Key { keysym: 'a'.into(), keycode: 38, down: true };
    let events = (1..=3).map(|number| InputEvent { number, at_us: 0, action }).collect();
    assert_eq!(queue.apply(ClientId(1), events, std::sync::Arc::default()).await, Ok(3));
    program.next_key();
    drop(queue);
    while !program.nothing_is_down() {
        program.next();
    }
}
