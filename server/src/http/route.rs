//! Routes: a path, and for each method who may call it and what answers.

use axum::body::Body;
use axum::handler::Handler;
use axum::http::{Method, Response};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter};

use super::openapi::Operation;
use crate::auth::Right;
use crate::status::Failure;

/// A path with the methods it answers.
pub(crate) struct Route<S> {
    pub(crate) path: &'static str,
    pub(crate) methods: MethodRouter<S>,
    /// What a caller must be allowed, by method.
    pub(crate) rights: Vec<(Method, Right)>,
    /// What the description of the API says, by method.
    pub(crate) told: Vec<(Method, &'static Operation)>,
    /// How what does not reach its handlers is refused.
    pub(crate) refusal: fn(Failure) -> Response<Body>,
    /// Whether callers may show their token as the parameter `p`.
    pub(crate) password_in_query: bool,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// A path that answers nothing yet. A part in braces stands for any text.
    pub(crate) fn at(path: &'static str) -> Self {
        Route {
            path,
            methods: MethodRouter::new(),
            rights: Vec::new(),
            told: Vec::new(),
            refusal: Failure::into_response,
            password_in_query: false,
        }
    }

    pub(crate) fn get<T: 'static>(self, right: Right, handler: impl Handler<T, S>) -> Self {
        self.on(MethodFilter::GET, Method::GET, right, handler)
    }

    /// Only where it answers otherwise than GET, which answers it as well.
    pub(crate) fn head<T: 'static>(self, right: Right, handler: impl Handler<T, S>) -> Self {
        self.on(MethodFilter::HEAD, Method::HEAD, right, handler)
    }

    pub(crate) fn post<T: 'static>(self, right: Right, handler: impl Handler<T, S>) -> Self {
        self.on(MethodFilter::POST, Method::POST, right, handler)
    }

    pub(crate) fn put<T: 'static>(self, right: Right, handler: impl Handler<T, S>) -> Self {
        self.on(MethodFilter::PUT, Method::PUT, right, handler)
    }

    pub(crate) fn patch<T: 'static>(self, right: Right, handler: impl Handler<T, S>) -> Self {
        self.on(MethodFilter::PATCH, Method::PATCH, right, handler)
    }

    pub(crate) fn delete<T: 'static>(self, right: Right, handler: impl Handler<T, S>) -> Self {
        self.on(MethodFilter::DELETE, Method::DELETE, right, handler)
    }

    /// Clients of another dialect read another body.
    pub(crate) fn refusing(self, refusal: fn(Failure) -> Response<Body>) -> Self {
        Route { refusal, ..self }
    }

    /// As InfluxDB 1 has it: `u` and `p` are user and password.
    pub(crate) fn with_password_in_query(self) -> Self {
        Route { password_in_query: true, ..self }
    }

    /// Describes the method that was added last.
    pub(crate) fn told(mut self, operation: &'static Operation) -> Self {
        if let Some((method, _)) = self.rights.last() {
            self.told.push((method.clone(), operation));
        }
        self
    }

    fn on<T: 'static>(
        mut self,
        filter: MethodFilter,
        method: Method,
        right: Right,
        handler: impl Handler<T, S>,
    ) -> Self {
        self.methods = self.methods.on(filter, handler);
        self.rights.push((method, right));
        self
    }
}
