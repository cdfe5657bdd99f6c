//! What can go wrong in a query.

use moneta_storage::ErrorKind;

/// An error of a query.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The question cannot be answered as it stands.
    #[error("{0}")]
    Invalid(String),
    /// The question is for one series, but several match.
    #[error("several series match; name one, merge them or group them")]
    SeveralSeries,
    /// A limit that protects the server.
    #[error("the query would exceed the limit of {max} {limit}")]
    Limit {
        /// What is limited.
        limit: &'static str,
        /// The limit.
        max: u64,
    },
    /// Whoever asked has left.
    #[error("the answer is no longer wanted")]
    Unwanted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] moneta_storage::Error),
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid(_) | Error::SeveralSeries => ErrorKind::Invalid,
            Error::Limit { .. } => ErrorKind::Limit,
            Error::Unwanted => ErrorKind::Busy,
            Error::Store(source) => source.kind(),
        }
    }
}
