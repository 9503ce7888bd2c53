//! Something to look at, for benchmarks: covers the screen of a session's X server and changes it in ways that can be
//! timed. Run in the session's network namespace: it connects to the X server's abstract socket.
//!
//!   scene DISPLAY XAUTHORITY small|full|half|half-blend|motion|blend|chart|chart-moving
//!
//! small   a patch of 300x200 photographic pixels changes with every key
//! full    all of the screen does
//! motion  1420x1020 of a photograph are scrolled at 60 Hz, by whole pixels: who sees that can copy what is shown
//! blend   as much, at 60 Hz, of two photographs that are scrolled two ways and fade into one another: no pixel is a copy
//! half    half of the screen moves as in `motion`, and the patch changes with every key beside it
//! half-blend  half of the screen moves as in `blend`, and the patch changes with every key beside it
//! chart   patches of saturated and pale colours
//! chart-moving  the same under a noise of one level over the whole screen, another one at each frame, so that it is
//!         neither a flat colour nor a copy and goes as video; between 1 and 254, so that the noise changes no patch's mean
//!
//! Where time matters the top left shows milliseconds of the clock, modulo 2^24, as 24 squares of 16 pixels: white is 1,
//! the first is the highest.

use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::render::{Color, ConnectionExt as _, CreatePictureAux, PictOp, Picture};
use x11rb::protocol::xproto::{
    ConnectionExt, CreateGCAux, CreateWindowAux, EventMask, Gcontext, GrabMode, ImageFormat, Pixmap, Rectangle, Window,
    WindowClass,
};
use x11rb::rust_connection::{DefaultStream, RustConnection};

const PHOTO: (u16, u16) = (2200, 1400);
const PATCH: (u16, u16) = (300, 200);
const MOTION: (u16, u16) = (1420, 1020);
const FRAME: Duration = Duration::from_micros(16_667);
/// Pixels that a photograph is scrolled by in a frame.
const SPEED: u32 = 6;
/// Rows of a photograph that there are to scroll in, at least.
const ROOM: u16 = 200;
/// Frames in which one photograph fades into the other, and back.
const FADE: u32 = 120;
const SQUARE: u16 = 16;
/// What moves lies below the clock.
const BELOW: i16 = SQUARE.cast_signed();
const BITS: u16 = 24;
/// A patch of the chart. bench/colours.mjs knows these, and where they lie.
const SAMPLE: (u16, u16) = (260, 180);
const COLOURS: [u32; 12] = [
    0xFF_0000, 0x00_FF00, 0x00_00FF, 0xFF_FF00, 0x00_FFFF, 0xFF_00FF, 0xE0_AC69, 0x8D_5524, 0x80_8080, 0x20_2020,
    0xF0_F0F0, 0x35_6A9B,
];
/// Pictures of the chart, each under a noise of its own.
const NOISES: u32 = 7;

struct Scene {
    conn: RustConnection,
    window: Window,
    gc: Gcontext,
    depth: u8,
    width: u16,
    height: u16,
    photos: Vec<Pixmap>,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let display = arguments.next().context("DISPLAY number")?;
    let cookie = std::fs::read(arguments.next().context("XAUTHORITY")?)?;
    let mode = arguments.next().context("mode")?;
    let cookie = cookie.last_chunk::<16>().context("an Xauthority file ends with the cookie")?.to_vec();
    let address = SocketAddr::from_abstract_name(format!("/tmp/.X11-unix/X{display}"))?;
    let (stream, _) = DefaultStream::from_unix_stream(UnixStream::connect_addr(&address)?)?;
    let conn = RustConnection::connect_to_stream_with_auth_info(stream, 0, b"MIT-MAGIC-COOKIE-1".to_vec(), cookie)?;
    let scene = Scene::open(conn)?;
    match mode.as_str() {
        "small" => scene.keys(|scene, turn| scene.patch(turn)),
        "full" => scene.keys(|scene, turn| scene.photo(turn, 0, 0, scene.width, scene.height)),
        "half" | "half-blend" | "motion" | "blend" => {
            let beside = mode.starts_with("half");
            let (width, height) = if beside { (scene.width / 2, scene.height) } else { MOTION };
            let area = (width.min(scene.width), height.min(scene.height - SQUARE).min(PHOTO.1 - ROOM));
            if mode.ends_with("blend") {
                let blend = Blend::of(&scene, area)?;
                scene.moving(beside, |frame| blend.draw(frame))
            } else {
                scene.moving(beside, |frame| scene.pan(frame, area))
            }
        }
        "chart" => scene.chart(),
        "chart-moving" => scene.chart_moving(),
        other => anyhow::bail!("unknown mode {other}"),
    }
}

impl Scene {
    fn open(conn: RustConnection) -> anyhow::Result<Self> {
        let screen = &conn.setup().roots[0];
        let (root, depth) = (screen.root, screen.root_depth);
        let size = conn.get_geometry(root)?.reply()?;
        let window = conn.generate_id()?;
        let attributes =
            CreateWindowAux::new().override_redirect(1).background_pixel(0x0030_3030).event_mask(EventMask::KEY_PRESS);
        let class = WindowClass::INPUT_OUTPUT;
        conn.create_window(depth, window, root, 0, 0, size.width, size.height, 0, class, 0, &attributes)?;
        conn.map_window(window)?;
        let gc = conn.generate_id()?;
        conn.create_gc(gc, window, &CreateGCAux::new().graphics_exposures(0))?;
        let mut scene = Self { conn, window, gc, depth, width: size.width, height: size.height, photos: vec![] };
        for seed in 0..3 {
            let pixmap = scene.conn.generate_id()?;
            scene.conn.create_pixmap(depth, pixmap, window, PHOTO.0, PHOTO.1)?;
            for (y, rows) in photograph(seed).chunks(usize::from(PHOTO.0) * 4 * 16).enumerate() {
                let height = u16::try_from(rows.len() / (usize::from(PHOTO.0) * 4))?;
                let y = i16::try_from(y * 16)?;
                scene.conn.put_image(ImageFormat::Z_PIXMAP, pixmap, gc, PHOTO.0, height, 0, y, 0, depth, rows)?;
            }
            scene.photos.push(pixmap);
        }
        // Others may hold the keyboard for a moment, while a menu closes.
        for _ in 0..100 {
            let grabbed =
                scene.conn.grab_keyboard(true, window, x11rb::CURRENT_TIME, GrabMode::ASYNC, GrabMode::ASYNC)?;
            if grabbed.reply()?.status == x11rb::protocol::xproto::GrabStatus::SUCCESS {
                println!("ready");
                return Ok(scene);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("somebody else holds the keyboard")
    }

    fn keys(&self, draw: impl Fn(&Self, usize) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut turn = 0;
        draw(self, turn)?;
        self.conn.flush()?;
        loop {
            if let Event::KeyPress(_) = self.conn.wait_for_event()? {
                turn += 1;
                draw(self, turn)?;
                self.conn.flush()?;
            }
        }
    }

    fn photo(&self, turn: usize, x: i16, y: i16, width: u16, height: u16) -> anyhow::Result<()> {
        let photo = self.photos[turn % self.photos.len()];
        let shift = i16::try_from(turn * 37 % 200)?;
        self.conn.copy_area(photo, self.window, self.gc, shift, shift, x, y, width, height)?;
        Ok(())
    }

    fn patch(&self, turn: usize) -> anyhow::Result<()> {
        let x = i16::try_from(self.width - PATCH.0 - 60)?;
        self.photo(turn, x, 400, PATCH.0, PATCH.1)
    }

    /// Draws at 60 Hz, by the clock: a frame that is late is left out.
    fn moving(&self, patch: bool, draw: impl Fn(u32) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut turn = 0;
        for frame in 1_u32.. {
            let due = FRAME * frame;
            while let Some(wait) = due.checked_sub(began.elapsed()) {
                let timeout = Timespec::try_from(wait)?;
                poll(&mut [PollFd::from_borrowed_fd(self.conn.stream().as_fd(), PollFlags::IN)], Some(&timeout))?;
                while let Some(event) = self.conn.poll_for_event()? {
                    if patch && matches!(event, Event::KeyPress(_)) {
                        turn += 1;
                        self.patch(turn)?;
                        self.conn.flush()?;
                    }
                }
            }
            if began.elapsed() > due + FRAME {
                continue;
            }
            draw(frame)?;
            self.clock()?;
            self.conn.flush()?;
        }
        Ok(())
    }

    fn pan(&self, frame: u32, (width, height): (u16, u16)) -> anyhow::Result<()> {
        let y = scrolled(frame, height)?;
        self.conn.copy_area(self.photos[0], self.window, self.gc, y / 3, y, 0, BELOW, width, height)?;
        Ok(())
    }

    fn clock(&self) -> anyhow::Result<()> {
        let ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let square = |bit: u16| Rectangle { x: (bit * SQUARE).cast_signed(), y: 0, width: SQUARE, height: SQUARE };
        for (value, colour) in [(0, 0x0000_0000), (1, 0x00FF_FFFF)] {
            let bits = (0..BITS).filter(|bit| (ms >> (BITS - 1 - bit)) & 1 == value);
            let squares: Vec<_> = bits.map(square).collect();
            self.conn.change_gc(self.gc, &x11rb::protocol::xproto::ChangeGCAux::new().foreground(colour))?;
            self.conn.poly_fill_rectangle(self.window, self.gc, &squares)?;
        }
        Ok(())
    }

    fn chart(&self) -> anyhow::Result<()> {
        for turn in 0_u32.. {
            for (at, colour) in COLOURS.iter().enumerate() {
                let gc = x11rb::protocol::xproto::ChangeGCAux::new().foreground(colour ^ (turn & 1));
                self.conn.change_gc(self.gc, &gc)?;
                let (x, y) = place(at)?;
                let rectangle = Rectangle { x, y, width: SAMPLE.0, height: SAMPLE.1 };
                self.conn.poly_fill_rectangle(self.window, self.gc, &[rectangle])?;
            }
            self.conn.flush()?;
            std::thread::sleep(FRAME);
        }
        Ok(())
    }

    fn chart_moving(&self) -> anyhow::Result<()> {
        let mut charts = Vec::new();
        for seed in 0..NOISES {
            let chart = self.conn.generate_id()?;
            self.conn.create_pixmap(self.depth, chart, self.window, self.width, self.height)?;
            self.noise(chart, seed, 0x80_8080, (0, 0), (self.width, self.height))?;
            for (at, colour) in COLOURS.into_iter().enumerate() {
                self.noise(chart, seed, colour, place(at)?, SAMPLE)?;
            }
            charts.push(chart);
        }
        let began = Instant::now();
        // In no order: who looks at every seventh frame is not to see the same.
        let (mut random, mut shown) = (1_u32, 0);
        for frame in 1_u32.. {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            shown = (shown + 1 + usize::from(random.to_be_bytes()[0]) % (charts.len() - 1)) % charts.len();
            self.conn.copy_area(charts[shown], self.window, self.gc, 0, 0, 0, 0, self.width, self.height)?;
            self.conn.flush()?;
            std::thread::sleep((FRAME * frame).saturating_sub(began.elapsed()));
        }
        Ok(())
    }

    /// Draws a colour with noise: each channel one level less, as it is, or one more.
    fn noise(
        &self,
        chart: Pixmap,
        seed: u32,
        colour: u32,
        (left, top): (i16, i16),
        (width, height): (u16, u16),
    ) -> anyhow::Result<()> {
        let mut state = (colour ^ (seed << 24)) | 1;
        for row in 0..height {
            let mut pixels = Vec::with_capacity(usize::from(width) * 4);
            for _ in 0..width {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let [blue, green, red, _] = colour.to_le_bytes();
                let grain = |byte: u8, shift: u32| match (state >> shift) % 3 {
                    0 => byte.clamp(1, 254) - 1,
                    1 => byte.clamp(1, 254),
                    _ => byte.clamp(1, 254) + 1,
                };
                pixels.extend([grain(blue, 8), grain(green, 14), grain(red, 20), 0]);
            }
            let y = top + i16::try_from(row)?;
            self.conn.put_image(ImageFormat::Z_PIXMAP, chart, self.gc, width, 1, left, y, 0, self.depth, &pixels)?;
        }
        Ok(())
    }
}

/// Two photographs that move and fade, by the RENDER extension.
struct Blend<'a> {
    scene: &'a Scene,
    area: (u16, u16),
    photos: [Picture; 2],
    /// What is shown at once: nobody may see one photograph without the other.
    whole: Pixmap,
    on_whole: Picture,
    share: Picture,
}

impl<'a> Blend<'a> {
    fn of(scene: &'a Scene, area: (u16, u16)) -> anyhow::Result<Self> {
        let conn = &scene.conn;
        conn.render_query_version(0, 11)?.reply()?;
        let visual = conn.setup().roots[0].root_visual;
        let formats = conn.render_query_pict_formats()?.reply()?;
        let mut visuals = formats.screens.iter().flat_map(|screen| &screen.depths).flat_map(|depth| &depth.visuals);
        let format = visuals.find(|of| of.visual == visual).context("the screen has no picture format")?.format;
        let picture = |pixmap| -> anyhow::Result<Picture> {
            let picture = conn.generate_id()?;
            conn.render_create_picture(picture, pixmap, format, &CreatePictureAux::new())?;
            Ok(picture)
        };
        let whole = conn.generate_id()?;
        conn.create_pixmap(scene.depth, whole, scene.window, area.0, area.1)?;
        Ok(Self {
            scene,
            area,
            photos: [picture(scene.photos[0])?, picture(scene.photos[1])?],
            whole,
            on_whole: picture(whole)?,
            share: conn.generate_id()?,
        })
    }

    fn draw(&self, frame: u32) -> anyhow::Result<()> {
        let conn = &self.scene.conn;
        let (width, height) = self.area;
        let y = scrolled(frame, height)?;
        let back = i16::try_from(PHOTO.1 - height)? - y;
        // Between a quarter and three: with all or nothing, it would be one photograph.
        let alpha = u16::MAX / 4 + u16::try_from(u32::from(u16::MAX / 2) * there_and_back(frame, FADE) / FADE)?;
        conn.render_create_solid_fill(self.share, Color { red: 0, green: 0, blue: 0, alpha })?;
        let (below, above, whole) = (self.photos[0], self.photos[1], self.on_whole);
        conn.render_composite(PictOp::SRC, below, x11rb::NONE, whole, y / 3, y, 0, 0, 0, 0, width, height)?;
        conn.render_composite(PictOp::OVER, above, self.share, whole, back / 3, back, 0, 0, 0, 0, width, height)?;
        conn.render_free_picture(self.share)?;
        conn.copy_area(self.whole, self.scene.window, self.scene.gc, 0, 0, 0, BELOW, width, height)?;
        Ok(())
    }
}

/// Rows of a photograph above the part of that height that a frame shows.
fn scrolled(frame: u32, height: u16) -> anyhow::Result<i16> {
    Ok(i16::try_from(there_and_back(frame * SPEED, u32::from(PHOTO.1 - height)))?)
}

/// From 0 to `most` and to 0 again.
fn there_and_back(step: u32, most: u32) -> u32 {
    let way = step % (2 * most);
    way.min(2 * most - way)
}

/// Where a patch of the chart lies.
fn place(at: usize) -> anyhow::Result<(i16, i16)> {
    Ok((i16::try_from(at % 4 * 300)? + 40, i16::try_from(at / 4 * 220)? + 40))
}

/// Blue, green, red, unused: hills of several sizes with grain, which compress like a photograph.
fn photograph(seed: u32) -> Vec<u8> {
    let noise = |x: u32, y: u32, channel: u32| {
        let mut hash =
            x.wrapping_mul(0x85EB_CA6B) ^ y.wrapping_mul(0xC2B2_AE35) ^ (channel + seed * 7).wrapping_mul(0x27D4_EB2F);
        hash ^= hash >> 15;
        hash = hash.wrapping_mul(0x2C1B_3C6D);
        hash ^= hash >> 12;
        f64::from(hash & 0xFFFF) / 65535.0
    };
    let smooth = |x: f64, y: f64, channel: u32| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
        let (left, top) = (x as u32, y as u32);
        let (u, v) = (x.fract(), y.fract());
        let (u, v) = (u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v));
        let row = |y: u32| noise(left, y, channel) * (1.0 - u) + noise(left + 1, y, channel) * u;
        row(top) * (1.0 - v) + row(top + 1) * v
    };
    let mut bytes = Vec::with_capacity(usize::from(PHOTO.0) * usize::from(PHOTO.1) * 4);
    for y in 0..PHOTO.1 {
        for x in 0..PHOTO.0 {
            let (x, y) = (f64::from(x), f64::from(y));
            let shape = 0.5 * smooth(x / 190.0, y / 190.0, 0)
                + 0.28 * smooth(x / 47.0, y / 47.0, 1)
                + 0.14 * smooth(x / 11.0, y / 11.0, 2);
            let colour = |channel: u32| {
                let tint = 0.25 * smooth(x / 320.0, y / 320.0, 3 + channel);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a coordinate")]
                let grain = (noise(x as u32, y as u32, 9 + channel) - 0.5) * 0.03;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
                let byte = ((shape + tint + grain) * 255.0) as u8;
                byte
            };
            bytes.extend([colour(0), colour(1), colour(2), 0]);
        }
    }
    bytes
}
