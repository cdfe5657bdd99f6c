//! Resources for the operator of the server, under `/admin`: a file per resource.

pub(crate) mod backup;
mod cardinality;
mod deletion;
mod retention;
mod tenants;

use std::sync::Arc;

use axum::routing::get;

use super::{Route, Services};

/// The routes.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    let mut routes = vec![("/admin/cardinality", get(cardinality::report))];
    routes.extend(backup::routes());
    routes.extend(deletion::routes());
    routes.extend(retention::routes());
    routes.extend(tenants::routes());
    routes
}
