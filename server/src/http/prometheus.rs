//! Writing in the Prometheus dialect: remote write 1.0 and 2.0 to `/api/v1/write`.
//!
//! Good samples of a body are stored, and the answer tells of the others with 400, which a sender does not
//! repeat. What it may repeat is answered 429 or 5xx.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::body::RemoteWritePayload;
use super::commit::{SMALL_BODY_BYTES, reason};
use super::monasca::call::Call;
use super::openapi::writes as told;
use super::{Route, Services};
use crate::auth::Right;
use crate::ingest::remote_write::{Batch, Refusal, Version, decode};
use crate::status::Failure;
use crate::telemetry::Reason;

const DIALECT: &str = "remote_write";
/// The message of version 2.0, as the type of a body names it.
const MESSAGE_TWO: &str = "io.prometheus.write.v2.request";
const MESSAGE_ONE: &str = "prometheus.writerequest";
static SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
static HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
static EXEMPLARS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// The routes: the one of Prometheus, and where other receivers have theirs.
pub(crate) fn routes() -> Vec<Route<Arc<Services>>> {
    ["/api/v1/write", "/api/v1/push", "/prometheus/api/v1/write"]
        .map(|path| Route::at(path).post(Right::WriteMetrics, write).told(&told::REMOTE_WRITE))
        .into()
}

/// `POST /api/v1/write`
async fn write(
    call: Result<Call, Failure>,
    headers: HeaderMap,
    payload: Result<RemoteWritePayload, Failure>,
) -> Response<Body> {
    let version = version(&headers);
    let mut written = 0;
    let (version, result) = match version {
        Ok(version) => (version, receive(call, payload, version, &mut written).await),
        Err(failure) => (Version::One, Err(failure)),
    };
    answer(version, written, result)
}

/// The version that a body is of, by its type.
fn version(headers: &HeaderMap) -> Result<Version, Failure> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(value) = value else { return Ok(Version::One) };
    let value = value.to_ascii_lowercase();
    let mut parts = value.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let message = parts.find_map(|part| part.strip_prefix("proto=")).unwrap_or(MESSAGE_ONE);
    match (media, message.trim_matches('"')) {
        ("application/x-protobuf", MESSAGE_ONE) => Ok(Version::One),
        ("application/x-protobuf", MESSAGE_TWO) => Ok(Version::Two),
        _ => {
            let text = "the Content-Type must be application/x-protobuf, with \
                        proto=io.prometheus.write.v2.Request for version 2.0";
            let title = "Unsupported Media Type";
            Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, title, text))
        }
    }
}

/// Stores the samples of a body, and tells how many became durable also when others did not.
async fn receive(
    call: Result<Call, Failure>,
    payload: Result<RemoteWritePayload, Failure>,
    version: Version,
    written: &mut usize,
) -> Result<(), Failure> {
    let (call, RemoteWritePayload(payload)) = (call?, payload?);
    let began = Instant::now();
    let services = Arc::clone(&call.services);
    let tenant = services.tenant(call.acting_name()?).await?;
    let bytes = payload.bytes.len();
    let worker = Arc::clone(&services);
    let read = move || {
        let request = worker.store.request(tenant);
        decode(version, request, &worker.region, worker.body_bytes_max, &payload.bytes)
            .map_err(|refusal| of_refusal(refusal, worker.body_bytes_max))
    };
    let batch = if bytes <= SMALL_BODY_BYTES { read() } else { services.decoders.run(read).await };
    let batch = batch.inspect_err(|_| {
        services.telemetry.refused(DIALECT, 0, bytes, Reason::Malformed);
    })?;
    let samples = batch.request.len();
    let Batch { request, refused, histograms, exemplars } = batch;
    if samples > 0 {
        let durable = match services.submit(request) {
            Ok(submitted) => submitted.durable().await,
            Err(error) => Err(error),
        };
        durable.inspect_err(|error| {
            services.look_at_refusal(error);
            services.telemetry.refused(DIALECT, samples, bytes, reason(error));
        })?;
    }
    *written = samples;
    services.telemetry.accepted(DIALECT, samples, bytes, began.elapsed());
    let dropped = refused.count() + histograms.count();
    if dropped == 0 {
        return Ok(());
    }
    services.telemetry.refused(DIALECT, dropped, 0, Reason::Invalid);
    let mut text = format!("{samples} samples are stored, and others are not:");
    if refused.count() > 0 {
        text.push_str(&format!("\n{} samples: {}", refused.count(), refused.text()));
    }
    if histograms.count() > 0 {
        let (count, series) = (histograms.count(), histograms.text());
        text.push_str(&format!("\nnative histograms are not stored, of {count} series: {series}"));
    }
    if exemplars > 0 {
        text.push_str(&format!("\n{exemplars} exemplars are left out, which alone is no failure"));
    }
    Err(Failure::bad_request(text))
}

fn of_refusal(refusal: Refusal, bytes_max: usize) -> Failure {
    match refusal {
        Refusal::Malformed(text) => Failure::bad_request(text),
        Refusal::TooMuch => Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Request body too large",
            format!(
                "at most {} samples, and {bytes_max} bytes of names of new series, in one request",
                moneta_storage::write::REQUEST_SAMPLES_MAX
            ),
        ),
    }
}

fn answer(version: Version, written: usize, result: Result<(), Failure>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Err(failure) = result {
        // Senders repeat what they do not know.
        *response.status_mut() = match failure.status {
            StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
            status => status,
        };
        *response.body_mut() = Body::from(format!("{}\n", failure.description));
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        if let Some((name, value)) = failure.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
    }
    if version == Version::Two {
        let headers = response.headers_mut();
        headers.insert(SAMPLES_WRITTEN.clone(), HeaderValue::from(written));
        headers.insert(HISTOGRAMS_WRITTEN.clone(), HeaderValue::from(0));
        headers.insert(EXEMPLARS_WRITTEN.clone(), HeaderValue::from(0));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_the_type() {
        let check = |value: &'static str, want: Result<Version, u16>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(version(&headers).map_err(|f| f.status.as_u16()), want, "{value}");
        };
        check("application/x-protobuf", Ok(Version::One));
        check("application/x-protobuf;proto=prometheus.WriteRequest", Ok(Version::One));
        check("application/x-protobuf;proto=io.prometheus.write.v2.Request", Ok(Version::Two));
        check("Application/X-Protobuf; proto=\"io.prometheus.write.v2.Request\"", Ok(Version::Two));
        check("application/x-protobuf;proto=io.prometheus.write.v3.Request", Err(415));
        check("application/json", Err(415));
        check("", Err(415));
        assert_eq!(version(&HeaderMap::new()), Ok(Version::One));
    }
}
