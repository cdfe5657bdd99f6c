//! A real Keystone 30 beside a real server: tokens are issued, checked, revoked; roles that are not
//! enough; the `monasca` client with a password; and Keystone gone while requests come.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moneta_server::{Config, ConfigSources, start};
use moneta_storage::clock::SystemClock;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the server remembers a token.
const REMEMBERED: Duration = Duration::from_secs(1);

fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("a home folder")).join(".cache")
    });
    cache.join("moneta")
}

/// A Keystone on SQLite, ended with its value.
struct Keystone {
    /// Until it is stopped.
    process: Option<Child>,
    url: String,
    client: Client,
}

impl Drop for Keystone {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Keystone {
    async fn start(folder: &Path) -> Self {
        let programs = cache().join("keystone-1/bin");
        assert!(
            programs.join("keystone-manage").exists(),
            "{} is missing: run `make test`, which installs it",
            programs.display()
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/v3");
        for keys in ["fernet", "credential"] {
            fs::create_dir(folder.join(keys)).unwrap();
        }
        let place = folder.display();
        let settings = format!(
            "[DEFAULT]\nlog_file = {place}/keystone.log\n\
             [database]\nconnection = sqlite:///{place}/keystone.db\n\
             [token]\nprovider = fernet\n[fernet_tokens]\nkey_repository = {place}/fernet\n\
             [fernet_receipts]\nkey_repository = {place}/fernet\n\
             [credential]\nkey_repository = {place}/credential\n\
             [identity]\npassword_hash_rounds = 4\n"
        );
        fs::write(folder.join("keystone.conf"), settings).unwrap();
        let owner = Command::new("id").arg("-un").output().unwrap().stdout;
        let owner = String::from_utf8(owner).unwrap().trim().to_owned();
        let own = ["--keystone-user", &owner, "--keystone-group", &owner];
        for (command, arguments) in [
            ("db_sync", [].as_slice()),
            ("fernet_setup", &own),
            ("credential_setup", &own),
            ("bootstrap", &["--bootstrap-password", "adminpw"]),
        ] {
            let output = Command::new(programs.join("keystone-manage"))
                .args(["--config-file", &format!("{place}/keystone.conf"), command])
                .args(arguments)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "keystone-manage {command}: {text}");
        }
        // Keystone reads the arguments of its process as its own, so that there may be none.
        let options = format!(
            "bind = '127.0.0.1:{port}'\nworkers = 2\ngraceful_timeout = 1\n\
             wsgi_app = 'keystone.wsgi.api:application'\n\
             raw_env = ['OS_KEYSTONE_CONFIG_DIR={place}']\n"
        );
        fs::write(folder.join("gunicorn.conf.py"), options).unwrap();
        let process = Command::new(programs.join("gunicorn"))
            .env("GUNICORN_CMD_ARGS", format!("-c {place}/gunicorn.conf.py"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("gunicorn.log")).unwrap())
            .spawn()
            .unwrap();
        let client = Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        let keystone = Keystone { process: Some(process), url, client };
        let begun = Instant::now();
        while keystone.client.get(&keystone.url).send().await.is_err() {
            let log = fs::read_to_string(folder.join("gunicorn.log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "Keystone does not start: {log}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        keystone
    }

    fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // SIGTERM, so that its workers end with it.
        let _ = Command::new("kill").arg(process.id().to_string()).status();
        let _ = process.wait();
    }

    /// A token of a user, for a project or for none.
    async fn token(&self, user: &str, password: &str, project: Option<&str>) -> String {
        let domain = json!({"id": "default"});
        let user = json!({"name": user, "domain": domain, "password": password});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let mut auth = json!({"identity": identity});
        match project {
            Some(project) => {
                auth["scope"] = json!({"project": {"name": project, "domain": domain}});
            }
            None => auth["scope"] = json!("unscoped"),
        }
        let request = self.client.post(format!("{}/auth/tokens", self.url));
        let answer = request.json(&json!({"auth": auth})).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        answer.headers()["x-subject-token"].to_str().unwrap().to_owned()
    }

    /// Makes something as the administrator; its id.
    async fn make(&self, token: &str, kind: &str, body: Value) -> String {
        let request = self.client.post(format!("{}/{kind}s", self.url));
        let answer = request.header("x-auth-token", token).json(&json!({kind: body}));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 201, "{kind}");
        let body: Value = answer.json().await.unwrap();
        body[kind]["id"].as_str().unwrap().to_owned()
    }

    /// A user with a role on a project.
    async fn user(&self, token: &str, name: &str, project: &str, role: &str) {
        let user = self.make(token, "user", json!({"name": name, "password": "pw"})).await;
        let target = format!("{}/projects/{project}/users/{user}/roles/{role}", self.url);
        let answer = self.client.put(target).header("x-auth-token", token).send().await.unwrap();
        assert_eq!(answer.status(), 204, "{name}");
    }

    /// The id of a role that is there from the beginning.
    async fn role(&self, token: &str, name: &str) -> String {
        let target = format!("{}/roles?name={name}", self.url);
        let answer = self.client.get(target).header("x-auth-token", token).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        body["roles"][0]["id"].as_str().unwrap().to_owned()
    }
}

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
        let begun = Instant::now();
        loop {
            let got = self.get(token, "/v2.0/metrics").await;
            if got == want {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{got} and not {want}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_a_real_keystone() {
    let folder = tempfile::tempdir().unwrap();
    let moneta_starts = async |keystone: &Keystone| {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let config = Config::load(ConfigSources {
            overrides: vec![
                set("server.data_dir", folder.path().join("data").to_str().unwrap()),
                set("server.listen", "127.0.0.1:0"),
                set("auth.mode", "keystone"),
                set("auth.keystone.url", &keystone.url),
                set("auth.keystone.password", "pw"),
                set("auth.keystone.cache_seconds", &REMEMBERED.as_secs().to_string()),
                set("auth.keystone.timeout_seconds", "10"),
            ],
            ..ConfigSources::default()
        });
        start(config.unwrap(), Arc::new(SystemClock)).await.unwrap()
    };
    // The client library needs a choice of cryptography, also where it speaks without.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut keystone = Keystone::start(folder.path()).await;
    let admin = keystone.token("admin", "adminpw", Some("admin")).await;
    let service = keystone.make(&admin, "project", json!({"name": "service"})).await;
    let acme = keystone.make(&admin, "project", json!({"name": "acme"})).await;
    let other = keystone.make(&admin, "project", json!({"name": "other"})).await;
    let role = keystone.role(&admin, "service").await;
    keystone.user(&admin, "monasca", &service, &role).await;
    let role = keystone.make(&admin, "role", json!({"name": "monasca-user"})).await;
    keystone.user(&admin, "alice", &acme, &role).await;
    keystone.user(&admin, "eve", &other, &role).await;
    let role = keystone.make(&admin, "role", json!({"name": "monasca-read-only-user"})).await;
    keystone.user(&admin, "bob", &acme, &role).await;

    let running = moneta_starts(&keystone).await;
    let moneta = Moneta { url: format!("http://{}", running.address()), client: Client::new() };
    let alice = keystone.token("alice", "pw", Some("acme")).await;
    let bob = keystone.token("bob", "pw", Some("acme")).await;
    let eve = keystone.token("eve", "pw", Some("other")).await;

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
    assert_eq!(challenge, format!("Keystone uri=\"{}\"", keystone.url));
    let unscoped = keystone.token("alice", "pw", None).await;
    assert_eq!(moneta.get(&unscoped, "/v2.0").await, 200);
    assert_eq!(moneta.get(&unscoped, "/v2.0/metrics").await, 401);

    // The real client, which gets its token itself.
    let output = Command::new(cache().join("clients-1/bin/monasca"))
        .env_clear()
        .env("HOME", folder.path())
        .env("PYTHONUTF8", "1")
        .args(["--os-auth-url", &keystone.url, "--os-username", "alice", "--os-password", "pw"])
        .args(["--os-project-name", "acme", "--os-user-domain-name", "Default"])
        .args(["--os-project-domain-name", "Default"])
        .args(["--monasca-api-url", &format!("{}/v2.0", moneta.url), "metric-name-list"])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success() && text.contains("cpu.idle"), "{text}");

    // Revoked, it is let in only as long as it is remembered.
    let target = format!("{}/auth/tokens", keystone.url);
    let revoke = keystone.client.delete(target).header("x-auth-token", &admin);
    let revoked = revoke.header("x-subject-token", &alice).send().await.unwrap();
    assert_eq!(revoked.status(), 204);
    moneta.becomes(&alice, 401).await;

    // Keystone goes: who is known goes on, also when it is no longer remembered as fresh; who is not
    // gets an answer that says so.
    let alice = keystone.token("alice", "pw", Some("acme")).await;
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
