//! The task that empties the outbox: one loop over events, the owner of all that is in memory.
//!
//! ```text
//! woken, or every 30 s ─▶ LOOK: pages of the outbox ─▶ agenda ─▶ ATTEMPTS (≤ 64 at a time)
//!                                                        ▲            │ finished, again
//!                                                        └─ COMMIT ◀──┘ many in one batch
//! ```
//!
//! Looks and commits are blocking jobs, one at a time: a page is never older than the last commit,
//! so an entry that was deleted cannot be found again. While little is waiting, which is nearly
//! always, each look goes through the whole outbox, so that the order in which the engine commits
//! does not matter. With a long outbox a look reads only the newest minute, and a full one follows
//! every half minute, or less often if it takes long.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use moneta_storage::model::{TenantId, Timestamp};
use moneta_storage::record::RecordKind;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::agenda::{After, Agenda, Bounds, Destination, Extent, Key};
use super::attempt::{Attempted, Outcome, Surroundings, attempt, interrupted};
use super::backoff;
use super::delivery::{DeliveryResult, Ledger, Settlement};
use super::shelf::Record;
use super::stats::NotifyStats;
use crate::error::Error;
use crate::outbox::{Entry, Subject, time_prefix};

/// Records held in memory: 250 bytes each.
const BOUNDS: Bounds = Bounds { destination: 50_000, destination_crowded: 64, total: 200_000 };
/// Entries up to which every look goes through the whole outbox.
const FULL_LOOK_ENTRIES_MAX: usize = 2000;
/// A full look at least this often, unless it takes long.
const FULL_LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// A full look takes at most one part in this of the time.
const FULL_LOOK_SHARE: u32 = 20;
/// How far a look at the newest entries goes back before the newest one seen.
const NEWEST_MS: i64 = 60_000;
/// Records read by one job.
const PAGE: usize = 500;
/// Settlements committed in one batch.
const BATCH_MAX: usize = 500;
/// Settlements that may wait for a commit; with more no new attempt is started.
const UNCOMMITTED_MAX: usize = 2000;
/// The wait after a failure of the store.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// How long running requests may take at the end.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The state of the task.
pub(crate) struct Dispatch {
    around: Arc<Surroundings>,
    parallel: usize,
    agenda: Agenda,
    attempts: JoinSet<Attempted>,
    job: Option<JoinHandle<Done>>,
    /// Not here while a job has it.
    ledger: Option<Ledger>,
    uncommitted: Vec<Settlement>,
    /// Entries whose new count of attempts is not committed yet. Their destinations count as busy
    /// until then, else the next attempt could read the old count.
    postponed: HashMap<(TenantId, Key), (Destination, After)>,
    /// No job before this instant, after a failure of the store.
    store_pause: Option<Instant>,
    look: Option<Look>,
    looks: Looks,
    stats: watch::Sender<NotifyStats>,
}

/// What decides on the next look.
struct Looks {
    wanted: bool,
    full_due: Instant,
    /// Entries found by the last full look.
    entries: usize,
    /// The time of the newest transition seen, by tenant.
    newest: HashMap<TenantId, Timestamp>,
    /// Whether the last job was a commit; then a look comes first.
    after_commit: bool,
}

/// A look under way.
struct Look {
    extent: Extent,
    tenants: Vec<TenantId>,
    after: Option<Vec<u8>>,
    entries: usize,
    started: Instant,
}

/// The end of a job.
enum Done {
    Looked { tenant: TenantId, page: Result<Vec<Record>, Error> },
    Committed { ledger: Ledger, batch: Vec<Settlement>, result: Result<(), Error> },
}

/// What the loop waits for.
enum Event {
    Woken,
    Ended(Box<Attempted>),
    JobDone(Done),
    Due,
    Stop,
}

impl Dispatch {
    pub(crate) fn new(
        around: Surroundings,
        parallel: usize,
        stats: watch::Sender<NotifyStats>,
    ) -> Self {
        Dispatch {
            around: Arc::new(around),
            parallel,
            agenda: Agenda::new(BOUNDS),
            attempts: JoinSet::new(),
            job: None,
            ledger: Some(Ledger::default()),
            uncommitted: Vec::new(),
            postponed: HashMap::new(),
            store_pause: None,
            look: None,
            looks: Looks {
                wanted: true,
                full_due: Instant::now(),
                entries: 0,
                newest: HashMap::new(),
                after_commit: false,
            },
            stats,
        }
    }

    /// Runs until `stop` is true or its sender is gone, then lets running requests finish.
    pub(crate) async fn run(mut self, wake: Arc<Notify>, mut stop: watch::Receiver<bool>) {
        loop {
            self.start_attempts();
            self.start_job();
            self.report();
            match self.next(&wake, &mut stop).await {
                Event::Woken => self.looks.wanted = true,
                Event::Ended(attempted) => self.ended(*attempted),
                Event::JobDone(done) => self.job_done(done),
                Event::Due => {}
                Event::Stop => break,
            }
        }
        self.close().await;
    }

    async fn next(&mut self, wake: &Notify, stop: &mut watch::Receiver<bool>) -> Event {
        let due = self.next_due();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Event::Stop,
            done = finished(&mut self.job) => {
                self.job = None;
                Event::JobDone(done)
            }
            Some(ended) = self.attempts.join_next() => match ended {
                Ok(attempted) => Event::Ended(Box::new(attempted)),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Event::Stop,
                },
            },
            () = wake.notified() => Event::Woken,
            () = sleep_until(due) => Event::Due,
        }
    }

    fn next_due(&self) -> Instant {
        let mut due = self.looks.full_due;
        if let Some(next) = self.agenda.next_due()
            && self.may_start()
        {
            due = due.min(next.into());
        }
        match self.store_pause {
            // Nothing that the store is needed for can be done earlier.
            Some(pause) if due <= Instant::now() => pause,
            Some(pause) => due.min(pause),
            // A look that is due waits for the job before it.
            None if self.job.is_some() && due == self.looks.full_due => {
                due.max(Instant::now() + STORE_PAUSE)
            }
            None => due,
        }
    }

    fn may_start(&self) -> bool {
        self.attempts.len() < self.parallel
            && self.uncommitted.len() < UNCOMMITTED_MAX
            && self.store_pause.is_none()
    }

    fn start_attempts(&mut self) {
        let now = Instant::now();
        if self.store_pause.is_some_and(|pause| pause <= now) {
            self.store_pause = None;
        }
        while self.may_start() {
            let Some((destination, key)) = self.agenda.start(now.into()) else { return };
            self.attempts.spawn(attempt(self.around.clone(), destination, key));
        }
    }

    /// Starts a commit or the next page of a look, in turn when both are wanted.
    fn start_job(&mut self) {
        if self.job.is_some() || self.store_pause.is_some() {
            return;
        }
        self.begin_look();
        if self.look.is_some() && (self.looks.after_commit || self.uncommitted.is_empty()) {
            self.start_page();
        } else if !self.uncommitted.is_empty() {
            self.start_commit();
        }
    }

    fn begin_look(&mut self) {
        let now = Instant::now();
        let room = self.agenda.wants_full_look();
        let due = now >= self.looks.full_due;
        if self.look.is_some() || !(self.looks.wanted || room || due) {
            return;
        }
        let full = room || due || self.looks.entries <= FULL_LOOK_ENTRIES_MAX;
        let extent = if full { Extent::Full } else { Extent::Newest };
        if full {
            self.agenda.begin_full_look();
        }
        self.looks.wanted = false;
        let tenants = (self.around.tenants)();
        let mut look = Look { extent, tenants, after: None, entries: 0, started: now };
        look.after = self.looks.beginning(&look);
        self.look = Some(look);
        self.end_look_without_tenants();
    }

    fn start_page(&mut self) {
        let Some(look) = &self.look else { return };
        let Some(tenant) = look.tenants.last().copied() else { return };
        let (around, after) = (self.around.clone(), look.after.clone());
        self.looks.after_commit = false;
        self.job = Some(tokio::task::spawn_blocking(move || {
            let page = around.shelf.scan(tenant, RecordKind::Outbox, after.as_deref(), PAGE);
            Done::Looked { tenant, page }
        }));
    }

    fn start_commit(&mut self) {
        let Some(mut ledger) = self.ledger.take() else { return };
        let at = self.uncommitted.len().min(BATCH_MAX);
        let batch: Vec<Settlement> = self.uncommitted.drain(..at).collect();
        let around = self.around.clone();
        self.looks.after_commit = true;
        self.job = Some(tokio::task::spawn_blocking(move || {
            let result = ledger.commit(&*around.shelf, &batch);
            Done::Committed { ledger, batch, result }
        }));
    }

    fn job_done(&mut self, done: Done) {
        match done {
            Done::Looked { tenant, page: Ok(page) } => self.found(tenant, page),
            Done::Looked { page: Err(error), .. } => {
                // The look goes on with the same page.
                self.store_failed(&error);
            }
            Done::Committed { ledger, batch, result } => {
                self.ledger = Some(ledger);
                match result {
                    Ok(()) => self.settled(&batch),
                    Err(error) => {
                        self.store_failed(&error);
                        self.uncommitted.splice(..0, batch);
                    }
                }
            }
        }
    }

    fn store_failed(&mut self, error: &Error) {
        tracing::warn!(%error, "the outbox waits for the store");
        self.store_pause = Some(Instant::now() + STORE_PAUSE);
    }

    /// Offers a page of the outbox to the agenda and moves the look on.
    fn found(&mut self, tenant: TenantId, page: Vec<Record>) {
        let now = self.around.clock.now();
        let whole = page.len() < PAGE;
        let last = page.last().map(|(key, _)| key.clone());
        let entries = page.len();
        for (key, value) in page {
            let key: Key = key.into();
            if !self.agenda.knows(tenant, &key) {
                self.offer(tenant, key, &value, now);
            }
        }
        let Some(look) = &mut self.look else { return };
        look.entries += entries;
        if whole {
            look.tenants.pop();
            look.after = self.looks.beginning(look);
        } else {
            look.after = last;
        }
        self.end_look_without_tenants();
    }

    fn offer(&mut self, tenant: TenantId, key: Key, value: &[u8], now: Timestamp) {
        let Some(subject) = Subject::of(&key) else {
            tracing::error!(%tenant, "a record of the outbox has an id of no known form and is deleted");
            self.agenda.note(tenant, key.clone());
            self.uncommitted.push(Settlement::Foreign { tenant, key: key.to_vec() });
            return;
        };
        // A transition from the future must not hide those of the present from a look.
        let seen = subject.time.min(now);
        let newest = self.looks.newest.entry(tenant).or_insert(seen);
        *newest = (*newest).max(seen);
        let wait = Entry::decode(value)
            .map_or(Duration::ZERO, |entry| Timestamp::from_millis(entry.not_before).since(now));
        // A clock that was set back must not hold a notification for longer than any wait lasts.
        let due = Instant::now() + wait.min(backoff::WAIT_MAX);
        let destination = Destination { tenant, method: subject.method.into() };
        self.agenda.offer(&destination, &subject.alarm, key, due.into());
    }

    fn end_look_without_tenants(&mut self) {
        let Some(look) = self.look.take_if(|look| look.tenants.is_empty()) else { return };
        let now = Instant::now();
        match look.extent {
            Extent::Full => {
                self.looks.entries = look.entries;
                let took = now.saturating_duration_since(look.started);
                self.looks.full_due = now + FULL_LOOK_INTERVAL.max(took * FULL_LOOK_SHARE);
            }
            Extent::Newest => {}
        }
    }

    fn ended(&mut self, attempted: Attempted) {
        let Attempted { destination, key, outcome, took } = attempted;
        let tenant = destination.tenant;
        if let Some(took) = took {
            self.stats.send_modify(|stats| stats.time(took));
        }
        match outcome {
            Outcome::Finished(delivery) => {
                let answered = delivery.result == DeliveryResult::Delivered;
                if took.is_some() && !answered {
                    self.stats.send_modify(|stats| stats.failed += 1);
                }
                let after =
                    if delivery.status.is_some() { After::Answered } else { After::Dropped };
                self.agenda.finish(&destination, after);
                if !answered {
                    tracing::warn!(
                        %tenant,
                        notification = delivery.notification_id,
                        result = ?delivery.result,
                        attempts = delivery.attempts,
                        detail = delivery.detail,
                        "a notification was not delivered"
                    );
                }
                self.uncommitted.push(Settlement::Finished { tenant, key: key.to_vec(), delivery });
            }
            Outcome::Again { entry, wait, asked } => {
                self.stats.send_modify(|stats| {
                    stats.failed += 1;
                    stats.retried += 1;
                });
                let now = Instant::now();
                let failures = self.agenda.failures(&destination).saturating_add(1);
                let pause = (self.around.delay)(failures, &destination.method);
                let pause = asked.map_or(pause, |asked| asked.max(pause));
                let after = After::Again { due: (now + wait).into(), pause: (now + pause).into() };
                self.postponed.insert((tenant, key.clone()), (destination, after));
                self.uncommitted.push(Settlement::Postponed { tenant, key: key.to_vec(), entry });
            }
            Outcome::Gone => {
                self.agenda.finish(&destination, After::Dropped);
                self.agenda.forget(tenant, &key);
            }
            Outcome::NotRead(error) => {
                self.store_failed(&error);
                let again = (Instant::now() + STORE_PAUSE).into();
                self.agenda.finish(&destination, After::NotAsked { due: again });
            }
        }
    }

    /// The batch is durable.
    fn settled(&mut self, batch: &[Settlement]) {
        for settlement in batch {
            match settlement {
                Settlement::Finished { tenant, key, .. } | Settlement::Foreign { tenant, key } => {
                    self.agenda.forget(*tenant, &key.as_slice().into());
                }
                Settlement::Postponed { tenant, key, .. } => {
                    let postponed = self.postponed.remove(&(*tenant, key.as_slice().into()));
                    if let Some((destination, after)) = postponed {
                        self.agenda.finish(&destination, after);
                    }
                }
            }
        }
        self.stats.send_modify(|stats| {
            for settlement in batch {
                if let Settlement::Finished { delivery, .. } = settlement {
                    stats.count(delivery.result);
                }
            }
        });
    }

    fn report(&self) {
        let (queued, sending) = (self.agenda.len(), self.attempts.len());
        self.stats.send_if_modified(|stats| {
            let changed = (stats.queued, stats.sending) != (queued, sending);
            (stats.queued, stats.sending) = (queued, sending);
            changed
        });
    }

    /// Lets running requests finish and commits what has been settled. What is cut off stays in the
    /// outbox and is sent after the next start, under the same notification id.
    async fn close(mut self) {
        let end = Instant::now() + CLOSE_WAIT;
        while let Ok(Some(ended)) = timeout_at(end, self.attempts.join_next()).await {
            if let Ok(attempted) = ended {
                self.ended(attempted);
            }
        }
        self.attempts.shutdown().await;
        self.look = None;
        self.store_pause = None;
        if self.job.is_some() {
            let done = finished(&mut self.job).await;
            self.job = None;
            self.job_done(done);
        }
        while !self.uncommitted.is_empty() && self.store_pause.is_none() {
            self.start_commit();
            let done = finished(&mut self.job).await;
            self.job = None;
            self.job_done(done);
        }
        self.report();
    }
}

impl Looks {
    /// Where a look begins with the tenant that is next.
    fn beginning(&self, look: &Look) -> Option<Vec<u8>> {
        match look.extent {
            Extent::Full => None,
            Extent::Newest => {
                let newest = self.newest.get(look.tenants.last()?)?;
                Some(time_prefix(newest.plus_millis(-NEWEST_MS)).to_vec())
            }
        }
    }
}

/// Waits for the job, for ever if there is none.
async fn finished(job: &mut Option<JoinHandle<Done>>) -> Done {
    let Some(running) = job else { return pending().await };
    match running.await {
        Ok(done) => done,
        Err(error) => {
            // The runtime is being shut down; nothing will be asked of this task any more.
            let _stopped = interrupted(error);
            pending().await
        }
    }
}

#[cfg(test)]
mod tests;
