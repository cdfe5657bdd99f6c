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

use super::openapi::monasca as told;
use super::{Route, Services};
use crate::auth::Right::{Change, Open, Read, WriteLogs, WriteMetrics};

/// All routes.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    let mut routes = vec![
        // The hot one first: templates are compared in this order.
        Route::at("/v2.0/metrics")
            .post(WriteMetrics, metrics::create)
            .told(&told::METRICS_CREATE)
            .get(Read, metrics::list)
            .told(&told::METRICS_LIST),
        Route::at("/v2.0/metrics/measurements")
            .get(Read, series::measurements)
            .told(&told::MEASUREMENTS),
        Route::at("/v2.0/metrics/statistics").get(Read, series::statistics).told(&told::STATISTICS),
        Route::at("/v2.0/metrics/names").get(Read, names::metric_names).told(&told::NAMES),
        Route::at("/v2.0/metrics/dimensions/names")
            .get(Read, names::dimension_names)
            .told(&told::DIMENSION_NAMES),
        Route::at("/v2.0/metrics/dimensions/names/values")
            .get(Read, names::dimension_values)
            .told(&told::DIMENSION_VALUES),
        Route::at("/v2.0/alarm-definitions")
            .post(Change, definitions::create)
            .told(&told::DEFINITION_CREATE)
            .get(Read, definitions::list)
            .told(&told::DEFINITIONS)
            .put(Change, definitions::without_id)
            .told(&told::DEFINITION_WITHOUT_ID)
            .patch(Change, definitions::without_id)
            .told(&told::DEFINITION_WITHOUT_ID)
            .delete(Change, definitions::without_id)
            .told(&told::DEFINITION_WITHOUT_ID),
        Route::at("/v2.0/alarm-definitions/{id}")
            .get(Read, definitions::show)
            .told(&told::DEFINITION)
            .put(Change, definitions::replace)
            .told(&told::DEFINITION_REPLACE)
            .patch(Change, definitions::change)
            .told(&told::DEFINITION_CHANGE)
            .delete(Change, definitions::delete)
            .told(&told::DEFINITION_DELETE),
        Route::at("/v2.0/alarms").get(Read, alarms::list).told(&told::ALARMS),
        Route::at("/v2.0/alarms/count").get(Read, counts::count).told(&told::ALARM_COUNT),
        Route::at("/v2.0/alarms/state-history").get(Read, history::of_all).told(&told::HISTORY),
        Route::at("/v2.0/alarms/{id}")
            .get(Read, alarms::show)
            .told(&told::ALARM)
            .put(Change, alarms::replace)
            .told(&told::ALARM_REPLACE)
            .patch(Change, alarms::change)
            .told(&told::ALARM_CHANGE)
            .delete(Change, alarms::delete)
            .told(&told::ALARM_DELETE),
        Route::at("/v2.0/alarms/{id}/state-history")
            .get(Read, history::of_one)
            .told(&told::HISTORY_OF_ONE),
        Route::at("/v2.0/notification-methods")
            .post(Change, methods::create)
            .told(&told::METHOD_CREATE)
            .get(Read, methods::list)
            .told(&told::METHODS),
        Route::at("/v2.0/notification-methods/types")
            .get(Read, methods::types)
            .told(&told::METHOD_TYPES),
        Route::at("/v2.0/notification-methods/{id}")
            .get(Read, methods::show)
            .told(&told::METHOD)
            .put(Change, methods::replace)
            .told(&told::METHOD_REPLACE)
            .patch(Change, methods::change)
            .told(&told::METHOD_CHANGE)
            .delete(Change, methods::delete)
            .told(&told::METHOD_DELETE),
        Route::at("/v2.0/logs")
            .post(WriteLogs, logs::not_here)
            .told(&told::LOGS)
            .get(Read, logs::not_here)
            .told(&told::LOGS),
        Route::at("/healthcheck")
            .head(Open, versions::alive)
            .told(&told::ALIVE)
            .get(Open, versions::healthcheck)
            .told(&told::HEALTHCHECK),
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
