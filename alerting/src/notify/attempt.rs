//! One attempt: the entry and its method are read anew, the webhook is sent, the result is judged.

use std::sync::Arc;
use std::time::Duration;

use moneta_storage::clock::Clock;
use moneta_storage::model::{TenantId, Timestamp};
use moneta_storage::record::RecordKind;
use tokio::time::Instant;

use super::agenda::{Destination, Key};
use super::body::body;
use super::delivery::{Delivery, DeliveryResult};
use super::shelf::Shelf;
use super::webhook::{Again, Failure, Webhook};
use crate::error::Error;
use crate::methods::Methods;
use crate::model::{MethodKind, NotificationMethod};
use crate::outbox::{Entry, Subject};

/// What an attempt needs. Shared by all.
pub(crate) struct Surroundings {
    pub(crate) shelf: Arc<dyn Shelf>,
    pub(crate) methods: Methods,
    pub(crate) tenants: Box<dyn Fn() -> Vec<TenantId> + Send + Sync>,
    pub(crate) tenant_name: Box<dyn Fn(TenantId) -> Option<Arc<str>> + Send + Sync>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) webhook: Webhook,
    /// Age of a transition after which nobody is told of it any more.
    pub(crate) ttl: Duration,
    /// The wait after a number of failed attempts.
    pub(crate) delay: fn(u32, &str) -> Duration,
}

/// How an attempt ended.
pub(crate) struct Attempted {
    pub(crate) destination: Destination,
    pub(crate) key: Key,
    pub(crate) outcome: Outcome,
    /// How long the request took, if one was made.
    pub(crate) took: Option<Duration>,
}

/// What is to be done about the entry.
pub(crate) enum Outcome {
    /// It is finished.
    Finished(Box<Delivery>),
    /// It is due again after `wait`; the entry counts the attempt. The receiver may have `asked`
    /// for a pause, which then holds for all that goes there.
    Again { entry: Box<Entry>, wait: Duration, asked: Option<Duration> },
    /// It is no longer in the outbox.
    Gone,
    /// The store could not be read. The attempt does not count.
    NotRead(Error),
}

/// Makes one attempt. Cancelling it leaves the entry in the outbox as it was.
pub(crate) async fn attempt(
    around: Arc<Surroundings>,
    destination: Destination,
    key: Key,
) -> Attempted {
    let read = {
        let (around, tenant, key) = (around.clone(), destination.tenant, key.clone());
        tokio::task::spawn_blocking(move || look_up(&around, tenant, &key))
    };
    let ended = |outcome| (outcome, None);
    let (outcome, took) = match read.await {
        Ok(Ok(Found::Ready(ready))) => send(&around, *ready).await,
        Ok(Ok(Found::Finished(delivery))) => ended(Outcome::Finished(delivery)),
        Ok(Ok(Found::Gone)) => ended(Outcome::Gone),
        Ok(Err(error)) => ended(Outcome::NotRead(error)),
        Err(error) => ended(Outcome::NotRead(interrupted(error))),
    };
    Attempted { destination, key, outcome, took }
}

/// A blocking call that did not return: passes its panic on, or says that the process is ending.
pub(crate) fn interrupted(error: tokio::task::JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => moneta_storage::Error::Stopped { reason: "the process ends".to_owned() }.into(),
    }
}

async fn send(around: &Surroundings, ready: Ready) -> (Outcome, Option<Duration>) {
    let started = Instant::now();
    let Ready { mut entry, method, body } = ready;
    let sent = match method.kind {
        MethodKind::Webhook => {
            around.webhook.send(&method.address, &body, around.clock.now()).await
        }
    };
    let took = Some(started.elapsed());
    let now = around.clock.now();
    entry.attempt = entry.attempt.saturating_add(1);
    entry.first_at = entry.first_at.or(Some(now.millis()));
    (judge(around, entry, method, sent, now), took)
}

struct Ready {
    entry: Entry,
    method: NotificationMethod,
    body: String,
}

enum Found {
    Ready(Box<Ready>),
    Finished(Box<Delivery>),
    Gone,
}

/// Reads what is to be sent and where to. Blocks.
fn look_up(around: &Surroundings, tenant: TenantId, key: &[u8]) -> Result<Found, Error> {
    let now = around.clock.now();
    let Some(value) = around.shelf.get(tenant, RecordKind::Outbox, key)? else {
        return Ok(Found::Gone);
    };
    let Some(entry) = Entry::decode(&value) else {
        let finished = Subject::of(key).map(|subject| Delivery::unreadable(subject, now).into());
        return Ok(finished.map_or(Found::Gone, Found::Finished));
    };
    if age(&entry, now) > around.ttl {
        let result = match entry.attempt {
            0 => DeliveryResult::TooOld,
            _ => DeliveryResult::GaveUp,
        };
        return Ok(Found::Finished(Delivery::of(&entry, result, now).into()));
    }
    let Some(method) = around.methods.get(tenant, &entry.method_id)? else {
        return Ok(Found::Finished(
            Delivery::of(&entry, DeliveryResult::MethodDeleted, now).into(),
        ));
    };
    let name = (around.tenant_name)(tenant).unwrap_or_default();
    let body = body(&entry, &name).to_string();
    Ok(Found::Ready(Box::new(Ready { entry, method, body })))
}

fn age(entry: &Entry, at: Timestamp) -> Duration {
    at.since(Timestamp::from_millis(entry.transition.time))
}

fn judge(
    around: &Surroundings,
    mut entry: Entry,
    method: NotificationMethod,
    sent: Result<u16, Failure>,
    now: Timestamp,
) -> Outcome {
    let finished = |entry: &Entry, result, status, detail| {
        let delivery = Delivery::of(entry, result, now);
        let delivery = Delivery { method_name: Some(method.name), status, detail, ..delivery };
        Outcome::Finished(Box::new(delivery))
    };
    let Failure { status, detail, again } = match sent {
        Ok(status) => return finished(&entry, DeliveryResult::Delivered, Some(status), None),
        Err(failure) => failure,
    };
    let backoff = (around.delay)(entry.attempt, &entry.notification_id);
    let asked = match again {
        Again::Never => return finished(&entry, DeliveryResult::Refused, status, Some(detail)),
        Again::Later => None,
        Again::NotBefore(asked) => Some(asked),
    };
    let wait = asked.map_or(backoff, |asked| asked.max(backoff));
    let next = now.plus_millis(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    if age(&entry, next) > around.ttl {
        return finished(&entry, DeliveryResult::GaveUp, status, Some(detail));
    }
    tracing::debug!(
        notification = entry.notification_id,
        attempt = entry.attempt,
        wait_ms = wait.as_millis(),
        detail,
        "a notification failed and will be sent again"
    );
    entry.not_before = next.millis();
    Outcome::Again { entry: Box::new(entry), wait, asked }
}
