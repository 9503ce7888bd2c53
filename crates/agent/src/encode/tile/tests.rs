use proptest::prelude::*;

use super::*;

/// What a client does, in the simplest way.
fn decode(encoded: &Encoded, rect: Rect) -> Vec<[u8; 3]> {
    let (width, height) = (usize::from(rect.width), usize::from(rect.height));
    let (codec, data) = match encoded {
        Encoded::Fill(colour) => return vec![*colour; width * height],
        Encoded::Tile(codec, data) => (*codec, data),
    };
    let unpack = |from: usize| zstd::bulk::decompress(&data[from..], width * height * 3).expect("a Zstandard frame");
    match codec {
        TileCodec::Raw => data.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        TileCodec::Palette => {
            let colours: Vec<_> = data[1..1 + (usize::from(data[0]) + 1) * 3].chunks_exact(3).collect();
            let bits = match colours.len() {
                0..=2 => 1,
                3..=4 => 2,
                5..=16 => 4,
                _ => 8,
            };
            let indices = unpack(1 + colours.len() * 3);
            let stride = (width * bits).div_ceil(8);
            let pixel = |x: usize, y: usize| {
                let byte = indices[y * stride + x * bits / 8];
                let index = usize::from(byte >> (8 - bits - x * bits % 8)) & ((1 << bits) - 1);
                [colours[index][0], colours[index][1], colours[index][2]]
            };
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect()
        }
        TileCodec::Partial => unreachable!("not by `encode`"),
        TileCodec::Planes => {
            let mut planes = unpack(1);
            for plane in planes.chunks_exact_mut(width * height) {
                for at in 0..width * height {
                    let left = if at % width > 0 { plane[at - 1] } else { 0 };
                    let above = if at >= width { plane[at - width] } else { 0 };
                    let corner = if at % width > 0 && at > width { plane[at - width - 1] } else { 0 };
                    let predicted = match data[0] & 3 {
                        0 => left,
                        1 => above,
                        2 => median(left, above, corner),
                        _ if at < width => left,
                        _ if at % width == 0 => above,
                        _ => average(left, above),
                    };
                    plane[at] = plane[at].wrapping_add(predicted);
                }
            }
            let (green, rest) = planes.split_at(width * height);
            let (red, blue) = rest.split_at(width * height);
            let base = |green: u8| if data[0] & APART == 0 { green } else { 0 };
            let pixels = green.iter().zip(red).zip(blue);
            pixels
                .map(|((green, red), blue)| [red.wrapping_add(base(*green)), *green, blue.wrapping_add(base(*green))])
                .collect()
        }
    }
}

fn check(bytes: &[u8], screen_width: u16, rect: Rect) -> Encoded {
    let pixels = Pixels { bytes, stride: usize::from(screen_width) * 4 };
    let encoded = TileEncoder::new().expect("memory").encode(pixels, rect).expect("encodes");
    let wanted: Vec<_> = (rect.y..rect.y + rect.height)
        .flat_map(|y| pixels.row(rect.x, y, rect.width).chunks_exact(4).map(|p| [p[2], p[1], p[0]]))
        .collect();
    assert!(decode(&encoded, rect) == wanted, "{encoded:?}");
    encoded
}

#[test]
fn the_codec_follows_the_content() {
    let rect = Rect { x: 1, y: 1, width: 63, height: 62 };
    let screen = |pixel: &dyn Fn(u32, u32) -> [u8; 3]| -> Vec<u8> {
        let positions = (0..64).flat_map(|y| (0..64).map(move |x| (x, y)));
        positions
            .flat_map(|(x, y)| {
                let [r, g, b] = pixel(x, y);
                [b, g, r, 0x55]
            })
            .collect()
    };
    let flat = check(&screen(&|_, _| [1, 2, 3]), 64, rect);
    assert_eq!(flat, Encoded::Fill([1, 2, 3]));
    for colours in [2, 3, 4, 5, 16, 17, 200, 256] {
        let few = check(&screen(&|x, y| [((x + y * 64) % colours) as u8, 9, 0]), 64, rect);
        assert!(matches!(few, Encoded::Tile(TileCodec::Palette, _)), "{colours}: {few:?}");
    }
    let gradient = check(&screen(&|x, y| [(x * 4) as u8, (y * 4) as u8, (x + y) as u8]), 64, rect);
    assert!(matches!(&gradient, Encoded::Tile(TileCodec::Planes, data) if data.len() < 1000), "{gradient:?}");
    let mut seed = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(64 * 64 * 4)
    .collect();
    assert!(matches!(check(&noise, 64, rect), Encoded::Tile(TileCodec::Raw, _)));
}

#[test]
fn grain_is_predicted_by_the_average_and_channels_of_their_own_stay_apart() {
    let mut seed = 1_u32;
    let mut grain = |most: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) * most / 256
    };
    let rect = Rect { x: 0, y: 0, width: 64, height: 64 };
    let positions = || (0..64).flat_map(|y| (0..64).map(move |x| 60 + x + y));
    let own: Vec<u8> =
        positions().flat_map(|v| [v + grain(8), v + grain(8), v + grain(8), 0].map(|v| v as u8)).collect();
    let common: Vec<u8> = positions()
        .flat_map(|v| {
            let value = v + grain(24);
            [value, value + grain(2), value, 0].map(|v| v as u8)
        })
        .collect();
    let head = |bytes: &[u8]| match check(bytes, 64, rect) {
        Encoded::Tile(TileCodec::Planes, data) => data[0],
        other => panic!("{other:?}"),
    };
    assert_eq!(head(&own), Predictor::Average as u8 | APART);
    assert_eq!(head(&common) & APART, 0);
}

#[test]
fn coarse_is_at_most_two_levels_off_and_about_half_the_bytes() {
    let mut seed = 1_u32;
    let mut grain = |value: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (value + (seed >> 29)).min(255) as u8
    };
    let bytes: Vec<u8> =
        (0..64).flat_map(|y| (0..64).map(move |x| x * 3 + y)).flat_map(|v| [grain(v), grain(v), grain(v), 0]).collect();
    let (pixels, rect) = (Pixels { bytes: &bytes, stride: 64 * 4 }, Rect { x: 3, y: 2, width: 60, height: 62 });
    let mut encoder = TileEncoder::new().expect("memory");
    let (exact, coarse) =
        (encoder.encode(pixels, rect).expect("exact"), encoder.encode_coarse(pixels, rect).expect("coarse"));
    let (exact_pixels, coarse_pixels) = (decode(&exact, rect), decode(&coarse, rect));
    let off = exact_pixels.as_flattened().iter().zip(coarse_pixels.as_flattened()).map(|(a, b)| a.abs_diff(*b));
    assert_eq!(off.max(), Some(2));
    let length = |encoded: &Encoded| match encoded {
        Encoded::Tile(_, data) => data.len(),
        Encoded::Fill(_) => 0,
    };
    assert!(length(&coarse) * 3 < length(&exact) * 2, "{} of {}", length(&coarse), length(&exact));
    for (colour, drawn) in [(0, 0), (255, 255), (128, 130), (126, 125), (3, 5)] {
        let flat = [colour; 64];
        let encoded =
            encoder.encode_coarse(Pixels { bytes: &flat, stride: 16 }, Rect { x: 0, y: 0, width: 4, height: 4 });
        assert_eq!(encoded.expect("coarse"), Encoded::Fill([drawn; 3]), "{colour}");
    }
}

#[test]
fn of_a_partial_tile_only_what_differs_is_packed() {
    let bytes: Vec<u8> = (0..64 * 64_u32).flat_map(|at| [at as u8, (at / 3) as u8, (at / 7) as u8, 0]).collect();
    let (pixels, rect) = (Pixels { bytes: &bytes, stride: 64 * 4 }, Rect { x: 5, y: 2, width: 37, height: 20 });
    let mut encoder = TileEncoder::new().expect("memory");
    let differs = |x: u16, y: u16| (x + y).is_multiple_of(11);
    let (codec, data) = encoder.encode_partial(pixels, rect, differs).expect("encodes").expect("few");
    assert_eq!(codec, TileCodec::Partial);
    let plain = zstd::bulk::decompress(&data[1..], 5 * 20 + 37 * 20 * 3).expect("a Zstandard frame");
    let (bits, planes) = plain.split_at(5 * 20);
    let planes: Vec<Vec<u8>> = planes
        .chunks_exact(planes.len() / 3)
        .map(|plane| {
            plane
                .iter()
                .scan(0_u8, |left, step| {
                    *left = left.wrapping_add(*step);
                    Some(*left)
                })
                .collect()
        })
        .collect();
    let mut next = 0;
    for (x, y) in (0..20_u16).flat_map(|y| (0..37_u16).map(move |x| (x, y))) {
        let bit = bits[usize::from(y * 5 + x / 8)] >> (7 - x % 8) & 1 == 1;
        assert_eq!(bit, differs(x + 5, y + 2));
        if bit {
            let green = planes[0][next];
            let base = if data[0] == 0 { green } else { 0 };
            let at = (usize::from(y + 2) * 64 + usize::from(x + 5)) * 4;
            let got = [planes[2][next].wrapping_add(base), green, planes[1][next].wrapping_add(base)];
            assert_eq!(got, bytes[at..at + 3]);
            next += 1;
        }
    }
    assert_eq!(next, planes[0].len());
    assert!(
        encoder.encode_partial(pixels, rect, |x, _| !x.is_multiple_of(8)).expect("encodes").is_none(),
        "they are many"
    );
}

#[test]
fn a_rectangle_outside_is_an_error() {
    let pixels = Pixels { bytes: &[0; 64], stride: 16 };
    let mut encoder = TileEncoder::new().expect("memory");
    for rect in [
        Rect { x: 0, y: 3, width: 4, height: 2 },
        Rect { x: 0, y: 0, width: 0, height: 4 },
        Rect { x: 9, y: 65_535, width: 9, height: 9 },
    ] {
        assert!(encoder.encode(pixels, rect).is_err(), "{rect:?}");
    }
}

proptest! {
    #[test]
    fn every_pixel_comes_back(
        (width, height) in (1_u16..50, 1_u16..40),
        kind in 0_u8..4,
        seed in any::<u64>(),
    ) {
        let mut state = seed | 1;
        let mut random = move || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; (state >> 32) as u32 };
        let bytes: Vec<u8> = (0..usize::from(width) * usize::from(height))
            .flat_map(|at| {
                let at = at as u32;
                match kind {
                    0 => [random() as u8, random() as u8, random() as u8, 0],
                    1 => [(random() % 5) as u8, 0, 200, 9],
                    2 => [(at / 3) as u8, at as u8, (at / 7) as u8, 1],
                    _ => [128 + (random() % 3) as u8, (at % 200) as u8, (random() % 300 / 299) as u8, 2],
                }
            })
            .collect();
        check(&bytes, width, Rect { x: 0, y: 0, width, height });
    }
}

#[test]
fn a_thin_part_of_a_photograph_is_not_predicted_from_above() {
    let mut seed = 1_u32;
    let bytes: Vec<u8> = (0..6_u32)
        .flat_map(|y| (0..1365_u32).map(move |x| 100 + x % 137 / 2 + y))
        .flat_map(|value| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            [8, 16, 24].map(|shift| value + (seed >> shift) % 8).map(|channel| channel as u8).into_iter().chain([0])
        })
        .collect();
    let Encoded::Tile(codec, data) = check(&bytes, 1365, Rect { x: 0, y: 0, width: 1365, height: 6 }) else {
        panic!("it has colours")
    };
    // Its first row, which has nothing above, is a sixth of it.
    assert!(codec == TileCodec::Planes && data[0] != 1, "{codec:?} {}", data[0]);
}
