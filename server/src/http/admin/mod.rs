//! Resources for the operator of the server, under `/admin`: a file per resource.

pub(crate) mod backup;
mod cardinality;
mod deletion;
mod retention;
mod tenants;

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body::Payload;
use super::openapi::admin as told;
use super::{Route, Services};
use crate::auth::Right;
use crate::status::Failure;

/// The routes.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    let mut routes = vec![
        Route::at("/admin/cardinality")
            .get(Right::Administer, cardinality::report)
            .told(&told::CARDINALITY),
    ];
    routes.extend(backup::routes());
    routes.extend(deletion::routes());
    routes.extend(retention::routes());
    routes.extend(tenants::routes());
    routes
}

/// The name or number at the end of a path.
struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Named(name)).map_err(|error| Failure::bad_request(error.body_text()))
    }
}

/// The JSON object that a body has to be.
fn object(payload: &Payload) -> Result<Value, Failure> {
    payload.must_be_json()?;
    let body = payload.json()?;
    // A list of the fields' values, in their order, would do as well otherwise.
    if body.is_object() {
        Ok(body)
    } else {
        Err(Failure::unprocessable("the body must be an object"))
    }
}

/// What an object says.
fn read<T: DeserializeOwned>(body: Value) -> Result<T, Failure> {
    serde_json::from_value(body).map_err(|error| Failure::unprocessable(error.to_string()))
}

/// Who asks, for a record: never nothing.
fn asker(by: &str) -> String {
    let by = by.trim();
    if by.is_empty() { "not told".to_owned() } else { by.to_owned() }
}
