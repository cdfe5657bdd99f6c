//! The keeper: one thread that keeps the head in shape. It sorts batches into runs, merges runs, and
//! flushes generations into segments. Merging segments is the [merger](crate::merge::merger)'s.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use crate::activity;
use crate::error::Error;
use crate::flush;
use crate::head::{RUNS_PER_LEVEL, Run, SORT_ROWS};
use crate::journal;
use crate::orders;
use crate::output::metric_lookup;
use crate::threads::Shared;

/// How often the keeper looks for itself.
const BEAT: Duration = Duration::from_secs(1);

pub(crate) enum Order {
    /// Look whether there is something to do.
    Nudge,
    /// The same, and say when it is done.
    Look(SyncSender<Result<(), Error>>),
    /// Write the head into segments.
    Flush(SyncSender<Result<(), Error>>),
    /// Make the activity index say of a day what is stored.
    CorrectActivity(i32, SyncSender<Result<(), Error>>),
    Stop,
}

impl orders::Order for Order {
    const NUDGE: Self = Order::Nudge;
}

/// Serves orders until told to stop.
pub(crate) fn run(shared: &Arc<Shared>, inbox: &Receiver<Order>) {
    let keeper = Keeper { shared };
    loop {
        match inbox.recv_timeout(BEAT) {
            Ok(Order::Nudge) | Err(RecvTimeoutError::Timeout) => keeper.look(),
            // Those who asked may have gone; then nobody needs the answer.
            Ok(Order::Look(reply)) => {
                keeper.look();
                drop(reply.send(Ok(())));
            }
            Ok(Order::Flush(reply)) => drop(reply.send(shared.after_flush(keeper.flush()))),
            Ok(Order::CorrectActivity(day, reply)) => {
                drop(reply.send(activity::correct(shared, day)));
            }
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Keeper<'a> {
    shared: &'a Arc<Shared>,
}

impl Keeper<'_> {
    fn look(&self) {
        let shared = self.shared;
        shared.space.look();
        if shared.stopped().is_some() {
            return; // What failed would fail again; the log has everything.
        }
        shared.look_at_kv();
        if let Err(error) = self.sort_batches().and_then(|()| self.merge_runs()) {
            shared.stop(&error);
            return;
        }
        // The call around it notes and logs how it ends.
        if self.flush_is_due() && shared.setbacks.flush_is_due() {
            let _ = shared.after_flush(self.flush());
        }
        if let Err(error) = journal::expire_when_due(shared) {
            shared.stop(&error);
        }
    }

    /// Turns unsorted batches into runs, a run's worth at a time.
    fn sort_batches(&self) -> Result<(), Error> {
        loop {
            let batches = {
                let live = self.shared.live.lock();
                if !live.open.wants_run() {
                    return Ok(());
                }
                let mut rows = 0;
                let enough = |batch: &&Arc<crate::batch::Batch>| {
                    let take = rows < SORT_ROWS;
                    rows += batch.rows.len();
                    take
                };
                live.open.batches.iter().take_while(enough).cloned().collect::<Vec<_>>()
            };
            let run = Arc::new(Run::sort(&batches, &metric_lookup(&self.shared.index)));
            // Generations are closed only when the keeper asks, so the batches are where they were.
            self.shared.live.lock().open.replace_batches(batches.len(), run);
        }
    }

    fn merge_runs(&self) -> Result<(), Error> {
        loop {
            let (start, runs) = {
                let live = self.shared.live.lock();
                let Some(start) = live.open.mergeable_runs() else { return Ok(()) };
                let runs = live.open.runs.get(start..start + RUNS_PER_LEVEL);
                (start, runs.unwrap_or_default().to_vec())
            };
            let run = Arc::new(Run::merge(&runs, &metric_lookup(&self.shared.index))?);
            self.shared.live.lock().open.replace_runs(start, runs.len(), run);
        }
    }

    fn flush_is_due(&self) -> bool {
        let now = self.shared.clock.now();
        let live = self.shared.live.lock();
        let old =
            live.open.since.is_some_and(|since| now.since(since) >= self.shared.config.flush_age);
        // On a full disk a flush gives space back.
        let low = self.shared.space.is_low() && live.open.rows > 0;
        !live.closed.is_empty()
            || old
            || low
            || live.open.log_bytes >= self.shared.config.live_log_bytes
    }

    /// Writes the head, as it is now, into segments and trims the log. What a consumer of the feed
    /// still needs stays in the head, to be tried again.
    fn flush(&self) -> Result<(), Error> {
        // Those that were left earlier first; only then a new one, so that they do not pile up.
        if self.flush_closed()? {
            let (reply, answer) = mpsc::sync_channel(1);
            self.shared.queue.close_generation(reply);
            let gone = |_| Error::Stopped { reason: "the committer has ended".into() };
            answer.recv().map_err(gone)?;
            self.flush_closed()?;
        }
        Ok(())
    }

    /// Whether all closed generations have been written.
    fn flush_closed(&self) -> Result<bool, Error> {
        let shared = self.shared;
        let log_bytes_max = shared.config.live_log_bytes.saturating_mul(4);
        let too_long = || shared.head_log_bytes.load(Ordering::Relaxed) > log_bytes_max;
        loop {
            let oldest = shared.live.lock().closed.front().cloned();
            let Some(generation) = oldest else { return Ok(true) };
            let may_trim = shared.feed.may_trim(generation.last, too_long);
            shared.waits_for_consumer.store(!may_trim, Ordering::Relaxed);
            shared.regulate();
            if !may_trim {
                return Ok(false);
            }
            // An estimate, half of the log's bytes: a disk that fills all the same fails the flush,
            // and the log stays.
            shared.space.fits(generation.log_bytes / 2)?;
            flush::flush(shared, &generation)?;
            shared.regulate();
            shared.merger.nudge();
        }
    }
}
