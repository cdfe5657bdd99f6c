//! What can go wrong in storage, by what the caller can do about it.

use std::path::{Path, PathBuf};

/// What the caller can do. Each API maps these to its statuses in one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The request is wrong; repeating it will not help.
    Invalid,
    /// The request is fine; try again later.
    Busy,
    /// A configured limit was reached.
    Limit,
    /// The request is fine; the tenant sends too much in a short time.
    Rate,
    /// Stored bytes do not verify. Needs an operator.
    Corrupt,
    /// This process can no longer write. Needs a restart.
    Stopped,
    /// Whoever asked has gone.
    Interrupted,
}

/// An error of the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request cannot be carried out as it stands.
    #[error("{0}")]
    Invalid(String),
    /// Too much is waiting already.
    #[error("{what} is full, try again")]
    Busy {
        /// The queue or budget that is full.
        what: &'static str,
    },
    /// No writes are taken for now. That ends by itself; nothing acknowledged is lost meanwhile.
    #[error("no writes are taken for now: {reason}")]
    ReadOnly {
        /// What must change first.
        reason: String,
    },
    /// A limit that protects the store.
    #[error("{limit} is limited to {max}")]
    Limit {
        /// The name of the limit.
        limit: &'static str,
        /// Its value.
        max: u64,
    },
    /// A limit on how much comes in a span of time. Nothing of the request was done.
    #[error("{limit} is limited to {max}, try again in {wait_ms} ms")]
    Rate {
        /// The name of the limit.
        limit: &'static str,
        /// Its value.
        max: u64,
        /// When the request may pass, milliseconds.
        wait_ms: u64,
    },
    /// A series was removed, having no samples left, while the write was on its way.
    #[error("a series of this write has just been removed, send it again")]
    Removed,
    /// Bytes on disk do not verify.
    #[error("{place} has a bad {what}")]
    Corrupt {
        /// The part that does not verify.
        what: &'static str,
        /// File and offset, or key.
        place: String,
    },
    /// Writes have stopped after an error that this process cannot mend.
    #[error("writes have stopped: {reason}")]
    Stopped {
        /// The first error.
        reason: String,
    },
    /// The read was told to end.
    #[error("the read was interrupted")]
    Interrupted,
    /// The operating system refused a file operation.
    #[error("{}: {message}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's text.
        message: String,
    },
    /// RocksDB refused an operation.
    #[error("rocksdb: {0}")]
    Kv(String),
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid(_) => ErrorKind::Invalid,
            Error::Busy { .. } | Error::Removed | Error::ReadOnly { .. } => ErrorKind::Busy,
            Error::Limit { .. } => ErrorKind::Limit,
            Error::Rate { .. } => ErrorKind::Rate,
            Error::Corrupt { .. } => ErrorKind::Corrupt,
            Error::Interrupted => ErrorKind::Interrupted,
            Error::Stopped { .. } | Error::Io { .. } | Error::Kv(_) => ErrorKind::Stopped,
        }
    }

    /// A part that does not verify, and where it lies.
    pub fn corrupt(what: &'static str, place: impl Into<String>) -> Self {
        Error::Corrupt { what, place: place.into() }
    }

    /// A failed file operation.
    #[must_use]
    pub fn io(path: &Path, source: &std::io::Error) -> Self {
        Error::Io { path: path.to_path_buf(), message: source.to_string() }
    }
}

impl From<rocksdb::Error> for Error {
    fn from(source: rocksdb::Error) -> Self {
        Error::Kv(source.into_string())
    }
}
