//! `/admin`: what an operator does with a running server.

pub(crate) mod backup;

use std::sync::Arc;

use super::{Route, Services};

/// The routes of all files here.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    backup::routes()
}
