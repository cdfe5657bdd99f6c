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

use axum::routing::{get, post};

use super::{Route, Services};

/// All routes.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    let mut routes: Vec<Route<Arc<Services>>> = vec![
        // The hot one first: templates are compared in this order.
        ("/v2.0/metrics", post(metrics::create).get(metrics::list)),
        ("/v2.0/metrics/measurements", get(series::measurements)),
        ("/v2.0/metrics/statistics", get(series::statistics)),
        ("/v2.0/metrics/names", get(names::metric_names)),
        ("/v2.0/metrics/dimensions/names", get(names::dimension_names)),
        ("/v2.0/metrics/dimensions/names/values", get(names::dimension_values)),
        (
            "/v2.0/alarm-definitions",
            post(definitions::create)
                .get(definitions::list)
                .put(definitions::without_id)
                .patch(definitions::without_id)
                .delete(definitions::without_id),
        ),
        (
            "/v2.0/alarm-definitions/{id}",
            get(definitions::show)
                .put(definitions::replace)
                .patch(definitions::change)
                .delete(definitions::delete),
        ),
        ("/v2.0/alarms", get(alarms::list)),
        ("/v2.0/alarms/count", get(counts::count)),
        ("/v2.0/alarms/state-history", get(history::of_all)),
        (
            "/v2.0/alarms/{id}",
            get(alarms::show).put(alarms::replace).patch(alarms::change).delete(alarms::delete),
        ),
        ("/v2.0/alarms/{id}/state-history", get(history::of_one)),
        ("/v2.0/notification-methods", post(methods::create).get(methods::list)),
        ("/v2.0/notification-methods/types", get(methods::types)),
        (
            "/v2.0/notification-methods/{id}",
            get(methods::show).put(methods::replace).patch(methods::change).delete(methods::delete),
        ),
        ("/v2.0/logs", post(logs::not_here).get(logs::not_here)),
        (
            "/healthcheck",
            // HEAD must be named: it answers otherwise than GET.
            axum::routing::head(versions::alive).get(versions::healthcheck),
        ),
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
        let router = |router: Router<Arc<Services>>, (path, methods): Route<Arc<Services>>| {
            router.route(path, methods)
        };
        assert!(routes.into_iter().fold(Router::new(), router).has_routes());
    }
}
