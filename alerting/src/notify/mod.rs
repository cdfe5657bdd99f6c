//! Notifications: from the outbox to their receivers.
//!
//! [`Notifier`] runs a task that finds new entries of the outbox, sends each to its method's address
//! until it succeeds, is refused for good or is too old, and records what became of it. Every entry
//! is sent at least once; a repeat carries the same notification id.

pub(crate) mod address;
mod agenda;
mod attempt;
mod backoff;
mod body;
mod delivery;
mod dispatch;
#[cfg(test)]
mod receiver;
pub(crate) mod shelf;
mod stats;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moneta_storage::Store;
use moneta_storage::model::TenantId;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use self::delivery::{Delivery, DeliveryResult};
pub use self::stats::{LATENCY_BOUNDS_MS, NotifyStats};

use self::address::Reach;
use self::attempt::Surroundings;
use self::dispatch::Dispatch;
use self::shelf::Shelf;
use self::webhook::Webhook;
use crate::error::Error;
use crate::methods::Methods;

/// Settings of the sending of notifications.
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// How long one attempt may take, redirects included. Default 5 s.
    pub timeout: Duration,
    /// Age of a transition after which nobody is told of it any more; ends the repeats of a
    /// notification that fails. Default 4 h.
    pub ttl: Duration,
    /// Methods that requests are made to at the same time, one request each. At least 1. Default 64.
    pub destinations_parallel: usize,
    /// Whether notifications may go to loopback and internal networks. Link-local addresses are
    /// refused in any case. Default true, because most receivers are inside.
    pub allow_private: bool,
}

impl Default for NotifySettings {
    fn default() -> Self {
        NotifySettings {
            timeout: Duration::from_secs(5),
            ttl: Duration::from_secs(4 * 3600),
            destinations_parallel: 64,
            allow_private: true,
        }
    }
}

/// The running sender of notifications. When it is dropped without [`close`](Self::close), sending
/// ends in the same way but nobody waits for it.
pub struct Notifier {
    shelf: Arc<dyn Shelf>,
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    stats: watch::Receiver<NotifyStats>,
    /// Taken by the first call of `close`.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Notifier {
    /// Starts the task on `runtime`. What an earlier run left in the outbox is sent.
    ///
    /// # Errors
    /// `Invalid` for settings out of range or if the HTTP client cannot be made.
    pub fn start(
        store: Store,
        methods: Methods,
        settings: NotifySettings,
        runtime: Handle,
    ) -> Result<Self, Error> {
        if settings.destinations_parallel == 0 {
            return Err(Error::Invalid("destinations_parallel must be at least 1".to_owned()));
        }
        let reach = if settings.allow_private { Reach::Private } else { Reach::Public };
        let named = store.clone();
        let clock = store.clock();
        let around = Surroundings {
            shelf: Arc::new(store.records()),
            methods,
            tenants: Box::new(move || store.tenants()),
            tenant_name: Box::new(move |tenant| named.tenant_name(tenant)),
            clock,
            webhook: Webhook::new(reach, settings.timeout)?,
            ttl: settings.ttl,
            delay: backoff::delay,
        };
        Ok(Notifier::run(around, settings.destinations_parallel, &runtime))
    }

    fn run(around: Surroundings, parallel: usize, runtime: &Handle) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (counted, stats) = watch::channel(NotifyStats::default());
        let wake = Arc::new(Notify::new());
        let shelf = around.shelf.clone();
        let task =
            runtime.spawn(Dispatch::new(around, parallel, counted).run(wake.clone(), stopped));
        Notifier { shelf, wake, stop, stats, task: Mutex::new(Some(task)) }
    }

    /// Says that entries were committed to the outbox. Returns at once; calls in quick succession
    /// count as one.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// What has been done since the start.
    #[must_use]
    pub fn stats(&self) -> NotifyStats {
        self.stats.borrow().clone()
    }

    /// The newest `limit` finished notifications of a tenant, newest first; about 10 000 are kept.
    /// Blocks for reading.
    ///
    /// # Errors
    /// The store's; `Corrupt` for a record that does not decode.
    pub fn deliveries(&self, tenant: TenantId, limit: usize) -> Result<Vec<Delivery>, Error> {
        delivery::list(&*self.shelf, tenant, limit)
    }

    /// Starts no further request, waits up to 5 s for those under way, and records how they ended.
    /// What is left stays in the outbox. A second call returns at once.
    pub async fn close(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "sending notifications had ended early");
        }
    }
}

#[cfg(test)]
mod tests;
