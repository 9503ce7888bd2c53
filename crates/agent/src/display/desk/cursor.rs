//! What the cursor looks like, as XFIXES tells it.

use bytes::Bytes;
use protocol::stream::{Cursor, MAX_CURSOR};
use x11rb::errors::ReplyError;
use x11rb::protocol::xfixes::{ConnectionExt as _, CursorNotifyMask, GetCursorImageReply};
use x11rb::rust_connection::RustConnection;

use super::super::x11::{Client, Result};

pub fn hidden() -> Cursor {
    Cursor { hot_x: 0, hot_y: 0, width: 0, height: 0, rgba: Bytes::new() }
}

/// An event for each cursor that is shown.
pub fn select_changes(client: &Client) -> Result<()> {
    client.conn.xfixes_select_cursor_input(client.root, CursorNotifyMask::DISPLAY_CURSOR)?.check()?;
    Ok(())
}

/// The cursor that is shown.
pub fn fetch(conn: &RustConnection) -> Result<Cursor> {
    match conn.xfixes_get_cursor_image()?.reply() {
        Ok(image) => Ok(from_image(&image)),
        // The server's answer while there is none.
        Err(ReplyError::X11Error(_)) => Ok(hidden()),
        Err(error) => Err(error.into()),
    }
}

/// `cursor_image` is premultiplied, 0xAARRGGBB. Of one too large the part around its hot spot is left.
fn from_image(image: &GetCursorImageReply) -> Cursor {
    if image.cursor_image.iter().all(|pixel| pixel >> 24 == 0) {
        return hidden();
    }
    let (left, width) = part(image.width, image.xhot);
    let (top, height) = part(image.height, image.yhot);
    let stride = usize::from(image.width).max(1);
    let rows = image.cursor_image.chunks(stride).skip(top.into()).take(height.into());
    let pixels = rows.flat_map(|row| row.iter().skip(left.into()).take(width.into()));
    let rgba: Bytes = pixels.flat_map(|pixel| straight(*pixel)).collect();
    if rgba.len() != usize::from(width) * usize::from(height) * 4 {
        return hidden();
    }
    let within = |hot: u16, from: u16, length: u16| hot.saturating_sub(from).min(length.saturating_sub(1));
    Cursor { hot_x: within(image.xhot, left, width), hot_y: within(image.yhot, top, height), width, height, rgba }
}

/// First and number of the pixels kept of so many.
fn part(length: u16, hot: u16) -> (u16, u16) {
    let kept = length.min(MAX_CURSOR);
    (hot.saturating_sub(MAX_CURSOR / 2).min(length - kept), kept)
}

fn straight(pixel: u32) -> [u8; 4] {
    let [alpha, red, green, blue] = pixel.to_be_bytes();
    let divided = |channel: u8| {
        let alpha = u32::from(alpha).max(1);
        u8::try_from((u32::from(channel) * 255 + alpha / 2) / alpha).unwrap_or(u8::MAX)
    };
    if alpha == 0 { [0; 4] } else { [divided(red), divided(green), divided(blue), alpha] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: u16, height: u16, (xhot, yhot): (u16, u16), pixel: impl Fn(u16, u16) -> u32) -> Cursor {
        let pixel = &pixel;
        let cursor_image = (0..height).flat_map(|y| (0..width).map(move |x| pixel(x, y))).collect();
        from_image(&GetCursorImageReply { width, height, xhot, yhot, cursor_image, ..Default::default() })
    }

    #[test]
    fn colours_are_divided_by_their_alpha() {
        let cursor = image(3, 1, (2, 0), |x, _| [0x8040_2000, 0xFF01_0203, 0x0000_0000][usize::from(x)]);
        assert_eq!((cursor.hot_x, cursor.hot_y, cursor.width, cursor.height), (2, 0, 3, 1));
        assert_eq!(cursor.rgba[..], [128, 64, 0, 128, 1, 2, 3, 255, 0, 0, 0, 0]);
        let nonsense = image(1, 1, (9, 9), |_, _| 0x01FF_FFFF);
        assert_eq!(nonsense.rgba[..], [255, 255, 255, 1], "brighter than its alpha allows");
        assert_eq!((nonsense.hot_x, nonsense.hot_y), (0, 0));
    }

    #[test]
    fn an_invisible_cursor_is_none() {
        assert_eq!(image(16, 16, (8, 8), |_, _| 0x0012_3456), hidden());
        assert_eq!(image(0, 0, (0, 0), |_, _| 0), hidden());
    }

    #[test]
    fn a_huge_cursor_keeps_what_is_around_its_hot_spot() {
        let marked = |x: u16, y: u16| if (x, y) == (290, 10) { 0xFFFF_0000 } else { 0xFF00_0000 };
        let cursor = image(300, 20, (290, 10), marked);
        assert_eq!((cursor.width, cursor.height), (MAX_CURSOR, 20));
        let at = (usize::from(cursor.hot_y) * usize::from(cursor.width) + usize::from(cursor.hot_x)) * 4;
        assert_eq!(cursor.rgba[at..at + 4], [255, 0, 0, 255]);
    }

    #[test]
    fn an_image_with_too_few_pixels_is_none() {
        let cut = GetCursorImageReply { width: 4, height: 4, cursor_image: vec![u32::MAX; 5], ..Default::default() };
        assert_eq!(from_image(&cut), hidden());
    }
}
