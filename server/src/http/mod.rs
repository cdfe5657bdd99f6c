//! HTTP: what every request passes before and after its resource.
//!
//! [`Front::answer`] checks the host and the origin, limits concurrent requests, treats a trailing
//! slash as none, routes, and gives every answer its request id and its place in the figures.

pub(crate) mod admin;
pub(crate) mod body;
mod commit;
pub(crate) mod cors;
mod encoding;
pub(crate) mod influx;
pub(crate) mod listener;
pub(crate) mod monasca;
pub(crate) mod openapi;
pub(crate) mod own;
mod packing;
pub(crate) mod process;
pub(crate) mod prometheus;
mod request_id;
mod route;
mod write_deadline;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use moneta_alerting::{Alarms, Notifier};
use moneta_storage::Store;
use tokio::sync::{Semaphore, SemaphorePermit};
use tower::Service;

pub(crate) use route::Route;

use self::cors::Cors;
use self::request_id::RequestId;
use crate::auth::{Caller, Gate, Right};
use crate::pool::Pool;
use crate::security::{self, Reach};
use crate::status::Failure;
use crate::telemetry::Telemetry;
use crate::wire::parameters::Parameters;

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

/// Every operation that is served: method and path, where a part in braces stands for any text.
#[must_use]
pub fn operations() -> Vec<(String, &'static str)> {
    let of = |route: &Route<Arc<Services>>| {
        let path = route.path;
        let rights = route.rights.iter();
        rights.map(|(method, _)| (method.to_string(), path)).collect::<Vec<_>>()
    };
    all_routes().iter().flat_map(of).collect()
}

/// All routes.
pub(crate) fn all_routes() -> Vec<Route<Arc<Services>>> {
    let mut routes = monasca::routes();
    routes.extend(own::routes());
    routes.extend(admin::routes());
    routes.extend(influx::routes());
    routes.extend(prometheus::routes());
    openapi::described(routes)
}

/// Paths that are answered however many requests there are. Whoever watches the server must not take
/// a busy one for a dead one, and these wait for nothing.
const ALWAYS_ANSWERED: [&str; 4] = ["/health", "/ready", "/metrics", "/healthcheck"];

/// A route, to find the one that a path belongs to.
struct Template {
    path: &'static str,
    parts: Vec<&'static str>,
    rights: Vec<(Method, Right)>,
    refusal: fn(Failure) -> Response<Body>,
    password_in_query: bool,
}

/// The way in for every request.
pub(crate) struct Front {
    router: Router,
    templates: Vec<Template>,
    gate: Gate,
    reach: Reach,
    places: Semaphore,
    telemetry: Arc<Telemetry>,
    is_tls: bool,
    cors: Cors,
    /// Whether every request is told of in the log.
    logs: bool,
}

/// Marks a request that came over TLS.
#[derive(Clone, Copy)]
pub(crate) struct OverTls;

impl Front {
    /// A front over `routes`, which answers `requests_max` requests at once.
    pub(crate) fn new<S: Clone + Send + Sync + 'static>(
        routes: Vec<Route<S>>,
        state: S,
        gate: Gate,
        reach: Reach,
        requests_max: usize,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let template = |route: &Route<S>| Template {
            path: route.path,
            parts: route.path.split('/').collect(),
            rights: route.rights.clone(),
            refusal: route.refusal,
            password_in_query: route.password_in_query,
        };
        let templates = routes.iter().map(template).collect();
        let router = routes
            .into_iter()
            .fold(Router::new(), |router, route| router.route(route.path, route.methods))
            .with_state(state);
        let places = Semaphore::new(requests_max);
        Front {
            router,
            templates,
            gate,
            reach,
            places,
            telemetry,
            is_tls: false,
            cors: Cors::default(),
            logs: false,
        }
    }

    /// The same behind TLS: links say so.
    pub(crate) fn over_tls(self, is_tls: bool) -> Self {
        Front { is_tls, ..self }
    }

    /// The same for pages of other origins.
    pub(crate) fn with_cors(self, cors: Cors) -> Self {
        Front { cors, ..self }
    }

    /// The same, telling of every request in the log.
    pub(crate) fn with_log(self, logs: bool) -> Self {
        Front { logs, ..self }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, mut request: Request<Body>) -> Response<Body> {
        without_trailing_slash(request.uri_mut());
        let method = request.method().clone();
        let template = self.template(request.uri().path());
        let mut observed = Observed {
            telemetry: &self.telemetry,
            method: method.clone(),
            route: template.map_or("other", |template| template.path),
            status: None,
            began: Instant::now(),
            id: RequestId::of(request.headers()),
            path: self.logs.then(|| request.uri().path().to_owned()),
            tenant: None,
        };
        self.telemetry.request_began();
        let origin = self.cors.origin(request.headers());
        let takes_gzip = packing::is_welcome(request.headers());
        let preflight = self.cors.preflight(&request);
        let admitted = match preflight {
            Some(_) => Ok(None),
            None => self.admit(&mut request, template, origin.is_some()).await,
        };
        let caller = request.extensions().get::<Caller>();
        observed.tenant = caller.filter(|_| self.logs).map(|caller| Arc::clone(&caller.tenant));
        let refused = template.map_or(Failure::into_response as fn(_) -> _, |t| t.refusal);
        let response = match admitted {
            Ok(_) if let Some(response) = preflight => response,
            // The router never sees a path of which it is not known what it asks of its caller.
            Ok(_) if template.is_none() => not_found(&method, request.uri()).into_response(),
            Ok(_place) => {
                // A panic is told to the client and ends its request alone. Nothing that a resource
                // may leave half done is shared: locks are poisoned, and the store has its own threads.
                let answer = AssertUnwindSafe(self.router.clone().call(request)).catch_unwind();
                match answer.await {
                    Ok(Ok(response)) => method_rules(&method, response),
                    Err(_) => refused(Failure::panicked()),
                }
            }
            Err(failure) => refused(failure),
        };
        let mut response = packing::pack(takes_gzip, &method, response).await;
        observed.id.show(response.headers_mut());
        self.cors.allow(origin, &mut response);
        observed.status = Some(response.status().as_u16());
        response
    }

    /// A place among the requests that are handled at once, if this one needs any; and who calls, which
    /// is noted in the request.
    async fn admit(
        &self,
        request: &mut Request<Body>,
        template: Option<&Template>,
        known_origin: bool,
    ) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        let (method, uri) = (request.method(), request.uri());
        let trusting = !self.gate.asks() && !known_origin;
        security::check(self.reach, trusting, method, uri, request.headers())?;
        let needs_place = !ALWAYS_ANSWERED.contains(&uri.path());
        let right = template.map_or(Right::Known, |template| template.right(method));
        // Before it has a place: tokens that nobody knows, waiting for Keystone, keep nobody out.
        let in_query = self.gate.asks() && template.is_some_and(|route| route.password_in_query);
        let query = uri.query().filter(|_| in_query).map(Parameters::parse);
        let password = query.as_ref().and_then(|query| query.all("p").next());
        let caller = self.gate.admit(request.headers(), password, right).await?;
        let place = needs_place.then(|| self.places.try_acquire()).transpose();
        let place = place.map_err(|_| Failure::busy("too many requests at once"))?;
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        if self.is_tls {
            request.extensions_mut().insert(OverTls);
        }
        Ok(place)
    }

    /// The route that `path` belongs to. As the router does, one with a text of its own goes before one
    /// with a part for any text.
    fn template(&self, path: &str) -> Option<&Template> {
        let fits = |template: &&Template| {
            let parts = template.parts.iter();
            path.split('/').count() == template.parts.len()
                && parts
                    .zip(path.split('/'))
                    .all(|(want, part)| *want == part || want.starts_with('{'))
        };
        let all = || self.templates.iter();
        all().find(|template| template.path == path).or_else(|| all().find(fits))
    }
}

impl Template {
    /// What a request asks of its caller. A method that is not answered asks for an identity, and so
    /// does `OPTIONS`.
    fn right(&self, method: &Method) -> Right {
        let of = |method: &Method| {
            let found = self.rights.iter().find(|(have, _)| have == method);
            found.map(|(_, right)| *right)
        };
        let right = match *method {
            Method::HEAD => of(&Method::HEAD).or_else(|| of(&Method::GET)),
            _ => of(method),
        };
        right.unwrap_or(Right::Known)
    }
}

/// What the log calls the status of a request whose client went away before it was answered.
const CLIENT_GONE: u16 = 499;

/// A request on its way; counted and logged also when its client goes away and the future is dropped.
struct Observed<'a> {
    telemetry: &'a Telemetry,
    method: Method,
    route: &'static str,
    status: Option<u16>,
    began: Instant,
    id: RequestId,
    /// If it is to be logged. Without the query: some clients put their password there.
    path: Option<String>,
    tenant: Option<Arc<str>>,
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let took: Duration = self.began.elapsed();
        self.telemetry.request_ended(&self.method, self.route, self.status, took);
        if let Some(path) = &self.path {
            tracing::info!(
                target: "moneta_server::access", request = self.id.text(), method = %self.method, path,
                status = self.status.unwrap_or(CLIENT_GONE), took_ms = took.as_secs_f64() * 1000.0,
                tenant = self.tenant.as_deref(), "request"
            );
        }
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
fn not_found(method: &Method, uri: &Uri) -> Failure {
    let path = uri.path();
    match path.strip_prefix('/') {
        Some(segment) if !segment.contains('/') && *method == Method::GET => {
            Failure::titled("Invalid version", format!("No versions found matching {segment}"))
        }
        _ => Failure::not_found(format!("nothing has the path {path}")),
    }
}

#[cfg(test)]
mod tests;
