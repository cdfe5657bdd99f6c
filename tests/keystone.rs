//! A real Keystone 30 beside a real server: tokens are issued, checked, revoked; roles that are not
//! enough; the `monasca` client with a password; and Keystone gone while requests come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moneta_storage::clock::SystemClock;
use moneta_tests::keystone::{Keystone, PASSWORD};
use moneta_tests::{installed, server, wait};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

/// How long the server remembers a token.
const REMEMBERED: Duration = Duration::from_secs(1);

struct Moneta {
    url: String,
    client: Client,
}

impl Moneta {
    async fn call(&self, token: &str, method: Method, path: &str, body: &Value) -> Response {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.header("x-auth-token", token).json(body);
        // Nothing that a client sends may hang, whatever Keystone does.
        request.timeout(Duration::from_secs(30)).send().await.unwrap()
    }

    async fn get(&self, token: &str, path: &str) -> u16 {
        self.call(token, Method::GET, path, &Value::Null).await.status().as_u16()
    }

    async fn write(&self, token: &str, name: &str) -> u16 {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let now = u64::try_from(now).unwrap();
        let metric = json!({"name": name, "timestamp": now, "value": 1});
        self.call(token, Method::POST, "/v2.0/metrics", &metric).await.status().as_u16()
    }

    /// Waits until a request is answered so.
    async fn becomes(&self, token: &str, want: u16) {
        wait::until("another answer", async || {
            let got = self.get(token, "/v2.0/metrics").await;
            if got == want { Ok(()) } else { Err(got.to_string()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_real_keystone() {
    let folder = tempfile::tempdir().unwrap();
    let mut keystone = Keystone::start(folder.path()).await;
    let admin = keystone.admin().await;
    let service = keystone.make(&admin, "project", json!({"name": "service"})).await;
    let acme = keystone.make(&admin, "project", json!({"name": "acme"})).await;
    let other = keystone.make(&admin, "project", json!({"name": "other"})).await;
    let role = keystone.role(&admin, "service").await;
    keystone.user(&admin, "monasca", &service, &[&role]).await;
    let role = keystone.make(&admin, "role", json!({"name": "monasca-user"})).await;
    keystone.user(&admin, "alice", &acme, &[&role]).await;
    keystone.user(&admin, "eve", &other, &[&role]).await;
    let role = keystone.make(&admin, "role", json!({"name": "monasca-read-only-user"})).await;
    keystone.user(&admin, "bob", &acme, &[&role]).await;

    let remembered = REMEMBERED.as_secs().to_string();
    let settings = [
        ("auth.mode", "keystone"),
        ("auth.keystone.url", keystone.url()),
        ("auth.keystone.password", PASSWORD),
        ("auth.keystone.cache_seconds", &remembered),
        ("auth.keystone.timeout_seconds", "10"),
    ];
    let data = folder.path().join("data");
    let running = server::start(&data, Arc::new(SystemClock), &settings).await.unwrap();
    let moneta = Moneta { url: format!("http://{}", running.address()), client: Client::new() };
    let alice = keystone.token("alice", PASSWORD, Some("acme")).await;
    let bob = keystone.token("bob", PASSWORD, Some("acme")).await;
    let eve = keystone.token("eve", PASSWORD, Some("other")).await;

    // Writing, reading, and another project.
    assert_eq!(moneta.write(&alice, "cpu.idle").await, 204);
    assert_eq!(moneta.get(&bob, "/v2.0/metrics").await, 200);
    assert_eq!(moneta.write(&bob, "cpu.idle").await, 401, "bob may only read");
    let names = async |token: &str| {
        let answer = moneta.call(token, Method::GET, "/v2.0/metrics/names", &Value::Null).await;
        let body: Value = answer.json().await.unwrap();
        body["elements"].clone()
    };
    assert_eq!(names(&bob).await, json!([{"name": "cpu.idle"}]));
    assert_eq!(names(&eve).await, json!([]));
    // The administrator's role alone gives no tenant's data, but the server's.
    assert_eq!(moneta.get(&admin, "/v2.0/metrics").await, 401);
    assert_eq!(moneta.get(&admin, "/admin/tenants").await, 200);
    assert_eq!(moneta.get(&alice, "/admin/tenants").await, 401);

    // Tokens that are none, or for no project.
    let answer = moneta.call("nonsense", Method::GET, "/v2.0/metrics", &Value::Null).await;
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert_eq!(answer.status(), 401);
    assert_eq!(challenge, format!("Keystone uri=\"{}\"", keystone.url()));
    let unscoped = keystone.token("alice", PASSWORD, None).await;
    assert_eq!(moneta.get(&unscoped, "/v2.0").await, 200);
    assert_eq!(moneta.get(&unscoped, "/v2.0/metrics").await, 401);

    // The real client, which gets its token itself.
    let output = installed::command("clients-1", "monasca", folder.path())
        .args(["--os-auth-url", keystone.url()])
        .args(["--os-username", "alice", "--os-password", PASSWORD])
        .args(["--os-project-name", "acme", "--os-user-domain-name", "Default"])
        .args(["--os-project-domain-name", "Default"])
        .args(["--monasca-api-url", &format!("{}/v2.0", moneta.url), "metric-name-list"])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success() && text.contains("cpu.idle"), "{text}");

    // Revoked, it is let in only as long as it is remembered.
    keystone.revoke(&admin, &alice).await;
    moneta.becomes(&alice, 401).await;

    // Keystone goes: who is known goes on, also when it is no longer remembered as fresh; who is not
    // gets an answer that says so.
    let alice = keystone.token("alice", PASSWORD, Some("acme")).await;
    assert_eq!(moneta.get(&bob, "/v2.0/metrics").await, 200);
    keystone.stop();
    let begun = Instant::now();
    while begun.elapsed() < REMEMBERED * 3 {
        assert_eq!(moneta.get(&bob, "/v2.0/metrics").await, 200);
        let answer = moneta.call(&alice, Method::GET, "/v2.0/metrics", &Value::Null).await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.unwrap();
        let want = "the token cannot be checked now: Keystone does not answer";
        assert_eq!(body["description"], want);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    running.shutdown().await.unwrap();
}
