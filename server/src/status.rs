//! From kinds of errors to HTTP statuses and bodies, for the Monasca API. The only place that does.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use moneta_storage::ErrorKind;
use serde::Serialize;

use crate::ingest::json::{DEPTH_MAX, Malformed};
use crate::ingest::monasca::Rejection;

/// A refusal as a client sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// Status.
    pub(crate) status: StatusCode,
    /// Short name of the case.
    pub(crate) title: Cow<'static, str>,
    /// What is wrong, for people.
    pub(crate) description: String,
    /// Whether the body is also in the form of OpenStack's own services.
    openstack: bool,
    /// One more header; rare, so boxed.
    pub(crate) header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// The body of every refusal. Clients print `title` and `description`; Grafana prints `message`.
#[derive(Serialize)]
struct FailureBody<'a> {
    title: &'a str,
    description: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<OpenStackError<'a>>,
}

#[derive(Serialize)]
struct OpenStackError<'a> {
    code: u16,
    title: &'a str,
    message: &'a str,
}

impl Failure {
    /// A refusal with these words.
    pub(crate) fn new(
        status: StatusCode,
        title: impl Into<Cow<'static, str>>,
        description: impl Into<String>,
    ) -> Self {
        let description = shortened(description.into());
        Failure { status, title: title.into(), description, openstack: false, header: None }
    }

    /// With a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// Nobody knows who calls. The body also says so in the words of Keystone's middleware.
    pub(crate) fn unauthenticated() -> Self {
        let text = "The request you have made requires authentication.";
        Failure { openstack: true, ..Failure::new(StatusCode::UNAUTHORIZED, "Unauthorized", text) }
    }

    /// A value breaks a rule.
    pub(crate) fn unprocessable(description: impl Into<String>) -> Self {
        Failure::titled("Unprocessable Entity", description)
    }

    /// A value breaks a rule that has a title of its own.
    pub(crate) fn titled(title: &'static str, description: impl Into<String>) -> Self {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, title, description)
    }

    /// The request as a whole makes no sense.
    pub(crate) fn bad_request(description: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "Bad request", description)
    }

    /// A notification method breaks a rule; also the missing definition id.
    pub(crate) fn bad_request_capital(description: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "Bad Request", description)
    }

    /// The body is not JSON.
    pub(crate) fn not_json() -> Self {
        Failure::bad_request("Request body is not valid JSON")
    }

    /// Nothing has this path or id.
    pub(crate) fn not_found(description: impl Into<String>) -> Self {
        Failure::new(StatusCode::NOT_FOUND, "404 Not Found", description)
    }

    /// The name is taken.
    pub(crate) fn exists(description: impl Into<String>) -> Self {
        Failure::new(StatusCode::CONFLICT, "AlreadyExistsException", description)
    }

    /// Try again soon.
    pub(crate) fn busy(description: impl Into<String>) -> Self {
        Failure::unavailable(description).with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The tenant sends more than it may; the request may pass in so many seconds.
    pub(crate) fn too_fast(description: impl Into<String>, seconds: u64) -> Self {
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "Limit exceeded", description)
            .with(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// This process cannot do it.
    pub(crate) fn unavailable(description: impl Into<String>) -> Self {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", description)
    }

    /// A defect of ours; the log tells which.
    pub(crate) fn panicked() -> Self {
        let text = "the request could not be carried out";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "Service unavailable", text)
    }

    /// The body is longer than `bytes_max`.
    pub(crate) fn too_long(bytes_max: usize) -> Self {
        let text = format!("Maximum allowed size is {bytes_max} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large", text)
    }

    /// Part of the API that this version does not have.
    pub(crate) fn not_implemented(description: impl Into<String>) -> Self {
        Failure::new(StatusCode::NOT_IMPLEMENTED, "Not Implemented", description)
    }

    fn of_kind(kind: ErrorKind, description: String) -> Self {
        match kind {
            ErrorKind::Invalid => Failure::unprocessable(description),
            ErrorKind::Busy => Failure::busy(description),
            ErrorKind::Limit => Failure::titled("Limit exceeded", description),
            ErrorKind::Rate => Failure::too_fast(description, 1),
            ErrorKind::Corrupt => Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The repository was unable to process your request",
                description,
            ),
            ErrorKind::Stopped => Failure::unavailable(description),
        }
    }
}

/// Bytes of a description. Texts repeat what a client sent, which may be a body of megabytes.
const DESCRIPTION_BYTES_MAX: usize = 8 * 1024;
/// Bytes that are kept of the end of a longer one, where the complaint often stands.
const DESCRIPTION_BYTES_END: usize = 1024;

/// A text with its middle left out if it is long.
fn shortened(text: String) -> String {
    if text.len() <= DESCRIPTION_BYTES_MAX {
        return text;
    }
    let (start, _) = text.split_at(
        text.floor_char_boundary(DESCRIPTION_BYTES_MAX.saturating_sub(DESCRIPTION_BYTES_END)),
    );
    let end = text.ceil_char_boundary(text.len().saturating_sub(DESCRIPTION_BYTES_END));
    let (_, end) = text.split_at(end);
    format!("{start} … {end}")
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        let (title, message) = (&*self.title, &*self.description);
        let code = self.status.as_u16();
        let error = self.openstack.then_some(OpenStackError { code, title, message });
        let body = FailureBody { title, description: message, message, error };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        response
    }
}

impl From<moneta_storage::Error> for Failure {
    fn from(error: moneta_storage::Error) -> Self {
        match error {
            moneta_storage::Error::Rate { wait_ms, .. } => {
                Failure::too_fast(error.to_string(), wait_ms.div_ceil(1000))
            }
            moneta_storage::Error::Invalid(_)
            | moneta_storage::Error::Busy { .. }
            | moneta_storage::Error::Limit { .. }
            | moneta_storage::Error::ReadOnly { .. }
            | moneta_storage::Error::Removed
            | moneta_storage::Error::Corrupt { .. }
            | moneta_storage::Error::Stopped { .. }
            | moneta_storage::Error::Io { .. }
            | moneta_storage::Error::Kv(_) => Failure::of_kind(error.kind(), error.to_string()),
        }
    }
}

impl From<moneta_query::Error> for Failure {
    fn from(error: moneta_query::Error) -> Self {
        match error {
            moneta_query::Error::SeveralSeries => Failure::new(
                StatusCode::CONFLICT,
                "MultipleMetrics",
                "Found multiple metrics matching metric name and dimensions. Please refine your \
                 search criteria using a unique metric name or additional dimensions. \
                 Alternatively, you may specify 'merge_metrics=True' as a query parameter to \
                 combine all metrics matching search criteria into a single series.",
            ),
            moneta_query::Error::Invalid(_)
            | moneta_query::Error::Limit { .. }
            | moneta_query::Error::Unwanted
            | moneta_query::Error::Store(_) => Failure::of_kind(error.kind(), error.to_string()),
        }
    }
}

impl From<moneta_alerting::Error> for Failure {
    fn from(error: moneta_alerting::Error) -> Self {
        use moneta_alerting::Error;
        let text = error.to_string();
        match error {
            Error::Expression { .. } => Failure::titled("Invalid alarm expression", text),
            Error::Invalid(_) => Failure::unprocessable(text),
            Error::InvalidUpdate(_) => Failure::titled("InvalidUpdateException", text),
            Error::Exists(_) => Failure::exists(text),
            Error::NotFound { .. } => Failure::not_found(text),
            Error::Limit { .. } | Error::Store(_) => Failure::of_kind(error.kind(), text),
        }
    }
}

/// Notification methods answer 400 where everything else answers 422.
pub(crate) fn of_method_error(error: moneta_alerting::Error) -> Failure {
    match error {
        moneta_alerting::Error::Invalid(text) => Failure::bad_request_capital(text),
        moneta_alerting::Error::Expression { .. }
        | moneta_alerting::Error::InvalidUpdate(_)
        | moneta_alerting::Error::Exists(_)
        | moneta_alerting::Error::NotFound { .. }
        | moneta_alerting::Error::Limit { .. }
        | moneta_alerting::Error::Store(_) => error.into(),
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Malformed(Malformed::Syntax) => Failure::not_json(),
            Rejection::Malformed(Malformed::Depth) => Failure::bad_request(format!(
                "Request body is nested more than {DEPTH_MAX} levels deep"
            )),
            Rejection::Invalid(text) => Failure::unprocessable(text),
            Rejection::Store(refusal) => refusal.0.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_descriptions_lose_their_middle() {
        let text = Failure::unprocessable("x".repeat(DESCRIPTION_BYTES_MAX)).description;
        assert_eq!(text.len(), DESCRIPTION_BYTES_MAX);
        let text = Failure::unprocessable(format!("a{}b", "é".repeat(1 << 20))).description;
        assert!(text.len() <= DESCRIPTION_BYTES_MAX + " … ".len(), "{}", text.len());
        assert!(text.starts_with("aéé") && text.ends_with("ééb") && text.contains("é … é"));
    }
}
