//! `/admin/deletions`: samples that were deleted, and how far that has come.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use moneta_storage::Store;
use moneta_storage::deletion::{Deletion, DeletionPlan, DeletionRequest, DeletionState};
use moneta_storage::model::{
    DimensionMatcher, Pattern, Selector, TimeRange, Timestamp, ValueMatcher,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Named, asker, object, read};
use crate::auth::Right;
use crate::http::body::Payload;
use crate::http::openapi::admin as told;
use crate::http::{Route, Services};
use crate::status::Failure;
use crate::wire::time;

/// The routes.
pub(super) fn routes() -> Vec<Route<Arc<Services>>> {
    vec![
        Route::at("/admin/deletions")
            .post(Right::Administer, delete)
            .told(&told::DELETE)
            .get(Right::Administer, list)
            .told(&told::DELETIONS),
        Route::at("/admin/deletions/{number}")
            .get(Right::Administer, show)
            .told(&told::DELETION)
            .delete(Right::Administer, cancel)
            .told(&told::DELETION_CANCEL),
    ]
}

/// What to delete.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    tenant: String,
    /// Exact name.
    #[serde(default)]
    metric: Option<String>,
    /// By name: a text (equal), a list (one of), null (any), `{"regex": "…"}`.
    #[serde(default)]
    dimensions: Map<String, Value>,
    /// First instant; without it the beginning.
    #[serde(default)]
    start: Option<String>,
    /// The instant after the last; without it the end.
    #[serde(default)]
    end: Option<String>,
    /// Needed to delete of all series.
    #[serde(default)]
    all_series: bool,
    /// Only tell what would go.
    #[serde(default)]
    dry_run: bool,
    /// Who asks, for the record.
    #[serde(default)]
    by: String,
}

#[derive(Serialize)]
struct PlanDocument {
    series: u64,
    samples: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct DeletionDocument {
    id: u64,
    state: &'static str,
    tenant: String,
    request: Value,
    by: String,
    requested: String,
    finished: Option<String>,
    removes: PlanDocument,
    segments_left: u64,
}

impl From<DeletionPlan> for PlanDocument {
    fn from(plan: DeletionPlan) -> Self {
        PlanDocument { series: plan.series, samples: plan.samples, bytes: plan.bytes }
    }
}

impl From<Deletion> for DeletionDocument {
    fn from(deletion: Deletion) -> Self {
        DeletionDocument {
            id: deletion.number,
            state: match deletion.state {
                DeletionState::Hidden => "hidden",
                DeletionState::Cancelled => "cancelled",
                DeletionState::Done => "done",
            },
            tenant: deletion.tenant,
            request: serde_json::from_str(&deletion.what).unwrap_or(Value::String(deletion.what)),
            by: deletion.by,
            requested: time::format_ms(deletion.requested),
            finished: deletion.finished.map(time::format_ms),
            removes: deletion.plan.into(),
            segments_left: deletion.segments_left,
        }
    }
}

impl Wanted {
    fn selector(&self) -> Result<Selector, Failure> {
        if self.metric.is_none() && self.dimensions.is_empty() && !self.all_series {
            return Err(Failure::unprocessable(
                "name a metric or dimensions, or say \"all_series\": true",
            ));
        }
        let dimensions: Result<Vec<DimensionMatcher>, Failure> =
            self.dimensions.iter().map(|(name, value)| matcher(name, value)).collect();
        Ok(Selector { metric: self.metric.clone(), dimensions: dimensions?, active: None })
    }

    fn times(&self) -> Result<TimeRange, Failure> {
        let read = |text: &Option<String>, default: Timestamp| match text {
            None => Ok(default),
            Some(text) => time::parse(text).map(time::Instant::ceil).ok_or_else(|| {
                Failure::unprocessable(format!("{text:?} is no time as 2026-11-20T09:00:00Z"))
            }),
        };
        let range = TimeRange::new(
            read(&self.start, TimeRange::ALL.start)?,
            read(&self.end, TimeRange::ALL.end)?,
        );
        if range.is_empty() {
            return Err(Failure::unprocessable("start must be before end"));
        }
        Ok(range)
    }
}

fn matcher(name: &str, value: &Value) -> Result<DimensionMatcher, Failure> {
    let bad = || {
        Failure::unprocessable(format!(
            "the value of {name:?} must be a text, a list of texts, null, or {{\"regex\": \"…\"}}"
        ))
    };
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(bad);
    let value = match value {
        Value::Null => ValueMatcher::Present,
        Value::String(value) => ValueMatcher::Equals(value.clone()),
        Value::Array(values) => {
            let values: Result<Vec<String>, Failure> = values.iter().map(text).collect();
            ValueMatcher::OneOf(values?)
        }
        Value::Object(fields) => match fields.get("regex").filter(|_| fields.len() == 1) {
            Some(pattern) => ValueMatcher::Matches(Pattern::new(&text(pattern)?)?),
            None => return Err(bad()),
        },
        Value::Bool(_) | Value::Number(_) => return Err(bad()),
    };
    // The empty name would stand for the metric.
    if name.is_empty() {
        return Err(Failure::unprocessable("a dimension's name is not empty"));
    }
    Ok(DimensionMatcher { name: name.to_owned(), value })
}

async fn delete(
    State(services): State<Arc<Services>>,
    payload: Payload,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let body = object(&payload)?;
    let what = body.to_string();
    let wanted: Wanted = read(body)?;
    let (selector, times) = (wanted.selector()?, wanted.times()?);
    let store = services.store.clone();
    let run = move || {
        let tenant = store
            .find_tenant(&wanted.tenant)
            .ok_or_else(|| Failure::not_found(format!("no tenant is called {}", wanted.tenant)))?;
        if wanted.dry_run {
            let plan = PlanDocument::from(store.plan_deletion(tenant, &selector, times)?);
            return Ok((StatusCode::OK, document(plan)?));
        }
        let request = DeletionRequest { tenant, selector, times, by: asker(&wanted.by), what };
        let deletion = DeletionDocument::from(store.delete(request)?);
        Ok((StatusCode::ACCEPTED, document(deletion)?))
    };
    services.pool.run(run).await
}

fn document(value: impl Serialize) -> Result<Json<Value>, Failure> {
    serde_json::to_value(value).map(Json).map_err(|error| Failure::unavailable(error.to_string()))
}

async fn list(State(services): State<Arc<Services>>) -> Result<Json<Value>, Failure> {
    let store = services.store.clone();
    let all = move || {
        let all: Vec<DeletionDocument> =
            store.deletions()?.into_iter().map(DeletionDocument::from).collect();
        document(serde_json::json!({ "deletions": all }))
    };
    services.pool.run(all).await
}

/// The deletion with the number of a path.
fn find(store: &Store, number: &str) -> Result<Deletion, Failure> {
    let missing = || Failure::not_found(format!("there is no deletion {number}"));
    store.deletion(number.parse().map_err(|_| missing())?)?.ok_or_else(missing)
}

async fn show(
    State(services): State<Arc<Services>>,
    Named(number): Named,
) -> Result<Json<Value>, Failure> {
    let store = services.store.clone();
    let one = move || document(DeletionDocument::from(find(&store, &number)?));
    services.pool.run(one).await
}

async fn cancel(
    State(services): State<Arc<Services>>,
    Named(number): Named,
) -> Result<Json<Value>, Failure> {
    let store = services.store.clone();
    let one = move || {
        let found = find(&store, &number)?;
        if found.state != DeletionState::Hidden {
            let text = format!("deletion {} has ended", found.number);
            return Err(Failure::new(StatusCode::CONFLICT, "Conflict", text));
        }
        document(DeletionDocument::from(store.cancel_deletion(found.number)?))
    };
    services.pool.run(one).await
}
