//! Versions and the health check of the Monasca API.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use super::call::place;
use crate::auth::Right;
use crate::http::openapi::monasca as told;
use crate::http::{Route, Services};
use crate::status::Failure;
use crate::wire::links::{Link, Place};
use crate::wire::metrics::Listing;

/// The one version there is.
#[derive(Debug, Serialize)]
struct Version {
    id: &'static str,
    links: Vec<Link>,
    status: &'static str,
    updated: &'static str,
}

/// Routes that need nothing of the server.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Vec<Route<S>> {
    vec![
        Route::at("/").get(Right::Known, list).told(&told::VERSIONS),
        Route::at("/v2.0").get(Right::Known, show).told(&told::VERSION),
    ]
}

/// The address a request was sent to.
struct Here(Place);

impl<S: Sync> FromRequestParts<S> for Here {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        place(parts).map(Here)
    }
}

fn version(place: &Place) -> Version {
    Version {
        id: "v2.0",
        links: place.object("/v2.0"),
        status: "CURRENT",
        updated: "2013-03-06T00:00:00.000Z",
    }
}

async fn list(Here(place): Here) -> impl IntoResponse {
    Json(Listing { links: place.object("/"), elements: vec![version(&place)] })
}

async fn show(Here(place): Here) -> impl IntoResponse {
    Json(version(&place))
}

/// Health is never cached.
const NOT_CACHED: [(HeaderName, &str); 1] =
    [(header::CACHE_CONTROL, "must-revalidate, no-cache, no-store")];

/// `HEAD /healthcheck`: the process lives.
pub(super) async fn alive() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, NOT_CACHED)
}

/// What the reference's parts are called; clients look for these three.
#[derive(Debug, Serialize)]
struct Healthcheck {
    kafka: &'static str,
    alarms_database: &'static str,
    metrics_database: &'static str,
}

/// `GET /healthcheck`: all three parts are this process.
pub(super) async fn healthcheck(State(services): State<Arc<Services>>) -> impl IntoResponse {
    services.look_at_store();
    let reason = services.health.reasons().next();
    let status = reason.map_or(StatusCode::OK, |_| StatusCode::SERVICE_UNAVAILABLE);
    let part = reason.unwrap_or("OK");
    let answer = Healthcheck { kafka: part, alarms_database: part, metrics_database: part };
    (status, NOT_CACHED, Json(answer))
}
