//! A server for a test, and requests to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use moneta_server::{Config, ConfigSources, Running, start};
use moneta_storage::clock::ManualClock;
use moneta_storage::model::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// 2026-11-20T09:24:00Z
pub(crate) const NOW: i64 = 1_795_166_640_000;
pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) folder: TempDir,
}

/// What a server says.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    /// Null if there is none; a text if it is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(NOW));
        let running = open_with(folder.path(), Arc::clone(&clock), settings).await;
        Server { running, clock, folder }
    }

    /// The same data under a new server.
    pub(crate) async fn restart(self) -> Server {
        let Server { running, clock, folder } = self;
        running.shutdown().await.unwrap();
        let running = open(folder.path(), Arc::clone(&clock)).await;
        Server { running, clock, folder }
    }

    pub(crate) async fn stop(self) {
        self.running.shutdown().await.unwrap();
    }

    /// Sets the clock so many milliseconds after [`NOW`].
    pub(crate) fn wait_until(&self, after: i64) {
        self.clock.set(Timestamp::from_millis(NOW + after));
    }

    /// A request without a body.
    pub(crate) async fn ask(&self, method: &str, target: &str) -> (u16, Value) {
        let answer = exchange(self.running.address(), method, target, &[], "").await;
        (answer.status, answer.body)
    }

    pub(crate) async fn get(&self, target: &str) -> (u16, Value) {
        self.ask("GET", target).await
    }

    pub(crate) async fn delete(&self, target: &str) -> (u16, Value) {
        self.ask("DELETE", target).await
    }

    pub(crate) async fn send(&self, method: &str, target: &str, body: Value) -> (u16, Value) {
        let answer = self.send_text(method, target, &body.to_string()).await;
        (answer.status, answer.body)
    }

    /// A body that says it is JSON.
    pub(crate) async fn send_text(&self, method: &str, target: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        exchange(self.running.address(), method, target, &headers, body).await
    }

    /// A request for a tenant.
    pub(crate) async fn get_as(&self, tenant: &str, target: &str) -> Answer {
        exchange(self.running.address(), "GET", target, &[("x-project-id", tenant)], "").await
    }

    /// Writes measurements for a tenant.
    pub(crate) async fn write_as(&self, tenant: &str, body: Value) {
        let headers = [("content-type", "application/json"), ("x-project-id", tenant)];
        let address = self.running.address();
        let answer = exchange(address, "POST", "/v2.0/metrics", &headers, &body.to_string()).await;
        assert_eq!(answer.status, 204, "{}", answer.body);
    }

    /// The elements of a list.
    pub(crate) async fn list(&self, target: &str) -> Vec<Value> {
        let (status, body) = self.get(target).await;
        assert_eq!(status, 200, "{target}: {body}");
        body["elements"].as_array().unwrap().clone()
    }

    /// All measurements of a metric of a tenant, all series together.
    pub(crate) async fn measurements(&self, tenant: &str, metric: &str) -> Vec<Value> {
        let target = format!(
            "/v2.0/metrics/measurements?name={metric}&start_time=2026-01-01&merge_metrics=true"
        );
        let Answer { status, body, .. } = self.get_as(tenant, &target).await;
        assert_eq!(status, 200, "{body}");
        match body["elements"].as_array().unwrap().as_slice() {
            [] => Vec::new(),
            [one] => one["measurements"].as_array().unwrap().clone(),
            several => panic!("{several:?}"),
        }
    }

    /// The value of a figure on `/metrics`, with its labels.
    pub(crate) async fn figure(&self, name: &str) -> Option<f64> {
        let (status, figures) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        figures.as_str().unwrap().lines().find_map(line)
    }
}

pub(crate) async fn open(folder: &Path, clock: Arc<ManualClock>) -> Running {
    open_with(folder, clock, &[]).await
}

async fn open_with(folder: &Path, clock: Arc<ManualClock>, settings: &[(&str, &str)]) -> Running {
    let own = [
        ("server.data_dir", folder.to_str().unwrap()),
        ("server.listen", "127.0.0.1:0"),
        ("server.region", "r1"),
    ];
    let all = own.iter().chain(settings);
    let config = Config::load(ConfigSources {
        overrides: all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..ConfigSources::default()
    });
    start(config.unwrap(), clock).await.unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    // Links name the server, too.
    let target = target.split_once("/v2.0").map_or(target.to_owned(), |(_, t)| format!("/v2.0{t}"));
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let plain = || Value::String(body.to_owned());
    let body = if body.is_empty() { Value::Null } else { body.parse().unwrap_or_else(|_| plain()) };
    Answer { status, head: head.to_owned(), body }
}

pub(crate) fn metric(name: &str, host: &str, ago: i64, value: f64) -> Value {
    let dimensions = json!({"hostname": host, "service": "s"});
    json!({"name": name, "dimensions": dimensions, "timestamp": NOW - ago, "value": value,
           "value_meta": null})
}

/// Measurements of a host, the `count` of them `step` apart, the newest so long ago.
pub(crate) fn measured(name: &str, host: &str, ago: i64, step: i64, count: i32) -> Value {
    let one = |n: i32| metric(name, host, ago + i64::from(n) * step, f64::from(n));
    (0..count).map(one).collect()
}
