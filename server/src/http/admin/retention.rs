//! `/admin/retention`: how long samples are kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use moneta_storage::model::Keep;
use moneta_storage::retention::{
    MetricPattern, MetricRetention, Policies, Policy, RollupPolicy, RollupStep,
};
use serde::{Deserialize, Serialize};

use super::{object, read};
use crate::auth::Right;
use crate::http::body::Payload;
use crate::http::monasca::call::{self, Call};
use crate::http::openapi::admin as told;
use crate::http::{Route, Services};
use crate::status::Failure;
use crate::wire::span;

/// The routes.
pub(super) fn routes() -> Vec<Route<Arc<Services>>> {
    vec![
        Route::at("/admin/retention")
            .get(Right::Administer, show)
            .told(&told::RETENTION)
            .put(Right::Administer, replace)
            .told(&told::RETENTION_REPLACE),
        Route::at("/admin/retention/plan")
            .post(Right::Administer, plan)
            .told(&told::RETENTION_PLAN),
        Route::at("/admin/retention/apply")
            .post(Right::Administer, apply)
            .told(&told::RETENTION_APPLY),
        Route::at("/admin/retention/explain")
            .get(Right::Administer, explain)
            .told(&told::RETENTION_EXPLAIN),
    ]
}

/// All policies, in order of precedence.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    policies: Vec<PolicyDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyDocument {
    /// None: every tenant.
    #[serde(default)]
    tenant: Option<String>,
    /// A name in which `*` stands for any characters.
    metric: String,
    /// A span as `30d`, or `forever`.
    keep: String,
    /// Rollups that are made of the samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rollups: Vec<RollupDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RollupDocument {
    /// `5m` or `1h`.
    step: String,
    /// A span as `1y`, or `forever`.
    keep: String,
}

/// What would go.
#[derive(Serialize)]
pub(crate) struct PlanDocument {
    metrics: Vec<LossDocument>,
    series: u64,
    samples: u64,
    bytes: u64,
    rollup_days: u64,
}

#[derive(Serialize)]
struct LossDocument {
    tenant: String,
    metric: String,
    keep: String,
    policy: Option<PolicyDocument>,
    series: u64,
    samples: u64,
    bytes: u64,
    rollup_days: u64,
}

/// What was done to give space back.
#[derive(Serialize)]
pub(crate) struct SweptDocument {
    segments_removed: u64,
    segments_rewritten: u64,
    bytes: u64,
    deletions_finished: u64,
    series_removed: u64,
    rollups_made: u64,
    /// Whether what was in memory was written into files first.
    flushed: bool,
}

/// Why a metric is kept as long as it is.
#[derive(Serialize)]
pub(crate) struct ExplainDocument {
    tenant: String,
    metric: String,
    keep: String,
    policy: Option<PolicyDocument>,
    /// Policies that are about the metric as well but come later.
    overruled: Vec<PolicyDocument>,
}

impl From<&Policy> for PolicyDocument {
    fn from(policy: &Policy) -> Self {
        PolicyDocument {
            tenant: policy.tenant.clone(),
            metric: policy.metric.text().to_owned(),
            keep: span::format_keep(policy.raw),
            rollups: policy.rollups.iter().map(RollupDocument::from).collect(),
        }
    }
}

impl From<&RollupPolicy> for RollupDocument {
    fn from(rollup: &RollupPolicy) -> Self {
        RollupDocument {
            step: span::step_text(rollup.step).to_owned(),
            keep: span::format_keep(rollup.keep),
        }
    }
}

impl From<&Policies> for Document {
    fn from(policies: &Policies) -> Self {
        Document { policies: policies.as_slice().iter().map(PolicyDocument::from).collect() }
    }
}

impl From<MetricRetention> for LossDocument {
    fn from(loss: MetricRetention) -> Self {
        LossDocument {
            keep: span::format_keep(loss.keep),
            policy: loss.policy.as_ref().map(PolicyDocument::from),
            tenant: loss.tenant,
            metric: loss.metric,
            series: loss.series,
            samples: loss.samples,
            bytes: loss.bytes,
            rollup_days: loss.rollup_days,
        }
    }
}

fn policies(payload: &Payload) -> Result<Policies, Failure> {
    let document: Document = read(object(payload)?)?;
    let keep = |text: &str| {
        span::parse_keep(text).ok_or_else(|| {
            let text = format!("keep must be a span as 30d or 12h, or forever, not {text:?}");
            Failure::unprocessable(text)
        })
    };
    let rollup = |rollup: RollupDocument| {
        let step = RollupStep::ALL.into_iter().find(|step| span::step_text(*step) == rollup.step);
        let step = step.ok_or_else(|| {
            let text = format!("the step of a rollup is 5m or 1h, not {:?}", rollup.step);
            Failure::unprocessable(text)
        })?;
        Ok::<_, Failure>(RollupPolicy { step, keep: keep(&rollup.keep)? })
    };
    let read = |policy: PolicyDocument| {
        policy.tenant.as_deref().map_or(Ok(()), call::check_tenant)?;
        let raw = keep(&policy.keep)?;
        let metric = MetricPattern::parse(&policy.metric)?;
        let rollups: Result<_, Failure> = policy.rollups.into_iter().map(rollup).collect();
        Ok(Policy { tenant: policy.tenant, metric, raw, rollups: rollups? })
    };
    let policies: Result<Vec<Policy>, Failure> = document.policies.into_iter().map(read).collect();
    Ok(Policies::new(policies?)?)
}

async fn show(State(services): State<Arc<Services>>) -> Json<Document> {
    Json(Document::from(&services.store.retention()))
}

async fn replace(
    State(services): State<Arc<Services>>,
    payload: Payload,
) -> Result<Json<Document>, Failure> {
    let policies = policies(&payload)?;
    let store = services.store.clone();
    let set = move || {
        store.set_retention(policies)?;
        Ok(Json(Document::from(&store.retention())))
    };
    services.pool.run(set).await
}

/// What the policies in the body would remove now.
async fn plan(
    State(services): State<Arc<Services>>,
    payload: Payload,
) -> Result<Json<PlanDocument>, Failure> {
    let policies = policies(&payload)?;
    let store = services.store.clone();
    let plan = move || {
        let metrics = store.plan_retention(&policies)?.metrics;
        let sum = |of: fn(&MetricRetention) -> u64| metrics.iter().map(of).sum();
        let (series, samples) = (sum(|loss| loss.series), sum(|loss| loss.samples));
        let (bytes, rollup_days) = (sum(|loss| loss.bytes), sum(|loss| loss.rollup_days));
        let metrics = metrics.into_iter().map(LossDocument::from).collect();
        Ok(Json(PlanDocument { metrics, series, samples, bytes, rollup_days }))
    };
    services.pool.run(plan).await
}

async fn apply(State(services): State<Arc<Services>>) -> Result<Json<SweptDocument>, Failure> {
    let store = services.store.clone();
    let sweep = move || {
        // Only what is in files is looked at. A full disk is no reason not to: removing files makes room.
        let flushed = store.flush();
        let swept = store.sweep()?;
        if let Err(error) = &flushed {
            tracing::warn!(%error, "the head was not flushed before space was given back");
        }
        Ok(Json(SweptDocument {
            segments_removed: swept.segments_removed,
            segments_rewritten: swept.segments_rewritten,
            bytes: swept.bytes,
            deletions_finished: swept.deletions_finished,
            series_removed: swept.series_removed,
            rollups_made: swept.rollups_made,
            flushed: flushed.is_ok(),
        }))
    };
    services.pool.run(sweep).await
}

async fn explain(call: Call) -> Result<Json<ExplainDocument>, Failure> {
    let parameters = call.parameters();
    let metric = parameters
        .one("metric")?
        .ok_or_else(|| Failure::unprocessable("the parameter metric is missing"))?
        .to_owned();
    let tenant = parameters.one("tenant")?.map_or_else(|| call.caller().to_owned(), str::to_owned);
    let policies = call.store.retention();
    let mut about = policies.as_slice().iter().filter(|policy| policy.accepts(&tenant, &metric));
    let policy = about.next();
    Ok(Json(ExplainDocument {
        keep: span::format_keep(policy.map_or(Keep::Forever, |policy| policy.raw)),
        policy: policy.map(PolicyDocument::from),
        overruled: about.map(PolicyDocument::from).collect(),
        tenant,
        metric,
    }))
}
