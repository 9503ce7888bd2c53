//! Which part of a file a request wants: RFC 9110, sections 13 and 14, for one strong validator and single ranges.

use std::time::SystemTime;

use axum::http::{HeaderMap, header};
use time::OffsetDateTime;

/// What to answer a request for a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// 304
    NotModified,
    /// 412
    PreconditionFailed,
    /// 200
    Whole,
    /// 206: first byte and number of bytes, at least 1.
    Part { start: u64, length: u64 },
    /// 416
    Unsatisfiable,
}

/// What a file is now.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// Bytes.
    pub size: u64,
    /// Strong ETag with its quotes.
    pub etag: &'a str,
    pub modified: OffsetDateTime,
}

/// Evaluates the conditions in the order of RFC 9110, section 13.2.2.
#[must_use]
pub fn select(headers: &HeaderMap, current: Current<'_>) -> Selection {
    if let Some(tags) = text(headers, header::IF_MATCH) {
        if !lists(tags, current.etag, false) {
            return Selection::PreconditionFailed;
        }
    } else if let Some(since) = date(headers, header::IF_UNMODIFIED_SINCE)
        && seconds(current.modified) > since
    {
        return Selection::PreconditionFailed;
    }
    if let Some(tags) = text(headers, header::IF_NONE_MATCH) {
        if lists(tags, current.etag, true) {
            return Selection::NotModified;
        }
    } else if let Some(since) = date(headers, header::IF_MODIFIED_SINCE)
        && seconds(current.modified) <= since
    {
        return Selection::NotModified;
    }
    match text(headers, header::RANGE) {
        Some(range) if if_range(headers, current) => parse(range, current.size),
        _ => Selection::Whole,
    }
}

/// A `Range` header. What is not one range of bytes is ignored, as section 14.2 allows.
#[must_use]
pub fn parse(range: &str, size: u64) -> Selection {
    let Some((unit, set)) = range.split_once('=') else { return Selection::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Selection::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Selection::Whole };
    match (number(first), number(last)) {
        (Number::Wrong, _) | (_, Number::Wrong) | (Number::Missing, Number::Missing) => Selection::Whole,
        (Number::Missing, Number::Is(suffix)) => {
            let length = suffix.min(size);
            if length == 0 { Selection::Unsatisfiable } else { Selection::Part { start: size - length, length } }
        }
        (Number::Is(first), Number::Is(last)) if last < first => Selection::Whole,
        (Number::Is(first), _) if first >= size => Selection::Unsatisfiable,
        (Number::Is(first), Number::Is(last)) => {
            Selection::Part { start: first, length: last.min(size - 1) - first + 1 }
        }
        (Number::Is(first), Number::Missing) => Selection::Part { start: first, length: size - first },
    }
}

enum Number {
    Missing,
    Is(u64),
    Wrong,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        return Number::Missing;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Number::Wrong;
    }
    // More than 64 bits is beyond every file.
    Number::Is(text.parse().unwrap_or(u64::MAX))
}

/// A tag or date that still holds, or no condition at all.
fn if_range(headers: &HeaderMap, current: Current<'_>) -> bool {
    match headers.get(header::IF_RANGE) {
        None => true,
        Some(value) => match value.to_str() {
            Ok(tag) if tag.starts_with('"') || tag.starts_with("W/") => tag == current.etag,
            Ok(date) => httpdate::parse_http_date(date).is_ok_and(|date| unix(date) == seconds(current.modified)),
            Err(_) => false,
        },
    }
}

fn lists(tags: &str, etag: &str, weak: bool) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag || weak && tag.strip_prefix("W/") == Some(etag))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<i64> {
    text(headers, name).and_then(|text| httpdate::parse_http_date(text).ok()).map(unix)
}

/// HTTP dates have whole seconds.
fn seconds(at: OffsetDateTime) -> i64 {
    at.unix_timestamp()
}

fn unix(at: SystemTime) -> i64 {
    OffsetDateTime::from(at).unix_timestamp()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const ETAG: &str = "\"v1\"";

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).expect("in range")
    }

    fn answer(headers: &[(header::HeaderName, &str)]) -> Selection {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a value")))
            .collect();
        // 1994-11-06 08:49:37, RFC 9110's example.
        select(&headers, Current { size: 100, etag: ETAG, modified: at(784_111_777) })
    }

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("bytes=0-9", Selection::Part { start: 0, length: 10 }),
            ("bytes=90-", Selection::Part { start: 90, length: 10 }),
            ("bytes=-5", Selection::Part { start: 95, length: 5 }),
            ("bytes=-500", Selection::Part { start: 0, length: 100 }),
            ("bytes=50-500", Selection::Part { start: 50, length: 50 }),
            ("bytes=99-99", Selection::Part { start: 99, length: 1 }),
            ("Bytes = 1-2", Selection::Part { start: 1, length: 2 }),
            ("bytes=100-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=9-1", Selection::Whole),
            ("bytes=0-1,5-6", Selection::Whole),
            ("bytes=0-x", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=", Selection::Whole),
            ("lines=1-2", Selection::Whole),
            ("garbage", Selection::Whole),
        ] {
            assert_eq!(answer(&[(header::RANGE, range)]), expected, "{range}");
        }
        assert_eq!(parse("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn conditions() {
        const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        let part = Selection::Part { start: 0, length: 2 };
        for (headers, expected) in [
            (&[(header::IF_NONE_MATCH, "\"v0\", W/\"v1\"")][..], Selection::NotModified),
            (&[(header::IF_NONE_MATCH, "*")], Selection::NotModified),
            (&[(header::IF_NONE_MATCH, "\"v0\""), (header::IF_MODIFIED_SINCE, THEN)], Selection::Whole),
            (&[(header::IF_MODIFIED_SINCE, THEN)], Selection::NotModified),
            (&[(header::IF_MODIFIED_SINCE, BEFORE)], Selection::Whole),
            (&[(header::IF_MODIFIED_SINCE, "yesterday")], Selection::Whole),
            (&[(header::IF_MATCH, ETAG)], Selection::Whole),
            (&[(header::IF_MATCH, "W/\"v1\"")], Selection::PreconditionFailed),
            (&[(header::IF_UNMODIFIED_SINCE, THEN)], Selection::Whole),
            (&[(header::IF_UNMODIFIED_SINCE, BEFORE)], Selection::PreconditionFailed),
            (&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, ETAG)], part),
            (&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, "\"v0\"")], Selection::Whole),
            (&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, "W/\"v1\"")], Selection::Whole),
            (&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, THEN)], part),
            (&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, BEFORE)], Selection::Whole),
        ] {
            assert_eq!(answer(headers), expected, "{headers:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.insert(header::IF_RANGE, HeaderValue::from_bytes(b"\xff").expect("opaque"));
        assert_eq!(select(&headers, Current { size: 9, etag: ETAG, modified: at(0) }), Selection::Whole);
    }

    proptest! {
        #[test]
        fn parts_lie_within_the_file(text in "(bytes=)?[0-9,=x -]{0,24}", size: u64) {
            if let Selection::Part { start, length } = parse(&text, size) {
                prop_assert!(length > 0);
                prop_assert!(start.checked_add(length).is_some_and(|end| end <= size));
            }
        }
    }
}
