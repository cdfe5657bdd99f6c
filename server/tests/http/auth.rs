//! Who is let in: every operation, with every kind of token.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use moneta_server::{NewToken, TokenFile, operations};
use moneta_storage::model::Timestamp;
use serde_json::{Value, json};

use crate::server::{Answer, MINUTE, NOW, Server, exchange, measured};

/// What only the tenant `theirs` has in its names.
const MARK: &str = "theirsecret";

struct Guarded {
    server: Server,
    file: TokenFile,
}

impl Guarded {
    async fn start() -> Self {
        Guarded::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = [("auth.mode", "tokens")].iter().chain(settings).copied().collect();
        let server = Server::start_with(&settings).await;
        let file = TokenFile::at(&server.folder.path().join("tokens.toml"));
        Guarded { server, file }
    }

    fn token(&self, tenant: &str, roles: &[&str]) -> String {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let new = NewToken { tenant: tenant.into(), roles, note: String::new(), expires: None };
        self.file.create(new, Timestamp::from_millis(NOW)).unwrap().0
    }

    async fn call(&self, token: Option<&str>, method: &str, target: &str, body: &str) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(token.map(|token| ("x-auth-token", token)));
        exchange(self.server.running.address(), method, target, &headers, body).await
    }

    /// A tenant with something of everything. Returns what stands for `{id}`, by path.
    async fn fill(&self, token: &str) -> Vec<(&'static str, String)> {
        let made = async |target: &str, body: Value, want: u16| {
            let answer = self.call(Some(token), "POST", target, &body.to_string()).await;
            assert_eq!(answer.status, want, "{target}: {}", answer.body);
            answer.body["id"].as_str().unwrap_or_default().to_owned()
        };
        let metric = measured(&format!("{MARK}.idle"), MARK, 0, MINUTE, 4);
        made("/v2.0/metrics", metric, 204).await;
        let method = json!({"name": MARK, "type": "WEBHOOK", "address": "http://127.0.0.1:9/"});
        let method = made("/v2.0/notification-methods", method, 201).await;
        let expression = format!("max({MARK}.idle) > 90");
        let definition = json!({"name": MARK, "expression": expression});
        let definition = made("/v2.0/alarm-definitions", definition, 201).await;
        // One that comes after the definition makes the alarm.
        let later = measured(&format!("{MARK}.idle"), MARK, 4 * MINUTE, MINUTE, 1);
        made("/v2.0/metrics", later, 204).await;
        let mut alarm = String::new();
        for _ in 0..500 {
            let alarms = self.call(Some(token), "GET", "/v2.0/alarms", "").await.body;
            alarm = alarms["elements"][0]["id"].as_str().unwrap_or_default().to_owned();
            if !alarm.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(!alarm.is_empty(), "there is an alarm");
        vec![
            ("/v2.0/alarm-definitions/", definition),
            ("/v2.0/alarms/", alarm),
            ("/v2.0/notification-methods/", method),
            ("/admin/tenants/", "theirs".to_owned()),
            ("/admin/deletions/", "1".to_owned()),
        ]
    }

    /// Everything a tenant sees of itself.
    async fn seen(&self, token: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for target in [
            "/v2.0/metrics",
            &format!("/v2.0/metrics/measurements?name={MARK}.idle&start_time=2026-01-01"),
            "/v2.0/alarm-definitions",
            "/v2.0/alarms",
            "/v2.0/notification-methods",
        ] {
            let answer = self.call(Some(token), "GET", target, "").await;
            assert_eq!(answer.status, 200, "{target}: {}", answer.body);
            assert!(answer.body.to_string().contains(MARK), "{target}: {}", answer.body);
            all.push(answer.body["elements"].clone());
        }
        all
    }
}

/// A request for an operation: what its path needs, and a body that would do something.
fn request(path: &str, ids: &[(&str, String)]) -> (String, String) {
    let mut target = path.to_owned();
    if let Some((start, rest)) = path.split_once('{') {
        let (_, rest) = rest.split_once('}').unwrap();
        let id = ids.iter().find(|(prefix, _)| *prefix == start);
        let (_, id) = id.unwrap_or_else(|| panic!("{path}: say here what stands for its part"));
        target = format!("{start}{id}{rest}");
    }
    let query = format!(
        "?name={MARK}.idle&start_time=2026-01-01&statistics=avg&dimension_name=hostname\
         &tenant_id=theirs&tenant=theirs&metric={MARK}.idle&merge_metrics=true"
    );
    let body = json!({
        "name": "ours.idle", "timestamp": NOW, "value": 99,
        "dimensions": {"hostname": "x"}, "expression": "max(a) > 1", "state": "OK",
        "lifecycle_state": "x", "link": "x", "type": "WEBHOOK", "address": "http://127.0.0.1:9/",
    });
    (format!("{target}{query}"), body.to_string())
}

/// A new operation is called here too, as it is in the list; one with a part of its own in its path
/// fails until the test knows what stands for it.
#[tokio::test]
async fn no_operation_shows_or_changes_what_is_anothers() {
    let guarded = Guarded::start().await;
    let theirs = guarded.token("theirs", &["monasca-user"]);
    let ids = guarded.fill(&theirs).await;
    let before = guarded.seen(&theirs).await;
    let all_but_admin = ["monasca-user", "monasca-read-only-user", "monasca-agent"];
    let ours = guarded.token("ours", &all_but_admin);
    for (method, path) in operations() {
        let (target, body) = request(path, &ids);
        let Answer { status, mut body, .. } =
            guarded.call(Some(&ours), &method, &target, &body).await;
        // What was asked for is repeated in links, and in refusals.
        if let Some(fields) = body.as_object_mut() {
            fields.remove("links");
        }
        let shown = body.to_string();
        let refused = status >= 400;
        assert!(refused || !shown.contains(MARK), "{method} {path}: {status} {shown}");
        if path.starts_with("/admin") || path == "/metrics" {
            assert_eq!(status, 401, "{method} {path}: {shown}");
        }
    }
    assert_eq!(guarded.seen(&theirs).await, before);
    guarded.server.stop().await;
}

#[tokio::test]
async fn without_a_token_that_is_known_only_the_watch_and_readers_of_docs_are_answered() {
    let guarded = Guarded::start().await;
    let theirs = guarded.token("theirs", &["monasca-user"]);
    let ids = guarded.fill(&theirs).await;
    let mut open = BTreeSet::new();
    for (method, path) in operations() {
        let (target, body) = request(path, &ids);
        for token in [None, Some("mnt_nobody")] {
            let answer = guarded.call(token, &method, &target, &body).await;
            if answer.status != 401 {
                open.insert(path);
                continue;
            }
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge, Some("Bearer realm=\"moneta\""), "{method} {path}");
            let told = match path {
                _ if method == "HEAD" => continue,
                // As clients of InfluxDB read it.
                "/write" | "/api/v2/write" => &answer.body["error"],
                _ => {
                    assert_eq!(answer.body["title"], "Unauthorized", "{path}");
                    &answer.body["error"]["message"]
                }
            };
            assert!(told.as_str().is_some_and(|text| !text.is_empty()), "{path}: {}", answer.body);
        }
    }
    let want = ["/docs", "/health", "/healthcheck", "/openapi.json", "/ping", "/ready"];
    assert_eq!(open.into_iter().collect::<Vec<_>>(), want);
    for target in ["/v2.0/nothing", "/nothing"] {
        assert_eq!(guarded.call(None, "GET", target, "").await.status, 401, "{target}");
    }
    // Without a body of the answer to tell from.
    assert_eq!(guarded.call(None, "OPTIONS", "/v2.0/metrics", "").await.status, 401);
    guarded.server.stop().await;
}

#[tokio::test]
async fn roles_grant_what_the_matrix_says() {
    let guarded = Guarded::start().await;
    let user = guarded.token("t", &["monasca-user"]);
    guarded.fill(&user).await;
    let metric = measured("cpu.idle", "h", 0, MINUTE, 1).to_string();
    let definition = json!({"name": "d", "expression": "max(a) > 1"}).to_string();
    let check = async |roles: &[&str], want: [u16; 6]| {
        let token = guarded.token("t", roles);
        let mut got = Vec::new();
        for (method, target, body) in [
            ("GET", "/v2.0", ""),
            ("GET", "/v2.0/alarms", ""),
            ("POST", "/v2.0/metrics", metric.as_str()),
            ("POST", "/v2.0/logs", "{}"),
            ("POST", "/v2.0/alarm-definitions", definition.as_str()),
            ("GET", "/admin/tenants", ""),
        ] {
            let answer = guarded.call(Some(&token), method, target, body).await;
            if answer.status == 401 {
                assert_eq!(answer.header("www-authenticate"), Some("Token"), "{target}");
                assert_eq!(answer.body["title"], "Forbidden", "{target}");
            }
            got.push(answer.status);
        }
        assert_eq!(got, want, "{roles:?}");
    };
    check(&["nobody"], [200, 401, 401, 401, 401, 401]).await;
    check(&["monasca-read-only-user"], [200, 200, 401, 401, 401, 401]).await;
    check(&["monasca-agent"], [200, 401, 204, 501, 401, 401]).await;
    check(&["Monasca-User"], [200, 200, 204, 501, 201, 401]).await;
    check(&["admin"], [200, 401, 401, 501, 401, 200]).await;
    guarded.server.stop().await;
}

/// `tenant_id` counts for delegates alone; for others it is as if it was not there. Headers that name a
/// tenant or a role count for nobody.
#[tokio::test]
async fn a_delegate_acts_for_another_tenant() {
    let guarded = Guarded::start().await;
    let agent = guarded.token("one", &["monasca-agent"]);
    let delegate = guarded.token("one", &["monasca-agent", "admin"]);
    let write = async |token: &str, name: &str| {
        let body = measured(name, "h", 0, MINUTE, 1).to_string();
        let target = "/v2.0/metrics?tenant_id=two";
        assert_eq!(guarded.call(Some(token), "POST", target, &body).await.status, 204);
    };
    write(&agent, "by.agent").await;
    write(&delegate, "by.delegate").await;
    let names = async |token: &str| {
        let headers = [("x-auth-token", token), ("x-project-id", "two"), ("x-roles", "admin")];
        let address = guarded.server.running.address();
        let answer = exchange(address, "GET", "/v2.0/metrics/names", &headers, "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let elements = answer.body["elements"].as_array().unwrap().clone();
        elements.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Lines as Monasca's persister writes them name their tenant themselves.
    let line = format!("by.line,_tenant_id=two value=1 {NOW}\n");
    let lines = async |token: &str| {
        let address = guarded.server.running.address();
        let headers = [("authorization", format!("Token {token}"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        exchange(address, "POST", "/write?db=mon&precision=ms", &headers, &line).await.status
    };
    assert_eq!((lines(&agent).await, lines(&delegate).await), (400, 204));
    assert_eq!(names(&guarded.token("one", &["monasca-user"])).await, ["by.agent"]);
    assert_eq!(names(&guarded.token("two", &["monasca-user"])).await, ["by.delegate", "by.line"]);
    guarded.server.stop().await;
}

#[tokio::test]
async fn tokens_are_shown_in_the_ways_of_clients_and_end() {
    let guarded = Guarded::start().await;
    let token = guarded.token("t", &["monasca-user"]);
    let check = async |name: &str, value: &str, want: u16| {
        let address = guarded.server.running.address();
        let answer = exchange(address, "GET", "/v2.0/metrics", &[(name, value)], "").await;
        assert_eq!(answer.status, want, "{name}");
    };
    check("X-Auth-Token", &token, 200).await;
    check("Authorization", &format!("Bearer {token}"), 200).await;
    check("Authorization", &format!("Token {token}"), 200).await;
    check("Authorization", &format!("Bearer {}", &token[1..]), 401).await;
    let id = guarded.file.list().unwrap()[0].id.clone();
    guarded.file.revoke(&id).unwrap().unwrap();
    guarded.server.wait_until(1000);
    check("X-Auth-Token", &token, 401).await;
    guarded.server.stop().await;
}

/// Other machines may call, under any name, and pages of other origins have nothing to gain.
#[tokio::test]
async fn with_tokens_the_rules_for_trust_are_not_needed() {
    let guarded = Guarded::start_with(&[("server.listen", "0.0.0.0:0")]).await;
    let port = guarded.server.running.address().port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let ask = move |token: String| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = "GET /v2.0/metrics HTTP/1.1\r\nhost: monitor.example\r\n\
                    origin: http://evil.example\r\nconnection: close\r\n";
        write!(stream, "{head}x-auth-token: {token}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let (right, wrong) = (guarded.token("t", &["monasca-user"]), "mnt_nobody".to_owned());
    for (token, want) in [(right, "HTTP/1.1 200 "), (wrong, "HTTP/1.1 401 ")] {
        let answer = tokio::task::spawn_blocking(move || ask(token)).await.unwrap();
        assert!(answer.starts_with(want), "{answer}");
        assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
    }
    guarded.server.stop().await;
}

/// Clients of InfluxDB 1 put their password into the target. Elsewhere that counts for nothing.
#[tokio::test]
async fn influx_clients_show_their_token_as_a_parameter() {
    let guarded = Guarded::start().await;
    let token = guarded.token("t", &["monasca-user"]);
    let check = async |target: &str, want: u16, error: &str| {
        let answer = guarded.call(None, "POST", target, "m value=1").await;
        assert_eq!(answer.status, want, "{target}: {}", answer.body);
        let told = answer.body["error"].as_str().unwrap_or_default();
        assert_eq!(told, error, "{target}: {}", answer.body);
        assert!(!answer.body.to_string().contains(&token), "{}", answer.body);
    };
    let unknown = "The request you have made requires authentication.";
    check(&format!("/write?db=mon&u=me&p={token}"), 204, "").await;
    check(&format!("/write?db=mon&u=me&p={token}x"), 401, unknown).await;
    check(&format!("/write?db=mon&u={token}"), 401, unknown).await;
    check(&format!("/api/v2/write?p={token}"), 401, unknown).await;
    let answer = guarded.call(None, "GET", &format!("/v2.0/metrics?p={token}"), "").await;
    assert_eq!(answer.status, 401);
    guarded.server.stop().await;
}

/// Also what links say of the server.
#[tokio::test]
async fn connections_may_be_tls() {
    use rustls::pki_types::ServerName;

    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let settings = [
        ("server.tls.cert_file", cert.to_str().unwrap()),
        ("server.tls.key_file", key.to_str().unwrap()),
    ];
    let server = Server::start_with(&settings).await;
    let address = server.running.address();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = b"GET /v2.0 HTTP/1.1\r\nhost: localhost:1\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("https://localhost:1/v2.0"), "{answer}");

    // One that speaks no TLS gets nothing.
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, request).await.unwrap();
    let mut answer = Vec::new();
    // It may be cut off or told so in the words of TLS.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.stop().await;
}

/// A page of an origin that was named may ask, send and read; its browser's question needs no token.
#[tokio::test]
async fn pages_of_named_origins_may_call() {
    let page = "https://grafana.example";
    let settings = [("auth.mode", "tokens"), ("server.cors_origins", page)];
    let server = Server::start_with(&settings).await;
    let address = server.running.address();
    let ask = async |method: &str, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        exchange(address, method, "/v2.0/metrics", &headers, "").await
    };
    let answer = ask("OPTIONS", page).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(page));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("x-auth-token"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    let answer = ask("GET", page).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some(page)));
    for other in ["https://grafana.example.com", "null", "https://evil.example"] {
        let answer = ask("OPTIONS", other).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, None));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert_eq!(answer.header("vary"), Some("Accept"), "{}", answer.head);
    }
    server.stop().await;

    // Pages of anybody may not send what a browser has kept.
    let settings = [("auth.mode", "tokens"), ("server.cors_origins", "*")];
    let server = Server::start_with(&settings).await;
    let address = server.running.address();
    let answer = exchange(address, "GET", "/v2.0/metrics", &[("origin", page)], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some(page)));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    server.stop().await;

    // Without tokens, such a page may change something, and others may not.
    let server = Server::start_with(&[("server.cors_origins", page)]).await;
    let address = server.running.address();
    for (origin, want) in [(page, 204), ("https://evil.example", 403)] {
        let headers = [("origin", origin), ("content-type", "application/json")];
        let body = measured("cpu.idle", "h", 0, MINUTE, 1).to_string();
        let answer = exchange(address, "POST", "/v2.0/metrics", &headers, &body).await;
        assert_eq!(answer.status, want, "{origin}");
    }
    server.stop().await;
}
