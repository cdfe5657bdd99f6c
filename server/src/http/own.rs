//! Resources about the server itself: alive, ready, figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use super::openapi::own as told;
use super::{Route, Services};
use crate::auth::Right;
use crate::telemetry::Format;
use crate::wire::time;

/// Whether the server can do its work.
#[derive(Debug, Default)]
pub(crate) struct Health {
    writes_stopped: AtomicBool,
    stopping: AtomicBool,
}

impl Health {
    /// The store has said that it can no longer write.
    pub(crate) fn writes_have_stopped(&self) {
        if !self.writes_stopped.swap(true, Ordering::Relaxed) {
            tracing::error!("the store can no longer write; restart needed");
        }
    }

    /// The server is about to end.
    pub(crate) fn is_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What keeps the server from working; nothing if it is well.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &'static str> {
        let writes = self.writes_stopped.load(Ordering::Relaxed);
        let stopping = self.stopping.load(Ordering::Relaxed);
        let writes = writes.then_some("the store can no longer write");
        writes.into_iter().chain(stopping.then_some("the server is stopping"))
    }
}

/// `/ready`
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<String>,
    /// What does not keep it from working, but an operator must know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Services {
    /// Takes over whether the store has stopped writing.
    pub(crate) fn look_at_store(&self) {
        if self.store.stopped().is_some() {
            self.health.writes_have_stopped();
        }
    }
}

/// The routes.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    vec![
        Route::at("/health").get(Right::Open, health).told(&told::HEALTH),
        Route::at("/ready").get(Right::Open, ready).told(&told::READY),
        Route::at("/metrics").get(Right::Administer, metrics).told(&told::METRICS),
    ]
}

async fn health() -> impl IntoResponse {
    Json(serde_json::json!({"status": "alive"}))
}

async fn ready(State(services): State<Arc<Services>>) -> impl IntoResponse {
    services.look_at_store();
    let mut reasons: Vec<String> = services.health.reasons().map(str::to_owned).collect();
    let health = services.store.health();
    reasons.extend(health.stopped.into_iter().chain(health.read_only));
    reasons.extend(services.alarms.failure().map(|why| format!("alarms are not evaluated: {why}")));
    let losses = health.losses.iter().map(|loss| format!("lost before this start: {loss}"));
    let quarantined = services.store.quarantined();
    let quarantined = quarantined.iter().map(|missing| {
        format!(
            "{} samples from {} to {} cannot be read: {}; the file is {}, and `moneta repair` brings \
             back what is whole in it",
            missing.samples,
            time::format_ms(missing.times.start),
            time::format_ms(missing.times.end),
            missing.reason,
            missing.path.display(),
        )
    });
    let clock = services.store.clock_doubt().map(|doubt| {
        format!(
            "the clock shows {}, more than a day from {}, where this store saw it last: nothing more is \
             removed as expired until it has run on for an hour; POST /admin/retention/apply takes its \
             word at once",
            time::format_ms(doubt.clock),
            time::format_ms(doubt.passed),
        )
    });
    let warnings = losses.chain(quarantined).chain(clock).collect();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons, warnings }))
}

async fn metrics(State(services): State<Arc<Services>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept);
    services.telemetry.set_notifications(&services.notifier.stats());
    services.telemetry.set_storage(&services.store);
    services.telemetry.set_limits(services.store.refused());
    ([(header::CONTENT_TYPE, format.content_type())], services.telemetry.render(format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_add_up() {
        let health = Health::default();
        assert_eq!(health.reasons().next(), None);
        health.writes_have_stopped();
        health.is_stopping();
        assert!(health.reasons().eq(["the store can no longer write", "the server is stopping"]));
    }
}
