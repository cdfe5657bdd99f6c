//! The Monasca API, `/v2.0`: a file per resource.

mod alarms;
pub(crate) mod call;
mod counts;
mod definitions;
mod dimension_filter;
mod fields;
mod history;
mod logs;
mod methods;
mod metrics;
mod names;
mod page;
mod series;
pub(crate) mod versions;

use std::sync::Arc;

use super::{Route, Services};
use crate::auth::Right::{Change, Open, Read, WriteLogs, WriteMetrics};

/// All routes.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    let mut routes = vec![
        // The hot one first: templates are compared in this order.
        Route::at("/v2.0/metrics").post(WriteMetrics, metrics::create).get(Read, metrics::list),
        Route::at("/v2.0/metrics/measurements").get(Read, series::measurements),
        Route::at("/v2.0/metrics/statistics").get(Read, series::statistics),
        Route::at("/v2.0/metrics/names").get(Read, names::metric_names),
        Route::at("/v2.0/metrics/dimensions/names").get(Read, names::dimension_names),
        Route::at("/v2.0/metrics/dimensions/names/values").get(Read, names::dimension_values),
        Route::at("/v2.0/alarm-definitions")
            .post(Change, definitions::create)
            .get(Read, definitions::list)
            .put(Change, definitions::without_id)
            .patch(Change, definitions::without_id)
            .delete(Change, definitions::without_id),
        Route::at("/v2.0/alarm-definitions/{id}")
            .get(Read, definitions::show)
            .put(Change, definitions::replace)
            .patch(Change, definitions::change)
            .delete(Change, definitions::delete),
        Route::at("/v2.0/alarms").get(Read, alarms::list),
        Route::at("/v2.0/alarms/count").get(Read, counts::count),
        Route::at("/v2.0/alarms/state-history").get(Read, history::of_all),
        Route::at("/v2.0/alarms/{id}")
            .get(Read, alarms::show)
            .put(Change, alarms::replace)
            .patch(Change, alarms::change)
            .delete(Change, alarms::delete),
        Route::at("/v2.0/alarms/{id}/state-history").get(Read, history::of_one),
        Route::at("/v2.0/notification-methods")
            .post(Change, methods::create)
            .get(Read, methods::list),
        Route::at("/v2.0/notification-methods/types").get(Read, methods::types),
        Route::at("/v2.0/notification-methods/{id}")
            .get(Read, methods::show)
            .put(Change, methods::replace)
            .patch(Change, methods::change)
            .delete(Change, methods::delete),
        Route::at("/v2.0/logs").post(WriteLogs, logs::not_here).get(Read, logs::not_here),
        Route::at("/healthcheck").head(Open, versions::alive).get(Open, versions::healthcheck),
    ];
    routes.extend(versions::routes());
    routes
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;

    #[test]
    fn routes_do_not_clash() {
        let mut routes = routes();
        routes.extend(crate::http::own::routes());
        // A router panics when two routes are the same.
        let router = |router: Router<Arc<Services>>, route: Route<Arc<Services>>| {
            router.route(route.path, route.methods)
        };
        assert!(routes.into_iter().fold(Router::new(), router).has_routes());
    }
}
