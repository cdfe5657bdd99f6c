//! The signal to stop, seen by every long task.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::Error;

/// Tells every long task to stop.
pub(crate) struct Stopper {
    stop: watch::Sender<bool>,
}

impl Stopper {
    /// Not stopped.
    pub(crate) fn new() -> Self {
        Stopper { stop: watch::channel(false).0 }
    }

    /// What a task watches.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Tells them.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Waits until a task shall stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the stopper is gone, which is a stop as well.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn requested() -> Result<&'static str, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
