//! The headers of uploads, named as in the tus protocol.

use axum::http::{HeaderMap, HeaderName};

/// Bytes that have arrived.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Bytes of the whole file.
pub const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// `Upload-Offset` of a request: decimal digits, once.
#[must_use]
pub fn parse_offset(headers: &HeaderMap) -> Option<u64> {
    let mut values = headers.get_all(UPLOAD_OFFSET).iter();
    let text = values.next()?.to_str().ok()?;
    if values.next().is_some() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_decimal_digits_once() {
        let parse = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(UPLOAD_OFFSET, value.parse().expect("a value"));
            }
            parse_offset(&headers)
        };
        assert_eq!(parse(&["0"]), Some(0));
        assert_eq!(parse(&["18446744073709551615"]), Some(u64::MAX));
        for wrong in [&[][..], &[""], &["+1"], &["-1"], &["1.0"], &["18446744073709551616"], &["1", "1"], &["ü"]] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
