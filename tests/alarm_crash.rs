//! A whole server is killed again and again while samples change alarms. No transition is lost or
//! invented, the history is in order, and every transition is notified at least once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use moneta_storage::verify::verify;
use moneta_tests::http::ask;
use moneta_tests::receiver::WebhookReceiver;
use serde_json::{Value, json};

const KILLS: u64 = 8;
const PROBES: u64 = 6;
/// Waiting for a notification longer than this is a failure; repeats come after seconds.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(directory: &Path) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server-child"))
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { child, address: line.trim().parse().unwrap() }
    }

    fn get(&self, target: &str) -> Vec<Value> {
        let (status, body) = ask(self.address, "GET", target, None).unwrap();
        assert_eq!(status, 200, "{target}: {body}");
        body["elements"].as_array().unwrap().clone()
    }

    fn create(&self, target: &str, body: &Value) -> String {
        let (status, body) = ask(self.address, "POST", target, Some(body)).unwrap();
        assert_eq!(status, 201, "{target}: {body}");
        body["id"].as_str().unwrap().to_owned()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The values sent, by probe: they alternate, so each stored one changes the probe's alarm.
#[derive(Default)]
struct Sent {
    next_value: BTreeMap<u64, u32>,
    acknowledged: BTreeMap<u64, usize>,
    count: i64,
}

impl Sent {
    fn sample(&mut self, probe: u64, since: i64) -> Value {
        let value = self.next_value.entry(probe).or_insert(0);
        *value = 1 - *value;
        self.count += 1;
        let dimensions = json!({"probe": probe.to_string()});
        json!({"name": "x", "dimensions": dimensions, "timestamp": since + self.count, "value": value})
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the server's clock is the machine's")]
fn kills_neither_lose_nor_invent_transitions() {
    let seed = std::env::var("MONETA_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(7);
    let kills = std::env::var("MONETA_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    println!("seed {seed}, {kills} kills");
    let mut state: u64 = seed;
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let since = i64::try_from(now).unwrap() - 40_000;
    let receiver = WebhookReceiver::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());
    let method = json!({"name": "hook", "type": "WEBHOOK", "address": receiver.url()});
    let method = server.create("/v2.0/notification-methods", &method);
    let definition = json!({
        "name": "d", "expression": "last(x) > 0", "match_by": ["probe"],
        "alarm_actions": [&method], "ok_actions": [&method],
    });
    server.create("/v2.0/alarm-definitions", &definition);

    let mut sent = Sent::default();
    let mut notified: BTreeSet<(String, String)> = BTreeSet::new();
    for _ in 0..kills {
        for _ in 0..random(60) {
            let probe = random(PROBES);
            let sample = sent.sample(probe, since);
            let answer = ask(server.address, "POST", "/v2.0/metrics", Some(&sample)).unwrap();
            assert_eq!(answer.0, 204, "{}", answer.1);
            *sent.acknowledged.entry(probe).or_default() += 1;
        }
        // One more is on its way when the server dies; whether it is stored will show.
        let sample = sent.sample(random(PROBES), since);
        let address = server.address;
        let last = std::thread::spawn(move || {
            // Its failure is the point.
            let _ = ask(address, "POST", "/v2.0/metrics", Some(&sample));
        });
        server.kill();
        last.join().unwrap();
        while let Ok(body) = receiver.next(Duration::ZERO) {
            note(&mut notified, &body);
        }
        server = Server::start(directory.path());
    }

    let mut expected: BTreeSet<(String, String)> = BTreeSet::new();
    for alarm in server.get("/v2.0/alarms") {
        let id = alarm["id"].as_str().unwrap().to_owned();
        let probe = alarm["metrics"][0]["dimensions"]["probe"].as_str().unwrap().to_owned();
        let target = format!(
            "/v2.0/metrics/measurements?name=x&dimensions=probe:{probe}&start_time=2020-01-01"
        );
        let stored: Vec<f64> = server.get(&target)[0]["measurements"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[1].as_f64().unwrap())
            .collect();
        let acknowledged = sent.acknowledged.remove(&probe.parse().unwrap()).unwrap_or(0);
        assert!(stored.len() >= acknowledged, "probe {probe} has lost samples");
        let mut states: Vec<&str> =
            stored.iter().map(|value| if *value > 0.0 { "ALARM" } else { "OK" }).collect();
        // A sample that was never stored leaves two equal neighbours.
        states.dedup();
        let history = server.get(&format!("/v2.0/alarms/{id}/state-history"));
        let changes: Vec<&str> =
            history.iter().map(|change| change["new_state"].as_str().unwrap()).collect();
        assert_eq!(changes, states, "probe {probe}");
        for change in history {
            expected.insert((id.clone(), change["id"].as_str().unwrap().to_owned()));
        }
    }
    sent.acknowledged.retain(|_, count| *count > 0);
    assert!(sent.acknowledged.is_empty(), "every probe has its alarm: {:?}", sent.acknowledged);
    while !expected.is_subset(&notified) {
        let missing = expected.difference(&notified).count();
        let body = receiver.next(PATIENCE).unwrap_or_else(|_| panic!("{missing} not notified"));
        note(&mut notified, &body);
    }
    assert_eq!(notified, expected, "nothing else was notified");
    server.kill();
    let verification = verify(directory.path(), &|_, _| {}).unwrap();
    assert_eq!(verification.problems, []);
    let entries = verification.verified.journal_entries;
    assert_eq!(usize::try_from(entries).unwrap(), expected.len(), "the history is what was seen");
}

fn note(notified: &mut BTreeSet<(String, String)>, body: &str) {
    let body: Value = serde_json::from_str(body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    notified.insert((text("alarm_id"), text("transition_id")));
}
