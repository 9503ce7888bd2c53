//! What a person waits for, measured where they look: presses a key on the display that the browser is on, as a keyboard
//! would (XTEST), and takes the time until a pixel of that display is another one (DAMAGE). For benchmarks.
//!
//!   glass X Y COUNT      on the display of DISPLAY; prints {"microseconds":[...],"missed":n}
//!
//! The focused window gets the key "a". Keys come at intervals that no clock of the page has.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::damage::{ConnectionExt as _, ReportLevel};
use x11rb::protocol::xproto::{ConnectionExt as _, ImageFormat, KEY_PRESS_EVENT, KEY_RELEASE_EVENT, Rectangle, Window};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

const KEYSYM_A: u32 = 0x61;
const PATIENCE: Duration = Duration::from_secs(5);

struct Glass {
    conn: RustConnection,
    root: Window,
    key: u8,
    x: i16,
    y: i16,
}

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<i16>());
    let mut number = |name| numbers.next().context(name)?.context(name);
    let (x, y, count) = (number("X")?, number("Y")?, number("COUNT")?);
    let glass = Glass::open(x, y)?;
    let mut times = Vec::new();
    let mut missed = 0;
    let mut random = 1_u32;
    for _ in 0..count {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        glass.rest(Duration::from_micros(120_000 + u64::from(random >> 8) % 130_000))?;
        match glass.press()? {
            Some(time) => times.push(time.as_micros().to_string()),
            None => missed += 1,
        }
    }
    println!("{{\"microseconds\":[{}],\"missed\":{missed}}}", times.join(","));
    Ok(())
}

impl Glass {
    fn open(x: i16, y: i16) -> anyhow::Result<Self> {
        let (conn, screen) = x11rb::connect(None)?;
        let root = conn.setup().roots[screen].root;
        conn.damage_query_version(1, 1)?.reply()?;
        let damage = conn.generate_id()?;
        conn.damage_create(damage, root, ReportLevel::RAW_RECTANGLES)?;
        let (first, last) = (conn.setup().min_keycode, conn.setup().max_keycode);
        let map = conn.get_keyboard_mapping(first, last - first + 1)?.reply()?;
        let keys = map.keysyms.chunks(usize::from(map.keysyms_per_keycode)).zip(first..);
        let key = keys.into_iter().find(|(symbols, _)| symbols.first() == Some(&KEYSYM_A));
        let Some((_, key)) = key else { bail!("the keyboard has no key a") };
        Ok(Self { conn, root, key, x, y })
    }

    /// From the key until the pixel is another one. None: not within 5 s.
    fn press(&self) -> anyhow::Result<Option<Duration>> {
        let before = self.pixel()?;
        let pressed = Instant::now();
        for event in [KEY_PRESS_EVENT, KEY_RELEASE_EVENT] {
            self.conn.xtest_fake_input(event, self.key, x11rb::CURRENT_TIME, x11rb::NONE, 0, 0, 0)?;
        }
        self.conn.flush()?;
        while let Some(left) = PATIENCE.checked_sub(pressed.elapsed()) {
            let Some(event) = self.event(left)? else { break };
            let Event::DamageNotify(notify) = event else { continue };
            if self.within(notify.area) && self.pixel()? != before {
                return Ok(Some(pressed.elapsed()));
            }
        }
        Ok(None)
    }

    fn rest(&self, time: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        while let Some(left) = time.checked_sub(began.elapsed()) {
            self.event(left)?;
        }
        Ok(())
    }

    fn event(&self, within: Duration) -> anyhow::Result<Option<Event>> {
        if let Some(event) = self.conn.poll_for_event()? {
            return Ok(Some(event));
        }
        let timeout = Timespec::try_from(within)?;
        poll(&mut [PollFd::from_borrowed_fd(self.conn.stream().as_fd(), PollFlags::IN)], Some(&timeout))?;
        Ok(self.conn.poll_for_event()?)
    }

    fn within(&self, area: Rectangle) -> bool {
        let inside = |at: i16, from: i16, length: u16| {
            (i32::from(from)..i32::from(from) + i32::from(length)).contains(&i32::from(at))
        };
        inside(self.x, area.x, area.width) && inside(self.y, area.y, area.height)
    }

    fn pixel(&self) -> anyhow::Result<Vec<u8>> {
        let image = self.conn.get_image(ImageFormat::Z_PIXMAP, self.root, self.x, self.y, 1, 1, !0)?.reply()?;
        Ok(image.data)
    }
}
