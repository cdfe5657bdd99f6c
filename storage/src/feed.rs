//! The feed: every committed write, in commit order, for consumers inside the process.
//!
//! A [`Feed`] is a cursor on the log. Batches come from a bounded ring in memory; a consumer that
//! falls behind, or starts after a restart, reads the log itself. Writers never wait for consumers.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::batch::Batch;
use crate::clock::Clock;
use crate::error::Error;
use crate::key::{self, Family, Key};
use crate::kv::Kv;
use crate::model::{Sequence, SeriesId, TenantId, Timestamp};

/// Rows that the ring holds at most, beyond its newest batch.
const RING_ROWS_MAX: usize = 512 * 1024;
/// Batches that the ring holds at most.
const RING_BATCHES_MAX: usize = 16 * 1024;
/// Rows read from the log at a time.
const REPLAY_ROWS: usize = 256 * 1024;

/// One row of a committed write.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FeedRow {
    /// Owner.
    pub tenant: TenantId,
    /// Series.
    pub series: SeriesId,
    /// When the sample was measured.
    pub time: Timestamp,
    /// The value.
    pub value: f64,
    /// Its place in the order of writes. Rows of one request share it; a later row of the same
    /// request counts as later.
    pub sequence: Sequence,
}

/// A committed batch of requests.
pub struct FeedBatch(Arc<Batch>);

impl FeedBatch {
    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = FeedRow> {
        self.0.sequenced().map(|(sequence, row)| FeedRow {
            tenant: row.tenant,
            series: row.series,
            time: Timestamp::from_millis(row.time),
            value: row.value,
            sequence,
        })
    }

    /// Sequence of the first request.
    #[must_use]
    pub fn first(&self) -> Sequence {
        self.0.first
    }

    /// Sequence of the last request.
    #[must_use]
    pub fn last(&self) -> Sequence {
        self.0.last_sequence()
    }

    /// Wall-clock time at which the batch was committed. Never decreases from batch to batch; the
    /// same after a restart.
    #[must_use]
    pub fn arrival(&self) -> Timestamp {
        self.0.arrival
    }
}

/// What [`Feed::next`] has to tell.
pub enum FeedEvent {
    /// The next batch.
    Batch(Arc<FeedBatch>),
    /// The instant asked for has come, and every batch with an earlier arrival has been handed out.
    Due,
    /// [`FeedWaker::wake`] was called.
    Woken,
    /// The store wants to trim its log: make durable what has been consumed, then call
    /// [`Feed::release`].
    CheckpointWanted,
    /// The consumer fell so far behind that the log was trimmed past it. It must rebuild from
    /// storage; the feed goes on after the newest committed batch.
    CutOff,
    /// The store is closing.
    Closed,
}

/// Whether the log must be kept for a consumer even while none is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consumer {
    /// Nobody reads the feed.
    #[default]
    None,
    /// A consumer comes, goes on where an earlier one stopped, and must find the log.
    Expected,
}

/// How long a flush waits for its consumer to release what it will trim.
const RELEASE_WAIT: Duration = Duration::from_secs(2);

/// The end at which batches enter, shared by the committer, the flush and the consumer.
pub(crate) struct Outlet {
    kv: Kv,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ring: VecDeque<Arc<Batch>>,
    ring_rows: usize,
    /// Newest published sequence.
    newest: Sequence,
    /// Arrival of the newest batch, or the latest timer handed out: no later batch arrives earlier.
    floor: Timestamp,
    /// Arrival of the batch that is being committed.
    in_flight: Option<Timestamp>,
    /// Up to here the log is trimmed.
    trimmed: Sequence,
    /// Number of the current consumer; 0: there is none.
    consumer: u64,
    consumers: u64,
    /// What the consumer, or one that is expected to come, will never ask for again.
    released: Option<Sequence>,
    /// A flush waits until so much is released.
    wanted: Option<Sequence>,
    woken: bool,
    closed: bool,
}

impl Outlet {
    pub(crate) fn new(
        kv: Kv,
        clock: Arc<dyn Clock>,
        trimmed: Sequence,
        newest: Sequence,
        floor: Timestamp,
        consumer: Consumer,
    ) -> Arc<Self> {
        let outlet = Arc::new(Outlet {
            kv,
            clock: clock.clone(),
            state: Mutex::new(State {
                ring: VecDeque::new(),
                ring_rows: 0,
                newest,
                floor,
                in_flight: None,
                trimmed,
                consumer: 0,
                consumers: 0,
                released: match consumer {
                    Consumer::Expected => Some(trimmed),
                    Consumer::None => None,
                },
                wanted: None,
                woken: false,
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let moved = Arc::downgrade(&outlet);
        clock.on_change(Arc::new(move || {
            if let Some(outlet) = moved.upgrade() {
                // The lock makes sure that a consumer is either before its look at the clock or
                // already waiting.
                drop(outlet.lock());
                outlet.changed.notify_all();
            }
        }));
        outlet
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the feed")
    }

    /// Announces a commit and gives its arrival time.
    pub(crate) fn begin(&self) -> Timestamp {
        let mut state = self.lock();
        let arrival = self.clock.now().max(state.floor);
        state.floor = arrival;
        state.in_flight = Some(arrival);
        arrival
    }

    /// The announced commit has failed.
    pub(crate) fn abandon(&self) {
        self.lock().in_flight = None;
        self.changed.notify_all();
    }

    /// The announced commit is durable.
    pub(crate) fn publish(&self, batch: Arc<Batch>) {
        let mut state = self.lock();
        state.in_flight = None;
        state.newest = batch.last_sequence();
        if state.consumer != 0 {
            state.ring_rows += batch.rows.len();
            state.ring.push_back(batch);
            while state.ring.len() > 1
                && (state.ring_rows > RING_ROWS_MAX || state.ring.len() > RING_BATCHES_MAX)
            {
                if let Some(oldest) = state.ring.pop_front() {
                    state.ring_rows -= oldest.rows.len();
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn newest(&self) -> Sequence {
        self.lock().newest
    }

    /// Whether the log may be trimmed up to `upto`: at once if nobody reads the feed, else when the
    /// consumer has released so much, which it is asked to do and given a moment for. A consumer that
    /// is not there keeps the log as well, until `give_up` says that it has grown too long.
    pub(crate) fn may_trim(&self, upto: Sequence, give_up: impl Fn() -> bool) -> bool {
        let is_released = |state: &State| state.released.is_none_or(|released| released >= upto);
        let mut state = self.lock();
        if !is_released(&state) && state.consumer != 0 && !state.closed && !give_up() {
            state.wanted = Some(upto);
            self.changed.notify_all();
            // Writers wake this as well; that does not shorten the wait.
            let waited = self.changed.wait_timeout_while(state, RELEASE_WAIT, |state| {
                !is_released(state) && state.consumer != 0 && !state.closed
            });
            state = waited.expect("no code panics while it holds the feed").0;
        }
        state.wanted = None;
        is_released(&state) || give_up()
    }

    /// The log has been trimmed up to `upto`.
    pub(crate) fn trimmed(&self, upto: Sequence) {
        let mut state = self.lock();
        state.trimmed = state.trimmed.max(upto);
        drop(state);
        self.changed.notify_all();
    }

    /// No later batch arrives earlier than this.
    pub(crate) fn floor(&self) -> Timestamp {
        self.lock().floor
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// A consumer that begins after `after`.
    pub(crate) fn subscribe(self: &Arc<Self>, after: Sequence) -> Feed {
        let mut state = self.lock();
        state.consumers += 1;
        state.consumer = state.consumers;
        state.released = Some(after);
        state.ring.clear();
        state.ring_rows = 0;
        let number = state.consumer;
        drop(state);
        self.changed.notify_all();
        Feed {
            outlet: self.clone(),
            number,
            cursor: after,
            replay: VecDeque::new(),
            asked: Sequence::ZERO,
        }
    }
}

/// Wakes a consumer that waits in [`Feed::next`].
#[derive(Clone)]
pub struct FeedWaker {
    outlet: Arc<Outlet>,
}

impl FeedWaker {
    /// Makes the current or next [`Feed::next`] return [`FeedEvent::Woken`].
    pub fn wake(&self) {
        self.outlet.lock().woken = true;
        self.outlet.changed.notify_all();
    }
}

/// A consumer's place in the log.
pub struct Feed {
    outlet: Arc<Outlet>,
    number: u64,
    /// Last sequence handed out.
    cursor: Sequence,
    /// Batches read from the log, next first.
    replay: VecDeque<Arc<Batch>>,
    /// Cursor at which a checkpoint was last asked for.
    asked: Sequence,
}

/// What the state of the feed says to a waiting consumer.
enum Step {
    Tell(FeedEvent),
    ReadLog,
    Wait(Option<Duration>),
}

impl Feed {
    /// The next event. Blocks until there is one. `due` is the instant of the consumer's next timer:
    /// a batch that arrived at or after `due` is handed out only by a call with a later `due` (or
    /// none), so a consumer that handles `Due` first sees timers and batches in the order of time,
    /// timers before batches of the same millisecond, also when it replays the log.
    ///
    /// # Errors
    /// `Corrupt` or `Stopped` if the log cannot be read.
    pub fn next(&mut self, due: Option<Timestamp>) -> Result<FeedEvent, Error> {
        let outlet = self.outlet.clone();
        let mut state = outlet.lock();
        loop {
            match self.step(&mut state, due) {
                Step::Tell(event) => return Ok(event),
                Step::ReadLog => {
                    drop(state);
                    self.read_log()?;
                    state = outlet.lock();
                }
                Step::Wait(timeout) => {
                    // No timer is the rare case; an hour bounds the wait without a second branch.
                    let timeout = timeout.unwrap_or(Duration::from_secs(3600));
                    let waited = outlet.changed.wait_timeout(state, timeout);
                    state = waited.expect("no code panics while it holds the feed").0;
                }
            }
        }
    }

    fn step(&mut self, state: &mut State, due: Option<Timestamp>) -> Step {
        if state.closed || state.consumer != self.number {
            return Step::Tell(FeedEvent::Closed);
        }
        if std::mem::take(&mut state.woken) {
            return Step::Tell(FeedEvent::Woken);
        }
        if state.trimmed > self.cursor {
            self.replay.clear();
            self.cursor = state.newest;
            return Step::Tell(FeedEvent::CutOff);
        }
        // Asked for only when a checkpoint here is enough, and once at each place.
        if state.wanted.is_some_and(|wanted| wanted <= self.cursor) && self.asked < self.cursor {
            self.asked = self.cursor;
            return Step::Tell(FeedEvent::CheckpointWanted);
        }
        let batch = match self.replay.front() {
            Some(batch) if batch.last_sequence() <= state.newest => batch,
            // Read from the log before it was published: views do not show it yet.
            Some(_) => return self.wait_for(state, due),
            None if self.cursor >= state.newest => return self.wait_for(state, due),
            None => {
                // Drop what is behind the cursor, then the front is the next batch or too new.
                while state.ring.front().is_some_and(|b| b.last_sequence() <= self.cursor) {
                    if let Some(batch) = state.ring.pop_front() {
                        state.ring_rows -= batch.rows.len();
                    }
                }
                match state.ring.front() {
                    Some(batch) if batch.first <= self.cursor.next() => batch,
                    Some(_) | None => return Step::ReadLog,
                }
            }
        };
        if due.is_some_and(|due| batch.arrival >= due) {
            return Step::Tell(FeedEvent::Due);
        }
        let batch = batch.clone();
        self.cursor = batch.last_sequence();
        self.replay.pop_front();
        Step::Tell(FeedEvent::Batch(Arc::new(FeedBatch(batch))))
    }

    fn wait_for(&self, state: &mut State, due: Option<Timestamp>) -> Step {
        let Some(due) = due else { return Step::Wait(None) };
        if state.in_flight.is_some_and(|arrival| arrival < due) {
            return Step::Wait(None);
        }
        if self.outlet.clock.now() < due {
            return Step::Wait(self.outlet.clock.timeout(due));
        }
        state.floor = state.floor.max(due);
        Step::Tell(FeedEvent::Due)
    }

    /// No batch that comes arrived earlier than this.
    #[must_use]
    pub fn floor(&self) -> Timestamp {
        self.outlet.floor()
    }

    /// Whether a batch waits, so that a call of [`next`](Self::next) would not wait for a writer.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.replay.is_empty() || self.cursor < self.outlet.lock().newest
    }

    /// Reads the next batches from the log. A gap there means that it was trimmed meanwhile; that is
    /// told by the next step.
    fn read_log(&mut self) -> Result<(), Error> {
        let mut rows = 0;
        let mut next = self.cursor.next();
        let replay = &mut self.replay;
        // The batch that holds the next sequence may begin before it.
        let from = self.outlet.kv.key_at_or_before(&Key::Wal(next))?;
        let from = from.unwrap_or_else(|| Key::Wal(next).encode());
        self.outlet.kv.scan(Family::Wal, &[], &from, |key, value| {
            let first = key::decode_wal(key).ok_or_else(|| Error::corrupt("key", "log"))?;
            let batch = Batch::decode(first, value)?;
            if batch.last_sequence() < next {
                return Ok(true);
            }
            if first > next {
                return Ok(false);
            }
            next = batch.last_sequence().next();
            rows += batch.rows.len();
            replay.push_back(Arc::new(batch));
            Ok::<_, Error>(rows < REPLAY_ROWS)
        })?;
        if self.replay.is_empty() && self.outlet.lock().trimmed <= self.cursor {
            return Err(Error::corrupt("gap", format!("log record {next}")));
        }
        Ok(())
    }

    /// Tells the store that everything up to `upto` will never be asked for again.
    pub fn release(&self, upto: Sequence) {
        let mut state = self.outlet.lock();
        if state.consumer == self.number {
            state.released = state.released.max(Some(upto));
        }
        drop(state);
        self.outlet.changed.notify_all();
    }

    /// A handle that wakes this consumer.
    #[must_use]
    pub fn waker(&self) -> FeedWaker {
        FeedWaker { outlet: self.outlet.clone() }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.outlet.lock();
        if state.consumer == self.number {
            state.consumer = 0;
            state.ring.clear();
            state.ring_rows = 0;
        }
        drop(state);
        self.outlet.changed.notify_all();
    }
}
