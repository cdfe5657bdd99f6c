//! The description of the API, made of the routes themselves: `/openapi.json` for programs (OpenAPI 3.1),
//! `/docs` for people. A route that tells nothing of an operation fails a test.
//!
//! What schemas look like stands in `schemas.json`; parameters and summaries of the dialects in a file each.

pub(crate) mod admin;
pub(crate) mod monasca;
mod operation;
pub(crate) mod own;
pub(crate) mod writes;

use axum::body::Bytes;
use axum::http::{HeaderName, Method, header};
use serde_json::{Map, Value, json};

pub(crate) use operation::{Content, Kind, Operation, Parameter};

use super::Route;
use crate::auth::Right;

/// Schemas by name.
const SCHEMAS: &str = include_str!("schemas.json");
/// A page that reads `/openapi.json`, with all it needs inside.
const PAGE: &str = include_str!("docs.html");

/// The page loads nothing but this server's document.
const PAGE_HEADERS: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
];
const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

const DOCUMENT: Operation =
    Operation::new("This document, OpenAPI 3.1", &[(200, Content::Json("Anything"))]);
const DOCS: Operation =
    Operation::new("The same for people", &[(200, Content::Other("text/html; charset=utf-8"))]);

/// `routes`, and those that describe them.
pub(crate) fn described<S: Clone + Send + Sync + 'static>(
    mut routes: Vec<Route<S>>,
) -> Vec<Route<S>> {
    let page = async || (PAGE_HEADERS, PAGE);
    routes.push(Route::at("/docs").get(Right::Open, page).told(&DOCS));
    // It describes itself, so its place is taken first.
    let own = Route::<S>::at("/openapi.json").get(Right::Open, async || ()).told(&DOCUMENT);
    let document = document(routes.iter().chain([&own]));
    let bytes = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let show = move || async move { (JSON, bytes) };
    routes.push(Route::at("/openapi.json").get(Right::Open, show).told(&DOCUMENT));
    routes
}

fn document<'a, S: 'a>(routes: impl Iterator<Item = &'a Route<S>>) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let operation = |(method, right): &(Method, Right)| {
            let told = route.told.iter().find(|(of, _)| of == method);
            let told = told.map(|(_, operation)| *operation)?;
            let name = method.as_str().to_ascii_lowercase();
            Some((name, operation_of(route.path, method, *right, told)))
        };
        let operations: Map<String, Value> = route.rights.iter().filter_map(operation).collect();
        paths.insert(route.path.to_owned(), Value::Object(operations));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Moneta",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Time series and alarms. Every answer carries x-openstack-request-id; every \
                            refusal is a Refusal, whatever its status.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The password is the token"},
            },
        },
    })
}

fn schemas() -> Value {
    // A test reads it; a server without schemas is still a server.
    serde_json::from_str(SCHEMAS).unwrap_or_default()
}

fn operation_of(path: &str, method: &Method, right: Right, told: &Operation) -> Value {
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
    });
    let parameters: Vec<Value> = in_path.chain(told.query.iter().map(Parameter::shown)).collect();
    let mut answers = Map::new();
    for (status, content) in told.answers {
        let mut answer = json!({"description": meaning(*status)});
        if let (Some(fields), Some(content)) = (answer.as_object_mut(), content.shown()) {
            fields.insert("content".to_owned(), content);
        }
        answers.insert(status.to_string(), answer);
    }
    let mut refusal = json!({"description": "Refused; the description says why"});
    if let (Some(fields), Some(content)) = (
        refusal.as_object_mut(),
        Content::Json("Refusal").shown().filter(|_| *method != Method::HEAD),
    ) {
        fields.insert("content".to_owned(), content);
    }
    answers.insert("default".to_owned(), refusal);
    let mut operation = json!({
        "operationId": operation_id(path, method),
        "summary": told.summary,
        "tags": [tag(path)],
        "responses": answers,
        "x-right": right_name(right),
    });
    if let Some(fields) = operation.as_object_mut() {
        if !parameters.is_empty() {
            fields.insert("parameters".to_owned(), Value::from(parameters));
        }
        if let Some(content) = told.body.shown() {
            fields.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
        }
        let security = if right == Right::Open {
            json!([])
        } else {
            json!([{"token": []}, {"bearer": []}, {"basic": []}])
        };
        fields.insert("security".to_owned(), security);
    }
    operation
}

fn operation_id(path: &str, method: &Method) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method.as_str().to_ascii_lowercase().as_str())
        .chain(words)
        .collect::<Vec<&str>>()
        .join("_")
}

/// Under which heading the page shows it.
fn tag(path: &str) -> &str {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("v2.0"), Some(resource)) => resource,
        (Some("admin"), _) => "administration",
        _ => "server",
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        200 => "Done",
        201 => "Created",
        202 => "Begun",
        204 => "Done; nothing to say",
        501 => "Not available yet",
        503 => "Not able to work",
        _ => "Answer",
    }
}

fn right_name(right: Right) -> &'static str {
    match right {
        Right::Open => "nobody is asked for a token",
        Right::Known => "any identity",
        Right::Read => "reading",
        Right::WriteMetrics => "writing measurements",
        Right::WriteLogs => "writing logs",
        Right::Change => "changing definitions, alarms, notification methods",
        Right::Administer => "administration of the server",
    }
}

#[cfg(test)]
mod tests;
