//! With a real server and other programs on it.

use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::agent::DisplayServer;
use protocol::stream::MAX_CLIPBOARD;
use tokio::time::timeout;
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, CreateGCAux, CreateWindowAux, EventMask, PropMode,
    Property, Rectangle, SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent, Window, WindowClass,
};
use x11rb::wrapper::ConnectionExt as _;

use super::super::test_server::TestServer;
use super::super::x11::intern;
use super::*;

const LIMIT: Duration = Duration::from_secs(30);
const ALICE: ClientId = ClientId(1);
/// Programs give longer texts in parts of this length, bytes.
const PART: usize = 50_000;

/// Targets and what each gives.
type Offers = Vec<(&'static str, Vec<u8>)>;
type Offered<'a> = &'a [(&'static str, &'a [u8])];

fn server() -> TestServer {
    TestServer::start(&DisplayServer::Xorg)
}

fn desk(server: &TestServer) -> Desk {
    Desk::open(server.display, &server.cookie).expect("opens")
}

/// The next value that satisfies `wanted`.
async fn next<T: Clone>(receiver: &mut watch::Receiver<T>, wanted: impl Fn(&T) -> bool) -> T {
    loop {
        timeout(LIMIT, receiver.changed()).await.expect("something comes").expect("the desk is there");
        let value = receiver.borrow_and_update().clone();
        if wanted(&value) {
            return value;
        }
    }
}

async fn next_text(receiver: &mut watch::Receiver<Option<Copied>>) -> Copied {
    next(receiver, Option::is_some).await.expect("a text")
}

fn next_event(client: &Client) -> Event {
    loop {
        client.conn.flush().expect("connected");
        if let Some(event) = client.conn.poll_for_event().expect("connected") {
            return event;
        }
        let limit = Timespec::try_from(LIMIT).expect("short");
        let stream = client.conn.stream();
        let ready = poll(&mut [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)], Some(&limit));
        assert_ne!(ready.expect("polls"), 0, "nothing comes");
    }
}

fn new_window(client: &Client) -> Window {
    let window = client.conn.generate_id().expect("an id");
    let aux = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE).override_redirect(1);
    let class = WindowClass::INPUT_OUTPUT;
    client.conn.create_window(0, window, client.root, 0, 0, 100, 100, 0, class, 0, &aux).expect("asks");
    window
}

/// A program in which something was copied.
struct Program {
    client: Client,
}

impl Program {
    /// Takes the selection; answers nobody yet.
    fn copies(server: &TestServer) -> Self {
        let client = server.client();
        let window = new_window(&client);
        let clipboard = intern(&client.conn, "CLIPBOARD").expect("an atom");
        client.conn.set_selection_owner(window, clipboard, x11rb::CURRENT_TIME).expect("asks").check().expect("owns");
        Self { client }
    }

    /// Answers, on a thread of its own, until something else is copied; then tells what was asked for.
    fn answers(self, offers: Offered<'_>) -> JoinHandle<Vec<String>> {
        let offers: Offers = offers.iter().map(|(target, data)| (*target, data.to_vec())).collect();
        std::thread::spawn(move || {
            let conn = &self.client.conn;
            let mut asked = Vec::new();
            loop {
                match next_event(&self.client) {
                    Event::SelectionRequest(request) => {
                        let name = conn.get_atom_name(request.target).expect("asks").reply().expect("a name").name;
                        let name = String::from_utf8(name).expect("ASCII");
                        let still_owns = self.answer(&request, &name, &offers);
                        asked.push(name);
                        if !still_owns {
                            return asked;
                        }
                    }
                    Event::SelectionClear(_) => return asked,
                    _ => {}
                }
            }
        })
    }

    /// False: something else was copied meanwhile.
    fn answer(&self, request: &SelectionRequestEvent, name: &str, offers: &[(&str, Vec<u8>)]) -> bool {
        let conn = &self.client.conn;
        let SelectionRequestEvent { requestor, property, target, .. } = *request;
        let data = offers.iter().find(|(offered, _)| *offered == name).map(|(_, data)| data);
        if name == "TARGETS" {
            let names = offers.iter().map(|(offered, _)| intern(conn, offered).expect("an atom"));
            let targets: Vec<Atom> = names.chain([target]).collect();
            conn.change_property32(PropMode::REPLACE, requestor, property, AtomEnum::ATOM, &targets).expect("asks");
            return self.notify(request, property);
        }
        let Some(data) = data else { return self.notify(request, x11rb::NONE) };
        if data.len() <= PART {
            conn.change_property8(PropMode::REPLACE, requestor, property, target, data).expect("asks");
            return self.notify(request, property);
        }
        let events = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        conn.change_window_attributes(requestor, &events).expect("asks");
        let incr = intern(conn, "INCR").expect("an atom");
        let length = u32::try_from(data.len()).expect("short");
        conn.change_property32(PropMode::REPLACE, requestor, property, incr, &[length]).expect("asks");
        self.notify(request, property);
        for part in data.chunks(PART).chain([&[][..]]) {
            loop {
                match next_event(&self.client) {
                    Event::PropertyNotify(event) if event.window == requestor && event.state == Property::DELETE => {
                        break;
                    }
                    // Nobody waits for the rest.
                    Event::SelectionClear(_) => return false,
                    _ => {}
                }
            }
            conn.change_property8(PropMode::REPLACE, requestor, property, target, part).expect("asks");
        }
        conn.flush().expect("connected");
        true
    }

    fn notify(&self, request: &SelectionRequestEvent, property: Atom) -> bool {
        let answer = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: request.time,
            requestor: request.requestor,
            selection: request.selection,
            target: request.target,
            property,
        };
        self.client.conn.send_event(false, request.requestor, EventMask::NO_EVENT, answer).expect("asks");
        self.client.conn.flush().expect("connected");
        true
    }
}

/// What a program that pastes gets: the name of the type and the bytes. None: a refusal.
fn pasted(client: &Client, target: &str) -> Option<(String, Vec<u8>)> {
    let conn = &client.conn;
    let window = new_window(client);
    let [clipboard, target, place, incr] =
        ["CLIPBOARD", target, "PASTE", "INCR"].map(|name| intern(conn, name).expect("an atom"));
    conn.convert_selection(window, clipboard, target, place, x11rb::CURRENT_TIME).expect("asks");
    let answer = loop {
        if let Event::SelectionNotify(answer) = next_event(client)
            && answer.requestor == window
        {
            break answer;
        }
    };
    if answer.property == x11rb::NONE {
        return None;
    }
    let take = || {
        let reply = conn.get_property(true, window, place, AtomEnum::ANY, 0, u32::MAX / 4).expect("asks").reply();
        reply.expect("a property")
    };
    let mut first = take();
    if first.type_ == incr {
        first.value.clear();
        loop {
            let Event::PropertyNotify(event) = next_event(client) else { continue };
            if event.window != window || event.state != Property::NEW_VALUE {
                continue;
            }
            let part = take();
            if part.type_ == incr || part.type_ == x11rb::NONE {
                continue;
            }
            assert!(part.value.len() <= 1 << 18);
            first.type_ = part.type_;
            if part.value.is_empty() {
                break;
            }
            first.value.extend(part.value);
        }
    }
    let name = conn.get_atom_name(first.type_).expect("asks").reply().expect("a name").name;
    Some((String::from_utf8(name).expect("ASCII"), first.value))
}

/// Many letters of one to four bytes.
fn long_text(bytes: usize) -> String {
    let mut text: String = "aé€😀\n".chars().cycle().take(bytes / 2).collect();
    while text.len() > bytes {
        text.pop();
    }
    text.extend(std::iter::repeat_n('.', bytes - text.len()));
    text
}

#[tokio::test]
async fn the_cursor_of_the_window_below_the_pointer_is_told_with_its_pixels() {
    let server = server();
    let desk = desk(&server);
    let client = server.client();
    let conn = &client.conn;
    let window = new_window(&client);
    conn.map_window(window).expect("asks");
    let mut cursors = desk.cursor();

    // Red, in its upper half green, nothing in the last two of its columns.
    let [source, mask] = [(10, 3), (8, 6)].map(|(width, height)| {
        let (pixmap, gc) = (conn.generate_id().expect("an id"), conn.generate_id().expect("an id"));
        conn.create_pixmap(1, pixmap, client.root, 10, 6).expect("asks");
        let all = Rectangle { x: 0, y: 0, width: 10, height: 6 };
        conn.create_gc(gc, pixmap, &CreateGCAux::new().foreground(0)).expect("asks");
        conn.poly_fill_rectangle(pixmap, gc, &[all]).expect("asks");
        conn.change_gc(gc, &x11rb::protocol::xproto::ChangeGCAux::new().foreground(1)).expect("asks");
        conn.poly_fill_rectangle(pixmap, gc, &[Rectangle { x: 0, y: 0, width, height }]).expect("asks");
        pixmap
    });
    let empty = conn.generate_id().expect("an id");
    conn.create_pixmap(1, empty, client.root, 10, 6).expect("asks");
    let gc = conn.generate_id().expect("an id");
    conn.create_gc(gc, empty, &CreateGCAux::new().foreground(0)).expect("asks");
    conn.poly_fill_rectangle(empty, gc, &[Rectangle { x: 0, y: 0, width: 10, height: 6 }]).expect("asks");

    let show = |mask| {
        let cursor = conn.generate_id().expect("an id");
        conn.create_cursor(cursor, source, mask, 0, 0xFFFF, 0, 0xFFFF, 0, 0, 4, 5).expect("asks");
        conn.change_window_attributes(window, &ChangeWindowAttributesAux::new().cursor(cursor)).expect("asks");
    };
    show(mask);
    conn.warp_pointer(x11rb::NONE, window, 0, 0, 0, 0, 50, 50).expect("asks");
    conn.flush().expect("connected");
    let seen = next(&mut cursors, |cursor| (cursor.width, cursor.height) == (10, 6)).await;
    assert_eq!((seen.hot_x, seen.hot_y), (4, 5));
    for (at, pixel) in seen.rgba.chunks_exact(4).enumerate() {
        let wanted = match (at % 10, at / 10) {
            (8.., _) => [0, 0, 0, 0],
            (_, 0..3) => [0, 255, 0, 255],
            _ => [255, 0, 0, 255],
        };
        assert_eq!(pixel, wanted, "pixel {at}");
    }
    show(empty);
    conn.flush().expect("connected");
    assert_eq!(next(&mut cursors, |cursor| cursor.width == 0).await, cursor::hidden());
    assert_eq!(*desk.cursor().borrow(), cursor::hidden(), "whoever comes later sees the present one");
}

#[tokio::test]
async fn what_programs_copy_is_told() {
    let server = server();
    let desk = desk(&server);
    let mut copied = desk.copied();
    let (long, most) = (long_text(500_000), long_text(MAX_CLIPBOARD));
    let latin = b"Gr\xFC\xDFe";
    let both: [(&str, &[u8]); 3] =
        [("image/png", b"png"), ("UTF8_STRING", "Grüße, 日本".as_bytes()), ("STRING", latin)];
    let cases: [(Offered<'_>, &str); 7] = [
        (&both, "Grüße, 日本"),
        (&[("text/plain;charset=utf-8", b"one")], "one"),
        (&[("STRING", latin)], "Grüße"),
        (&[("UTF8_STRING", b"")], ""),
        (&[("UTF8_STRING", long.as_bytes())], &long),
        (&[("UTF8_STRING", most.as_bytes())], &most),
        (&[("UTF8_STRING", b"no \xFF text")], "no \u{FFFD} text"),
    ];
    for (offers, wanted) in cases {
        let owner = Program::copies(&server).answers(offers);
        let text = next_text(&mut copied).await;
        assert!(text == Copied { text: wanted.to_owned(), from: None }, "{text:?}");
        desk.copy(ALICE, "something else".into()).await;
        assert_eq!(next_text(&mut copied).await.from, Some(ALICE));
        owner.join().expect("the program ends");
    }
}

#[tokio::test]
async fn a_clients_text_is_there_for_programs_to_paste() {
    let server = server();
    let desk = desk(&server);
    let mut copied = desk.copied();
    let client = server.client();
    for text in ["Grüße, 日本".to_owned(), String::new(), long_text(500_000), long_text(MAX_CLIPBOARD)] {
        desk.copy(ALICE, text.clone()).await;
        assert!(next_text(&mut copied).await == Copied { text: text.clone(), from: Some(ALICE) });
        for target in ["UTF8_STRING", "text/plain;charset=utf-8"] {
            let (kind, bytes) = pasted(&client, target).expect("is given");
            assert_eq!((kind.as_str(), bytes.len()), (target, text.len()));
            assert!(bytes == text.as_bytes());
        }
    }
    desk.copy(ALICE, "Grüße €".into()).await;
    assert_eq!(pasted(&client, "STRING"), Some(("STRING".into(), b"Gr\xFC\xDFe ?".to_vec())));
    assert_eq!(pasted(&client, "image/png"), None);
    let (kind, targets) = pasted(&client, "TARGETS").expect("is given");
    let utf8 = intern(&client.conn, "UTF8_STRING").expect("an atom").to_ne_bytes();
    assert!(kind == "ATOM" && targets.chunks_exact(4).any(|target| target == utf8));
    let (kind, time) = pasted(&client, "TIMESTAMP").expect("is given");
    assert!(kind == "INTEGER" && time.len() == 4 && time != [0; 4]);
}

#[tokio::test]
async fn an_image_is_left_alone() {
    let server = server();
    let desk = desk(&server);
    let mut copied = desk.copied();
    let owner = Program::copies(&server).answers(&[("image/png", b"png"), ("application/x-xcf", b"xcf")]);
    assert_eq!(pasted(&server.client(), "image/png"), Some(("image/png".into(), b"png".to_vec())));
    // The next that is told of is the text that comes after it.
    let after = Program::copies(&server).answers(&[("UTF8_STRING", b"after")]);
    assert_eq!(next_text(&mut copied).await.text, "after");
    let asked = owner.join().expect("the program ends");
    assert!(asked.iter().all(|target| target == "TARGETS" || target == "image/png"), "{asked:?}");
    desk.copy(ALICE, String::new()).await;
    after.join().expect("the program ends");
}

#[tokio::test]
async fn nothing_is_asked_for_while_nobody_wants_to_know() {
    let server = server();
    let desk = desk(&server);
    let owner = Program::copies(&server).answers(&[("UTF8_STRING", b"private")]);
    desk.copy(ALICE, String::new()).await;
    // TigerVNC's module looks at what there is, for viewers of its own.
    let asked = owner.join().expect("the program ends");
    assert!(asked.iter().all(|target| target == "TARGETS"), "{asked:?}");
}

#[tokio::test]
async fn an_owner_that_answers_nothing_or_dies_holds_up_nobody() {
    let server = server();
    let desk = desk(&server);
    let mut copied = desk.copied();
    let silent = Program::copies(&server);
    let owner = Program::copies(&server).answers(&[("UTF8_STRING", b"after")]);
    assert_eq!(next_text(&mut copied).await.text, "after");
    drop(silent);
    drop(Program::copies(&server));
    owner.join().expect("the program ends");
    let owner = Program::copies(&server).answers(&[("UTF8_STRING", b"at last")]);
    assert_eq!(next_text(&mut copied).await.text, "at last");
    desk.copy(ALICE, String::new()).await;
    owner.join().expect("the program ends");
}

/// The clipboard alone, with the test's clock and somebody who wants to know.
struct Alone {
    client: Client,
    clipboard: Clipboard,
    copied: watch::Receiver<Option<Copied>>,
    now: Instant,
}

impl Alone {
    fn new(server: &TestServer) -> Self {
        let client = server.client();
        client.conn.xfixes_query_version(5, 0).expect("asks").reply().expect("has XFIXES");
        let sender = watch::Sender::new(None);
        let copied = sender.subscribe();
        let clipboard = Clipboard::new(&client, sender).expect("opens");
        Self { client, clipboard, copied, now: Instant::now() }
    }

    fn take_until(&mut self, done: impl Fn(&Clipboard, Option<&Event>) -> bool) {
        let mut event = None;
        while !done(&self.clipboard, event.as_ref()) {
            let next = next_event(&self.client);
            self.clipboard.take(&self.client.conn, &next, self.now).expect("takes");
            self.clipboard.begin_fetch(&self.client.conn, self.now).expect("asks");
            event = Some(next);
        }
        self.client.conn.flush().expect("connected");
    }

    fn offer(&mut self, text: String) {
        self.clipboard.offer(&self.client.conn, Copied { text, from: Some(ALICE) }).expect("owns");
    }
}

#[test]
fn a_text_that_is_too_long_is_not_taken() {
    let server = server();
    let mut alone = Alone::new(&server);
    let too_long = long_text(MAX_CLIPBOARD + 1).into_bytes();
    // Latin 1 that is too long only as UTF-8.
    let grows = vec![0xFC; MAX_CLIPBOARD / 2 + 1];
    for offer in [("UTF8_STRING", too_long.as_slice()), ("STRING", &grows)] {
        let owner = Program::copies(&server).answers(&[offer]);
        alone.take_until(|clipboard, _| clipboard.deadline().is_some());
        alone.take_until(|clipboard, _| clipboard.deadline().is_none());
        assert!(!alone.copied.has_changed().expect("open"));
        alone.offer(String::new());
        alone.copied.mark_unchanged();
        let asked = owner.join().expect("the program ends");
        assert!(asked.iter().any(|target| target == offer.0), "{asked:?}");
        // Of its own text there is nothing to ask for.
        alone.take_until(|_, event| matches!(event, Some(Event::XfixesSelectionNotify(_))));
        assert_eq!(alone.clipboard.deadline(), None);
    }
}

#[test]
fn answers_that_come_after_their_time_are_not_taken() {
    let server = server();
    let mut alone = Alone::new(&server);
    let late = Program::copies(&server);
    alone.take_until(|clipboard, _| clipboard.deadline().is_some());
    let until = alone.clipboard.deadline().expect("waits");
    alone.clipboard.pass_time(&alone.client.conn, until - Duration::from_millis(1)).expect("waits on");
    assert_eq!(alone.clipboard.deadline(), Some(until));
    alone.clipboard.pass_time(&alone.client.conn, until).expect("gives up");
    assert_eq!(alone.clipboard.deadline(), None);

    let answering = late.answers(&[("UTF8_STRING", b"late")]);
    alone.take_until(|_, event| matches!(event, Some(Event::SelectionNotify(_))));
    assert_eq!(alone.clipboard.deadline(), None);
    assert!(!alone.copied.has_changed().expect("open"));
    alone.offer(String::new());
    answering.join().expect("the program ends");
}

#[test]
fn a_program_that_pastes_half_is_forgotten() {
    let server = server();
    let mut alone = Alone::new(&server);
    alone.offer(long_text(500_000));
    for dies in [false, true] {
        let reader = server.client();
        let window = new_window(&reader);
        let [selection, target, place] =
            ["CLIPBOARD", "UTF8_STRING", "PASTE"].map(|name| intern(&reader.conn, name).expect("an atom"));
        reader.conn.convert_selection(window, selection, target, place, x11rb::CURRENT_TIME).expect("asks");
        reader.conn.flush().expect("connected");
        alone.take_until(|clipboard, _| clipboard.deadline().is_some());
        while !matches!(next_event(&reader), Event::SelectionNotify(_)) {}
        if dies {
            drop(reader);
            alone.take_until(|clipboard, _| clipboard.deadline().is_none());
        } else {
            let until = alone.clipboard.deadline().expect("waits");
            alone.clipboard.pass_time(&alone.client.conn, until).expect("gives up");
            assert_eq!(alone.clipboard.deadline(), None);
        }
    }
}
