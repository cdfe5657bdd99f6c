//! The only reader of system time. Everything else is given a clock, so that a test can own it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// A source of wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// The current instant.
    fn now(&self) -> Timestamp;

    /// How long a thread may wait for `until` before it looks again; `None` when only
    /// [`on_change`](Self::on_change) can tell.
    fn timeout(&self, until: Timestamp) -> Option<Duration>;

    /// Calls `wake` whenever the clock is moved by hand. A running clock never calls it.
    fn on_change(&self, wake: Arc<dyn Fn() + Send + Sync>);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn timeout(&self, until: Timestamp) -> Option<Duration> {
        Some(until.since(self.now()))
    }

    fn on_change(&self, _wake: Arc<dyn Fn() + Send + Sync>) {}
}

/// A clock that stands still until it is set.
#[derive(Default)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Default)]
struct ManualState {
    now: Timestamp,
    wakers: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(ManualClock { state: Mutex::new(ManualState { now, wakers: Vec::new() }) })
    }

    /// Moves the clock to `now` and wakes those who wait for it.
    ///
    /// # Panics
    /// If a thread that held the clock has panicked.
    pub fn set(&self, now: Timestamp) {
        let wakers = {
            let mut state = self.state.lock().expect("no code panics while it holds the clock");
            state.now = now;
            state.wakers.clone()
        };
        for wake in wakers {
            wake();
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().expect("no code panics while it holds the clock").now
    }

    fn timeout(&self, _until: Timestamp) -> Option<Duration> {
        None
    }

    fn on_change(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.state.lock().expect("no code panics while it holds the clock").wakers.push(wake);
    }
}
