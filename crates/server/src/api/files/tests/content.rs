use std::os::unix::fs::FileExt;

use axum::body::Body;
use http_body_util::BodyExt;

use super::{Fixture, encode};
use crate::test_app::Answer;

impl Fixture {
    async fn get_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.user.request("GET", &format!("/api/v1/files/content?path={}", encode(path)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.user.send(request).await
    }
}

#[tokio::test]
async fn a_file_is_an_attachment_that_can_run_nothing() {
    let mut fixture = Fixture::new().await;
    for (name, media_type) in [
        ("page.html", "application/octet-stream"),
        ("drawing.svg", "application/octet-stream"),
        ("code.js", "application/octet-stream"),
        ("photo.JPG", "image/jpeg"),
        ("image.xcf", "image/x-xcf"),
        ("none", "application/octet-stream"),
    ] {
        std::fs::write(fixture.home.join(name), b"<script>alert(1)</script>").unwrap();
        let answer = fixture.get(name).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some(media_type));
        assert!(answer.header("content-disposition").unwrap().starts_with("attachment; "));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; sandbox"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(answer.header("content-length"), Some("25"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert_eq!(answer.text(), "<script>alert(1)</script>");
    }
}

#[tokio::test]
async fn names_of_downloads_survive_any_characters() {
    let mut fixture = Fixture::new().await;
    for (name, disposition) in [
        ("a b.png", "attachment; filename=\"a b.png\"; filename*=UTF-8''a%20b.png"),
        ("\"q\\%41\".png", "attachment; filename=\"_q__41_.png\"; filename*=UTF-8''%22q%5C%2541%22.png"),
        (
            "two\r\nSet-Cookie: x",
            "attachment; filename=\"two__Set-Cookie: x\"; filename*=UTF-8''two%0D%0ASet-Cookie%3A%20x",
        ),
        ("€🎨.xcf", "attachment; filename=\"__.xcf\"; filename*=UTF-8''%E2%82%AC%F0%9F%8E%A8.xcf"),
    ] {
        std::fs::write(fixture.home.join(name), b"").unwrap();
        let answer = fixture.get(name).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-disposition"), Some(disposition));
    }
}

#[tokio::test]
async fn ranges_and_conditions() {
    let mut fixture = Fixture::new().await;
    std::fs::write(fixture.home.join("f"), b"0123456789").unwrap();
    let whole = fixture.get("f").await;
    let etag = whole.header("etag").unwrap().to_owned();
    let modified = whole.header("last-modified").unwrap().to_owned();

    let part = fixture.get_with("f", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status(), part.text()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    assert_eq!(part.header("content-length"), Some("3"));
    let part = fixture.get_with("f", &[("range", "bytes=-3"), ("if-range", &etag)]).await;
    assert_eq!((part.status(), part.text()), (206, "789"));
    let stale = fixture.get_with("f", &[("range", "bytes=-3"), ("if-range", "\"stale\"")]).await;
    assert_eq!((stale.status(), stale.text()), (200, "0123456789"));
    let problem = fixture.get_with("f", &[("range", "bytes=10-")]).await;
    problem.expect_problem(416, "files.range");
    assert_eq!(problem.header("content-range"), Some("bytes */10"));
    for header in [("if-none-match", &*etag), ("if-modified-since", &*modified)] {
        let same = fixture.get_with("f", &[header]).await;
        assert_eq!((same.status(), &*same.body, same.header("etag")), (304, &b""[..], Some(&*etag)));
    }
    fixture.get_with("f", &[("if-match", "\"stale\"")]).await.expect_problem(412, "files.changed");

    std::fs::write(fixture.home.join("f"), b"9876543210").unwrap();
    let changed = fixture.get_with("f", &[("if-none-match", &etag)]).await;
    assert_eq!((changed.status(), changed.text()), (200, "9876543210"));

    let request = fixture.user.request("HEAD", "/api/v1/files/content?path=f").body(Body::empty()).unwrap();
    let head = fixture.user.send(request).await;
    assert_eq!((head.status(), head.header("content-length"), head.body.len()), (200, Some("10"), 0));
}

#[tokio::test]
async fn ten_gigabytes_stream_in_constant_memory() {
    const SIZE: u64 = 10 << 30;
    let mut fixture = Fixture::new().await;
    let file = std::fs::File::create(fixture.home.join("huge.xcf")).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(b"the end", SIZE - 7).unwrap();
    assert_eq!(fixture.list("").await["entries"][0]["size"], SIZE);
    let part = fixture.get_with("huge.xcf", &[("range", "bytes=10737418233-")]).await;
    assert_eq!((part.status(), part.text()), (206, "the end"));
    assert_eq!(part.header("content-range"), Some("bytes 10737418233-10737418239/10737418240"));

    // The whole of it, as far as a quarter gigabyte shows.
    let request = fixture.user.request("GET", "/api/v1/files/content?path=huge.xcf").body(Body::empty()).unwrap();
    let response = fixture.user.send_streaming(request).await;
    assert_eq!(response.headers()["content-length"], SIZE.to_string());
    let mut body = response.into_body();
    let before = resident();
    let mut read = 0;
    while read < 256 << 20 {
        read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    assert!(resident() < before + (32 << 20), "{before} -> {}", resident());
}

/// Bytes of memory of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn a_file_cut_while_it_is_sent_does_not_look_whole() {
    let mut fixture = Fixture::new().await;
    let file = std::fs::File::create(fixture.home.join("f")).unwrap();
    file.set_len(8 << 20).unwrap();
    let request = fixture.user.request("GET", "/api/v1/files/content?path=f").body(Body::empty()).unwrap();
    let mut body = fixture.user.send_streaming(request).await.into_body();
    body.frame().await.unwrap().unwrap();
    file.set_len(1 << 20).unwrap();
    assert!(body.collect().await.is_err());
}

#[tokio::test]
async fn folders_and_missing_files_have_no_content() {
    let mut fixture = Fixture::new().await;
    std::fs::create_dir(fixture.home.join("folder")).unwrap();
    fixture.get("folder").await.expect_problem(422, "files.isFolder");
    fixture.get("").await.expect_problem(422, "invalid");
    fixture.get("missing").await.expect_problem(404, "files.notFound");
    fixture.get("missing/file").await.expect_problem(404, "files.notFound");
}

#[tokio::test]
async fn any_time_that_a_session_sets_is_served() {
    use rustix::fs::{Timespec, Timestamps};
    let mut fixture = Fixture::new().await;
    std::fs::write(fixture.home.join("f"), b"f").unwrap();
    for seconds in [-3_000_000_000, -1, 0, 1 << 33, 1 << 40, i64::MAX] {
        let file = std::fs::File::open(fixture.home.join("f")).unwrap();
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time }).unwrap();
        assert_eq!(fixture.get("f").await.status(), 200);
        assert_eq!(fixture.names("").await, ["f"]);
    }
}
