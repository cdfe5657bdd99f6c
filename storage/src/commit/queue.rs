//! The queue before the committer: bounded in requests and bytes, one line per tenant, served in
//! turn. When it is full a request gets `Busy`; nothing is dropped silently.
//!
//! While the head is too large because the disk cannot follow, the queue is *held*: what waits, waits
//! on, and gets `Busy` when that takes too long.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::meter::Meter;
use crate::error::Error;
use crate::head::Generation;
use crate::model::TenantId;
use crate::threads::Shared;
use crate::write::{Committed, WriteRequest};

/// Requests that may wait.
const REQUESTS_MAX: usize = 64 * 1024;
/// Requests of one tenant that may wait: a flood by one leaves room for the others.
const TENANT_REQUESTS_MAX: usize = REQUESTS_MAX / 2;
/// Share of the queue's bytes that one tenant may fill.
const TENANT_SHARE: usize = 2;
/// Rows and requests that are committed together at most, beyond the first request.
const JOINT_ROWS_MAX: usize = 64 * 1024;
const JOINT_REQUESTS_MAX: usize = 4096;
/// Rows where several tenants write: who comes now waits for the commit that is on its way, so a flood
/// must not make it long.
const SHARED_ROWS_MAX: usize = 16 * 1024;
/// A tenant counts as writing for so many commits after its last request.
const COMMITS_REMEMBERED: u32 = 64;

/// How long the queue may be held without a commit before all that waits is refused: well before a
/// client gives up.
const HELD_MAX: Duration = Duration::from_secs(10);

/// Called once with the outcome of a write, on the committer's thread.
pub(crate) type Ack = Box<dyn FnOnce(Result<Committed, Error>) + Send>;

/// Something to be done on the committer's thread.
pub(crate) type Call = Box<dyn FnOnce(&Shared, &mut Meter) + Send>;

pub(crate) struct Job {
    pub(crate) request: WriteRequest,
    pub(crate) ack: Ack,
}

/// What the committer does next.
pub(crate) enum Work {
    Commit(Vec<Job>),
    /// Tell those who have waited for too long that the disk cannot follow.
    Refuse(Vec<Job>),
    /// Close the open generation and hand it over; `None` if it is empty.
    CloseGeneration(SyncSender<Option<Arc<Generation>>>),
    /// Do something between two commits.
    Call(Call),
    Stop,
}

pub(crate) struct Queue {
    bytes_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// What waits of one tenant.
#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    bytes: usize,
}

#[derive(Default)]
struct State {
    lines: HashMap<TenantId, Line>,
    /// Tenants with a line, in the order in which they are served.
    turns: VecDeque<TenantId>,
    requests: usize,
    bytes: usize,
    /// Who had the last request that was taken.
    last: Option<TenantId>,
    /// Commits for which several tenants still count as writing.
    shared: u32,
    closing: VecDeque<SyncSender<Option<Arc<Generation>>>>,
    /// One for each thread that waits for the answer.
    calls: VecDeque<Call>,
    held: bool,
    stopped: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Queue { bytes_max, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the queue")
    }

    pub(crate) fn push(&self, request: WriteRequest, ack: Ack) -> Result<(), Error> {
        let bytes = request.bytes();
        let mut state = self.lock();
        if state.stopped {
            return Err(Error::Stopped { reason: "the store is closing".into() });
        }
        let (line, line_bytes) =
            state.lines.get(&request.tenant).map_or((0, 0), |line| (line.jobs.len(), line.bytes));
        let full = state.requests >= REQUESTS_MAX
            || line >= TENANT_REQUESTS_MAX
            || (state.requests > 0 && state.bytes + bytes > self.bytes_max)
            || (line > 0 && line_bytes + bytes > self.bytes_max / TENANT_SHARE);
        if full {
            return Err(Error::Busy { what: "the queue of writes" });
        }
        state.requests += 1;
        state.bytes += bytes;
        let tenant = request.tenant;
        if line == 0 {
            state.turns.push_back(tenant);
        }
        let line = state.lines.entry(tenant).or_default();
        line.bytes += bytes;
        line.jobs.push_back(Job { request, ack });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Asks for the open generation. Once the queue is stopped nobody answers: the reply is dropped.
    pub(crate) fn close_generation(&self, reply: SyncSender<Option<Arc<Generation>>>) {
        let mut state = self.lock();
        if !state.stopped {
            state.closing.push_back(reply);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Asks the committer to do something between two commits. Once the queue is stopped it is dropped.
    pub(crate) fn call(&self, call: Call) {
        let mut state = self.lock();
        if !state.stopped {
            state.calls.push_back(call);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The committer is gone: refuses everything that waits and all that comes.
    pub(crate) fn abandon(&self, reason: &Error) {
        let mut state = self.lock();
        state.stopped = true;
        let waiting = std::mem::take(&mut *state);
        state.stopped = true;
        drop(state);
        for job in waiting.lines.into_values().flat_map(|line| line.jobs) {
            (job.ack)(Err(reason.clone()));
        }
    }

    /// From now on requests wait, or no longer do, by what `is_held` says. It is asked under the
    /// lock, so that of two callers the later one, who knows better, is heard last.
    pub(crate) fn hold(&self, is_held: impl FnOnce() -> bool) {
        let mut state = self.lock();
        let held = is_held();
        if state.held != held {
            state.held = held;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Takes no more requests; what waits is still served.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// The next work; blocks until there is some.
    pub(crate) fn take(&self) -> Work {
        let mut state = self.lock();
        loop {
            if let Some(reply) = state.closing.pop_front() {
                return Work::CloseGeneration(reply);
            }
            // Who asks waits for the answer before it asks again, so writes come in between.
            if let Some(call) = state.calls.pop_front() {
                return Work::Call(call);
            }
            // What was taken before the stop is still committed.
            let held = state.held && !state.stopped;
            if state.requests > 0 && !held {
                return Work::Commit(state.take_jobs());
            }
            if state.stopped {
                return Work::Stop;
            }
            if state.requests > 0 {
                let waited = self.changed.wait_timeout_while(state, HELD_MAX, |state| {
                    let asked = !state.closing.is_empty() || !state.calls.is_empty();
                    state.held && !state.stopped && !asked
                });
                let (guard, timeout) = waited.expect("no code panics while it holds the queue");
                state = guard;
                if timeout.timed_out() {
                    return Work::Refuse(state.take_all());
                }
            } else {
                state = self.changed.wait(state).expect("no code panics while it holds the queue");
            }
        }
    }
}

impl State {
    fn take_all(&mut self) -> Vec<Job> {
        let mut jobs = Vec::with_capacity(self.requests);
        while self.requests > 0 {
            jobs.extend(self.take_jobs());
        }
        jobs
    }

    fn rows_max(&self) -> usize {
        if self.shared > 0 { SHARED_ROWS_MAX } else { JOINT_ROWS_MAX }
    }

    fn take_jobs(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut rows = 0;
        self.shared = self.shared.saturating_sub(1);
        while rows < self.rows_max() && jobs.len() < JOINT_REQUESTS_MAX {
            let Some(tenant) = self.turns.pop_front() else { break };
            if self.last.replace(tenant).is_some_and(|last| last != tenant) {
                self.shared = COMMITS_REMEMBERED;
            }
            let line = self.lines.entry(tenant).or_default();
            if let Some(job) = line.jobs.pop_front() {
                let bytes = job.request.bytes();
                rows += job.request.len();
                self.requests -= 1;
                self.bytes = self.bytes.saturating_sub(bytes);
                line.bytes = line.bytes.saturating_sub(bytes);
                jobs.push(job);
            }
            if line.jobs.is_empty() {
                self.lines.remove(&tenant);
            } else {
                self.turns.push_back(tenant);
            }
        }
        jobs
    }
}
