//! The bounded pool for calls that block: store, query, alarms.

use std::sync::Arc;

use moneta_storage::{Interrupt, Store};
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

    /// Runs a call that reads from `store`. When the caller goes away its reads fail, so that it ends.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        store: &Store,
        call: impl FnOnce(Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let waiting = Waiting::default();
        let store = store.until(&waiting.0);
        self.run(move || call(store)).await
    }
}

/// Somebody waits for what is read; when they go, this is dropped and the reading ends.
#[derive(Default)]
struct Waiting(Interrupt);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use moneta_storage::clock::SystemClock;
    use moneta_storage::model::SeriesId;
    use moneta_storage::{Error, StoreConfig};
    use tokio::sync::oneshot;

    use super::*;

    /// Longer than a busy machine takes to notice.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn reading_ends_when_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let store =
            Store::open(folder.path(), StoreConfig::default(), Arc::new(SystemClock)).unwrap();
        let tenant = store.tenant("t").unwrap();
        let ((begin, begun), (end, ended)) = (oneshot::channel(), oneshot::channel());
        let waiting = tokio::spawn(async move {
            let read = move |store: Store| {
                begin.send(()).unwrap();
                let began = Instant::now();
                let mut last = Ok(None);
                while last.is_ok() && began.elapsed() < PATIENCE {
                    last = store.series(tenant, SeriesId::new(1));
                }
                end.send(last).unwrap();
                Ok(())
            };
            Pool::for_reading().read(&store, read).await
        });
        begun.await.unwrap();
        waiting.abort();
        let last = ended.await.unwrap();
        assert!(matches!(last, Err(Error::Interrupted)), "{last:?}");
    }
}
