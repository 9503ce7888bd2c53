//! What people have done with GIMP's documents: save, export, a small picture, another layer.
//!
//! Exports are written beside the user's files first, in a folder of the platform's, and moved when they are whole: what GIMP
//! finishes too late overwrites nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use protocol::agent::{
    ExportFormat, ExportRequest, LayerRequest, SaveRequest, ThumbnailRequest, WrittenFile, problem as code,
};
use protocol::session::EXPORT_DIR;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::{Api, JsonBody, Problem, file_in_workspace, inner_path};
use crate::documents::{Wish, WishError, is_xcf_name};

/// Longest wait for what GIMP writes or reads, what it does first included.
const LIMIT: Duration = Duration::from_secs(75);
/// Longest wait for a small picture.
const THUMBNAIL_LIMIT: Duration = Duration::from_secs(8);
/// Bytes read at once.
const BUFFER: usize = 256 * 1024;
/// Downloads at once.
pub const MOST_DOWNLOADS: usize = 2;
/// Bytes by which is seen whether there is room.
const PROBE: usize = 1 << 20;

pub async fn layer(State(api): State<Api>, JsonBody(request): JsonBody<LayerRequest>) -> Result<StatusCode, Problem> {
    api.usable()?;
    let home = api.shared.folders.home.clone();
    let from = blocking(move || file_in_workspace(&home, &request.path)).await?;
    carry_out(&api, LIMIT, Wish::Layer { document: request.document, from }).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn save(
    State(api): State<Api>,
    JsonBody(request): JsonBody<SaveRequest>,
) -> Result<Json<WrittenFile>, Problem> {
    api.usable()?;
    let home = api.shared.folders.home.clone();
    let SaveRequest { document, path, replace } = request;
    let to = match path {
        Some(path) if !is_xcf_name(&path) => {
            let detail = "GIMP saves images as XCF: the name must end with .xcf.";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code::INVALID_PATH, detail));
        }
        Some(path) => Some(
            blocking({
                let home = home.clone();
                move || target_in_workspace(&home, &path, replace)
            })
            .await?,
        ),
        None => None,
    };
    let written = carry_out(&api, LIMIT, Wish::Save { document, to, replace }).await?;
    blocking(move || told(&home, &written)).await.map(Json)
}

pub async fn export(State(api): State<Api>, JsonBody(request): JsonBody<ExportRequest>) -> Result<Response, Problem> {
    api.usable()?;
    if request.quality.is_some_and(|quality| !(1..=100).contains(&quality))
        || request.scale.is_some_and(|scale| !(1..=200).contains(&scale))
    {
        let detail = "The quality is from 1 to 100 percent, the scale from 1 to 200.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body.invalid", detail));
    }
    let home = api.shared.folders.home.clone();
    let Some(path) = request.path.clone() else { return download(&api, request).await };
    if !ends_as(&path, request.format) {
        let detail = "The name must end as files of this format do.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code::INVALID_PATH, detail));
    }
    let replace = request.replace;
    let (to, scratch) = blocking({
        let home = home.clone();
        move || Ok((target_in_workspace(&home, &path, replace)?, Scratch::new(&home.join(EXPORT_DIR), request.format)?))
    })
    .await?;
    let document = request.document.clone();
    export_to(&api, request, &scratch.0).await?;
    let (written, file) = blocking(move || {
        sync(&scratch.0)?;
        move_to(&scratch.0, &to, replace)?;
        Ok((told(&home, &to)?, to))
    })
    .await?;
    api.shared.documents.exported(document, file);
    Ok(Json(written).into_response())
}

/// The file itself, which is nowhere else then.
async fn download(api: &Api, request: ExportRequest) -> Result<Response, Problem> {
    let permit = api.downloads.clone().try_acquire_owned().map_err(|_| Problem::from(WishError::Busy))?;
    let format = request.format;
    let work = async {
        let workspace = api.shared.folders.home.join(EXPORT_DIR);
        let scratch = blocking(move || Scratch::new(&workspace, format)).await;
        if let Ok(scratch) = scratch {
            match export_to(api, request.clone(), &scratch.0).await {
                Err(problem) if problem.code == code::FAILED && is_full(&scratch.0).await => {}
                done => return done.map(|()| scratch),
            }
        }
        // A full workspace must not keep anybody from taking pictures home. Where GIMP's writes were stopped it is of no use:
        // their limit knows no folders.
        let scratch = blocking(move || Scratch::new(&std::env::temp_dir(), format)).await?;
        export_to(api, request, &scratch.0).await.map(|()| scratch)
    };
    let scratch = tokio::time::timeout(LIMIT, work).await.unwrap_or(Err(WishError::Busy.into()))?;
    answer(scratch, format, permit).await
}

/// Whether no more can be written to where this file was to be.
async fn is_full(file: &Path) -> bool {
    let probe = file.with_extension("probe");
    let written = tokio::task::spawn_blocking(move || {
        let written = fs::write(&probe, vec![1; PROBE]).and_then(|()| fs::File::open(&probe)?.sync_all());
        let _ = fs::remove_file(&probe);
        written
    });
    let full = |error: io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    written.await.is_ok_and(|written| written.is_err_and(full))
}

/// `permit` is held until all has been read.
async fn answer(scratch: Scratch, format: ExportFormat, permit: OwnedSemaphorePermit) -> Result<Response, Problem> {
    // It is read to its end although it has no name any more.
    let (file, size) = blocking(move || {
        let file = fs::File::open(&scratch.0).map_err(|error| not_written(&error))?;
        let size = file.metadata().map_err(|error| not_written(&error))?.len();
        Ok((file, size))
    })
    .await?;
    let read = ReaderStream::with_capacity(tokio::fs::File::from_std(file), BUFFER);
    let body = Body::from_stream(read.inspect(move |_| _ = &permit));
    Ok(([(CONTENT_TYPE, format.media_type().to_owned()), (CONTENT_LENGTH, size.to_string())], body).into_response())
}

async fn export_to(api: &Api, request: ExportRequest, to: &Path) -> Result<(), Problem> {
    let ExportRequest { document, quality, scale, .. } = request;
    carry_out(api, LIMIT, Wish::Export { document, to: to.to_owned(), quality, scale }).await.map(drop)
}

pub async fn thumbnail(
    State(api): State<Api>,
    JsonBody(request): JsonBody<ThumbnailRequest>,
) -> Result<Response, Problem> {
    api.usable()?;
    let ThumbnailRequest { document, size } = request;
    if !(16..=1024).contains(&size) {
        let detail = "A small picture has from 16 to 1024 pixels on its longer side.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "body.invalid", detail));
    }
    // In the run folder, which has room when the workspace has none.
    let run = api.shared.folders.run.clone();
    let scratch = blocking(move || Scratch::new(&run, ExportFormat::Png)).await?;
    carry_out(&api, THUMBNAIL_LIMIT, Wish::Thumbnail { document, to: scratch.0.clone(), size }).await?;
    let bytes = blocking(move || fs::read(&scratch.0).map_err(|error| not_written(&error))).await?;
    Ok(([(CONTENT_TYPE, "image/png")], bytes).into_response())
}

async fn carry_out(api: &Api, limit: Duration, wish: Wish) -> Result<PathBuf, Problem> {
    let done = tokio::time::timeout(limit, api.shared.documents.carry_out(wish)).await;
    done.unwrap_or(Err(WishError::Busy)).map_err(|error| {
        tracing::warn!(%error, "a wish for a document was not carried out");
        error.into()
    })
}

impl From<WishError> for Problem {
    fn from(error: WishError) -> Self {
        let (status, code, detail) = match error {
            WishError::NoDocument => {
                (StatusCode::NOT_FOUND, code::NO_DOCUMENT, "GIMP has no such image open any more.")
            }
            WishError::Which => {
                (StatusCode::UNPROCESSABLE_ENTITY, code::WHICH, "Several images are open: say which is meant.")
            }
            WishError::NoFile => (
                StatusCode::UNPROCESSABLE_ENTITY,
                code::NO_FILE,
                "The image was never saved as XCF: give it a name that ends with .xcf.",
            ),
            WishError::Busy => {
                (StatusCode::SERVICE_UNAVAILABLE, code::BUSY, "GIMP is busy. Nothing was lost; try again in a moment.")
            }
            WishError::Unknown => {
                (StatusCode::NOT_IMPLEMENTED, code::UNKNOWN, "Nothing is known of the images in this GIMP.")
            }
            WishError::Exists => return exists(),
            WishError::TooLarge => (
                StatusCode::UNPROCESSABLE_ENTITY,
                code::FAILED,
                "The image is too large to be exported so; choose a smaller size, or save it in GIMP.",
            ),
            WishError::NotWritten(error) => return not_written(&error),
            WishError::Failed(_) => (StatusCode::UNPROCESSABLE_ENTITY, code::FAILED, "GIMP could not do that."),
            WishError::Ending => return Self::ending(),
        };
        Self::new(status, code, detail)
    }
}

/// A file of our own, gone when this is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(folder: &Path, format: ExportFormat) -> Result<Self, Problem> {
        fs::create_dir_all(folder).map_err(|error| not_written(&error))?;
        let name = format!("{}.{}", Uuid::now_v7().simple(), format.endings()[0]);
        Ok(Self(folder.join(name)))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "an export's own copy stays until the next start");
            }
            _ => {}
        }
    }
}

fn sync(file: &Path) -> Result<(), Problem> {
    fs::File::open(file).and_then(|file| file.sync_all()).map_err(|error| not_written(&error))
}

/// As `rename`, but takes no other file's place unless it is to.
fn move_to(from: &Path, to: &Path, replace: bool) -> Result<(), Problem> {
    let moved = if replace {
        fs::rename(from, to)
    } else {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can. The other name goes with the scratch file.
            Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(from, to),
            moved => moved.map_err(io::Error::from),
        }
    };
    moved.map_err(|error| if error.kind() == io::ErrorKind::AlreadyExists { exists() } else { not_written(&error) })?;
    // Of no consequence but after a power cut.
    if let Some(Err(error)) = to.parent().map(|folder| fs::File::open(folder)?.sync_all()) {
        tracing::warn!(%error, "a new file's name may not be on the disk yet");
    }
    Ok(())
}

fn ends_as(path: &str, format: ExportFormat) -> bool {
    let ending = Path::new(path).extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| format.endings().contains(&ending.as_str()))
}

/// Where a new file of the workspace goes, links followed. Fails where one is that may not be replaced.
fn target_in_workspace(home: &Path, relative: &str, replace: bool) -> Result<PathBuf, Problem> {
    let no_folder =
        || Problem::new(StatusCode::NOT_FOUND, code::NO_FOLDER, "There is no such folder in the workspace.");
    let path = inner_path(relative)?;
    let home = home.canonicalize().map_err(|_| no_folder())?;
    let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().ok_or_else(no_folder)?);
    let folder = home.join(folder).canonicalize().map_err(|_| no_folder())?;
    if !folder.starts_with(&home) || !folder.is_dir() {
        return Err(no_folder());
    }
    let target = folder.join(name);
    match fs::symlink_metadata(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(target),
        Ok(_) if !replace => Err(exists()),
        // Only what could have been written by a save: no folder, and no link to who knows where.
        Ok(there) if there.is_file() => Ok(target),
        Ok(_) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code::INVALID_PATH, "There is something else.")),
        Err(error) => Err(not_written(&error)),
    }
}

fn exists() -> Problem {
    Problem::new(StatusCode::CONFLICT, code::EXISTS, "There is a file of this name already.")
}

fn told(home: &Path, file: &Path) -> Result<WrittenFile, Problem> {
    let size = fs::metadata(file).map_err(|error| not_written(&error))?.len();
    let inside = home.canonicalize().ok().and_then(|home| Some(file.strip_prefix(home).ok()?.to_owned()));
    let inside = inside.or_else(|| Some(file.strip_prefix(home).ok()?.to_owned()));
    Ok(WrittenFile { path: inside.unwrap_or_default().to_string_lossy().into_owned(), size })
}

fn not_written(error: &io::Error) -> Problem {
    tracing::warn!(%error, "a file could not be written");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code::FAILED, "The file could not be written; is there room left?")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::ending())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_files_stay_inside_and_replace_none_unasked() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let home = dir.path().join("home");
        fs::create_dir_all(home.join("a/folder.png")).expect("creates");
        fs::write(home.join("a/there.png"), b"x").expect("writes");
        std::os::unix::fs::symlink(dir.path(), home.join("out")).expect("links");
        std::os::unix::fs::symlink(dir.path().join("secret"), home.join("a/link.png")).expect("links");

        let code = |path: &str, replace| target_in_workspace(&home, path, replace).map_err(|problem| problem.code);
        assert!(code("new.png", false).is_ok());
        assert!(code("a/new.png", false).is_ok());
        assert_eq!(code("a/there.png", false), Err("files.exists"));
        assert!(code("a/there.png", true).is_ok());
        assert_eq!(code("a/link.png", true), Err("files.invalidPath"));
        assert_eq!(code("a/folder.png", true), Err("files.invalidPath"));
        for missing in ["b/new.png", "out/new.png", "a/there.png/new.png"] {
            assert_eq!(code(missing, true), Err("files.noFolder"), "{missing}");
        }
        for invalid in ["", "/etc/new.png", "../new.png", "a/../../new.png", "a\0.png"] {
            assert_eq!(code(invalid, true), Err("files.invalidPath"), "{invalid:?}");
        }
    }

    #[test]
    fn files_move_to_where_none_is() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let [new, to] = ["new", "to"].map(|name| dir.path().join(name));
        fs::write(&new, "new").and_then(|()| fs::write(&to, "old")).expect("writes");
        assert_eq!(move_to(&new, &to, false).map_err(|problem| problem.code), Err("files.exists"));
        assert_eq!((fs::read(&to).expect("reads"), new.exists()), (b"old".to_vec(), true));
        move_to(&new, &to, true).expect("takes its place");
        assert_eq!((fs::read(&to).expect("reads"), new.exists()), (b"new".to_vec(), false));
        move_to(&to, &new, false).expect("nothing is there");
        assert!(new.exists() && !to.exists());
    }

    #[test]
    fn names_end_as_their_format_says() {
        assert!(ends_as("a/b.JPEG", ExportFormat::Jpeg));
        assert!(ends_as("b.tif", ExportFormat::Tiff));
        assert!(!ends_as("b.png", ExportFormat::Jpeg));
        assert!(!ends_as("png", ExportFormat::Png));
    }
}
