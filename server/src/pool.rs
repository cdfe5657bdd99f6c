//! The bounded pool for calls that block: store, query, alarms.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::status::Failure;

/// Threads per processor for calls that wait for disk as often as they compute.
const READERS_PER_CPU: usize = 4;

/// Runs blocking calls, so many at once. When full, the request waits; how many may wait is bounded
/// by the limit of concurrent requests.
#[derive(Clone)]
pub(crate) struct Pool {
    places: Arc<Semaphore>,
}

impl Pool {
    /// A pool for calls that read: queries, lists, changes of alarms.
    pub(crate) fn for_reading() -> Self {
        Pool { places: Arc::new(Semaphore::new(cpus() * READERS_PER_CPU)) }
    }

    /// A pool for decoding large bodies, and what else a write may need, so that slow queries never hold up what comes in.
    pub(crate) fn for_decoding() -> Self {
        Pool { places: Arc::new(Semaphore::new(cpus())) }
    }

    /// Runs `call` on the pool. A caller that goes away while it waits for a place never runs it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| Failure::unavailable("the server is stopping"))?;
        tokio::task::spawn_blocking(move || {
            // Held by the call, not by the caller: a client that goes away does not free the thread.
            let _place = place;
            call()
        })
        .await
        .unwrap_or_else(|_| Err(Failure::panicked()))
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
