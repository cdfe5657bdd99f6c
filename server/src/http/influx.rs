//! Writing in the InfluxDB dialect: lines to `/write` and `/api/v2/write`, and `/ping`.
//!
//! Good lines of a body are stored, and the answer tells of the others. Databases, buckets and retention
//! policies mean nothing here: a write is the tenant's.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::RawQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use moneta_storage::{Error, ErrorKind};

use super::body::Payload;
use super::commit::{SMALL_BODY_BYTES, reason, weight};
use super::monasca::call::Call;
use super::openapi::writes as told;
use super::{Route, Services};
use crate::auth::Right;
use crate::ingest::complaints::Complaints;
use crate::ingest::gather::Fault;
use crate::ingest::line_batch::{Batch, Decoded, Naming, Precision, Terms, decode};
use crate::status::Failure;
use crate::telemetry::Reason;
use crate::wire::parameters::Parameters;

const DIALECT: &str = "influx";
/// The version whose protocol this is; clients choose by it what they send.
const VERSION: HeaderValue = HeaderValue::from_static("1.8.10");
static VERSION_NAME: HeaderName = HeaderName::from_static("x-influxdb-version");
static ERROR_NAME: HeaderName = HeaderName::from_static("x-influxdb-error");
/// Bytes of an error that are repeated in a header.
const HEADER_BYTES_MAX: usize = 1024;
/// How often a body is read again because tenants that it names have come or gone meanwhile.
const READ_AGAIN_MAX: usize = 3;

/// The routes.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    vec![
        Route::at("/write")
            .post(Right::WriteMetrics, write)
            .told(&told::WRITE)
            .refusing(|failure| answer(Style::One, Err(failure)))
            .with_password_in_query(),
        Route::at("/api/v2/write")
            .post(Right::WriteMetrics, write_to_bucket)
            .told(&told::WRITE_TO_BUCKET)
            .refusing(|failure| answer(Style::Two, Err(failure))),
        Route::at("/ping").get(Right::Open, ping).told(&told::PING),
    ]
}

/// How a refusal is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    /// `{"error"}`
    One,
    /// `{"code", "message"}`, and the same as in version 1.
    Two,
}

/// `POST /write`
async fn write(call: Result<Call, Failure>, payload: Result<Payload, Failure>) -> Response<Body> {
    answer(Style::One, receive(call, payload).await)
}

/// `POST /api/v2/write`
async fn write_to_bucket(
    call: Result<Call, Failure>,
    payload: Result<Payload, Failure>,
) -> Response<Body> {
    answer(Style::Two, receive(call, payload).await)
}

/// `GET`, `HEAD /ping`
async fn ping(RawQuery(query): RawQuery) -> Response<Body> {
    let parameters = Parameters::parse(query.as_deref().unwrap_or_default());
    let verbose = parameters.all("verbose").any(|value| value != "false");
    let mut response = no_content();
    if verbose {
        *response.status_mut() = StatusCode::OK;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        *response.body_mut() = Body::from("{\"version\":\"1.8.10\"}\n");
    }
    response
}

/// Whom the lines of a caller may name.
fn naming(call: &Call) -> Naming {
    if call.delegates() { Naming::Anybody } else { Naming::Oneself }
}

async fn receive(
    call: Result<Call, Failure>,
    payload: Result<Payload, Failure>,
) -> Result<(), Failure> {
    let (call, payload) = (call?, payload?);
    let began = Instant::now();
    let named = call.parameters().one("precision")?;
    let precision = Precision::parse(named).ok_or_else(|| {
        let named = named.unwrap_or_default();
        Failure::bad_request(format!("invalid precision {named:?} (use n, u, ms, s, m or h)"))
    })?;
    let services = Arc::clone(&call.services);
    let bytes = payload.bytes.len();
    let mut batch = read(&call, payload, precision).await.inspect_err(|failure| {
        let reason = if failure.status.is_client_error() { Reason::Invalid } else { Reason::Busy };
        services.telemetry.refused(DIALECT, 0, bytes, reason);
    })?;
    let requests = std::mem::take(&mut batch.requests);
    let (durable, refused) = services.commit_all(requests).await;
    // The bytes of a body are counted once, whatever becomes of its parts.
    let mut uncounted = bytes;
    if durable > 0 || refused.is_empty() {
        services.telemetry.accepted(DIALECT, durable, bytes, began.elapsed());
        uncounted = 0;
    }
    for (samples, error) in &refused {
        let bytes = std::mem::take(&mut uncounted);
        services.telemetry.refused(DIALECT, *samples, bytes, reason(error));
    }
    for (complaints, reason) in [
        (&batch.unreadable, Reason::Malformed),
        (&batch.refused, Reason::Invalid),
        (&batch.expired, Reason::Invalid),
    ] {
        if complaints.count() > 0 {
            services.telemetry.refused(DIALECT, complaints.count(), 0, reason);
        }
    }
    outcome(&batch, durable, &refused)
}

/// Reads a body. Tenants that it names first come into being.
async fn read(call: &Call, payload: Payload, precision: Precision) -> Result<Batch, Failure> {
    let services = &call.services;
    let body = Arc::new(payload);
    let tenant: Arc<str> = call.acting_name()?.into();
    let naming = naming(call);
    for _ in 0..READ_AGAIN_MAX {
        let read = {
            let (services, body, tenant) =
                (Arc::clone(services), Arc::clone(&body), Arc::clone(&tenant));
            move || {
                let terms = Terms {
                    store: &services.store,
                    tenant: &tenant,
                    region: &services.region,
                    naming,
                    precision,
                    new_bytes: services.body_bytes_max,
                };
                decode(&terms, &body.bytes).map_err(|fault| too_much(&fault))
            }
        };
        let small = body.bytes.len() <= SMALL_BODY_BYTES;
        match if small { read()? } else { services.decoders.run(read).await? } {
            Decoded::Whole(batch) => return Ok(batch),
            Decoded::Strangers(names) => {
                for name in names {
                    services.tenant(&name).await?;
                }
            }
        }
    }
    Err(Failure::busy("tenants of this write come and go"))
}

fn too_much(fault: &Fault) -> Failure {
    let text = format!(
        "{}: at most {} samples, 10000 tenants, and not the names of too many new series",
        fault.text(),
        moneta_storage::write::REQUEST_SAMPLES_MAX
    );
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large", text)
}

/// What the client is told. The words are those of InfluxDB where a client looks for them.
fn outcome(batch: &Batch, durable: usize, refused: &[(usize, Error)]) -> Result<(), Failure> {
    let worst = refused.iter().map(|(_, error)| error).max_by_key(|error| weight(error));
    if let Some(error) = worst
        && !matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Limit)
    {
        return Err(error.clone().into());
    }
    let (unreadable, expired) = (&batch.unreadable, &batch.expired);
    let points = unreadable.count() + batch.refused.count() + expired.count();
    let dropped = points + refused.iter().map(|(samples, _)| samples).sum::<usize>();
    if dropped == 0 {
        return Ok(());
    }
    let text = if expired.count() == dropped {
        // The persister goes on only if it reads this.
        format!(
            "partial write: points beyond retention policy dropped={dropped}\n{}",
            expired.text()
        )
    } else if unreadable.count() == dropped && durable == 0 && batch.left_out == 0 {
        unreadable.text()
    } else {
        let all = [unreadable, &batch.refused, expired].into_iter();
        let texts = all.filter(|complaints| complaints.count() > 0).map(Complaints::text);
        let texts: Vec<String> = texts.chain(worst.map(ToString::to_string)).collect();
        format!("partial write: {} dropped={dropped}", texts.join("\n"))
    };
    Err(Failure::bad_request(text))
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(VERSION_NAME.clone(), VERSION);
    response
}

fn answer(style: Style, result: Result<(), Failure>) -> Response<Body> {
    let mut response = no_content();
    let Err(failure) = result else { return response };
    // InfluxDB has no 422.
    let status = match failure.status {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    *response.status_mut() = status;
    let text = &failure.description;
    let body = match style {
        Style::One => serde_json::json!({"error": text}),
        Style::Two => serde_json::json!({"code": code(status), "message": text, "error": text}),
    };
    *response.body_mut() = Body::from(format!("{body}\n"));
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (line, _) = text.split_at(text.floor_char_boundary(HEADER_BYTES_MAX));
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Ok(value) = HeaderValue::from_bytes(line.as_bytes()) {
        headers.insert(ERROR_NAME.clone(), value);
    }
    if let Some((name, value)) = failure.header.map(|header| *header) {
        headers.insert(name, value);
    }
    response
}

/// The word of version 2 for a status.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not found",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::TOO_MANY_REQUESTS => "too many requests",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        status if status.is_server_error() => "internal error",
        _ => "invalid",
    }
}
