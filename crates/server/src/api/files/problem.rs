//! What callers are told when something about their files fails.

use axum::http::StatusCode;

use crate::driver::StartError;
use crate::error::Problem;
use crate::workspace::error::FileError;

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        let detail = error.to_string();
        let new = |status, code| Problem::new(status, code, detail.clone());
        match error {
            FileError::Path(_) => Problem::invalid(&[("path", detail)]),
            FileError::NotFound => new(StatusCode::NOT_FOUND, "files.notFound"),
            FileError::NoFolder => new(StatusCode::NOT_FOUND, "files.noFolder"),
            FileError::Exists => new(StatusCode::CONFLICT, "files.exists"),
            FileError::IsFolder => new(StatusCode::UNPROCESSABLE_ENTITY, "files.isFolder"),
            FileError::NotFolder => new(StatusCode::UNPROCESSABLE_ENTITY, "files.notFolder"),
            FileError::Special => new(StatusCode::UNPROCESSABLE_ENTITY, "files.special"),
            FileError::IntoItself => new(StatusCode::UNPROCESSABLE_ENTITY, "files.intoItself"),
            FileError::Forbidden => new(StatusCode::FORBIDDEN, "files.forbidden"),
            FileError::Busy => new(StatusCode::SERVICE_UNAVAILABLE, "files.busy").retry_after(2),
            FileError::QuotaExceeded { needed, left } => {
                new(StatusCode::INSUFFICIENT_STORAGE, "files.quotaExceeded").with("needed", needed).with("left", left)
            }
            FileError::DiskFull => new(StatusCode::INSUFFICIENT_STORAGE, "files.diskFull"),
            FileError::TooManyUploads(_) => new(StatusCode::CONFLICT, "uploads.tooMany"),
            FileError::NoUpload => new(StatusCode::NOT_FOUND, "uploads.notFound"),
            FileError::Offset { offset } => new(StatusCode::CONFLICT, "uploads.offset").with("offset", offset),
            FileError::TooLong { offset, .. } => {
                new(StatusCode::PAYLOAD_TOO_LARGE, "uploads.tooLong").with("offset", offset)
            }
            FileError::Cut { offset } => new(StatusCode::REQUEST_TIMEOUT, "uploads.cut").with("offset", offset),
            FileError::NotInTrash => new(StatusCode::NOT_FOUND, "trash.notFound"),
            FileError::NoRecovery => new(StatusCode::NOT_FOUND, "recoveries.notFound"),
            FileError::NoVersion => new(StatusCode::NOT_FOUND, "versions.notFound"),
            FileError::NoThumbnail => new(StatusCode::NOT_FOUND, "files.noThumbnail"),
            FileError::BrokenPicture => new(StatusCode::UNPROCESSABLE_ENTITY, "files.brokenPicture"),
            FileError::Elsewhere(_) => new(StatusCode::NOT_IMPLEMENTED, "workspace.elsewhere"),
            FileError::Driver(StartError::NoRoom(_) | StartError::Unsupported(_)) => {
                new(StatusCode::SERVICE_UNAVAILABLE, "workspace.unavailable").retry_after(30)
            }
            FileError::Driver(StartError::Internal(cause)) => Problem::internal(format_args!("{cause:#}")),
            FileError::Internal(cause) => Problem::internal(format_args!("{cause:#}")),
        }
    }
}
