//! HTTP: what every request passes before and after its resource.
//!
//! [`Front::answer`] checks the host and the origin, limits concurrent requests, treats a trailing
//! slash as none, routes, and gives every answer its request id and its place in the figures.

pub(crate) mod admin;
pub(crate) mod body;
pub(crate) mod listener;
pub(crate) mod monasca;
pub(crate) mod openapi;
pub(crate) mod own;
pub(crate) mod process;
mod route;
mod write_deadline;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use moneta_alerting::{Alarms, Notifier};
use moneta_storage::Store;
use tokio::sync::{Semaphore, SemaphorePermit};
use tower::Service;

pub(crate) use route::Route;

use crate::pool::Pool;
use crate::security::{self, Reach};
use crate::status::Failure;
use crate::telemetry::Telemetry;

/// What resources work with.
pub(crate) struct Services {
    /// The store.
    pub(crate) store: Store,
    /// Alerting.
    pub(crate) alarms: Alarms,
    /// The sender of notifications.
    pub(crate) notifier: Arc<Notifier>,
    /// Where blocking calls run.
    pub(crate) pool: Pool,
    /// Where large bodies are decoded.
    pub(crate) decoders: Pool,
    /// Figures.
    pub(crate) telemetry: Arc<Telemetry>,
    /// Region of every series.
    pub(crate) region: String,
    /// Samples a query may read.
    pub(crate) samples_max: u64,
    /// Longest body, bytes.
    pub(crate) body_bytes_max: usize,
    /// Memory of all bodies.
    pub(crate) bodies: body::BodyMemory,
    /// Periods a notification method may have besides 0.
    pub(crate) periods: Vec<u32>,
    /// Whether the server can do its work.
    pub(crate) health: Arc<own::Health>,
    /// The job that takes a backup.
    pub(crate) backups: admin::backup::Backups,
}

/// Paths that are answered however many requests there are. Whoever watches the server must not take
/// a busy one for a dead one, and these wait for nothing.
const ALWAYS_ANSWERED: [&str; 4] = ["/health", "/ready", "/metrics", "/healthcheck"];

static REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// The way in for every request.
pub(crate) struct Front {
    router: Router,
    templates: Vec<Vec<&'static str>>,
    paths: Vec<&'static str>,
    reach: Reach,
    places: Semaphore,
    telemetry: Arc<Telemetry>,
}

impl Front {
    /// A front over `routes`, which answers `requests_max` requests at once.
    pub(crate) fn new<S: Clone + Send + Sync + 'static>(
        routes: Vec<Route<S>>,
        state: S,
        reach: Reach,
        requests_max: usize,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let paths: Vec<&'static str> = routes.iter().map(|route| route.path).collect();
        let router = routes
            .into_iter()
            .fold(Router::new(), |router, route| router.route(route.path, route.methods))
            .fallback(not_found)
            .with_state(state);
        Front {
            router,
            templates: paths.iter().map(|path| path.split('/').collect()).collect(),
            paths,
            reach,
            places: Semaphore::new(requests_max),
            telemetry,
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        without_trailing_slash(request.uri_mut());
        let method = request.method().clone();
        let mut observed = Observed {
            telemetry: &self.telemetry,
            method: method.clone(),
            route: self.template(request.uri().path()),
            status: None,
            began: Instant::now(),
        };
        self.telemetry.request_began();
        let mut response = match self.admit(&request) {
            Ok(_place) => {
                // A panic is told to the client and ends its request alone. Nothing that a resource
                // may leave half done is shared: locks are poisoned, and the store has its own threads.
                let answer = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind();
                match answer.await {
                    Ok(Ok(response)) => method_rules(&method, response),
                    Err(_) => Failure::panicked().into_response(),
                }
            }
            Err(failure) => failure.into_response(),
        };
        let id = format!("req-{}", uuid::Uuid::new_v4());
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert(REQUEST_ID.clone(), id);
        }
        observed.status = Some(response.status().as_u16());
        response
    }

    /// A place among the requests that are handled at once, if this one needs any.
    fn admit(&self, request: &Request<Body>) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        security::check(self.reach, request.method(), request.uri(), request.headers())?;
        if ALWAYS_ANSWERED.contains(&request.uri().path()) {
            return Ok(None);
        }
        let place = self.places.try_acquire();
        place.map(Some).map_err(|_| Failure::busy("too many requests at once"))
    }

    /// The route that `path` belongs to, for the figures.
    fn template(&self, path: &str) -> &'static str {
        let fits = |template: &&Vec<&'static str>| {
            let parts = template.iter();
            path.split('/').count() == template.len()
                && parts
                    .zip(path.split('/'))
                    .all(|(want, part)| *want == part || want.starts_with('{'))
        };
        let at = self.templates.iter().position(|template| fits(&template));
        at.and_then(|at| self.paths.get(at)).copied().unwrap_or("other")
    }
}

/// A request on its way; counted also when its client goes away and the future is dropped.
struct Observed<'a> {
    telemetry: &'a Telemetry,
    method: Method,
    route: &'static str,
    status: Option<u16>,
    began: Instant,
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let took: Duration = self.began.elapsed();
        self.telemetry.request_ended(&self.method, self.route, self.status, took);
    }
}

/// Removes slashes at the end of the path.
fn without_trailing_slash(uri: &mut Uri) {
    let path = uri.path();
    if path.len() < 2 || !path.ends_with('/') {
        return;
    }
    let path = path.trim_end_matches('/');
    let path = if path.is_empty() { "/" } else { path };
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    // A part of a URI that was valid stays valid.
    if let Ok(target) = target.parse() {
        parts.path_and_query = Some(target);
        if let Ok(shorter) = Uri::from_parts(parts) {
            *uri = shorter;
        }
    }
}

/// `OPTIONS` tells what is allowed; another method that is not allowed is told so in a body.
fn method_rules(method: &Method, response: Response<Body>) -> Response<Body> {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).and_then(|value| value.to_str().ok());
    let allow = match allow.unwrap_or_default().replace(',', ", ") {
        allow if allow.is_empty() => "OPTIONS".to_owned(),
        allow => format!("{allow}, OPTIONS"),
    };
    let allow = HeaderValue::try_from(allow).unwrap_or(HeaderValue::from_static("OPTIONS"));
    if method == Method::OPTIONS {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert(header::ALLOW, allow);
        return response;
    }
    let text = format!("{method} is not allowed here");
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed", text)
        .with(header::ALLOW, allow)
        .into_response()
}

/// Nothing has this path. One segment asks for a version that is not there.
async fn not_found(method: Method, uri: Uri) -> Failure {
    let path = uri.path();
    match path.strip_prefix('/') {
        Some(segment) if !segment.contains('/') && method == Method::GET => {
            Failure::titled("Invalid version", format!("No versions found matching {segment}"))
        }
        _ => Failure::not_found(format!("nothing has the path {path}")),
    }
}

#[cfg(test)]
mod tests;
