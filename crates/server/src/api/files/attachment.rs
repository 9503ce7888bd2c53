//! A file as an answer.

use std::io::SeekFrom;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, ReadBuf};
use tokio_util::io::ReaderStream;

use super::range::{Current, Selection, select};
use crate::error::Problem;
use crate::workspace::content::Content;
use crate::workspace::entry;
use crate::workspace::path::Name;

/// Bytes read at once: what a download holds in memory.
const BUFFER: usize = 256 * 1024;

/// RFC 8187: what a parameter's extended value may hold as it is.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Answers with a file, as `headers` want it. Nothing in it can act on our pages, whatever it is: it is an attachment,
/// only pictures have their own type, and a document from it would be of no origin and run nothing.
pub(in crate::api) async fn send(content: Content, headers: &HeaderMap) -> Result<Response, Problem> {
    let etag = format!("\"{}\"", content.version);
    let size = content.size;
    let selection = select(headers, Current { size, etag: &etag, modified: content.modified });
    let (status, start, length) = match selection {
        Selection::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
        Selection::PreconditionFailed => {
            return Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "files.changed",
                "The file has changed meanwhile. Load it again.",
            ));
        }
        Selection::Whole => (StatusCode::OK, 0, size),
        Selection::Part { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Selection::Unsatisfiable => {
            let problem = Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "files.range",
                format!("The file has only {size} bytes."),
            );
            let mut response = problem.into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, value(format!("bytes */{size}"))?);
            return Ok(response);
        }
    };
    let body = if length == 0 {
        Body::empty()
    } else {
        let mut file = tokio::fs::File::from_std(content.file);
        file.seek(SeekFrom::Start(start)).await.map_err(Problem::internal)?;
        Body::from_stream(ReaderStream::with_capacity(Exactly { file: file.take(length) }, BUFFER))
    };
    let mut response = (status, body).into_response();
    let out = response.headers_mut();
    out.insert(header::ETAG, value(etag)?);
    // A session can set any time; HTTP has none before 1970.
    let modified = content.modified.max(OffsetDateTime::UNIX_EPOCH);
    out.insert(header::LAST_MODIFIED, value(httpdate::fmt_http_date(modified.into()))?);
    // Ours to keep, but ask each time.
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    if status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(safe_media_type(&content.name)));
    out.insert(header::CONTENT_DISPOSITION, value(disposition(&content.name.display()))?);
    out.insert(header::CONTENT_LENGTH, length.into());
    if let Selection::Part { .. } = selection {
        out.insert(header::CONTENT_RANGE, value(format!("bytes {start}-{}/{size}", start + length - 1))?);
    }
    Ok(response)
}

fn value(text: String) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(text).map_err(Problem::internal)
}

/// RFC 6266: a name for every client, and the real one for those that know Unicode.
pub(in crate::api) fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' })
        .collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ATTR_CHAR))
}

/// Types that browsers show without running anything. Everything else is bytes: no script or style sheet of ours.
fn safe_media_type(name: &Name) -> &'static str {
    const PICTURES: [&str; 8] =
        ["image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/tiff", "image/avif", "image/x-xcf"];
    let guessed = entry::media_type(name);
    PICTURES.into_iter().find(|known| guessed.as_deref() == Some(known)).unwrap_or("application/octet-stream")
}

/// Fails when the file ends before its announced length, so that a cut download never looks whole.
struct Exactly {
    file: tokio::io::Take<tokio::fs::File>,
}

impl AsyncRead for Exactly {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.file).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = read
            && buffer.filled().len() == before
            && buffer.remaining() > 0
            && self.file.limit() > 0
        {
            return Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()));
        }
        read
    }
}
