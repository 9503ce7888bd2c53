//! What can go wrong with a user's files.

use rustix::io::Errno;

use super::path::PathError;
use crate::driver::{StartError, WorkspaceError};

/// `Display` is for people; only `Internal` and `Driver` are not theirs to mend.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("There is no such file or folder. It may have been renamed or deleted meanwhile.")]
    NotFound,
    /// The parent of something to be made.
    #[error("The folder it should go into does not exist. Make it first.")]
    NoFolder,
    #[error("There is already something of this name. Choose another name, or delete the other one first.")]
    Exists,
    #[error("This is a folder.")]
    IsFolder,
    #[error("This is not a folder.")]
    NotFolder,
    /// A link, pipe, socket or device.
    #[error("This is not a regular file: links, pipes and devices can be renamed and deleted, but not opened.")]
    Special,
    #[error("A folder can't be moved into itself.")]
    IntoItself,
    #[error("The permissions of this file or folder do not allow that.")]
    Forbidden,
    #[error("The file is in use. Try again in a moment.")]
    Busy,
    #[error(
        "There is not enough room in your workspace: {needed} bytes are needed, {left} are left. Delete files and empty the trash."
    )]
    QuotaExceeded { needed: u64, left: u64 },
    #[error("The platform's disk is full. Nothing is lost; try again later, or tell your administrator.")]
    DiskFull,
    #[error("There are already {0} unfinished uploads. Finish or cancel some first.")]
    TooManyUploads(usize),
    #[error("There is no such upload. It was finished, cancelled, or not continued for seven days.")]
    NoUpload,
    #[error("The upload goes on at byte {offset}.")]
    Offset { offset: u64 },
    #[error("More bytes were sent than the {size} the upload was made for.")]
    TooLong { size: u64, offset: u64 },
    #[error("The connection was cut or too slow. Go on from byte {offset}.")]
    Cut { offset: u64 },
    #[error("There is no such entry in the trash.")]
    NotInTrash,
    #[error("There is no such recovery.")]
    NoRecovery,
    #[error("There is no such version of a file. It may have been removed to make room.")]
    NoVersion,
    #[error("There is no preview of this file.")]
    NoThumbnail,
    #[error("This picture can't be read: it is broken, or too large for a preview.")]
    BrokenPicture,
    #[error(transparent)]
    Elsewhere(WorkspaceError),
    #[error("{0}")]
    Driver(#[source] StartError),
    #[error("{0:#}")]
    Internal(anyhow::Error),
}

impl From<WorkspaceError> for FileError {
    fn from(error: WorkspaceError) -> Self {
        match error {
            WorkspaceError::Driver(error) => Self::Driver(error),
            WorkspaceError::Elsewhere => Self::Elsewhere(error),
        }
    }
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::EXIST | Errno::NOTEMPTY => Self::Exists,
            Errno::ISDIR => Self::IsFolder,
            Errno::NOTDIR => Self::NotFolder,
            // A link where none may be; a socket.
            Errno::LOOP | Errno::NXIO => Self::Special,
            Errno::ACCESS | Errno::PERM => Self::Forbidden,
            // A lease or a mount is in the way.
            Errno::AGAIN | Errno::BUSY | Errno::TXTBSY => Self::Busy,
            Errno::NOSPC => Self::DiskFull,
            Errno::DQUOT => Self::QuotaExceeded { needed: 1, left: 0 },
            Errno::NAMETOOLONG => Self::Path(PathError::LongName),
            other => Self::Internal(anyhow::Error::new(other)),
        }
    }
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::Internal(error.into()),
        }
    }
}

impl From<sea_orm::DbErr> for FileError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Internal(error.into())
    }
}
