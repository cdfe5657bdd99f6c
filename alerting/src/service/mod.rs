//! The engine's thread: takes batches and timers from the feed and commands from the API, in one order,
//! and makes durable what follows from them.
//!
//! What other parts of the system can see of an event (new groups, attached series, transitions with
//! their notifications) is committed right after it, each alarm with its own place in the log. What only
//! a restart needs is committed by a checkpoint. A command is carried out after everything that was
//! acknowledged before it, and answered after its commit.

mod commit;
mod load;

use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};
use moneta_storage::Store;
use moneta_storage::clock::Clock;
use moneta_storage::feed::{Feed, FeedBatch, FeedEvent};
use moneta_storage::model::{Sequence, Timestamp};
use moneta_storage::record::Records;

use commit::{BATCHES_JOINT_MAX, JOINT_MAX};

use crate::alarms::Settings;
use crate::engine::Engine;
use crate::error::Error;
use crate::history::History;
use crate::store_samples::StoreSamples;

/// Commands that wait; one more makes its caller wait.
pub(crate) const COMMANDS_MAX: usize = 1024;
/// At most this long what has been consumed stays without a checkpoint, milliseconds of the clock.
const CHECKPOINT_INTERVAL_MS: i64 = 10_000;

/// What the service is asked to do. An error means that it cannot go on.
pub(crate) type Command = Box<dyn FnOnce(&mut Service) -> Result<(), Error> + Send>;

/// Called when notifications have been committed.
pub(crate) type OutboxWaker = Arc<Mutex<Option<Arc<dyn Fn() + Send + Sync>>>>;

/// Who waits for a place in the log and an instant.
struct Waiter {
    sequence: Sequence,
    now: Timestamp,
    reply: Sender<()>,
}

/// See the head of this file.
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) settings: Settings,
    records: Records,
    clock: Arc<dyn Clock>,
    pub(crate) samples: StoreSamples,
    pub(crate) engine: Engine,
    feed: Feed,
    history: History,
    commands: Receiver<Command>,
    waiters: Vec<Waiter>,
    outbox_waker: OutboxWaker,
    checkpointed: (Sequence, Timestamp),
    /// Batches whose consequences have not been committed yet.
    uncommitted: u32,
    refused_ahead: u64,
    cut_off_reported: bool,
    ending: Option<Ending>,
}

/// How the loop ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As asked: with a checkpoint.
    Checkpoint,
    /// Because the store closes.
    StoreClosed,
    /// As a kill would.
    Abandon,
}

/// What a step of the loop met.
enum Step {
    /// Nothing that concerns the caller.
    On,
    /// The instant asked for has come.
    Due,
    /// There may be commands.
    Woken,
}

impl Service {
    /// Runs until the store or the handle is closed.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        loop {
            if let Step::Woken = self.step(None)? {
                self.carry_out()?;
            }
            self.answer_waiters()?;
            match self.ending {
                None => {}
                Some(Ending::Checkpoint) => return self.checkpoint(),
                Some(Ending::StoreClosed) => {
                    // The store may have stopped writing. That only makes the next replay longer.
                    if let Err(error) = self.checkpoint() {
                        tracing::info!(%error, "no last checkpoint of the alarms");
                    }
                    return Ok(());
                }
                Some(Ending::Abandon) => return Ok(()),
            }
        }
    }

    /// Ends the loop after the command in hand.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
    }

    /// Handles the next event, at the latest when the clock shows `until`.
    fn step(&mut self, until: Option<Timestamp>) -> Result<Step, Error> {
        let own = self.due();
        let due = own.into_iter().chain(until).min();
        match self.feed.next(due)? {
            FeedEvent::Batch(batch) => {
                self.take_batch(&batch)?;
                Ok(Step::On)
            }
            FeedEvent::Due => {
                // The caller's instant may lie ahead of the clock; only the loop's own moves the engine.
                if let Some(due) = due.filter(|_| due == own) {
                    self.engine.advance(&self.samples, due)?;
                    self.samples.rest();
                    self.commit_effects()?;
                }
                self.checkpoint_if_due()?;
                Ok(if due.is_some() && due == until { Step::Due } else { Step::On })
            }
            FeedEvent::Woken => Ok(Step::Woken),
            FeedEvent::CheckpointWanted => {
                self.checkpoint()?;
                Ok(Step::On)
            }
            FeedEvent::CutOff => {
                self.commit_effects()?;
                self.rebuild()?;
                Ok(Step::On)
            }
            FeedEvent::Closed => {
                self.ending = Some(Ending::StoreClosed);
                Ok(Step::On)
            }
        }
    }

    /// When the loop has to look again even if nothing comes.
    fn due(&self) -> Option<Timestamp> {
        let position = self.engine.position();
        let behind = self.engine.is_dirty() || position.sequence > self.checkpointed.0;
        let checkpoint = behind.then(|| self.checkpoint_due());
        let waiters = self.waiters.iter().map(|waiter| waiter.now);
        let waiters = waiters.filter(|now| *now > position.instant);
        self.engine.next_due().into_iter().chain(checkpoint).chain(waiters).min()
    }

    fn checkpoint_due(&self) -> Timestamp {
        self.checkpointed.1.plus_millis(CHECKPOINT_INTERVAL_MS)
    }

    fn checkpoint_if_due(&mut self) -> Result<(), Error> {
        if self.now() >= self.checkpoint_due() { self.checkpoint() } else { Ok(()) }
    }

    /// The clock, or where the engine has come to if the clock was set back.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().max(self.engine.position().instant)
    }

    fn take_batch(&mut self, batch: &FeedBatch) -> Result<(), Error> {
        self.engine.batch(&self.samples, batch.rows(), batch.last(), batch.arrival())?;
        self.samples.rest();
        let refused = self.engine.refused_ahead();
        if self.refused_ahead == 0 && refused > 0 {
            tracing::warn!(
                refused,
                "too many samples lie ahead of the clock; some will not be judged"
            );
        }
        self.refused_ahead = refused;
        self.uncommitted += 1;
        // Behind writers that are faster than a sync a batch, one sync serves several.
        let wait = self.feed.is_behind()
            && self.uncommitted < BATCHES_JOINT_MAX
            && self.engine.pending_effects() < JOINT_MAX;
        if !wait {
            self.commit_effects()?;
        }
        // A backlog may keep timers from firing for long.
        self.checkpoint_if_due()
    }

    /// After the log was trimmed past this consumer: reads all windows again.
    fn rebuild(&mut self) -> Result<(), Error> {
        if !self.cut_off_reported {
            self.cut_off_reported = true;
            tracing::warn!("alarms fell behind the log; their windows are read again from storage");
        }
        let newest = self.store.newest();
        let now = self.now();
        self.engine.rebuild_all(&self.samples, newest, now)?;
        self.samples.rest();
        Ok(())
    }

    /// Carries out what has been asked for until now: after everything acknowledged before, and after
    /// all timers until now. What is asked for meanwhile has its turn after the next batch.
    fn carry_out(&mut self) -> Result<(), Error> {
        let asked = self.commands.len();
        self.catch_up(self.store.newest())?;
        let now = self.now();
        if self.clock.now() >= now {
            // A batch that is being committed may have arrived before a timer that is due now.
            while self.ending.is_none() && !matches!(self.step(Some(now))?, Step::Due) {}
        }
        self.engine.advance(&self.samples, now)?;
        self.commit_effects()?;
        for command in self.commands.clone().try_iter().take(asked) {
            command(self)?;
            self.samples.rest();
        }
        if !self.commands.is_empty() {
            self.feed.waker().wake();
        }
        Ok(())
    }

    /// Consumes the log up to `target`, or whatever arrived up to now if that ends earlier.
    fn catch_up(&mut self, target: Sequence) -> Result<(), Error> {
        let until = self.now().max(self.feed.floor()).plus_millis(1);
        while self.engine.position().sequence < target && self.ending.is_none() {
            if let Step::Due = self.step(Some(until))? {
                break;
            }
        }
        Ok(())
    }

    /// Answers `reply` when the log is consumed up to `sequence` and time has passed up to `now`.
    pub(crate) fn wait_for(&mut self, sequence: Sequence, now: Timestamp, reply: Sender<()>) {
        self.waiters.push(Waiter { sequence, now, reply });
    }

    fn answer_waiters(&mut self) -> Result<(), Error> {
        if !self.waiters.is_empty() {
            self.commit_effects()?;
        }
        let position = self.engine.position();
        self.waiters.retain(|waiter| {
            let waits = waiter.sequence > position.sequence || waiter.now > position.instant;
            if !waits {
                // Who no longer listens needs no answer.
                let _ = waiter.reply.send(());
            }
            waits
        });
        Ok(())
    }
}
