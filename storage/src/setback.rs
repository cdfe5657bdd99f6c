//! What a failed flush means. The log holds everything that is not in segments, so a segment
//! file that cannot be written loses nothing: the flush is tried again, ever more rarely, and writes are
//! refused until it has come to its end. An error of RocksDB is another
//! matter: what it has in memory and on disk may differ from then on, and only a restart tells.

use std::sync::Mutex;

use crate::error::Error;
use crate::threads::Shared;

/// Looks of the keeper that are left out at most between two attempts: about half a minute.
const LOOKS_MAX: u32 = 32;

/// Failures of one kind of work since it last came to its end.
#[derive(Default)]
struct Series {
    failures: u32,
    /// Looks to be left out before the next attempt.
    looks: u32,
    /// The last failure.
    reason: Option<String>,
}

impl Series {
    fn failed(&mut self, error: &Error) {
        self.looks = LOOKS_MAX.min(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.reason = Some(error.to_string());
    }

    /// Whether it is time for an attempt; counts a look.
    fn is_due(&mut self) -> bool {
        let due = self.looks == 0;
        self.looks = self.looks.saturating_sub(1);
        due
    }
}

/// Failures of the keeper's work that are to be mended by trying again.
#[derive(Default)]
pub(crate) struct Setbacks {
    flush: Mutex<Series>,
}

impl Setbacks {
    /// Why writes are refused, if a flush has failed.
    pub(crate) fn reason(&self) -> Option<String> {
        let reason = locked(&self.flush).reason.clone()?;
        Some(format!("samples cannot be written into segments: {reason}"))
    }

    /// Whether the keeper may flush of its own accord at this look.
    pub(crate) fn flush_is_due(&self) -> bool {
        locked(&self.flush).is_due()
    }
}

fn locked(series: &Mutex<Series>) -> std::sync::MutexGuard<'_, Series> {
    series.lock().expect("no code panics while it holds the failures")
}

/// Whether to try again helps: the system refused a file operation on segments.
fn passes(error: &Error) -> bool {
    match error {
        Error::Io { .. } | Error::Busy { .. } | Error::ReadOnly { .. } => true,
        Error::Invalid(_)
        | Error::Limit { .. }
        | Error::Rate { .. }
        | Error::Removed
        | Error::Corrupt { .. }
        | Error::Stopped { .. }
        | Error::Interrupted
        | Error::Kv(_) => false,
    }
}

impl Shared {
    /// Takes note of how a flush ended: writes go on, wait for the next attempt, or have ended.
    pub(crate) fn after_flush(&self, outcome: Result<(), Error>) -> Result<(), Error> {
        let mut series = locked(&self.setbacks.flush);
        match &outcome {
            Ok(()) => {
                if series.failures > 0 {
                    tracing::info!(failures = series.failures, "samples are flushed again");
                }
                *series = Series::default();
            }
            Err(error) if passes(error) => {
                tracing::error!(%error, "a flush has failed and will be tried again; no writes meanwhile");
                series.failed(error);
            }
            // Stopped already, or about to close.
            Err(Error::Stopped { .. }) => {}
            Err(error) => self.stop(error),
        }
        outcome
    }

    /// Stops writes if RocksDB could not write in the background. It tells nobody else before the next
    /// write, which may come late.
    pub(crate) fn look_at_kv(&self) {
        match self.kv.background_errors() {
            Ok(0) => {}
            Ok(errors) => {
                let text = format!("{errors} background errors, its LOG tells which");
                self.stop(&Error::Kv(text));
            }
            Err(error) => self.stop(&error),
        }
    }

    /// Why a write is refused, if it is.
    pub(crate) fn refusal(&self) -> Option<Error> {
        if let Some(reason) = self.stopped() {
            return Some(Error::Stopped { reason });
        }
        let reason = self.setbacks.reason().or_else(|| self.space.reason())?;
        Some(Error::ReadOnly { reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_up_to_a_bound() {
        let mut series = Series::default();
        let mut gaps = Vec::new();
        for _ in 0..8 {
            series.failed(&Error::Busy { what: "the disk" });
            let mut looks = 0;
            while !series.is_due() {
                looks += 1;
            }
            gaps.push(looks);
        }
        assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 32, 32]);
    }
}
