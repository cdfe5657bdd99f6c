//! Resources for the operator of the server, under `/admin`: a file per resource.

mod cardinality;

use std::sync::Arc;

use axum::routing::get;

use super::{Route, Services};

/// The routes.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    vec![("/admin/cardinality", get(cardinality::report))]
}
