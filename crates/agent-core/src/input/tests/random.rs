//! Random clients on random channels.

use proptest::prelude::*;

use super::*;

const CLIENTS: u64 = 3;

#[derive(Debug, Clone)]
enum Op {
    /// A client does something.
    Do(u64, Action),
    /// Its message of all that it does not know to be taken arrives.
    Send(u64),
    /// The message that it sent so many messages ago arrives, perhaps again.
    Late(u64, usize),
    /// It learns what has been taken.
    Learn(u64),
    Leave(u64),
    SetLocked,
}

fn action() -> impl Strategy<Value = Action> {
    let keysym = prop_oneof![
        prop::sample::select(vec!['a', 'A', 'z', '@', '2', ',', 'é', '€', 'ö']).prop_map(u32::from),
        prop::sample::select(vec![0xFFE1, 0xFFE3, 0xFFE9, 0xFE03, 0xFF0D, 0xFFE5, 0xFFB7, 0x0100_044F, 0x06D1, 0]),
        any::<u32>(),
    ];
    let keycode = prop_oneof![prop::sample::select(vec![0, A, Z, Q, TWO, SHIFT_L, ALTGR, 93]), any::<u8>()];
    prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(x, y)| Action::Move { x, y }),
        (0..11u8, any::<bool>()).prop_map(|(button, down)| Action::Button { x: 1, y: 1, button, down }),
        (-500..500i16, -500..500i16).prop_map(|(dx, dy)| Action::Wheel { x: 1, y: 1, dx, dy }),
        (keysym.clone(), keycode.clone(), any::<bool>()).prop_map(|(keysym, keycode, down)| Action::Key {
            keysym,
            keycode,
            down
        }),
        (keysym, keycode, any::<bool>()).prop_map(|(keysym, keycode, down)| Action::Key { keysym, keycode, down }),
        Just(Action::ReleaseAll),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    prop_oneof![
        8 => (client.clone(), action()).prop_map(|(client, action)| Op::Do(client, action)),
        4 => client.clone().prop_map(Op::Send),
        2 => (client.clone(), 0..6usize).prop_map(|(client, ago)| Op::Late(client, ago)),
        2 => client.clone().prop_map(Op::Learn),
        1 => client.prop_map(Op::Leave),
        1 => Just(Op::SetLocked),
    ]
}

/// A client behind a channel that loses, repeats and reorders.
#[derive(Default)]
struct Lossy {
    number: u32,
    pending: Vec<InputEvent>,
    sent: Vec<Vec<InputEvent>>,
    taken: u32,
    /// Its events in order, those that must not be lost.
    all: Vec<InputEvent>,
}

impl Lossy {
    fn act(&mut self, action: Action) {
        self.number += 1;
        let event = InputEvent { number: self.number, at_us: 0, action };
        self.pending.push(event);
        if !matches!(action, Action::Move { .. }) {
            self.all.push(event);
        }
    }

    /// The next message: moves once, all else until it is taken.
    fn message(&mut self) -> Vec<InputEvent> {
        let message = self.pending.clone();
        self.pending.retain(|event| !matches!(event.action, Action::Move { .. }));
        self.sent.push(message.clone());
        message
    }

    fn learn(&mut self) {
        self.pending.retain(|event| event.number > self.taken);
    }
}

/// What an X server would have down.
#[derive(Default)]
struct Server {
    keys: BTreeSet<u8>,
    buttons: BTreeSet<u8>,
}

impl Server {
    fn take(&mut self, effects: &[Effect]) {
        for effect in effects {
            match *effect {
                Effect::Key { keycode, down: true } => assert!(self.keys.insert(keycode), "{keycode} was down"),
                Effect::Key { keycode, down: false } => assert!(self.keys.remove(&keycode), "{keycode} was not down"),
                Effect::Button { number, down: true } => assert!(self.buttons.insert(number)),
                Effect::Button { number, down: false } => assert!(self.buttons.remove(&number)),
                Effect::Bind { keycode, .. } => assert!(!self.keys.contains(&keycode), "bound while it is down"),
                Effect::Motion { .. } | Effect::Unlock => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_nothing_stays_down(ops in prop::collection::vec(op(), 1..120)) {
        let mut input = InputState::new(keymap());
        let mut server = Server::default();
        let mut clients: Vec<Lossy> = (0..CLIENTS).map(|_| Lossy::default()).collect();
        for op in ops {
            let mut effects = Vec::new();
            match op {
                Op::Do(client, action) => clients[client as usize].act(action),
                Op::Send(id) => {
                    let client = &mut clients[id as usize];
                    client.taken = input.apply(ClientId(id), &client.message(), &mut effects);
                }
                Op::Late(id, ago) => {
                    let client = &mut clients[id as usize];
                    if let Some(message) = client.sent.iter().rev().nth(ago) {
                        client.taken = input.apply(ClientId(id), message, &mut effects);
                    }
                }
                Op::Learn(client) => clients[client as usize].learn(),
                Op::Leave(id) => {
                    input.leave(ClientId(id), &mut effects);
                    clients[id as usize] = Lossy::default();
                }
                Op::SetLocked => input.set_locked(true),
            }
            server.take(&effects);
        }
        for id in 0..CLIENTS {
            let mut effects = Vec::new();
            input.leave(ClientId(id), &mut effects);
            server.take(&effects);
        }
        prop_assert!(server.keys.is_empty() && server.buttons.is_empty());
    }

    #[test]
    fn a_lossy_channel_gives_what_a_perfect_one_does(
        ops in prop::collection::vec(op(), 1..120),
        lost in prop::collection::vec(any::<bool>(), 120),
    ) {
        let (mut input, mut effects, mut client) = (InputState::new(keymap()), Vec::new(), Lossy::default());
        for (op, lost) in ops.into_iter().zip(lost) {
            match op {
                Op::Do(_, action) => client.act(action),
                Op::Send(_) => {
                    let message = client.message();
                    if !lost {
                        client.taken = input.apply(ClientId(1), &message, &mut effects);
                    }
                }
                Op::Late(_, ago) => {
                    if let Some(message) = client.sent.iter().rev().nth(ago) {
                        client.taken = input.apply(ClientId(1), message, &mut effects);
                    }
                }
                Op::Learn(_) => client.learn(),
                Op::Leave(_) | Op::SetLocked => {}
            }
        }
        input.apply(ClientId(1), &client.message(), &mut effects);
        effects.retain(|effect| !matches!(effect, Effect::Motion { .. }));

        let (mut perfect, mut expected) = (InputState::new(keymap()), Vec::new());
        perfect.apply(ClientId(1), &client.all, &mut expected);
        expected.retain(|effect| !matches!(effect, Effect::Motion { .. }));
        prop_assert_eq!(effects, expected);
    }

    #[test]
    fn one_way_wheels_lose_nothing(turns in prop::collection::vec(0..400i16, 1..40)) {
        let (mut wheel, mut effects) = (wheel::Wheel::default(), Vec::new());
        for turn in &turns {
            wheel.turn(*turn, -*turn, &mut effects);
        }
        let notches: i32 = turns.iter().map(|turn| i32::from(*turn)).sum::<i32>() / 120;
        for (number, other) in [(7, 6), (4, 5)] {
            let clicks = effects.iter().filter(|effect| **effect == Effect::Button { number, down: true }).count();
            prop_assert_eq!(clicks, notches as usize);
            let backwards = Effect::Button { number: other, down: true };
            prop_assert!(!effects.contains(&backwards));
        }
    }
}
