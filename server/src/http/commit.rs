//! The end of every write: waiting until it is durable, and what a refusal means.

use std::sync::Arc;

use moneta_storage::write::WriteRequest;
use moneta_storage::{Error, ErrorKind};
use tokio::sync::oneshot;

use super::Services;
use crate::telemetry::Reason;

/// Bodies up to this many bytes are decoded where they arrive: that holds a worker for well under a
/// millisecond, and the way to another thread and back costs a sixth of all that a request of 1000
/// metrics does. Only series that are new take longer.
pub(super) const SMALL_BODY_BYTES: usize = 256 * 1024;

/// A write on its way to the disk.
pub(super) struct Submitted(oneshot::Receiver<Result<(), Error>>);

impl Services {
    /// Hands a write to the committer.
    pub(super) fn submit(&self, request: WriteRequest) -> Result<Submitted, Error> {
        let (ack, acknowledged) = oneshot::channel();
        self.store.submit(request, move |result| {
            // A client that went away needs no answer; the write stands.
            let _ = ack.send(result.map(|_| ()));
        })?;
        Ok(Submitted(acknowledged))
    }

    /// Takes note of a write that the store has refused.
    pub(super) fn look_at_refusal(&self, error: &Error) {
        // One damaged entry does not mean that no write can succeed any more.
        if error.kind() == ErrorKind::Stopped {
            self.health.writes_have_stopped();
        }
    }

    /// Commits writes of several tenants, all on their way at once: how many samples have become durable,
    /// and for each other write how many it had and why not.
    pub(super) async fn commit_all(
        self: &Arc<Self>,
        requests: Vec<WriteRequest>,
    ) -> (usize, Vec<(usize, Error)>) {
        let submitted: Vec<_> =
            requests.into_iter().map(|request| (request.len(), self.submit(request))).collect();
        let (mut durable, mut refused) = (0, Vec::new());
        for (samples, submitted) in submitted {
            let result = match submitted {
                Ok(submitted) => submitted.durable().await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => durable += samples,
                Err(error) => {
                    self.look_at_refusal(&error);
                    refused.push((samples, error));
                }
            }
        }
        (durable, refused)
    }
}

impl Submitted {
    /// Waits until it is durable.
    pub(super) async fn durable(self) -> Result<(), Error> {
        let gone = || Error::Stopped { reason: "the committer is gone".to_owned() };
        self.0.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Why the store refuses a write, for the figures.
pub(super) fn reason(error: &Error) -> Reason {
    match error.kind() {
        ErrorKind::Invalid => Reason::Invalid,
        ErrorKind::Busy => Reason::Busy,
        ErrorKind::Limit | ErrorKind::Rate => Reason::Limit,
        ErrorKind::Corrupt | ErrorKind::Stopped | ErrorKind::Interrupted => Reason::Failed,
    }
}

/// How much a refusal asks of the client: of several, the one that asks most is told. A write that may be
/// repeated is repeated whole, which changes nothing where it was taken.
pub(super) fn weight(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Invalid => 0,
        ErrorKind::Limit => 1,
        ErrorKind::Corrupt => 2,
        ErrorKind::Rate => 3,
        ErrorKind::Busy => 4,
        ErrorKind::Stopped | ErrorKind::Interrupted => 5,
    }
}
