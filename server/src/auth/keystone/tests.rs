//! Against a Keystone made for the purpose: what it is asked, how often, and what happens when it fails.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{Router, get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::config::Password;

/// 2026-11-20T09:24:00Z
const NOW: i64 = 1_795_166_640_000;

#[derive(Default)]
struct Double {
    logins: AtomicU32,
    checks: AtomicU32,
    /// The status that every check is answered with, if not 0.
    fails_with: AtomicU64,
    /// Our tokens up to this number have been revoked.
    revoked_upto: AtomicU32,
}

fn token(project: &str, role: &str, ends: &str) -> Value {
    json!({"token": {
        "expires_at": ends,
        "project": {"id": project, "name": "x", "domain": {"id": "default"}},
        "roles": [{"id": "1", "name": role}],
    }})
}

async fn login(State(double): State<Arc<Double>>, Json(body): Json<Value>) -> impl IntoResponse {
    let user = &body["auth"]["identity"]["password"]["user"];
    assert_eq!((&user["name"], &user["password"]), (&json!("monasca"), &json!("xyzzy")));
    assert_eq!(body["auth"]["scope"]["project"]["name"], "service");
    let number = double.logins.fetch_add(1, Ordering::SeqCst) + 1;
    let headers = [("x-subject-token", format!("own-{number}"))];
    (reqwest::StatusCode::CREATED, headers, Json(token("s", "service", "2026-11-21T00:00:00Z")))
}

async fn check(
    State(double): State<Arc<Double>>,
    headers: HeaderMap,
) -> (reqwest::StatusCode, Json<Value>) {
    double.checks.fetch_add(1, Ordering::SeqCst);
    let fails_with = double.fails_with.load(Ordering::SeqCst);
    if let Some(status) = u16::try_from(fails_with).ok().filter(|status| *status > 0) {
        return (reqwest::StatusCode::from_u16(status).unwrap(), Json(json!({})));
    }
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let own: u32 = text("x-auth-token").strip_prefix("own-").unwrap().parse().unwrap();
    if own <= double.revoked_upto.load(Ordering::SeqCst) {
        return (reqwest::StatusCode::UNAUTHORIZED, Json(json!({})));
    }
    match text("x-subject-token").as_str() {
        "good" => {
            (reqwest::StatusCode::OK, Json(token("p1", "monasca-user", "2026-11-20T10:24:00Z")))
        }
        "unscoped" => {
            let mut token = token("", "", "2026-11-20T10:24:00Z");
            token["token"].as_object_mut().unwrap().retain(|name, _| name == "expires_at");
            (reqwest::StatusCode::OK, Json(token))
        }
        _ => (reqwest::StatusCode::NOT_FOUND, Json(json!({"error": {}}))),
    }
}

async fn start() -> (Arc<Double>, Keystone) {
    let double = Arc::new(Double::default());
    let paths = Router::new().route("/identity/v3/auth/tokens", get(check).post(login));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/identity/", listener.local_addr().unwrap());
    let serving = axum::serve(listener, paths.with_state(Arc::clone(&double)));
    tokio::spawn(std::future::IntoFuture::into_future(serving));
    (double, Keystone::new(config(url)).unwrap())
}

fn config(url: String) -> KeystoneConfig {
    let _ = rustls::crypto::ring::default_provider().install_default();
    KeystoneConfig {
        url,
        username: "monasca".into(),
        password: Password::new("xyzzy".into()),
        user_domain_name: "Default".into(),
        project_name: "service".into(),
        project_domain_name: "Default".into(),
        ca_file: None,
        cache_seconds: 300,
        timeout_seconds: 5,
    }
}

/// The tenant, or nothing, or the status of a refusal.
async fn ask(keystone: &Keystone, token: &str, after_ms: i64) -> Result<Option<String>, u16> {
    let now = Timestamp::from_millis(NOW + after_ms);
    let identity = keystone.identity(token, Digest::of(token.as_bytes()), now).await;
    identity
        .map(|identity| identity.map(|identity| identity.tenant.to_string()))
        .map_err(|failure| failure.status.as_u16())
}

fn tenant(name: &str) -> Result<Option<String>, u16> {
    Ok(Some(name.to_owned()))
}

#[tokio::test]
async fn tokens_are_checked_and_remembered() {
    let (double, keystone) = start().await;
    let counts = || (double.logins.load(Ordering::SeqCst), double.checks.load(Ordering::SeqCst));
    assert_eq!(ask(&keystone, "good", 0).await, tenant("p1"));
    assert_eq!(ask(&keystone, "good", 299_999).await, tenant("p1"));
    assert_eq!(counts(), (1, 1));
    assert_eq!(ask(&keystone, "good", 300_000).await, tenant("p1"));
    assert_eq!(counts(), (1, 2));
    assert_eq!(ask(&keystone, "bad", 0).await, Ok(None));
    assert_eq!(ask(&keystone, "bad", UNKNOWN_MS - 1).await, Ok(None));
    assert_eq!(counts(), (1, 3));
    assert_eq!(ask(&keystone, "bad", UNKNOWN_MS).await, Ok(None));
    assert_eq!(counts(), (1, 4));
    assert_eq!(ask(&keystone, "unscoped", 0).await, tenant(""));
    // An hour later it has ended, and nobody needs to be asked.
    assert_eq!(ask(&keystone, "good", 3_600_000).await, Ok(None));
    assert_eq!(counts(), (1, 5));
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let (double, keystone) = start().await;
    let all = (0..50).map(|_| ask(&keystone, "good", 0));
    for answer in futures_util::future::join_all(all).await {
        assert_eq!(answer, tenant("p1"));
    }
    assert_eq!(double.checks.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn our_own_token_is_renewed_when_it_is_not_taken() {
    let (double, keystone) = start().await;
    assert_eq!(ask(&keystone, "good", 0).await, tenant("p1"));
    double.revoked_upto.store(1, Ordering::SeqCst);
    assert_eq!(ask(&keystone, "bad", 0).await, Ok(None));
    assert_eq!(double.logins.load(Ordering::SeqCst), 2);
    // It is never taken: no answer, and no endless asking.
    double.revoked_upto.store(100, Ordering::SeqCst);
    assert_eq!(ask(&keystone, "other", 0).await, Err(503));
    assert_eq!(double.logins.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn known_tokens_go_on_while_there_is_no_answer() {
    let (double, keystone) = start().await;
    assert_eq!(ask(&keystone, "good", 0).await, tenant("p1"));
    double.fails_with.store(500, Ordering::SeqCst);
    assert_eq!(ask(&keystone, "new", 1).await, Err(503));
    let before = double.checks.load(Ordering::SeqCst);
    assert_eq!(ask(&keystone, "newer", PAUSE_MS).await, Err(503));
    assert_eq!(double.checks.load(Ordering::SeqCst), before, "it is left alone for a moment");
    assert_eq!(ask(&keystone, "good", 1_000_000).await, tenant("p1"), "long not checked");
    assert_eq!(ask(&keystone, "good", 3_600_000).await, Ok(None), "over");
    double.fails_with.store(0, Ordering::SeqCst);
    assert_eq!(ask(&keystone, "new", 2_000_000).await, Ok(None));
}

#[tokio::test]
async fn a_keystone_that_is_not_there_is_told_of_without_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let keystone = Keystone::new(config(url)).unwrap();
    let now = Timestamp::from_millis(NOW);
    let failure = keystone.identity("t", Digest::of(b"t"), now).await.unwrap_err();
    assert_eq!(failure.status.as_u16(), 503);
    assert_eq!(failure.description, "the token cannot be checked now: Keystone does not answer");
    assert!(failure.header.is_some_and(|header| header.0 == axum::http::header::RETRY_AFTER));
}
