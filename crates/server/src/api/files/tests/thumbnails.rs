use std::io::Cursor;

use axum::body::Body;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat, Rgb, RgbImage, RgbaImage};

use super::Fixture;
use crate::test_app::Answer;

impl Fixture {
    async fn thumbnail(&mut self, path: &str) -> Answer {
        self.user.get(&format!("/api/v1/files/thumbnail?path={}", super::encode(path))).await
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        std::fs::write(self.home.join(path), bytes).unwrap();
    }
}

/// Red on the left, blue on the right.
fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([220, 20, 20]) } else { Rgb([20, 20, 220]) })
}

fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(vec![]);
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn decode(answer: &Answer) -> RgbImage {
    assert_eq!(answer.status(), 200, "{:?}", answer.body);
    image::load_from_memory(&answer.body).unwrap().to_rgb8()
}

fn is_red(pixel: &Rgb<u8>) -> bool {
    pixel[0] > 180 && pixel[2] < 80
}

#[tokio::test]
async fn pictures_of_all_kinds_are_shown_small() {
    let mut fixture = Fixture::new().await;
    let picture = DynamicImage::from(photo(1200, 600));
    for (name, format) in [
        ("a.png", ImageFormat::Png),
        ("a.jpg", ImageFormat::Jpeg),
        ("a.gif", ImageFormat::Gif),
        ("a.webp", ImageFormat::WebP),
        ("a.bmp", ImageFormat::Bmp),
        ("a.tiff", ImageFormat::Tiff),
        // Whatever the name says.
        ("really-a-png.jpg", ImageFormat::Png),
    ] {
        fixture.write(name, &encode(&picture, format));
        let answer = fixture.thumbnail(name).await;
        let small = decode(&answer);
        assert_eq!(small.dimensions(), (256, 128), "{name}");
        assert!(is_red(small.get_pixel(10, 64)) && !is_red(small.get_pixel(245, 64)), "{name}");
        assert!(answer.body.len() < 32 << 10, "{name}: {}", answer.body.len());
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let listing = fixture.list("").await;
    assert!(listing["entries"].as_array().unwrap().iter().all(|entry| entry["thumbnail"] == true));
}

#[tokio::test]
async fn transparency_and_small_pictures_stay() {
    let mut fixture = Fixture::new().await;
    let clear = RgbaImage::from_pixel(20, 10, image::Rgba([1, 2, 3, 0]));
    fixture.write("clear.png", &encode(&clear.into(), ImageFormat::Png));
    let answer = fixture.thumbnail("clear.png").await;
    assert_eq!(answer.header("content-type"), Some("image/png"));
    let small = image::load_from_memory(&answer.body).unwrap().to_rgba8();
    assert_eq!((small.dimensions(), small.get_pixel(3, 3)[3]), ((20, 10), 0));
    // A line stays a line.
    fixture.write("line.png", &encode(&photo(4000, 1).into(), ImageFormat::Png));
    assert_eq!(decode(&fixture.thumbnail("line.png").await).dimensions(), (256, 1));
}

#[tokio::test]
async fn photographs_are_the_right_way_up() {
    let mut fixture = Fixture::new().await;
    let mut bytes = vec![];
    let mut encoder = JpegEncoder::new(&mut bytes);
    // One entry: orientation 6, turn right.
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    encoder.write_image(&photo(800, 400), 800, 400, image::ExtendedColorType::Rgb8).unwrap();
    fixture.write("turned.jpg", &bytes);
    let small = decode(&fixture.thumbnail("turned.jpg").await);
    assert_eq!(small.dimensions(), (128, 256));
    assert!(is_red(small.get_pixel(64, 10)) && !is_red(small.get_pixel(64, 245)));
}

#[tokio::test]
async fn a_thumbnail_is_sent_once_per_version() {
    let mut fixture = Fixture::new().await;
    fixture.write("a.png", &encode(&photo(300, 300).into(), ImageFormat::Png));
    let first = fixture.thumbnail("a.png").await;
    let etag = first.header("etag").unwrap().to_owned();
    let conditional = |fixture: &Fixture| {
        let request = fixture.user.request("GET", "/api/v1/files/thumbnail?path=a.png");
        request.header("if-none-match", &etag).header("range", "bytes=0-1").body(Body::empty()).unwrap()
    };
    let request = conditional(&fixture);
    let again = fixture.user.send(request).await;
    assert_eq!((again.status(), again.body.len(), again.header("etag")), (304, 0, Some(&*etag)));
    // From the cache: the same bytes.
    assert_eq!(fixture.thumbnail("a.png").await.body, first.body);
    fixture.write("a.png", &encode(&photo(100, 50).into(), ImageFormat::Png));
    let request = conditional(&fixture);
    let changed = fixture.user.send(request).await;
    assert_eq!(decode(&changed).dimensions(), (100, 50));
}

#[tokio::test]
async fn bombs_and_broken_files_are_refused() {
    let mut fixture = Fixture::new().await;
    let good = encode(&photo(600, 600).into(), ImageFormat::Png);
    fixture.write("cut.png", &good[..good.len() / 2]);
    fixture.write("empty.png", b"");
    fixture.write("text.jpg", b"not a picture");
    fixture.write("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>");
    // 50 kB that would become 400 MB.
    fixture.write("bomb.png", &bomb(20_000));
    // A screen of 65535 x 65535.
    fixture.write(
        "bomb.gif",
        b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
    );
    let mut bmp = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend(30_000_i32.to_le_bytes());
    bmp.extend(30_000_i32.to_le_bytes());
    bmp.extend(b"\x01\0\x18\0\0\0\0\0\x10\0\0\0\x13\x0b\0\0\x13\x0b\0\0\0\0\0\0\0\0\0\0");
    fixture.write("bomb.bmp", &bmp);
    for name in ["cut.png", "empty.png", "text.jpg", "drawing.png", "bomb.png", "bomb.gif", "bomb.bmp"] {
        // The second time from memory.
        for _ in 0..2 {
            fixture.thumbnail(name).await.expect_problem(422, "files.brokenPicture");
        }
    }
    std::fs::File::create(fixture.home.join("huge.jpg")).unwrap().set_len(65 << 20).unwrap();
    fixture.thumbnail("huge.jpg").await.expect_problem(404, "files.noThumbnail");
    fixture.write("a.svg", b"<svg/>");
    fixture.thumbnail("a.svg").await.expect_problem(404, "files.noThumbnail");
    fixture.thumbnail("missing.png").await.expect_problem(404, "files.notFound");
}

/// A black square of one bit per pixel.
fn bomb(side: u32) -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().unwrap();
    let mut stream = writer.stream_writer().unwrap();
    let row = vec![0_u8; side.div_ceil(8) as usize];
    for _ in 0..side {
        std::io::Write::write_all(&mut stream, &row).unwrap();
    }
    stream.finish().unwrap();
    drop(writer);
    bytes
}

#[tokio::test]
async fn many_at_once_are_all_answered() {
    let mut fixture = Fixture::new().await;
    for number in 0..24 {
        fixture.write(&format!("{number}.jpg"), &encode(&photo(900 + number, 600).into(), ImageFormat::Jpeg));
    }
    let answers = futures::future::join_all((0..24).map(|number| {
        let mut user = fixture.user.clone();
        async move { user.get(&format!("/api/v1/files/thumbnail?path={number}.jpg")).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| decode(answer).width() == 256));
    assert_eq!(fixture.names("").await.len(), 24);
}

/// GIMP's own thumbnail of its own file, as libgimpthumb writes it.
#[tokio::test]
async fn of_gimps_files_there_is_what_gimp_left() {
    let mut fixture = Fixture::new().await;
    std::fs::create_dir(fixture.home.join("p")).unwrap();
    fixture.write("p/a b.xcf", b"gimp xcf v011\0");
    fixture.thumbnail("p/a b.xcf").await.expect_problem(404, "files.noThumbnail");
    let cache = fixture.home.join(".cache/thumbnails/normal");
    std::fs::create_dir_all(&cache).unwrap();
    // printf 'file:///home/gimp/p/a%20b.xcf' | md5sum
    let file = cache.join("e6ea32a973344d4b7575a955bb991156.png");
    let modified = std::fs::metadata(fixture.home.join("p/a b.xcf")).unwrap().modified().unwrap();
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let thumbnail = |mtime: u64| {
        let mut bytes = vec![];
        let mut encoder = png::Encoder::new(&mut bytes, 128, 64);
        encoder.set_color(png::ColorType::Rgb);
        encoder.add_text_chunk("Thumb::MTime".into(), mtime.to_string()).unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&photo(128, 64)).unwrap();
        drop(writer);
        bytes
    };
    std::fs::write(&file, thumbnail(modified)).unwrap();
    assert_eq!(decode(&fixture.thumbnail("p/a b.xcf").await).dimensions(), (128, 64));
    // Of an older version, without a time, no picture at all, a link.
    std::fs::write(&file, thumbnail(modified - 1)).unwrap();
    fixture.thumbnail("p/a b.xcf").await.expect_problem(404, "files.noThumbnail");
    std::fs::write(&file, encode(&photo(9, 9).into(), ImageFormat::Png)).unwrap();
    fixture.thumbnail("p/a b.xcf").await.expect_problem(404, "files.noThumbnail");
    std::fs::write(&file, b"broken").unwrap();
    fixture.thumbnail("p/a b.xcf").await.expect_problem(404, "files.noThumbnail");
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    fixture.thumbnail("p/a b.xcf").await.expect_problem(404, "files.noThumbnail");
}
