//! `GET /admin/cardinality?tenant=&top=`: where a tenant's series come from.

use axum::Json;
use moneta_storage::{CARDINALITY_TOP_MAX, Cardinality};
use serde::Serialize;

use crate::http::monasca::call::Call;
use crate::status::Failure;
use crate::wire::time;

/// Entries of each list if `top` is not given.
const TOP_DEFAULT: usize = 10;

/// The report as JSON.
#[derive(Serialize)]
pub(crate) struct Report {
    tenant: String,
    series: u64,
    active_series: u64,
    metric_names: u64,
    dimension_names: u64,
    by_metric: Vec<OfMetric>,
    by_dimension: Vec<OfDimension>,
    by_value: Vec<OfValue>,
    new_per_hour: Vec<OfHour>,
}

#[derive(Serialize)]
struct OfMetric {
    name: String,
    series: u64,
}

#[derive(Serialize)]
struct OfDimension {
    name: String,
    series: u64,
    values: u64,
}

#[derive(Serialize)]
struct OfValue {
    name: String,
    value: String,
    series: u64,
}

#[derive(Serialize)]
struct OfHour {
    start: String,
    series: u64,
}

impl Report {
    fn new(tenant: String, found: Cardinality) -> Self {
        let metric = |(name, series)| OfMetric { name, series };
        let dimension = |(name, series, values)| OfDimension { name, series, values };
        let value = |(name, value, series)| OfValue { name, value, series };
        Report {
            tenant,
            series: found.series,
            active_series: found.active_series,
            metric_names: found.metric_names,
            dimension_names: found.dimension_names,
            by_metric: found.by_metric.into_iter().map(metric).collect(),
            by_dimension: found.by_dimension.into_iter().map(dimension).collect(),
            by_value: found.by_value.into_iter().map(value).collect(),
            new_per_hour: found
                .new_per_hour
                .into_iter()
                .map(|(start, series)| OfHour { start: time::format_ms(start), series })
                .collect(),
        }
    }
}

/// The report on the tenant named by `tenant`, or on the caller's.
pub(super) async fn report(call: Call) -> Result<Json<Report>, Failure> {
    call.run(|call| {
        let parameters = call.parameters();
        let top = match parameters.one("top")? {
            None => TOP_DEFAULT,
            Some(text) => {
                text.parse().ok().filter(|top| (1..=CARDINALITY_TOP_MAX).contains(top)).ok_or_else(
                    || {
                        let text = format!("top must be a number from 1 to {CARDINALITY_TOP_MAX}");
                        Failure::unprocessable(text)
                    },
                )?
            }
        };
        let store = &call.store;
        let name =
            parameters.one("tenant")?.map_or_else(|| call.caller().to_owned(), str::to_owned);
        let tenant = store
            .find_tenant(&name)
            .ok_or_else(|| Failure::not_found(format!("no tenant is called {name}")))?;
        Ok(Json(Report::new(name, store.cardinality(tenant, top)?)))
    })
    .await
}
