//! monasca-agent 10.0.0, whole: its collector and its statsd hand measurements to its forwarder, and that
//! one writes them with a token of a real Keystone. Nothing may be lost, doubled or changed, neither when
//! the server is away nor when the token is revoked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;

use moneta_server::Running;
use moneta_storage::clock::SystemClock;
use moneta_tests::keystone::{Keystone, PASSWORD};
use moneta_tests::process::{free_port, terminate};
use moneta_tests::{installed, server, wait};
use reqwest::Client;
use serde_json::{Value, json};

const ENVIRONMENT: &str = "agent-1";
/// Makes [`CHECK`] measure what the server refuses, once.
const ORDER: &str = "order";

/// A check of the agent that counts its runs, so that a gap or a repetition shows: for itself, with
/// `value_meta` that tells its time as the API writes times, and for another tenant. What it measures besides,
/// the agent itself refuses; but for a device, told to it by a file that it removes.
const CHECK: &str = r#"
import os
import time
from monasca_agent.collector.checks import AgentCheck

class Counting(AgentCheck):
    runs = 0

    def check(self, instance):
        Counting.runs += 1
        dimensions = self._set_dimensions({"part": "a b (c)/é"}, instance)
        now = time.time()
        seconds, millis = divmod(int(now * 1000), 1000)
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%03dZ" % millis
        self.gauge("own.runs", Counting.runs, dimensions=dimensions, timestamp=now,
                   value_meta={"détail": 'ü "quoted" \\ back', "at": at})
        self.gauge("their.runs", Counting.runs, dimensions=dimensions,
                   delegated_tenant=instance["tenant"])
        self.gauge("bad name", 1, dimensions=dimensions)
        self.gauge("bad.dimension", 1, dimensions=dict(dimensions, long="v" * 300))
        if os.path.exists(instance["order"]):
            os.remove(instance["order"])
            self.gauge("bad.device", 1, dimensions=dimensions, device_name="a;b")
"#;

/// Sends statsd packets with the real client, several in a datagram. Prints when, in the words of the API.
const STATSD: &str = r#"
import sys
import time
from monascastatsd import Client

client = Client("app", host="127.0.0.1", port=int(sys.argv[1]), dimensions={"round": sys.argv[2]})
print(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()))
client.connection.open_buffer()
jobs = client.get_counter("jobs")
jobs.increment(2, dimensions={"kind": "é ü"})
jobs.increment(3, dimensions={"kind": "é ü"})
jobs.decrement(4, dimensions={"kind": "down"})
gauge = client.get_gauge()
gauge.send("temperature", 21.25, dimensions={"place": "a/b (1)"})
gauge.send("tiny", -1e-7)
gauge.send("large", 123456789012345678901234567890)
client.get_timer().timing("latency", 12.5)
client.connection.close_buffer()
"#;

/// A metric, its dimension besides `hostname` and `round`, its value.
type Arrival<'a> = (&'a str, Option<(&'a str, &'a str)>, f64);

/// What arrives of a round of [`STATSD`].
const ROUND: [Arrival<'_>; 6] = [
    ("app.jobs", Some(("kind", "é ü")), 5.0),
    ("app.jobs", Some(("kind", "down")), -4.0),
    ("app.temperature", Some(("place", "a/b (1)")), 21.25),
    ("app.tiny", None, -1e-7),
    ("app.large", None, 1.234_567_890_123_456_8e29),
    ("app.latency", None, 12.5),
];

/// One series as it is stored: metric, dimensions in order; time, value and `value_meta` of each sample.
type Stored = BTreeMap<(String, BTreeMap<String, String>), Vec<Sample>>;
type Sample = (String, f64, Value);

/// Someone who reads what is stored of a project.
struct Reader {
    url: String,
    token: String,
    client: Client,
}

impl Reader {
    async fn get(&self, path: &str) -> Result<Value, String> {
        let request = self.client.get(format!("{}{path}", self.url));
        let request = request.header("x-auth-token", &self.token);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        if answer.status() != 200 {
            return Err(format!("{path}: {}", answer.status()));
        }
        answer.json().await.map_err(|error| error.to_string())
    }

    /// All of a metric.
    async fn metric(&self, name: &str) -> Result<Stored, String> {
        let path = "/v2.0/metrics/measurements?start_time=2020-01-01&group_by=*&name=";
        let body = self.get(&format!("{path}{name}")).await?;
        let elements = body["elements"].as_array().unwrap();
        let series = elements.iter().map(|element| {
            let dimensions = element["dimensions"].as_object().unwrap().iter();
            // A name that other series of the metric have shows as an empty value.
            let dimensions = dimensions.filter(|(_, value)| *value != "");
            let dimensions =
                dimensions.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
            let samples = element["measurements"].as_array().unwrap().iter().map(|sample| {
                let time = sample[0].as_str().unwrap().to_owned();
                (time, sample[1].as_f64().unwrap(), sample[2].clone())
            });
            ((name.to_owned(), dimensions.collect()), samples.collect())
        });
        Ok(series.collect())
    }

    /// The names of all metrics.
    async fn names(&self) -> Result<Vec<String>, String> {
        let body = self.get("/v2.0/metrics/names").await?;
        let elements = body["elements"].as_array().unwrap().iter();
        Ok(elements.map(|element| element["name"].as_str().unwrap().to_owned()).collect())
    }

    /// The samples of the one series of a metric.
    async fn runs(&self, name: &str) -> Result<Vec<Sample>, String> {
        let stored = self.metric(name).await?;
        let own = [("extra", "7"), ("hostname", "rig"), ("part", "a b (c)/é"), ("rack", "r1")];
        let key = (name.to_owned(), dimensions(own.into_iter().chain([("service", "test")])));
        assert!(stored.keys().all(|stored| *stored == key), "{stored:?}");
        Ok(stored.into_values().next().unwrap_or_default())
    }

    /// Waits until the check has been seen `count` times, each run in its place, with none left out.
    async fn has_run(&self, name: &str, count: usize) -> Vec<Sample> {
        wait::until("runs of the check", async || {
            let samples = self.runs(name).await?;
            let gapless =
                samples.iter().zip(1_u32..).all(|(sample, run)| sample.1 == f64::from(run));
            if samples.len() < count || !gapless {
                let values: Vec<f64> = samples.iter().map(|sample| sample.1).collect();
                return Err(format!("{values:?}"));
            }
            assert!(samples.is_sorted_by(|a, b| a.0 < b.0), "{samples:?}");
            Ok(samples)
        })
        .await
    }

    /// Waits until a round of statsd is there, sent at `sent` and not before; everything of it once.
    async fn has_round(&self, round: &str, sent: &str) {
        wait::until("measurements of statsd", async || {
            for (name, dimension, value) in ROUND {
                let own = [("hostname", "rig"), ("round", round)].into_iter().chain(dimension);
                let stored = self.metric(name).await?;
                let samples = stored.get(&(name.to_owned(), dimensions(own)));
                // A round may fall between two flushes of statsd; what it counts is then in both.
                let sum = samples.map(|all| all.iter().map(|sample| sample.1).sum::<f64>());
                if sum != Some(value) {
                    return Err(format!("{name}: {stored:?}"));
                }
                for (time, _, meta) in samples.into_iter().flatten() {
                    assert!(time.as_str() >= sent && *meta == json!({}), "{sent}: {stored:?}");
                }
            }
            Ok(())
        })
        .await;
    }
}

fn dimensions<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What the agent tells of this machine by itself, and that it can be true.
async fn check_machine(reader: &Reader) {
    let told = fs::read_to_string("/proc/meminfo").unwrap();
    let total = told.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0;
    let machine = dimensions([("hostname", "rig"), ("rack", "r1"), ("service", "test")]);
    let itself = [("component", "monasca-agent"), ("service", "monitoring")];
    let itself = dimensions([("hostname", "rig"), ("rack", "r1")].into_iter().chain(itself));
    for (name, dimensions, from, to) in [
        ("cpu.user_perc", &machine, 0.0, 100.0),
        ("cpu.system_perc", &machine, 0.0, 100.0),
        ("cpu.idle_perc", &machine, 0.0, 100.0),
        ("load.avg_1_min", &machine, 0.0, 10_000.0),
        ("load.avg_15_min", &machine, 0.0, 10_000.0),
        ("mem.total_mb", &machine, total - 1.0, total + 1.0),
        ("mem.free_mb", &machine, 1.0, total),
        ("mem.usable_perc", &machine, 0.0, 100.0),
        ("monasca.thread_count", &itself, 1.0, 100.0),
        ("monasca.collection_time_sec", &itself, 0.0, 60.0),
    ] {
        let stored = reader.metric(name).await.unwrap();
        let [(series, samples)] = stored.iter().collect::<Vec<_>>()[..] else {
            panic!("one series: {name} {stored:?}")
        };
        assert_eq!(&series.1, dimensions, "{name}");
        assert!(samples.len() >= 2, "{name} {samples:?}");
        for (_, value, meta) in samples {
            assert!((from..=to).contains(value) && *meta == json!({}), "{name} {samples:?}");
        }
    }
}

/// The agent's three programs, ended with their value.
struct Agent {
    processes: Vec<Child>,
    folder: PathBuf,
    statsd_port: u16,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(terminate);
    }
}

impl Agent {
    async fn start(folder: &Path, api: &str, keystone: &str, tenant: &str) -> Agent {
        let (port, statsd_port) = (free_port(), free_port());
        let place = folder.display();
        for sub in ["conf.d", "checks.d"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
        }
        let log = |name: &str| format!("\"{name}_log_file\": \"{place}/{name}.log\"");
        let logs = [log("collector"), log("forwarder"), log("statsd")].join(", ");
        let settings = format!(
            r#"{{
"Api": {{"url": "{api}/v2.0", "username": "agent", "password": "{PASSWORD}",
  "project_name": "ops", "user_domain_name": "Default", "project_domain_name": "Default",
  "keystone_url": "{keystone}", "max_buffer_size": -1, "backlog_send_rate": 1000}},
"Main": {{"hostname": "rig", "dimensions": {{"service": "test", "rack": "r1"}}, "check_freq": 1,
  "listen_port": {port}, "forwarder_url": "http://127.0.0.1:{port}",
  "additional_checksd": "{place}/checks.d"}},
"Statsd": {{"monasca_statsd_port": {statsd_port}, "monasca_statsd_interval": 1}},
"Logging": {{"log_level": "INFO", {logs}}}
}}"#
        );
        // What is JSON is YAML.
        fs::write(folder.join("agent.yaml"), settings).unwrap();
        fs::write(folder.join("checks.d/counting.py"), CHECK).unwrap();
        let order = folder.join(ORDER);
        let counting = json!({"tenant": tenant, "order": order, "dimensions": {"extra": "7"}});
        for (name, instance) in [
            ("counting", counting),
            ("cpu", json!({"name": "cpu_stats"})),
            ("load", json!({"name": "load_stats"})),
            ("memory", json!({"name": "memory_stats"})),
        ] {
            let check = json!({"init_config": null, "instances": [instance]}).to_string();
            fs::write(folder.join(format!("conf.d/{name}.yaml")), check).unwrap();
        }
        let program = |name: &str, arguments: &[&str]| {
            let output = fs::File::create(folder.join(format!("{name}.out"))).unwrap();
            let mut command = installed::command(ENVIRONMENT, name, folder);
            command.args(arguments).stdout(Stdio::null()).stderr(output).spawn().unwrap()
        };
        let mut agent = Agent { processes: Vec::new(), folder: folder.to_owned(), statsd_port };
        agent.processes.push(program("monasca-forwarder", &[]));
        agent.logs("forwarder", "Listening on port").await;
        agent.processes.push(program("monasca-statsd", &[]));
        agent.processes.push(program("monasca-collector", &["foreground"]));
        agent.logs("statsd", "Listening on host & port").await;
        agent
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Waits until a program has written something into its log.
    async fn logs(&self, name: &str, text: &str) {
        wait::until("a line in the log", async || {
            let log = self.log(name);
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// Sends a round of [`STATSD`]; when.
    fn send_round(&self, round: &str) -> String {
        let port = self.statsd_port.to_string();
        let mut client = installed::command(ENVIRONMENT, "python", &self.folder);
        let output = client.args(["-c", STATSD, &port, round]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.is_empty(), "{text}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_agent_measures_is_stored_once_and_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let keystone = Keystone::start(folder.path()).await;
    let admin = keystone.admin().await;
    let project = async |name: &str| keystone.make(&admin, "project", json!({"name": name})).await;
    let (own, ops, theirs) =
        (project("service").await, project("ops").await, project("cust").await);
    let service = keystone.role(&admin, "service").await;
    keystone.user(&admin, "monasca", &own, &[&service]).await;
    let role = async |name: &str| keystone.make(&admin, "role", json!({"name": name})).await;
    let reads = role("monasca-read-only-user").await;
    // To act for other tenants it has the role of a delegate as well.
    let writes = [role("monasca-agent").await, keystone.role(&admin, "admin").await];
    let user = keystone.user(&admin, "agent", &ops, &writes.each_ref().map(String::as_str)).await;
    keystone.user(&admin, "reader", &ops, &[&reads]).await;
    keystone.user(&admin, "their-reader", &theirs, &[&reads]).await;

    let listen = format!("127.0.0.1:{}", free_port());
    let serve = async || -> Running {
        let settings = [
            ("server.listen", listen.as_str()),
            ("auth.mode", "keystone"),
            ("auth.keystone.url", keystone.url()),
            ("auth.keystone.password", PASSWORD),
            ("auth.keystone.cache_seconds", "1"),
        ];
        let data = folder.path().join("data");
        server::start(&data, Arc::new(SystemClock), &settings).await.unwrap()
    };
    let running = serve().await;
    let url = format!("http://{listen}");
    let reader = async |user: &str, project: &str| Reader {
        url: url.clone(),
        token: keystone.token(user, PASSWORD, Some(project)).await,
        client: Client::new(),
    };
    let (reader, their_reader) =
        (reader("reader", "ops").await, reader("their-reader", "cust").await);

    let agent = Agent::start(&folder.path().join("agent"), &url, keystone.url(), &theirs).await;
    let sent = agent.send_round("1");
    reader.has_round("1", &sent).await;
    reader.has_run("own.runs", 4).await;
    let log = agent.log("forwarder");
    assert!(log.contains("| INFO |") && !log.contains("| ERROR |"), "{log}");
    assert!(!log.contains("| WARNING |"), "{log}");
    check_machine(&reader).await;

    // The server goes; what is measured meanwhile is sent when it is back.
    running.shutdown().await.unwrap();
    let sent = agent.send_round("2");
    agent.logs("forwarder", "Queuing the messages to send later").await;
    let running = serve().await;
    reader.has_round("2", &sent).await;
    agent.logs("forwarder", "0 messages remaining in the queue").await;

    // The token goes; the agent gets another.
    let before = keystone.token("agent", PASSWORD, Some("ops")).await;
    let old = Reader { token: before, url: url.clone(), client: Client::new() };
    old.get("/v2.0").await.unwrap();
    keystone.revoke_all(&admin, &user).await;
    wait::until("the token is refused", async || match old.get("/v2.0").await {
        Err(seen) if seen.contains("401") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let seen = reader.runs("own.runs").await.unwrap().len();
    let samples = reader.has_run("own.runs", seen + 3).await;
    for (time, _, meta) in &samples {
        assert_eq!(*meta, json!({"détail": "ü \"quoted\" \\ back", "at": time}), "{samples:?}");
    }
    let samples = their_reader.has_run("their.runs", seen + 3).await;
    assert!(samples.iter().all(|(_, _, meta)| *meta == json!({})), "{samples:?}");

    // A measurement that is refused takes its request with it, everything of a few seconds; the agent keeps
    // that, and what it measures later is stored.
    fs::write(agent.folder.join(ORDER), "").unwrap();
    agent.logs("forwarder", "UnprocessableEntity").await;
    let last = |samples: &[Sample]| samples.last().map_or(0.0, |sample| sample.1);
    let before = last(&reader.runs("own.runs").await.unwrap());
    let samples = wait::until("later runs", async || {
        let samples = reader.runs("own.runs").await?;
        if last(&samples) > before { Ok(samples) } else { Err(format!("{samples:?}")) }
    })
    .await;
    let gaps = samples.windows(2).filter(|pair| pair[1].1 != pair[0].1 + 1.0).count();
    assert_eq!(gaps, 1, "{samples:?}");
    // What is measured for another tenant goes by requests of its own.
    their_reader.has_run("their.runs", samples.len()).await;
    drop(agent);

    assert_eq!(their_reader.names().await.unwrap(), ["their.runs"]);
    let names = reader.names().await.unwrap();
    assert!(!names.iter().any(|name| name == "their.runs" || name.starts_with("bad")), "{names:?}");
    running.shutdown().await.unwrap();
}
