//! The real `monasca` command line client 2.8.0 against a real server: what operators type works
//! unchanged, and what is wrong is told in the server's words.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use moneta_server::Running;
use moneta_storage::clock::SystemClock;
use moneta_tests::receiver::WebhookReceiver;
use moneta_tests::{installed, server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than any notification takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a free port with the system's clock: the client takes its times from there too.
struct Server {
    running: Running,
    runtime: Runtime,
    folder: TempDir,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let data = folder.path().join("data");
        let running = server::start(&data, Arc::new(SystemClock), &[]);
        let running = runtime.block_on(running).unwrap();
        Server { running, runtime, folder }
    }

    /// One call of the client: whether it succeeded, and all it printed.
    fn call(&self, arguments: &[&str]) -> (bool, String) {
        let url = format!("http://{}/v2.0", self.running.address());
        let output = installed::command("clients-1", "monasca", self.folder.path())
            .args(["--os-auth-type", "admin_token", "--os-token", "t", "--os-endpoint", &url])
            .args(["--monasca-api-url", &url])
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.success(), text.concat())
    }

    /// A call that succeeds; its text.
    #[track_caller]
    fn text(&self, arguments: &[&str]) -> String {
        let (success, text) = self.call(arguments);
        assert!(success, "{arguments:?}: {text}");
        text
    }

    /// A call that succeeds and prints JSON. Commands that create or change print it by themselves.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// A call that fails; what it tells.
    #[track_caller]
    fn failure(&self, arguments: &[&str]) -> String {
        let (success, text) = self.call(arguments);
        assert!(!success, "{arguments:?}: {text}");
        text
    }

    /// Calls that do not depend on each other, two at a time: each costs a second of processor time.
    fn together<T: Send>(&self, calls: &[&(dyn Fn() -> T + Sync)]) -> Vec<T> {
        let pair = |calls: &[&(dyn Fn() -> T + Sync)]| -> Vec<T> {
            std::thread::scope(|scope| {
                let threads: Vec<_> = calls.iter().map(|call| scope.spawn(call)).collect();
                let outcome = |thread: ScopedJoinHandle<'_, T>| {
                    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
                };
                threads.into_iter().map(outcome).collect()
            })
        };
        calls.chunks(2).flat_map(pair).collect()
    }

    fn shutdown(self) {
        self.runtime.block_on(self.running.shutdown()).unwrap();
    }
}

/// 2023-11-14T22:14:00Z in milliseconds, and as text.
const START: &str = "1700000040000";
const START_TEXT: &str = "2023-11-14T22:14:00Z";
const START_TEXT_MILLIS: &str = "2023-11-14T22:14:00.000Z";

#[test]
fn what_is_written_is_listed_and_measured() {
    let server = Server::start();
    let write = |arguments: &[&str]| {
        assert_eq!(server.text(arguments), "Successfully created metric\n");
    };
    let meta = ["metric-create", "cpu", "2.5", "--dimensions", "host=a,service=s"];
    let meta = [&meta[..], &["--time", "1700000050000", "--value-meta", "k=v"]].concat();
    server.together(&[
        &|| {
            write(&[
                "metric-create",
                "cpu",
                "1.5",
                "--dimensions",
                "host=a,service=s",
                "--time",
                START,
            ])
        },
        &|| {
            write(&[
                "metric-create",
                "cpu",
                "10",
                "--dimensions",
                "host=b,service=s",
                "--time",
                START,
            ])
        },
        &|| write(&meta),
        // Without a time the client sends the present one, with a fraction of a millisecond.
        &|| write(&["metric-create", "mem", "7", "--dimensions", "host=a"]),
    ]);

    let one = ["measurement-list", "cpu", START_TEXT, "--dimensions", "host=a"];
    let statistics = ["metric-statistics", "cpu", "avg,max,count", START_TEXT, "--period", "60"];
    let merged = [&statistics[..], &["--merge_metrics", "-j"]].concat();
    let by_host = [&statistics[..], &["--group_by", "host", "-j"]].concat();
    let answers = server.together(&[
        &|| server.json(&["metric-list", "-j"]),
        &|| server.json(&["metric-list", "--name", "cpu", "--dimensions", "host=b", "-j"]),
        &|| server.json(&["metric-name-list", "-j"]),
        &|| server.json(&["dimension-name-list", "--metric-name", "mem", "-j"]),
        &|| server.json(&["dimension-value-list", "host", "-j"]),
        &|| server.json(&[&one[..], &["-j"]].concat()),
        &|| server.json(&["measurement-list", "mem", "-60", "-j"]),
        &|| server.json(&merged),
        &|| server.json(&by_host),
        &|| Value::String(server.text(&one)),
    ]);
    let [metrics, only_b, names, dimensions, values, one, recent, merged, by_host, table] =
        answers.try_into().unwrap();
    // Ids follow the order of arrival, which two clients at once leave open.
    let series = |list: &Value| -> BTreeSet<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|one| format!("{} {}", one["name"], one["dimensions"])).collect()
    };
    let a = json!({"host": "a", "service": "s"});
    let b = json!({"host": "b", "service": "s"});
    let cpu_b = format!("\"cpu\" {b}");
    let all = [format!("\"cpu\" {a}"), cpu_b.clone(), r#""mem" {"host":"a"}"#.to_owned()];
    assert_eq!(series(&metrics), BTreeSet::from(all));
    assert_eq!(series(&only_b), BTreeSet::from([cpu_b]));
    assert_eq!(names, json!([{"name": "cpu"}, {"name": "mem"}]));
    assert_eq!(dimensions, json!([{"dimension_name": "host"}]));
    assert_eq!(values, json!([{"dimension_value": "a"}, {"dimension_value": "b"}]));

    let [one] = one.as_array().unwrap().as_slice() else { panic!("{one}") };
    assert_eq!((&one["name"], &one["dimensions"]), (&json!("cpu"), &a));
    assert_eq!(one["columns"], json!(["timestamp", "value", "value_meta"]));
    let measurements = json!([
        ["2023-11-14T22:14:00.000Z", 1.5, {}],
        ["2023-11-14T22:14:10.000Z", 2.5, {"k": "v"}],
    ]);
    assert_eq!(one["measurements"], measurements);
    assert_eq!(recent[0]["measurements"][0][1], json!(7.0), "{recent}");

    let numbers = |list: &Value| -> Vec<(String, Vec<f64>)> {
        let groups = list.as_array().unwrap().iter();
        let group = |group: &Value| {
            assert_eq!(group["columns"], json!(["timestamp", "avg", "max", "count"]));
            let [row] = group["statistics"].as_array().unwrap().as_slice() else {
                panic!("one window holds all: {group}")
            };
            let (time, row) = row.as_array().unwrap().split_first().unwrap();
            assert_eq!(time, START_TEXT);
            let row = row.iter().map(|number| number.as_f64().unwrap()).collect();
            (group["dimensions"].to_string(), row)
        };
        groups.map(group).collect()
    };
    assert_eq!(numbers(&merged), [("{}".to_owned(), vec![14.0 / 3.0, 10.0, 3.0])]);
    let by_host_want = [
        (r#"{"host":"a"}"#.to_owned(), vec![2.0, 2.5, 2.0]),
        (r#"{"host":"b"}"#.to_owned(), vec![10.0, 10.0, 1.0]),
    ];
    assert_eq!(numbers(&by_host), by_host_want);
    // The client formats the table itself, from the types it finds.
    let table = table.as_str().unwrap();
    assert!(
        table.contains("| cpu  | host: a    | 2023-11-14T22:14:00.000Z |        1.500 |"),
        "{table}"
    );
    assert!(table.contains("        2.500 | k: v       |"), "{table}");
    server.shutdown();
}

#[test]
fn what_is_wrong_is_told_in_the_servers_words() {
    let server = Server::start();
    server.together(&[
        &|| server.text(&["metric-create", "cpu", "1", "--dimensions", "host=a", "--time", START]),
        &|| server.text(&["metric-create", "cpu", "1", "--dimensions", "host=b", "--time", START]),
    ]);
    let check = |arguments: &[&str], status: &str, text: &str| {
        let told = server.failure(arguments);
        assert!(told.contains(&format!("(HTTP {status})")), "{arguments:?}: {told}");
        assert!(told.contains(text), "{arguments:?}: {told}");
    };
    let several = "Found multiple metrics matching metric name and dimensions.";
    server.together(&[
        &|| check(&["measurement-list", "cpu", START_TEXT], "409", several),
        &|| check(&["metric-statistics", "cpu", "avg", START_TEXT], "409", several),
        &|| {
            let text = "parser failed on expression 'max(cpu' at column 8: expected ')'";
            check(&["alarm-definition-create", "bad", "max(cpu"], "422", text);
        },
        &|| {
            let text = "invalid characters in metric name: a b";
            check(&["metric-create", "a b", "1"], "422", text);
        },
        &|| {
            let text = "Address nowhere does not have URL scheme";
            check(&["notification-create", "hook", "WEBHOOK", "nowhere"], "400", text);
        },
        &|| check(&["alarm-show", "nothing"], "404", "no alarm has the id nothing"),
    ]);
    server.shutdown();
}

#[test]
fn a_measurement_becomes_an_alarm_and_a_webhook() {
    let server = Server::start();
    let receiver = WebhookReceiver::start().unwrap();
    let url = receiver.url();
    let made = server
        .together(&[&|| server.json(&["notification-create", "hook", "WEBHOOK", &url]), &|| {
            server.json(&["notification-type-list", "-j"])
        }]);
    let [method, types] = made.try_into().unwrap();
    assert_eq!(types, json!([{"type": "WEBHOOK"}]));
    let method_id = method["id"].as_str().unwrap();
    let expression = "max(cpu{service=s}, 60) > 5";
    let create = ["alarm-definition-create", "hot", expression, "--description", "too hot"];
    let options = ["--severity", "HIGH", "--match-by", "host", "--alarm-actions", method_id];
    let definition = server.json(&[&create[..], &options].concat());
    let definition_id = definition["id"].as_str().unwrap();

    let shown = server.together(&[
        &|| server.json(&["notification-list", "-j"]),
        &|| server.json(&["alarm-definition-list", "-j"]),
        &|| server.json(&["alarm-definition-show", definition_id, "-j"]),
        &|| server.json(&["alarm-list", "-j"]),
    ]);
    let [methods, definitions, shown, alarms] = shown.try_into().unwrap();
    check(&method, json!({"name": "hook", "type": "WEBHOOK", "address": url, "period": 0}));
    assert_eq!(methods, json!([method]));
    let want = json!({
        "name": "hot", "description": "too hot", "expression": expression,
        "deterministic": false, "match_by": ["host"], "severity": "HIGH", "actions_enabled": true,
        "alarm_actions": [method_id], "ok_actions": [], "undetermined_actions": [],
    });
    check(&definition, want);
    assert_eq!((&definitions, &shown), (&json!([definition]), &definition));
    assert_eq!(alarms, json!([]), "nothing has been measured yet");

    let patch = ["alarm-definition-patch", definition_id, "--severity", "CRITICAL"];
    let mut patched = server.json(&patch);
    check(&patched, json!({"severity": "CRITICAL"}));
    patched["severity"] = json!("HIGH");
    assert_eq!(patched, definition, "nothing else has changed");

    server.text(&["metric-create", "cpu", "9", "--dimensions", "host=a,service=s"]);
    let told: Value = serde_json::from_str(&receiver.next(PATIENCE).unwrap()).unwrap();
    let reason = "Thresholds were exceeded for the sub-alarms: max(cpu{service=s}) > 5.0 with the \
                  values: [9.0]";
    let dimensions = json!({"host": "a", "service": "s"});
    let want = json!({
        "alarm_definition_id": definition_id, "alarm_name": "hot", "alarm_description": "too hot",
        "old_state": "UNDETERMINED", "state": "ALARM", "message": reason, "tenant_id": "default",
        "metrics": [{"id": null, "name": "cpu", "dimensions": dimensions}],
        "severity": "CRITICAL", "link": null, "lifecycle_state": null,
    });
    check(&told, want);

    // The change is committed before anybody is told of it.
    let alarm_id = told["alarm_id"].as_str().unwrap();
    let shown = server.together(&[
        &|| server.json(&["alarm-list", "--state", "ALARM", "-j"]),
        &|| server.json(&["alarm-show", alarm_id, "-j"]),
        &|| server.json(&["alarm-count", "--group-by", "state,severity", "-j"]),
        &|| server.json(&["alarm-history-list", "-j"]),
        &|| server.json(&["alarm-history", alarm_id, "-j"]),
    ]);
    let [alarms, alarm, counts, histories, history] = shown.try_into().unwrap();
    let metrics = json!([{"name": "cpu", "dimensions": dimensions}]);
    check(&alarm, json!({"id": alarm_id, "state": "ALARM", "metrics": metrics}));
    let want = json!({"id": definition_id, "name": "hot", "severity": "CRITICAL"});
    check(&alarm["alarm_definition"], want);
    assert_eq!(alarms, json!([alarm]));
    let want = json!({
        "columns": ["count", "state", "severity"], "counts": [[1, "ALARM", "CRITICAL"]],
    });
    check(&counts, want);
    assert_eq!(histories, history);
    let [change] = history.as_array().unwrap().as_slice() else { panic!("{history}") };
    let metrics = json!([{"id": null, "name": "cpu", "dimensions": dimensions}]);
    let want = json!({
        "alarm_id": alarm_id, "metrics": metrics, "old_state": "UNDETERMINED",
        "new_state": "ALARM", "reason": reason, "reason_data": "{}",
    });
    check(change, want);
    assert_eq!(change["sub_alarms"][0]["current_values"], json!([9.0]));

    server.text(&["alarm-definition-delete", definition_id]);
    assert_eq!(server.json(&["alarm-list", "-j"]), json!([]), "its alarm has gone with it");
    server.shutdown();
}

/// What the other tests do not call.
#[test]
fn what_there_is_can_be_changed_and_removed() {
    let server = Server::start();
    let receiver = WebhookReceiver::start().unwrap();
    let url = receiver.url();
    let raw = json!({"name": "raw", "dimensions": {"host": "a"}, "timestamp": 1_700_000_040_000_i64, "value": 3});
    let made = server
        .together(&[&|| server.json(&["notification-create", "hook", "WEBHOOK", &url]), &|| {
            Value::String(server.text(&["metric-create-raw", &raw.to_string()]))
        }]);
    let [method, written] = made.try_into().unwrap();
    assert_eq!(written, "Successfully created metric\n");
    let method_id = method["id"].as_str().unwrap();
    let update = ["notification-update", method_id, "renamed", "WEBHOOK", &url, "0"];
    check(&server.json(&update), json!({"id": method_id, "name": "renamed", "period": 0}));
    let patched = server.json(&["notification-patch", method_id, "--name", "patched"]);
    check(&patched, json!({"id": method_id, "name": "patched", "address": url}));

    let expression = "max(cpu) > 5";
    let create = ["alarm-definition-create", "hot", expression, "--match-by", "host"];
    let create = [&create[..], &["--alarm-actions", method_id]].concat();
    let shown = server.together(&[
        &|| server.json(&["notification-show", method_id, "-j"]),
        &|| server.json(&create),
        &|| server.json(&["measurement-list", "raw", START_TEXT, "-j"]),
    ]);
    let [shown, definition, measured] = shown.try_into().unwrap();
    assert_eq!(shown, patched);
    assert_eq!(measured[0]["measurements"], json!([[START_TEXT_MILLIS, 3.0, {}]]));
    let id = definition["id"].as_str().unwrap();
    let update = ["alarm-definition-update", id, "hotter", "text", "max(cpu) > 6"];
    let actions = [method_id, method_id, method_id, "True", "host", "LOW"];
    let want = json!({
        "id": id, "name": "hotter", "description": "text", "expression": "max(cpu) > 6",
        "match_by": ["host"], "severity": "LOW", "actions_enabled": true,
        "alarm_actions": [method_id], "ok_actions": [method_id], "undetermined_actions": [method_id],
    });
    check(&server.json(&[&update[..], &actions].concat()), want);

    server.text(&["metric-create", "cpu", "9", "--dimensions", "host=a"]);
    let told: Value = serde_json::from_str(&receiver.next(PATIENCE).unwrap()).unwrap();
    let alarm_id = told["alarm_id"].as_str().unwrap();
    let update = ["alarm-update", alarm_id, "OK", "OPEN", "http://x/y"];
    let want =
        json!({"id": alarm_id, "state": "OK", "lifecycle_state": "OPEN", "link": "http://x/y"});
    check(&server.json(&update), want);
    let patch = ["alarm-patch", alarm_id, "--lifecycle-state", "CLOSED"];
    let want = json!({"state": "OK", "lifecycle_state": "CLOSED", "link": "http://x/y"});
    check(&server.json(&patch), want);
    server.text(&["alarm-delete", alarm_id]);
    let gone = server.failure(&["alarm-show", alarm_id]);
    assert!(gone.contains("(HTTP 404)"), "{gone}");
    // Definitions that name it go on without it.
    server.text(&["notification-delete", method_id]);
    let left = server.json(&["alarm-definition-show", id, "-j"]);
    check(&left, json!({"alarm_actions": [], "ok_actions": [], "undetermined_actions": []}));
    assert_eq!(server.json(&["notification-list", "-j"]), json!([]));
    server.shutdown();
}

/// `got` is an object that has all of `want`; ids and times, which differ each time, are left out.
#[track_caller]
fn check(got: &Value, want: Value) {
    for (name, want) in want.as_object().unwrap() {
        assert_eq!(&got[name], want, "{name} of {got}");
    }
}
