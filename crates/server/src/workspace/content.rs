//! Reading files.

use std::fs::File;

use time::OffsetDateTime;

use super::Workspace;
use super::browse::place;
use super::entry;
use super::error::FileError;
use super::path::{Name, WorkspacePath};

/// A regular file, open for reading.
#[derive(Debug)]
pub struct Content {
    pub file: File,
    pub name: Name,
    /// Bytes when it was opened. A session may change it meanwhile.
    pub size: u64,
    pub modified: OffsetDateTime,
    /// Strong validator, without quotes.
    pub version: String,
}

impl Workspace {
    pub async fn content(&self, path: WorkspacePath) -> Result<Content, FileError> {
        self.with_root(move |root| {
            let (parent, name) = place(root, &path)?;
            let (file, stat) = parent.open_file(name)?;
            Ok(Content {
                file,
                name: name.clone(),
                size: entry::size(&stat),
                modified: entry::modified(&stat),
                version: entry::version(&stat),
            })
        })
        .await
    }
}
