//! A tenant is removed over HTTP: everything of it goes, nothing of another, also when the process ends
//! before anything has reached a segment; and alarms stay what they are when their samples are deleted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use moneta_server::Running;
use moneta_storage::clock::ManualClock;
use moneta_storage::model::Timestamp;
use moneta_tests::{copy_folder, server};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// 2026-11-20T09:24:00Z
const NOW: i64 = 1_795_166_640_000;
/// What a tenant can be asked for.
const LISTS: [&str; 6] = [
    "/v2.0/metrics",
    "/v2.0/metrics/measurements?name=cpu&start_time=2026-01-01T00:00:00Z",
    "/v2.0/alarm-definitions",
    "/v2.0/alarms",
    "/v2.0/alarms/state-history/",
    "/v2.0/notification-methods",
];

struct Server {
    runtime: Runtime,
    running: Running,
    clock: Arc<ManualClock>,
}

impl Server {
    fn start(folder: &Path) -> Server {
        let clock = ManualClock::at(Timestamp::from_millis(NOW));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let settings = [("storage.free_space_min", "0")];
        let running = server::start(folder, clock.clone(), &settings);
        let running = runtime.block_on(running).unwrap();
        Server { runtime, running, clock }
    }

    fn ask(&self, tenant: &str, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let target = target.replace("http://", "");
        let target = target.find("/v2.0").map_or(target.as_str(), |at| &target[at..]);
        ask(self.running.address(), tenant, method, target, body)
    }

    fn get(&self, tenant: &str, target: &str) -> Value {
        let (status, body) = self.ask(tenant, "GET", target, &Value::Null);
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    fn list(&self, tenant: &str, target: &str) -> Vec<Value> {
        self.get(tenant, target)["elements"].as_array().unwrap().clone()
    }

    /// Everything that there is of a tenant.
    fn all(&self, tenant: &str) -> Vec<Vec<Value>> {
        let own = self.running.address().to_string();
        // The next process has another address.
        let plain = |list: Vec<Value>| {
            let text = Value::Array(list).to_string().replace(&own, "server");
            serde_json::from_str(&text).unwrap()
        };
        LISTS.iter().map(|target| plain(self.list(tenant, target))).collect()
    }

    fn write(&self, tenant: &str, metric: &str, value: f64) {
        let sample = json!({"name": metric, "dimensions": {"host": "h1"}, "timestamp": NOW,
                            "value": value});
        let answer = self.ask(tenant, "POST", "/v2.0/metrics", &sample);
        assert_eq!(answer, (204, Value::Null));
    }

    /// Asks until the only alarm of a tenant is in `state`; moves the clock by `step` each time.
    fn wait_for(&self, tenant: &str, state: &str, step: i64) -> Value {
        let mut now = NOW + 1;
        for _ in 0..5000 {
            let alarms = self.list(tenant, "/v2.0/alarms");
            if let [alarm] = alarms.as_slice()
                && alarm["state"] == state
            {
                return alarm.clone();
            }
            now += step;
            self.clock.set(Timestamp::from_millis(now));
        }
        panic!("no alarm is {state}: {:?}", self.list(tenant, "/v2.0/alarms"));
    }

    /// Fills a tenant with samples, a method, a definition, an alarm that has fired.
    fn fill(&self, tenant: &str) {
        // Nobody listens there: the notification stays in the outbox.
        let method = json!({"name": "hook", "type": "WEBHOOK", "address": "http://127.0.0.1:9/x"});
        let (status, method) = self.ask(tenant, "POST", "/v2.0/notification-methods", &method);
        assert_eq!(status, 201, "{method}");
        let definition = json!({"name": "hot", "expression": "max(cpu) > 90", "match_by": ["host"],
                                "alarm_actions": [method["id"]],
                                "undetermined_actions": [method["id"]]});
        let (status, made) = self.ask(tenant, "POST", "/v2.0/alarm-definitions", &definition);
        assert_eq!(status, 201, "{made}");
        self.write(tenant, "cpu", 95.0);
        self.write(tenant, "mem", 1.0);
        self.wait_for(tenant, "ALARM", 0);
    }

    fn stop(self) {
        self.runtime.block_on(self.running.shutdown()).unwrap();
    }
}

fn ask(server: SocketAddr, tenant: &str, method: &str, target: &str, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nX-Project-Id: {tenant}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn names(server: &Server) -> Vec<String> {
    let tenants = server.get("x", "/admin/tenants");
    let tenants = tenants["tenants"].as_array().unwrap().clone();
    tenants.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_tenant_goes_with_everything_and_leaves_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    server.fill("a");
    server.fill("b");
    let other = server.all("b");
    assert!(other.iter().chain(&server.all("a")).all(|list| !list.is_empty()), "{other:?}");

    let removal = "/admin/tenants/a";
    assert_eq!(server.ask("x", "DELETE", removal, &Value::Null).0, 422, "unconfirmed");
    assert_eq!(server.ask("x", "DELETE", "/admin/tenants/c?confirm=c", &Value::Null).0, 404);
    let contents = server.get("x", removal);
    assert_eq!((&contents["series"], &contents["samples"]), (&json!(2), &json!(2)));
    assert_eq!(
        (&contents["alarm_definitions"], &contents["notification_methods"]),
        (&json!(1), &json!(1))
    );
    let (status, removed) =
        server.ask("x", "DELETE", &format!("{removal}?confirm=a&by=me"), &Value::Null);
    assert_eq!((status, &removed["samples"]), (200, &json!(2)), "{removed}");
    assert_eq!(names(&server), ["b"]);
    assert!(server.all("a").iter().all(Vec::is_empty), "{:?}", server.all("a"));
    assert_eq!(server.all("b"), other);
    // A new one of that name has what it was given since, and is not alarmed by it.
    server.write("a", "disk", 99.0);
    let fresh = server.all("a");
    assert_eq!(fresh.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 0, 0, 0], "{fresh:?}");
    assert_eq!(server.list("a", LISTS[0])[0]["name"], "disk");

    // As after a crash: what was written to the removed tenant is still in the log, and the alarms
    // read it again.
    let copy = folder.path().join("copy");
    // The server goes on, and may remove a file that is about to be copied.
    while let Err(error) = copy_folder(&folder.path().join("data"), &copy) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        std::fs::remove_dir_all(&copy).unwrap();
    }
    server.stop();
    let again = Server::start(&copy);
    assert_eq!(names(&again), ["b", "a"]);
    assert_eq!(again.all("a"), fresh);
    assert_eq!(again.all("b"), other);
    let (status, swept) = again.ask("x", "POST", "/admin/retention/apply", &Value::Null);
    // The sweeper may have been quicker.
    assert_eq!(status, 200, "{swept}");
    let deletion = &again.get("x", "/admin/deletions/1");
    assert_eq!((&deletion["state"], &deletion["by"]), (&json!("done"), &json!("me")));
    assert_eq!(again.all("b"), other);
    again.stop();
    // And with nothing in the log.
    let again = Server::start(&copy);
    assert_eq!((again.all("a"), again.all("b")), (fresh, other));
    again.stop();
}

#[test]
fn an_alarm_whose_samples_were_deleted_stays_and_becomes_undetermined() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    server.fill("a");
    let alarm = server.list("a", "/v2.0/alarms")[0].clone();
    let wanted = json!({"tenant": "a", "metric": "cpu", "by": "me"});
    let (status, deletion) = server.ask("x", "POST", "/admin/deletions", &wanted);
    assert_eq!(status, 202, "{deletion}");
    let (status, swept) = server.ask("x", "POST", "/admin/retention/apply", &Value::Null);
    assert_eq!(status, 200, "{swept}");
    assert_eq!(server.get("x", "/admin/deletions/1")["state"], "done");
    // The engine has judged what came; that it is gone does not change the past.
    assert_eq!(server.list("a", "/v2.0/alarms"), std::slice::from_ref(&alarm));
    assert_eq!(alarm["metrics"][0]["name"], "cpu");
    assert!(!server.list("a", "/v2.0/alarms/state-history/").is_empty());
    let later = server.wait_for("a", "UNDETERMINED", 60_000);
    assert_eq!(later["metrics"], alarm["metrics"]);
    server.stop();
    // Also where the engine finds nothing to fill its windows with.
    let again = Server::start(folder.path());
    assert_eq!(again.list("a", "/v2.0/alarms")[0]["metrics"], alarm["metrics"]);
    again.write("a", "cpu", 95.0);
    again.stop();
}
