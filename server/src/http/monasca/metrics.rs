//! `/v2.0/metrics`: writing measurements, listing series.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::http::StatusCode;
use moneta_storage::Store;
use moneta_storage::model::{Selector, SeriesId, TenantId, Timestamp, ValueMeta};
use moneta_storage::write::{Sought, WriteRequest};

use super::call::Call;
use super::dimension_filter::DimensionFilter;
use super::page::{cut, metric_name, span};
use crate::http::Services;
use crate::http::body::Payload;
use crate::http::commit::{self, SMALL_BODY_BYTES};
use crate::ingest::monasca::{Metric, Rejection, each_metric};
use crate::status::Failure;
use crate::telemetry::Reason;
use crate::wire::metrics::{DimensionMap, Listing, MetricElement};

const DIALECT: &str = "monasca";

/// `POST /v2.0/metrics`
pub(super) async fn create(call: Call, payload: Payload) -> Result<StatusCode, Failure> {
    payload.must_be_json()?;
    let began = Instant::now();
    let services = Arc::clone(&call.services);
    let tenant = services.tenant(call.acting_name()?).await?;
    let bytes = payload.bytes.len();
    let (request, decoded) = if bytes <= SMALL_BODY_BYTES {
        decode(&services.store, &services.region, tenant, &payload.bytes)
    } else {
        let worker = Arc::clone(&services);
        let decode = move || Ok(decode(&worker.store, &worker.region, tenant, &payload.bytes));
        services.decoders.run(decode).await?
    };
    let samples = request.len();
    let result = match decoded {
        Ok(()) if request.is_empty() => Ok(()),
        Ok(()) => write_durably(&services, request).await,
        Err(rejection) => Err(rejection),
    };
    match result {
        Ok(()) => {
            services.telemetry.accepted(DIALECT, samples, bytes, began.elapsed());
            Ok(StatusCode::NO_CONTENT)
        }
        Err(rejection) => {
            let reason = reason(&rejection);
            services.telemetry.refused(DIALECT, samples, bytes, reason);
            if let Rejection::Store(refusal) = &rejection {
                services.look_at_refusal(&refusal.0);
            }
            Err(rejection.into())
        }
    }
}

fn reason(rejection: &Rejection) -> Reason {
    match rejection {
        Rejection::Malformed(_) => Reason::Malformed,
        Rejection::Invalid(_) => Reason::Invalid,
        Rejection::Store(refusal) => commit::reason(&refusal.0),
    }
}

/// Bytes of a metric in a body, more or less: room is made for so many at once.
const METRIC_BYTES: usize = 160;

/// Reads a body into a write request. What was read before a refusal is in it, only to be counted.
fn decode(
    store: &Store,
    region: &str,
    tenant: TenantId,
    body: &[u8],
) -> (WriteRequest, Result<(), Rejection>) {
    let mut request = store.request(tenant);
    request.reserve(body.len() / METRIC_BYTES);
    let mut read = Read { region, metrics: Vec::new(), sought: Vec::new(), raw: Vec::new() };
    let result = each_metric(body, |metric| {
        metric.identity.raw(&mut read.raw);
        read.sought.push(request.seek(&read.raw));
        read.metrics.push(metric);
        if read.metrics.len() < FOUND_AT_ONCE { Ok(()) } else { read.push(&mut request) }
    });
    let result = match result {
        // What is wrong with an earlier metric is said first.
        Ok(()) | Err(Rejection::Invalid(_)) => read.push(&mut request).and(result),
        Err(Rejection::Malformed(_) | Rejection::Store(_)) => result,
    };
    (request, result)
}

/// Series that are looked up together.
const FOUND_AT_ONCE: usize = 1024;

/// Metrics that were read and are to be added to a request.
struct Read<'a> {
    region: &'a str,
    metrics: Vec<Metric<'a>>,
    /// Of each metric.
    sought: Vec<Sought>,
    raw: Vec<u8>,
}

impl Read<'_> {
    /// Adds them, up to the first one that is refused.
    fn push(&mut self, request: &mut WriteRequest) -> Result<(), Rejection> {
        request.find(&mut self.sought);
        for (metric, sought) in self.metrics.drain(..).zip(self.sought.drain(..)) {
            let meta = metric.meta.as_deref().and_then(ValueMeta::new);
            let key = || metric.identity.key(self.region);
            let pushed = request.push_found(sought, key, metric.time, metric.value, meta);
            pushed.map_err(|rejection: Rejection| rejection.of_metric(&metric.identity))?;
        }
        Ok(())
    }
}

/// Waits until a request is durable.
async fn write_durably(services: &Services, request: WriteRequest) -> Result<(), Rejection> {
    Ok(services.submit(request)?.durable().await?)
}

/// `GET /v2.0/metrics`
pub(super) async fn list(call: Call) -> Result<Json<Listing<MetricElement>>, Failure> {
    call.run(|call| {
        let parameters = call.parameters();
        let limit = parameters.limit()?;
        let selector = Selector {
            metric: metric_name(parameters, "name")?,
            dimensions: DimensionFilter::parse(parameters, "dimensions")?.matchers(),
            active: span(parameters, Timestamp::MAX)?,
        };
        let after = series_offset(call)?;
        let (mut elements, mut next) = (Vec::new(), None);
        if let Some(tenant) = call.acting_tenant()? {
            let store = &call.store;
            let mut page = page_of_series(store, tenant, &selector, after, limit + 1)?;
            next = cut(&mut page, limit, ToString::to_string);
            elements = elements_of(call, tenant, &page)?;
        }
        Ok(Json(Listing { links: call.place.page(next.as_deref()), elements }))
    })
    .await
}

/// `offset`: the id of the last series of the page before.
fn series_offset(call: &Call) -> Result<Option<SeriesId>, Failure> {
    let Some(text) = call.parameters().one("offset")? else {
        return Ok(None);
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    let id = number.map(SeriesId::new);
    id.map(Some).ok_or_else(|| Failure::unprocessable(format!("Offset value {text} is not an id")))
}

/// Up to `wanted` of the selected series, by metric name in byte order, then by number, beginning
/// behind `after`.
fn page_of_series(
    store: &Store,
    tenant: TenantId,
    selector: &Selector,
    after: Option<SeriesId>,
    wanted: usize,
) -> Result<Vec<SeriesId>, Failure> {
    let after = after.map(|id| Ok::<_, Failure>((name_of(store, tenant, id)?, id))).transpose()?;
    let after = after.as_ref().map(|(name, id)| (name.as_str(), *id));
    Ok(store.select_page(tenant, selector, after, wanted)?)
}

/// The metric name of the series that an offset names.
fn name_of(store: &Store, tenant: TenantId, id: SeriesId) -> Result<String, Failure> {
    let key = store.series(tenant, id)?;
    key.map(|key| key.metric.clone()).ok_or_else(|| {
        Failure::unprocessable(format!("Offset value {id} is not the id of a metric"))
    })
}

fn elements_of(
    call: &Call,
    tenant: TenantId,
    series: &[SeriesId],
) -> Result<Vec<MetricElement>, Failure> {
    let mut elements = Vec::with_capacity(series.len());
    for (id, key) in series.iter().zip(call.store.series_of(tenant, series)?) {
        // A series that has been removed since it was selected is left out.
        if let Some(key) = key {
            elements.push(MetricElement {
                id: id.to_string(),
                dimensions: DimensionMap::from(&key.dimensions),
                name: key.metric,
            });
        }
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use moneta_storage::StoreConfig;
    use moneta_storage::clock::ManualClock;
    use moneta_storage::model::{DimensionMatcher, TimeRange, ValueMatcher};
    use tokio::sync::oneshot;

    use super::*;

    const NOW: i64 = 1_795_166_675_000;

    /// Writes a body and gives every sample stored, or the refusal.
    async fn write(store: &Store, body: &str) -> Result<Vec<String>, Failure> {
        let tenant = store.tenant("t").unwrap();
        let (request, decoded) = decode(store, "r", tenant, body.as_bytes());
        decoded?;
        let (done, wait) = oneshot::channel();
        store.submit(request, move |result| done.send(result.map(|_| ())).unwrap())?;
        wait.await.unwrap()?;
        let series = store.select(tenant, &Selector::default())?;
        let mut rows = Vec::new();
        store.view(tenant).read(&series, TimeRange::ALL, 1000, |id, samples| {
            let key = store.series(tenant, id)?.unwrap();
            for (at, (time, value)) in samples.times.iter().zip(&samples.values).enumerate() {
                let metas = samples.metas.iter();
                let meta = metas.filter(|(of, _)| *of as usize == at).map(|(_, m)| m.text());
                let meta = meta.collect::<String>();
                let ago = NOW - time;
                rows.push(format!(
                    "{}{}@{} {ago} {value}{meta}",
                    key.metric, key.dimensions, key.region
                ));
            }
            Ok::<_, moneta_storage::Error>(())
        })?;
        Ok(rows)
    }

    #[tokio::test]
    async fn bodies_reach_the_store_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW));
        let store = Store::open(folder.path(), StoreConfig::default(), clock).unwrap();
        let item = |name: &str, dimensions: &str, ago: i64, more: &str| {
            let time = NOW - ago;
            format!(
                r#"{{"name":"{name}","dimensions":{dimensions},"timestamp":{time}.9,"value":{ago}{more}}}"#
            )
        };
        let first = [
            item("a", r#"{"h":"1","z":"x"}"#, 5, ""),
            item("a", r#"{"z":"x","h":"1"}"#, 4, r#","value_meta":{"k": 1}"#),
            item("b", "{}", 3, r#","value_meta":null"#),
        ];
        let rows = write(&store, &format!("[{}]", first.join(","))).await.unwrap();
        let want = [r"a{h=1, z=x}@r 5 5", r#"a{h=1, z=x}@r 4 4{"k":1}"#, r"b{}@r 3 3"];
        assert_eq!(rows, want);

        let refused = [
            (item("a", r#"{"h":"","z":"x"}"#, 2, ""), 422),
            (item("a b", "{}", 2, ""), 422),
            ("{}".to_owned(), 422),
            ("{".to_owned(), 400),
            (item("c", "{}", -2 * 86_400_000, ""), 422),
            (item("c", "{}", 3 * NOW, ""), 422),
        ];
        for (bad, status) in refused {
            let body = format!("[{},{bad}]", item("c", "{}", 1, ""));
            let failure = write(&store, &body).await.unwrap_err();
            assert_eq!(failure.status.as_u16(), status, "{bad}: {}", failure.description);
        }
        let ahead = write(&store, &item("c", "{}", -2 * 86_400_000, "")).await.unwrap_err();
        assert!(ahead.description.starts_with("invalid timestamp"), "{}", ahead.description);
        assert!(ahead.description.ends_with(": for metric c"), "{}", ahead.description);

        // Known series, told apart by raw bytes, and one that is spelt with an escape.
        let again = [item("a", r#"{"h":"1","z":"x"}"#, 2, ""), item(r"\u0062", "{}", 1, "")];
        let rows = write(&store, &format!("[{}]", again.join(","))).await.unwrap();
        let want = [
            r"a{h=1, z=x}@r 5 5",
            r#"a{h=1, z=x}@r 4 4{"k":1}"#,
            r"a{h=1, z=x}@r 2 2",
            r"b{}@r 3 3",
            r"b{}@r 1 1",
        ];
        assert_eq!(rows, want);
        store.close().unwrap();
    }

    #[tokio::test]
    async fn series_come_by_name_then_number() {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW));
        let store = Store::open(folder.path(), StoreConfig::default(), clock).unwrap();
        let item = |name: &str, host: &str, ago: i64| {
            let time = NOW - ago;
            format!(
                r#"{{"name":"{name}","dimensions":{{"h":"{host}"}},"timestamp":{time},"value":1}}"#
            )
        };
        let old = 40 * 86_400_000;
        let items = [
            item("m", "2", 0),
            item("z", "1", 0),
            item("a", "1", old),
            item("m", "1", 0),
            item("Z", "1", 0),
            item("m", "3", old),
        ];
        write(&store, &format!("[{}]", items.join(","))).await.unwrap();
        let tenant = store.tenant("t").unwrap();
        let check = |selector: &Selector, want: &[&str]| {
            for size in 1..=want.len() + 1 {
                let (mut shown, mut after) = (Vec::new(), None);
                loop {
                    let page = page_of_series(&store, tenant, selector, after, size).unwrap();
                    assert!(page.len() <= size);
                    for id in &page {
                        let key = store.series(tenant, *id).unwrap().unwrap();
                        shown.push(format!("{}{}", key.metric, key.dimensions.get("h").unwrap()));
                    }
                    after = page.last().copied();
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(shown, want, "pages of {size}");
            }
        };
        let of = |metric: Option<&str>, host: Option<&str>, active: Option<TimeRange>| Selector {
            metric: metric.map(str::to_owned),
            dimensions: host
                .map(|host| DimensionMatcher {
                    name: "h".into(),
                    value: ValueMatcher::Equals(host.into()),
                })
                .into_iter()
                .collect(),
            active,
        };
        let recent = TimeRange::new(Timestamp::from_millis(NOW - 1), Timestamp::MAX);
        check(&of(None, None, None), &["Z1", "a1", "m2", "m1", "m3", "z1"]);
        check(&of(None, Some("1"), None), &["Z1", "a1", "m1", "z1"]);
        check(&of(None, None, Some(recent)), &["Z1", "m2", "m1", "z1"]);
        check(&of(Some("m"), None, None), &["m2", "m1", "m3"]);
        check(&of(Some("m"), Some("3"), Some(recent)), &[]);
        check(&of(Some("nope"), None, None), &[]);
        let stranger =
            page_of_series(&store, tenant, &of(None, None, None), Some(SeriesId::new(99)), 9);
        assert_eq!(stranger.unwrap_err().status.as_u16(), 422);
        store.close().unwrap();
    }
}
