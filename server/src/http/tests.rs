//! Tests of what every request passes, without a store behind it.

use axum::body::Bytes;
use http_body_util::BodyExt;

use super::*;
use crate::auth::{Gate, Right};

/// Routes that need no store, and two that stand for others.
fn front(requests_max: usize) -> Front {
    let mut routes: Vec<Route<()>> = monasca::versions::routes();
    let things = Route::at("/v2.0/things").post(Right::Change, async || StatusCode::NO_CONTENT);
    routes.push(things.get(Right::Read, async || "all"));
    let thing = async |uri: Uri| uri.to_string();
    routes.push(Route::at("/v2.0/things/{id}").get(Right::Read, thing));
    routes.push(Route::at("/health").get(Right::Open, async || "alive"));
    let broken = async || panic!("a defect") as &'static str;
    routes.push(Route::at("/broken").get(Right::Open, broken));
    let forever = std::future::pending::<&'static str>;
    routes.push(Route::at("/forever").get(Right::Open, forever));
    Front::new(
        routes,
        (),
        Gate::open(),
        Reach::ThisMachine,
        requests_max,
        Arc::new(Telemetry::new()),
    )
}

fn request(method: &str, target: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(target).header("host", "localhost:8070");
    request.body(Body::empty()).unwrap()
}

async fn ask(method: &str, target: &str) -> (u16, Response<Body>, String) {
    let response = front(9).answer(request(method, target)).await;
    let (parts, body) = response.into_parts();
    let bytes: Bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (parts.status.as_u16(), Response::from_parts(parts, Body::empty()), text)
}

#[tokio::test]
async fn a_panic_is_answered_and_gives_back_its_place() {
    let front = front(1);
    for _ in 0..2 {
        let response = front.answer(request("GET", "/broken")).await;
        assert_eq!(response.status().as_u16(), 500);
        assert!(response.headers().contains_key("x-openstack-request-id"));
    }
}

#[tokio::test]
async fn statuses_and_bodies() {
    let check = async |method: &str, target: &str, want: u16, body: &str| {
        let (status, response, text) = ask(method, target).await;
        assert_eq!((status, text.as_str()), (want, body), "{method} {target}");
        let id = response.headers().get("x-openstack-request-id").unwrap().to_str().unwrap();
        assert!(id.starts_with("req-") && id.len() == 40, "{id}");
    };
    check("GET", "/v2.0/things", 200, "all").await;
    check("GET", "/v2.0/things/", 200, "all").await;
    check("GET", "/v2.0/things//?a=b", 200, "all").await;
    check("GET", "/v2.0/things/5/?a=b", 200, "/v2.0/things/5?a=b").await;
    check("POST", "/v2.0/things", 204, "").await;
    check(
        "GET",
        "/v3",
        422,
        r#"{"title":"Invalid version","description":"No versions found matching v3","message":"No versions found matching v3"}"#,
    )
    .await;
    check(
        "GET",
        "/v2.0/nothing",
        404,
        r#"{"title":"404 Not Found","description":"nothing has the path /v2.0/nothing","message":"nothing has the path /v2.0/nothing"}"#,
    )
    .await;
    check(
        "DELETE",
        "/v2.0/things",
        405,
        r#"{"title":"405 Method Not Allowed","description":"DELETE is not allowed here","message":"DELETE is not allowed here"}"#,
    )
    .await;
}

#[tokio::test]
async fn allowed_methods_are_told() {
    let check = async |method: &str, target: &str, status: u16, allow: &str| {
        let (got, response, body) = ask(method, target).await;
        let mut have: Vec<&str> =
            response.headers().get("allow").unwrap().to_str().unwrap().split(", ").collect();
        have.sort_unstable();
        assert_eq!((got, have.join(" ").as_str()), (status, allow), "{method} {target}");
        assert_eq!(body.is_empty(), status == 200);
    };
    check("OPTIONS", "/v2.0/things", 200, "GET HEAD OPTIONS POST").await;
    check("PUT", "/v2.0/things", 405, "GET HEAD OPTIONS POST").await;
    check("PATCH", "/v2.0/things/5", 405, "GET HEAD OPTIONS").await;
    assert_eq!(ask("OPTIONS", "/v2.0/nothing").await.0, 404);
}

#[tokio::test]
async fn versions_are_listed_with_their_links() {
    let version = r#"{"id":"v2.0","links":[{"rel":"self","href":"http://localhost:8070/v2.0"}],"status":"CURRENT","updated":"2013-03-06T00:00:00.000Z"}"#;
    let (status, response, text) = ask("GET", "/v2.0/").await;
    assert_eq!((status, text.as_str()), (200, version));
    assert_eq!(response.headers().get("content-type").unwrap(), "application/json");
    let (status, _, text) = ask("GET", "/").await;
    let want = format!(
        r#"{{"links":[{{"rel":"self","href":"http://localhost:8070/"}}],"elements":[{version}]}}"#
    );
    assert_eq!((status, text), (200, want));
}

#[tokio::test]
async fn other_hosts_and_origins_are_refused() {
    let mut stranger = request("GET", "/v2.0/things");
    stranger.headers_mut().insert("host", HeaderValue::from_static("evil.example"));
    assert_eq!(front(9).answer(stranger).await.status().as_u16(), 421);
    let mut page = request("POST", "/v2.0/things");
    page.headers_mut().insert("origin", HeaderValue::from_static("http://evil.example"));
    assert_eq!(front(9).answer(page).await.status().as_u16(), 403);
}

#[tokio::test]
async fn too_many_requests_at_once_are_refused_and_counted() {
    let front = Arc::new(front(1));
    let waiting = {
        let front = Arc::clone(&front);
        tokio::spawn(async move { front.answer(request("GET", "/forever")).await })
    };
    while front.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let refused = front.answer(request("GET", "/v2.0/things")).await;
    assert_eq!(refused.status().as_u16(), 503);
    assert_eq!(refused.headers().get("retry-after").unwrap(), "1");
    assert_eq!(front.answer(request("GET", "/health/")).await.status().as_u16(), 200);
    waiting.abort();
    assert!(waiting.await.is_err());
    assert_eq!(front.answer(request("GET", "/v2.0/things")).await.status().as_u16(), 200);
    let text = front.telemetry.render(crate::telemetry::Format::Text);
    for sample in [
        "http_requests_in_flight 0\n",
        "http_request_duration_seconds_count{method=\"GET\",route=\"/forever\",code=\"gone\"} 1\n",
        "http_request_duration_seconds_count{method=\"GET\",route=\"/v2.0/things\",code=\"5xx\"} 1\n",
    ] {
        assert!(text.contains(sample), "{sample}{text}");
    }
}

#[test]
fn routes_are_told_apart_for_the_figures() {
    let front = front(1);
    let check = |path: &str, want: &str| {
        let found = front.template(path).map_or("other", |template| template.path);
        assert_eq!(found, want, "{path}");
    };
    check("/v2.0/things", "/v2.0/things");
    check("/v2.0/things/5", "/v2.0/things/{id}");
    check("/v2.0/things/5/6", "other");
    check("/v2.0", "/v2.0");
    check("/", "/");
    check("/x", "other");
}
