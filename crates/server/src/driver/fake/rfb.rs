//! The least RFB 3.8 (RFC 6143) that a viewer accepts: no authentication, raw rectangles of a drawn pattern, and a mark
//! that follows the pointer and changes colour at each key, so that a person or a test sees that input arrives.

use std::io::{Error, ErrorKind, Result};

use protocol::session::ScreenSize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

const VERSION: &[u8; 12] = b"RFB 003.008\n";
const NAME: &[u8] = b"GIMP (pretended)";
const ENCODING_RAW: i32 = 0;
const ENCODING_DESKTOP_SIZE: i32 = -223;
/// Side of the mark, pixels.
const MARK: u16 = 24;
/// Longest clipboard text taken.
const MAX_TEXT: u32 = 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Area {
    x: u16,
    y: u16,
    width: u16,
    height: u16,
}

struct Screen {
    width: u16,
    height: u16,
    mark: (u16, u16),
    colour: u8,
    /// Positions of red, green and blue in a 32-bit pixel.
    shifts: [u8; 3],
    big_endian: bool,
    resizable: bool,
}

/// Speaks to one viewer until it goes. `input` is called for each key, pointer and clipboard event.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut sizes: watch::Receiver<ScreenSize>,
    mut input: impl FnMut(),
) -> Result<()> {
    let size = *sizes.borrow_and_update();
    let (read, mut write) = tokio::io::split(stream);
    let mut read = tokio::io::BufReader::new(read);
    let mut screen = Screen {
        width: size.width,
        height: size.height,
        mark: (size.width / 2, size.height / 2),
        colour: 0,
        shifts: [16, 8, 0],
        big_endian: false,
        resizable: false,
    };
    greet(&mut read, &mut write, &screen).await?;
    // What the viewer has not seen yet, and whether it waits for it.
    let mut dirty = vec![screen.whole()];
    let mut asked = false;
    let mut resized = false;
    loop {
        tokio::select! {
            Ok(()) = sizes.changed(), if screen.resizable => {
                let size = *sizes.borrow_and_update();
                (screen.width, screen.height, resized) = (size.width, size.height, true);
                dirty = vec![screen.whole()];
            }
            // Buffered and cancel safe: one byte.
            kind = read.read_u8() => match kind? {
                0 => screen.set_format(&mut read).await?,
                2 => screen.set_encodings(&mut read).await?,
                3 => {
                    let incremental = read.read_u8().await? != 0;
                    read.read_u64().await?;
                    if !incremental {
                        dirty = vec![screen.whole()];
                    }
                    asked = true;
                }
                4 => {
                    let down = read.read_u8().await? != 0;
                    read.read_exact(&mut [0; 6]).await?;
                    screen.colour = screen.colour.wrapping_add(u8::from(down));
                    dirty.push(screen.mark_area());
                    input();
                }
                5 => {
                    read.read_u8().await?;
                    let before = screen.mark_area();
                    screen.mark = (read.read_u16().await?, read.read_u16().await?);
                    dirty.extend([before, screen.mark_area()]);
                    input();
                }
                6 => {
                    read.read_exact(&mut [0; 3]).await?;
                    let length = read.read_u32().await?;
                    if length > MAX_TEXT {
                        return Err(Error::new(ErrorKind::InvalidData, "too much text"));
                    }
                    tokio::io::copy(&mut (&mut read).take(length.into()), &mut tokio::io::sink()).await?;
                    input();
                }
                _ => return Err(Error::new(ErrorKind::InvalidData, "unknown message")),
            },
        }
        if asked && (resized || !dirty.is_empty()) {
            screen.send(&mut write, resized, &dirty).await?;
            dirty.clear();
            (asked, resized) = (false, false);
        }
        // Old places of the mark, while nobody asks: one whole picture says the same.
        if dirty.len() > 64 {
            dirty = vec![screen.whole()];
        }
    }
}

async fn greet(
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    screen: &Screen,
) -> Result<()> {
    write.write_all(VERSION).await?;
    let mut version = [0; 12];
    read.read_exact(&mut version).await?;
    if !version.starts_with(b"RFB 003.") {
        return Err(Error::new(ErrorKind::InvalidData, "not RFB"));
    }
    // One security type: none.
    write.write_all(&[1, 1]).await?;
    if read.read_u8().await? != 1 {
        return Err(Error::new(ErrorKind::InvalidData, "another security type"));
    }
    write.write_u32(0).await?;
    let _shared = read.read_u8().await?;
    let mut init = vec![];
    init.extend(screen.width.to_be_bytes());
    init.extend(screen.height.to_be_bytes());
    // 32 bits a pixel, depth 24, little endian, true colour, 255 each, then the shifts and padding.
    init.extend([32, 24, 0, 1, 0, 255, 0, 255, 0, 255]);
    init.extend(screen.shifts);
    init.extend([0; 3]);
    init.extend(u32::try_from(NAME.len()).unwrap_or(0).to_be_bytes());
    init.extend(NAME);
    write.write_all(&init).await
}

impl Screen {
    fn whole(&self) -> Area {
        Area { x: 0, y: 0, width: self.width, height: self.height }
    }

    fn mark_area(&self) -> Area {
        let x = self.mark.0.min(self.width.saturating_sub(MARK));
        let y = self.mark.1.min(self.height.saturating_sub(MARK));
        Area { x, y, width: MARK.min(self.width), height: MARK.min(self.height) }
    }

    async fn set_format(&mut self, read: &mut (impl AsyncRead + Unpin)) -> Result<()> {
        let mut message = [0; 19];
        read.read_exact(&mut message).await?;
        if message[3] != 32 || message[13..16].iter().any(|&shift| shift > 24) {
            return Err(Error::new(ErrorKind::InvalidData, "only 32 bits a pixel"));
        }
        self.big_endian = message[5] != 0;
        self.shifts = [message[13], message[14], message[15]];
        Ok(())
    }

    async fn set_encodings(&mut self, read: &mut (impl AsyncRead + Unpin)) -> Result<()> {
        read.read_u8().await?;
        self.resizable = false;
        for _ in 0..read.read_u16().await? {
            self.resizable |= read.read_i32().await? == ENCODING_DESKTOP_SIZE;
        }
        Ok(())
    }

    async fn send(&self, write: &mut (impl AsyncWrite + Unpin), resized: bool, areas: &[Area]) -> Result<()> {
        let areas =
            areas.iter().filter(|area| area.x + area.width <= self.width && area.y + area.height <= self.height);
        let areas: Vec<Area> = areas.copied().collect();
        let count = u16::try_from(areas.len() + usize::from(resized)).unwrap_or(u16::MAX);
        write.write_all(&[0, 0]).await?;
        write.write_u16(count).await?;
        if resized {
            header(write, self.whole(), ENCODING_DESKTOP_SIZE).await?;
        }
        for area in areas {
            header(write, area, ENCODING_RAW).await?;
            let mut row = Vec::with_capacity(usize::from(area.width) * 4);
            for y in area.y..area.y + area.height {
                row.clear();
                for x in area.x..area.x + area.width {
                    row.extend(self.pixel(x, y));
                }
                write.write_all(&row).await?;
            }
        }
        write.flush().await
    }

    /// A chessboard over a gradient, and the mark.
    fn pixel(&self, x: u16, y: u16) -> [u8; 4] {
        let mark = self.mark_area();
        let rgb: [u8; 3] = if (mark.x..mark.x + mark.width).contains(&x) && (mark.y..mark.y + mark.height).contains(&y)
        {
            [[230, 60, 40], [40, 160, 60], [50, 90, 230], [240, 200, 40]][usize::from(self.colour % 4)]
        } else {
            let shade = if (x / 32 + y / 32).is_multiple_of(2) { 110 } else { 150 };
            let slope = u8::try_from(u32::from(x) * 80 / u32::from(self.width.max(1))).unwrap_or(80);
            [shade, shade + slope / 2, shade + slope]
        };
        let value = rgb.iter().zip(self.shifts).fold(0_u32, |sum, (&part, shift)| sum | u32::from(part) << shift);
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

async fn header(write: &mut (impl AsyncWrite + Unpin), area: Area, encoding: i32) -> Result<()> {
    let mut bytes = [0; 12];
    bytes[0..2].copy_from_slice(&area.x.to_be_bytes());
    bytes[2..4].copy_from_slice(&area.y.to_be_bytes());
    bytes[4..6].copy_from_slice(&area.width.to_be_bytes());
    bytes[6..8].copy_from_slice(&area.height.to_be_bytes());
    bytes[8..12].copy_from_slice(&encoding.to_be_bytes());
    write.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: ScreenSize = ScreenSize { width: 320, height: 240, scale: 1.0 };

    /// What is answered to these bytes, and how it ends; `inputs` counts events of a human.
    async fn say(bytes: &[u8]) -> (Vec<u8>, Result<()>, usize) {
        let (_sizes, watched) = watch::channel(SIZE);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let mut inputs = 0;
        let (mut read, mut write) = tokio::io::split(far);
        let viewer = async {
            let _cut_off = write.write_all(bytes).await;
            let _cut_off = write.shutdown().await;
            let mut answer = vec![];
            read.read_to_end(&mut answer).await.map(|_| answer)
        };
        let (served, answer) = tokio::join!(serve(near, watched, || inputs += 1), viewer);
        (answer.unwrap_or_default(), served, inputs)
    }

    fn greeting(rest: &[&[u8]]) -> Vec<u8> {
        [VERSION.as_slice(), &[1, 1], &rest.concat()].concat()
    }

    const ASK: [u8; 10] = [3, 0, 0, 0, 0, 0, 1, 64, 0, 240];

    #[tokio::test]
    async fn keys_text_and_pointer_are_input_and_change_the_picture() {
        let key = [4, 1, 0, 0, 0, 0, 0, 97];
        let text = [6, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c'];
        let pointer = [5, 1, 0, 9, 0, 9];
        let (_, served, inputs) = say(&greeting(&[&key, &text, &pointer])).await;
        assert!(served.is_err(), "until the viewer goes");
        assert_eq!(inputs, 3);
        let (first, ..) = say(&greeting(&[&ASK])).await;
        let (then, ..) = say(&greeting(&[&key, &ASK])).await;
        assert_eq!(first.len(), then.len());
        assert_ne!(first, then);
    }

    #[tokio::test]
    async fn pixels_come_as_asked_for() {
        let format = |big_endian, red, green, blue| {
            [0, 0, 0, 0, 32, 24, big_endian, 1, 0, 255, 0, 255, 0, 255, red, green, blue, 0, 0, 0]
        };
        let last_pixel = async |format: [u8; 20]| {
            let (picture, ..) = say(&greeting(&[&format, &ASK])).await;
            <[u8; 4]>::try_from(&picture[picture.len() - 4..]).unwrap()
        };
        let [b, g, r, _] = last_pixel(format(0, 16, 8, 0)).await;
        assert_eq!(last_pixel(format(0, 0, 8, 16)).await, [r, g, b, 0]);
        assert_eq!(last_pixel(format(1, 16, 8, 0)).await, [0, r, g, b]);
    }

    #[tokio::test]
    async fn what_it_does_not_know_ends_it() {
        for wrong in [
            b"RFC 003.008\n".to_vec(),
            [VERSION.as_slice(), &[2]].concat(),
            greeting(&[&[99]]),
            greeting(&[&[0, 0, 0, 0, 8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0]]),
            greeting(&[&[6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]]),
        ] {
            let (_, served, _) = say(&wrong).await;
            assert_eq!(served.unwrap_err().kind(), ErrorKind::InvalidData, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_restless_pointer_is_one_picture() {
        let moves: Vec<u8> = (0..200_u8).flat_map(|x| [5, 0, 0, x, 0, x]).collect();
        let (answer, ..) = say(&greeting(&[&moves, &ASK])).await;
        // Greeting, then one rectangle.
        assert_eq!(answer.len(), 12 + 2 + 4 + 24 + NAME.len() + 4 + 12 + 320 * 240 * 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn random_bytes_never_panic(greet: bool, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bytes = if greet { greeting(&[&bytes]) } else { bytes };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (_, served, _) = runtime.block_on(say(&bytes));
            prop_assert!(served.is_err());
        }
    }
}
