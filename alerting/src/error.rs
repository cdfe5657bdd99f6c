//! What can go wrong in alerting.

use moneta_storage::ErrorKind;

/// An error of alerting.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The expression does not parse.
    #[error("parser failed on expression '{expression}' at column {column}: {message}")]
    Expression {
        /// The text as given.
        expression: String,
        /// 1-based column, in characters.
        column: usize,
        /// What was expected.
        message: String,
    },
    /// A value breaks a rule; the text names the field.
    #[error("{0}")]
    Invalid(String),
    /// An update that the definition's alarms could not follow.
    #[error("{0}")]
    InvalidUpdate(String),
    /// The name is taken.
    #[error("{0}")]
    Exists(String),
    /// There is no such definition, alarm or method.
    #[error("no {what} has the id {id}")]
    NotFound {
        /// `alarm definition`, `alarm` or `notification method`.
        what: &'static str,
        /// The id asked for.
        id: String,
    },
    /// A limit that protects the server.
    #[error("{limit} is limited to {max}")]
    Limit {
        /// What is limited.
        limit: &'static str,
        /// The limit.
        max: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] moneta_storage::Error),
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Expression { .. }
            | Error::Invalid(_)
            | Error::InvalidUpdate(_)
            | Error::Exists(_)
            | Error::NotFound { .. } => ErrorKind::Invalid,
            Error::Limit { .. } => ErrorKind::Limit,
            Error::Store(source) => source.kind(),
        }
    }
}
