//! What can keep the server from running.

use std::net::SocketAddr;

use crate::config::ConfigError;

/// An error of starting or stopping the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong; the operator must change it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be listened on: taken, or not of this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] crate::auth::TokenError),
    /// Keystone cannot be asked as it is set.
    #[error("auth.keystone: {0}")]
    Keystone(String),
    /// Certificate or key cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The data directory cannot be opened or closed.
    #[error(transparent)]
    Store(#[from] moneta_storage::Error),
    /// Alerting cannot be started or stopped.
    #[error(transparent)]
    Alerting(#[from] moneta_alerting::Error),
    /// A background task ended by a panic; its log line says where.
    #[error("the task {task} has panicked")]
    Panicked {
        /// The task.
        task: &'static str,
    },
    /// The system refused to watch for signals.
    #[error("cannot watch for signals: {0}")]
    Signals(std::io::Error),
}
