//! Metric names, dimension names, dimension values.

use axum::Json;
use moneta_storage::model::{Selector, TenantId, Timestamp};

use super::call::Call;
use super::dimension_filter::DimensionFilter;
use super::page::{cut, metric_name, span};
use crate::ingest::rules;
use crate::status::Failure;
use crate::wire::metrics::{DimensionNameElement, DimensionValueElement, Listing, NameElement};

/// `GET /v2.0/metrics/names`
pub(super) async fn metric_names(call: Call) -> Result<Json<Listing<NameElement>>, Failure> {
    call.run(|call| {
        let dimensions = DimensionFilter::parse(call.parameters(), "dimensions")?.matchers();
        let selector = Selector { metric: None, dimensions, active: None };
        let names = |tenant, after: Option<&str>, limit| {
            call.store.metric_names(tenant, &selector, after, limit)
        };
        listing(call, names, |name| NameElement { name })
    })
    .await
}

/// `GET /v2.0/metrics/dimensions/names`
pub(super) async fn dimension_names(
    call: Call,
) -> Result<Json<Listing<DimensionNameElement>>, Failure> {
    call.run(|call| {
        let selector = of_metric(call)?;
        let names = |tenant, after: Option<&str>, limit| {
            call.store.dimension_names(tenant, &selector, after, limit)
        };
        listing(call, names, |dimension_name| DimensionNameElement { dimension_name })
    })
    .await
}

/// `GET /v2.0/metrics/dimensions/names/values`
pub(super) async fn dimension_values(
    call: Call,
) -> Result<Json<Listing<DimensionValueElement>>, Failure> {
    call.run(|call| {
        let name = call.parameters().one("dimension_name")?;
        let name = name.ok_or_else(|| Failure::unprocessable("Missing dimension_name"))?;
        rules::check_dimension_name(name).map_err(Failure::unprocessable)?;
        let selector = of_metric(call)?;
        let values = |tenant, after: Option<&str>, limit| {
            call.store.dimension_values(tenant, name, &selector, after, limit)
        };
        listing(call, values, |dimension_value| DimensionValueElement { dimension_value })
    })
    .await
}

/// The series of `metric_name` in the span asked for.
fn of_metric(call: &Call) -> Result<Selector, Failure> {
    let parameters = call.parameters();
    Ok(Selector {
        metric: metric_name(parameters, "metric_name")?,
        dimensions: Vec::new(),
        active: span(parameters, Timestamp::MAX)?,
    })
}

/// A page of texts: the offset is the last one of the page before.
fn listing<T>(
    call: &Call,
    texts: impl Fn(TenantId, Option<&str>, usize) -> Result<Vec<String>, moneta_storage::Error>,
    element: impl Fn(String) -> T,
) -> Result<Json<Listing<T>>, Failure> {
    let limit = call.parameters().limit()?;
    let after = call.parameters().one("offset")?;
    let mut page = match call.acting_tenant()? {
        Some(tenant) => texts(tenant, after, limit + 1)?,
        None => Vec::new(),
    };
    let next = cut(&mut page, limit, Clone::clone);
    let elements = page.into_iter().map(element).collect();
    Ok(Json(Listing { links: call.place.page(next.as_deref()), elements }))
}
