//! Two servers that answer from tables, and one that is really there.

use std::collections::BTreeMap;
use std::sync::Arc;

use moneta_server::{Config, ConfigSources, start};
use moneta_storage::clock::SystemClock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server answers, by target; all else is 404.
type Table = BTreeMap<&'static str, (u16, Value)>;

/// Starts a server; gives its address. It ends with the test's runtime.
async fn serve(table: Table) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that goes away is no concern of the test.
            let _ = answer(stream, &table).await;
        }
    });
    format!("http://{address}/v2.0")
}

async fn answer(mut stream: TcpStream, table: &Table) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let target = request.split(' ').nth(1).unwrap_or_default();
    let missing = (404, json!({"title": "404 Not Found"}));
    let (status, body) = table.get(target).unwrap_or(&missing);
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await
}

fn asks(old: &str, new: &str, from: Option<PathBuf>) -> Compare {
    rustls::crypto::ring::default_provider().install_default().ok();
    Compare {
        old: old.to_owned(),
        new: new.to_owned(),
        tenant: None,
        token: None,
        new_token: None,
        from,
        sample: 5,
        start: "2026-11-20T09:00:00Z".to_owned(),
        end: "2026-11-20T10:00:00Z".to_owned(),
        verbose: false,
    }
}

const SPAN: &str = "start_time=2026-11-20T09%3A00%3A00.000Z&end_time=2026-11-20T10%3A00%3A00.000Z";

/// A small API; `change` makes it another one.
fn table(change: impl Fn(&mut Table)) -> Table {
    let list = |elements: Value| {
        (200, json!({"links": [{"rel": "self", "href": "http://h"}], "elements": elements}))
    };
    let span = |rest: &str| -> &'static str {
        let (path, query) = rest.split_once('?').unwrap();
        let (name, more) = query.split_once('&').unwrap();
        Box::leak(format!("/v2.0/metrics/{path}?{name}&{SPAN}&{more}").into_boxed_str())
    };
    let dimensions = json!({"hostname": "h1"});
    let rows = json!([["2026-11-20T09:00:00.500Z", 2, {}], ["2026-11-20T09:01:00.000Z", 3.5, {}]]);
    let measured = json!([{"id": "0", "name": "cpu", "dimensions": dimensions,
                           "columns": ["timestamp", "value", "value_meta"], "measurements": rows}]);
    let counted = json!([{"id": "0", "name": "cpu", "dimensions": {},
                          "columns": ["timestamp", "avg"], "statistics": [["2026-11-20T09:00:00Z", 2.75]]}]);
    let statistics = "statistics=avg%2Cmin%2Cmax%2Ccount%2Csum&period=300";
    let alarm = |host: &str, state: &str| {
        json!({"id": host, "links": [], "state": state, "created_timestamp": "2026-11-20T09:00:00Z",
               "alarm_definition": {"id": "d", "name": "hot"},
               "metrics": [{"name": "cpu", "dimensions": {"hostname": host}}]})
    };
    let definition = json!([{"id": "d", "name": "hot", "description": null, "expression": "cpu > 1",
                             "alarm_actions": ["m"]}]);
    let mut table = Table::from([
        ("/v2.0", (200, json!({"id": "v2.0", "links": [], "status": "CURRENT"}))),
        ("/v2.0/metrics/names", list(json!([{"name": "cpu"}]))),
        ("/v2.0/metrics/dimensions/names", list(json!([{"dimension_name": "hostname"}]))),
        (
            "/v2.0/metrics/dimensions/names/values?dimension_name=hostname",
            list(json!([{"dimension_value": "h1"}])),
        ),
        (
            "/v2.0/metrics?name=cpu",
            list(json!([{"id": "0", "name": "cpu", "dimensions": dimensions}])),
        ),
        (span("measurements?name=cpu&group_by=*"), list(measured)),
        (span(&format!("statistics?name=cpu&{statistics}&group_by=*")), list(counted.clone())),
        (span(&format!("statistics?name=cpu&{statistics}&merge_metrics=true")), list(counted)),
        ("/v2.0/alarm-definitions", list(definition)),
        ("/v2.0/alarms", list(json!([alarm("h1", "OK"), alarm("h2", "ALARM")]))),
        (
            "/v2.0/alarms/count?group_by=name,state,severity",
            (
                200,
                json!({"links": [], "columns": ["count", "state"], "counts": [[1, "OK"], [1, "ALARM"]]}),
            ),
        ),
        ("/v2.0/notification-methods", list(json!([]))),
        ("/v2.0/notification-methods/types", list(json!([{"type": "EMAIL"}, {"type": "WEBHOOK"}]))),
    ]);
    change(&mut table);
    table
}

/// What is told when the second server differs from the first by `change`.
async fn check(change: impl Fn(&mut Table), want: &[&str]) {
    let (old, new) = (serve(table(|_| ())).await, serve(table(change)).await);
    let mut told = Vec::new();
    let outcome = asks(&old, &new, None).compare(&mut |line| told.push(line)).await.unwrap();
    assert_eq!(told, want);
    let differing = want.iter().filter(|line| line.starts_with("GET ")).count();
    assert_eq!(outcome, Outcome { queries: 13, differing });
}

fn set(table: &mut Table, part: &str, pointer: &str, value: Value) {
    let (_, (_, body)) = table.iter_mut().find(|(target, _)| target.contains(part)).unwrap();
    *body.pointer_mut(pointer).unwrap() = value;
}

#[tokio::test]
async fn what_systems_make_up_for_themselves_is_no_difference() {
    check(|_| (), &[]).await;
    check(
        |table| {
            set(table, "/v2.0/metrics?name=cpu", "/elements/0/id", json!("ab12"));
            set(table, "/v2.0/alarm-definitions", "/elements/0/id", json!("x"));
            set(table, "/v2.0/alarm-definitions", "/elements/0/description", json!(""));
            set(table, "/v2.0/alarm-definitions", "/elements/0/alarm_actions", json!(["y"]));
            set(table, "measurements?", "/elements/0/measurements/0/1", json!(2.0));
            set(table, "measurements?", "/elements/0/measurements/0/2", Value::Null);
            set(
                table,
                "measurements?",
                "/elements/0/measurements/0/0",
                json!("2026-11-20T09:00:00.5Z"),
            );
            set(table, "group_by=*", "/links", json!([]));
            let (_, alarms) = table.get_mut("/v2.0/alarms").unwrap();
            alarms["elements"].as_array_mut().unwrap().reverse();
            let counts = table.get_mut("/v2.0/alarms/count?group_by=name,state,severity").unwrap();
            counts.1["counts"].as_array_mut().unwrap().reverse();
            let sums = 2.75 + 1e-12;
            set(table, "merge_metrics=true", "/elements/0/statistics/0/1", json!(sums));
        },
        &[],
    )
    .await;
}

#[tokio::test]
async fn differences_are_told_with_their_place() {
    let measured = format!("GET /v2.0/metrics/measurements?name=cpu&{SPAN}&group_by=*");
    check(
        |table| set(table, "measurements?", "/elements/0/measurements/1/1", json!(4)),
        &[
            &measured,
            "  elements[name: \"cpu\", dimensions: {\"hostname\":\"h1\"}].measurements[1][1]: old 3.5, new 4.0",
        ],
    )
    .await;
    check(
        |table| {
            set(
                table,
                "/v2.0/metrics/names",
                "/elements",
                json!([{"name": "cpu"}, {"name": "mem"}]),
            )
        },
        &["GET /v2.0/metrics/names", "  elements[name: \"mem\"]: only new has it"],
    )
    .await;
    check(
        |table| set(table, "/v2.0/alarms", "/elements/1/state", json!("OK")),
        &[
            "GET /v2.0/alarms",
            "  elements[alarm_definition: {\"name\":\"hot\"}, metrics: [{\"dimensions\":{\"hostname\":\"h2\"},\
             \"name\":\"cpu\"}]].state: old \"ALARM\", new \"OK\"",
        ],
    )
    .await;
    check(
        |table| {
            let refused = json!({"title": "MultipleMetrics", "description": "several"});
            table.insert("/v2.0/notification-methods", (409, refused));
        },
        &["GET /v2.0/notification-methods", "  status: old 200, new 409 (several)"],
    )
    .await;
}

#[tokio::test]
async fn pages_are_joined_before_they_are_compared() {
    let link =
        |offset: &str| json!([{"rel": "next", "href": format!("http://h/x?offset={offset}")}]);
    let name = |name: &str| json!({"name": name});
    let whole = json!({"links": [], "elements": [name("a"), name("b"), name("c")]});
    let first = json!({"links": link("b"), "elements": [name("a"), name("b")]});
    let rest = json!({"links": [], "elements": [name("c")]});
    let old = Table::from([("/v2.0/metrics/names", (200, whole))]);
    let new = Table::from([
        ("/v2.0/metrics/names", (200, first)),
        ("/v2.0/metrics/names?offset=b", (200, rest)),
    ]);
    let query = Query { target: "/v2.0/metrics/names".to_owned() };
    rustls::crypto::ring::default_provider().install_default().ok();
    let client =
        async |table| Connection::to(root(&serve(table).await), None, None).client().unwrap();
    let (old, new) = (client(old).await, client(new).await);
    let old = whole_of(&old, &query).await;
    assert_eq!(differences(&query, &old, &whole_of(&new, &query).await), Vec::<String>::new());
    assert_eq!(old.body["elements"].as_array().unwrap().len(), 3);
}

async fn whole_of(client: &Client, query: &Query) -> Answer {
    whole(client, query).await.unwrap()
}

#[tokio::test]
async fn what_is_not_there_cannot_be_compared() {
    let here = serve(table(|_| ())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = asks(&here, &nowhere, None).compare(&mut drop).await.unwrap_err();
    assert!(error.to_string().starts_with("no answer from"), "{error}");
    let no_file = Some(PathBuf::from("no/such/file"));
    let error = asks(&here, &here, no_file).compare(&mut drop).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot read no/such/file");
}

/// A folder that goes with its value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn two_real_servers_agree_until_one_has_more() {
    let here = std::env::temp_dir().join(format!("moneta-compare-{}", std::process::id()));
    let here = Folder(here);
    let mut servers = Vec::new();
    for name in ["old", "new"] {
        let folder = here.0.join(name);
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let config = Config::load(ConfigSources {
            overrides: vec![
                set("server.data_dir", folder.to_str().unwrap()),
                set("server.listen", "127.0.0.1:0"),
            ],
            ..ConfigSources::default()
        });
        servers.push(start(config.unwrap(), Arc::new(SystemClock)).await.unwrap());
    }
    let urls: Vec<String> =
        servers.iter().map(|server| format!("http://{}", server.address())).collect();
    rustls::crypto::ring::default_provider().install_default().ok();
    let metric = |name: &str, host: &str| json!({"name": name, "dimensions": {"hostname": host}, "timestamp": 1_700_000_040_000_i64, "value": 1});
    let rule = json!({"name": "hot", "expression": "max(nothing) > 90", "match_by": ["hostname"]});
    for url in &urls {
        let client = Connection::to(url.clone(), None, None).client().unwrap();
        let body = json!([metric("cpu", "h1"), metric("cpu", "h2"), metric("mem", "h1")]);
        client.post(&["v2.0", "metrics"], &body).await.unwrap();
        client.post(&["v2.0", "alarm-definitions"], &rule).await.unwrap();
    }
    let [old, new] = urls.as_slice() else { panic!("two servers") };
    let mut told = Vec::new();
    let mut all = asks(old, new, None);
    (all.start, all.end) = ("2023-11-14T22:00:00Z".to_owned(), "2023-11-14T23:00:00Z".to_owned());
    let outcome = all.compare(&mut |line| told.push(line)).await.unwrap();
    assert_eq!(told, Vec::<String>::new());
    // Lists, one dimension, two metrics.
    assert_eq!(outcome, Outcome { queries: 8 + 1 + 2 * 4, differing: 0 });

    let client = Connection::to(new.clone(), None, None).client().unwrap();
    client.post(&["v2.0", "metrics"], &json!(metric("cpu", "h3"))).await.unwrap();
    let file = here.0.join("requests");
    let lines = "# of a log\nGET /v2.0/metrics?name=mem\nGET /v2.0/metrics?name=cpu HTTP/1.1\n\
                 /v2.0/metrics/statistics?name=nothing\n";
    fs::write(&file, lines).unwrap();
    let outcome = asks(old, new, Some(file)).compare(&mut |line| told.push(line)).await.unwrap();
    assert_eq!(outcome, Outcome { queries: 3, differing: 1 });
    let want = [
        "GET /v2.0/metrics?name=cpu",
        "  elements[name: \"cpu\", dimensions: {\"hostname\":\"h3\"}]: only new has it",
    ];
    assert_eq!(told, want);
    for server in servers {
        server.shutdown().await.unwrap();
    }
}
