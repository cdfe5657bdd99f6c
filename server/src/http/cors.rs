//! Cross-origin requests: which web pages may read answers. None, unless the operator names their origins.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

/// Headers that a page may send.
const SENT: &str =
    "authorization, content-encoding, content-type, x-auth-token, x-project-id, x-request-id";
/// Headers of an answer that a page may see.
const SHOWN: &str = "retry-after, x-openstack-request-id, x-request-id";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// How long a browser may remember what it was told, seconds.
const REMEMBERED: &str = "600";

/// The origins of pages that may call.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// For these origins; `*` means all.
    pub(crate) fn new(origins: Vec<String>) -> Self {
        Cors { origins }
    }

    /// The origin of a request, if it is one of them.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let origin = sent.next().filter(|_| sent.next().is_none())?;
        let text = origin.to_str().ok()?;
        let known = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(text);
        self.origins.iter().any(known).then(|| origin.clone())
    }

    /// Whether the operator knows who made the pages of an origin. Only such pages may send what the browser
    /// itself has kept for this server, as the password of `Basic`; pages written for the old plugin of
    /// Grafana always ask for that, and without it their browser keeps the answer from them.
    fn is_named(&self, origin: &HeaderValue) -> bool {
        let named = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        self.origins.iter().any(named)
    }

    /// The answer to a browser's question before the request itself, which shows no token.
    pub(crate) fn preflight(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if request.method() != Method::OPTIONS || !asks {
            return None;
        }
        self.origin(request.headers())?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, SENT),
            (header::ACCESS_CONTROL_MAX_AGE, REMEMBERED),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Some(response)
    }

    /// Lets a page of `origin` read an answer.
    pub(crate) fn allow(&self, origin: Option<HeaderValue>, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        if let Some(origin) = origin {
            if self.is_named(&origin) {
                let yes = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SHOWN));
        }
        if !self.origins.is_empty() {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}
