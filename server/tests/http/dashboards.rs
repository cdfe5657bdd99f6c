//! Requests of the front ends that stand on the Monasca API, each as the program sends it, and what it reads
//! from the answer. Targets go over the socket as they are written here.

use serde_json::{Value, json};

use crate::server::{MINUTE, NOW, Server, exchange};

pub(crate) const PAGE: &str = "https://grafana.example:3000";

/// What a program makes of a place in an answer, which a JSON pointer names.
pub(crate) enum Want {
    Is(Value),
    /// A text that is not empty.
    Text,
    /// A list of so many.
    Many(usize),
    /// ISO 8601 with milliseconds, in UTC.
    Time,
    Absent,
}

pub(crate) use Want::{Absent, Is, Many, Text, Time};

/// A request and what is read.
pub(crate) struct Row {
    method: &'static str,
    target: String,
    body: Value,
    status: u16,
    reads: Vec<(&'static str, Want)>,
}

pub(crate) fn get(target: impl Into<String>, reads: Vec<(&'static str, Want)>) -> Row {
    Row { method: "GET", target: target.into(), body: Value::Null, status: 200, reads }
}

pub(crate) fn send(
    method: &'static str,
    target: impl Into<String>,
    body: Value,
    status: u16,
    reads: Vec<(&'static str, Want)>,
) -> Row {
    Row { method, target: target.into(), body, status, reads }
}

/// What is wrong with an answer.
fn missed(row: &Row, status: u16, body: &Value) -> Vec<String> {
    let mut missed = Vec::new();
    if status != row.status {
        missed.push(format!("status {status}"));
    }
    for (pointer, want) in &row.reads {
        let have = body.pointer(pointer);
        let fits = match want {
            Is(value) => have == Some(value),
            Text => have.and_then(Value::as_str).is_some_and(|text| !text.is_empty()),
            Many(count) => have.and_then(Value::as_array).is_some_and(|list| list.len() == *count),
            Time => have.and_then(Value::as_str).is_some_and(|text| {
                text.len() == "2026-11-20T09:24:00.000Z".len() && text.ends_with('Z')
            }),
            Absent => have.is_none(),
        };
        if !fits {
            missed.push(format!("{pointer} is {}", have.unwrap_or(&json!("missing"))));
        }
    }
    missed
}

/// Sends every row and tells all that the front end would miss.
pub(crate) async fn check(server: &Server, who: &str, rows: &[Row]) {
    let mut wrong = Vec::new();
    for row in rows {
        let headers = [("content-type", "application/json"), ("origin", PAGE), ("accept", "*/*")];
        let body = if row.body.is_null() { String::new() } else { row.body.to_string() };
        let address = server.running.address();
        let answer = exchange(address, row.method, &row.target, &headers, &body).await;
        let missed = missed(row, answer.status, &answer.body);
        if !missed.is_empty() {
            let missed = missed.join(", ");
            wrong.push(format!("{} {}\n  {missed}\n  {}", row.method, row.target, answer.body));
        }
        if answer.header("access-control-allow-origin") != Some(PAGE)
            || answer.header("access-control-allow-credentials") != Some("true")
        {
            wrong.push(format!("{}: a browser would keep the answer to itself", row.target));
        }
    }
    assert!(wrong.is_empty(), "{who}:\n{}", wrong.join("\n"));
}

/// A server with three hosts, an error of a web server, a definition and the alarms of it: two in
/// `ALARM`, one not. The ids of the definition, of a method and of the alarm of `web1`.
pub(crate) async fn monitored() -> (Server, String, String, String) {
    let server = Server::start_with(&[("server.cors_origins", PAGE)]).await;
    let id = |(status, made): (u16, Value)| {
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let hook = json!({"name": "hook", "type": "WEBHOOK", "address": "http://127.0.0.1:9/x",
                      "period": 0});
    let method = id(server.send("POST", "/v2.0/notification-methods", hook).await);
    let hot = json!({"name": "hot", "expression": "max(cpu.idle_perc{service=api}) > 25",
                     "match_by": ["hostname"], "severity": "HIGH", "alarm_actions": [method]});
    let definition = id(server.send("POST", "/v2.0/alarm-definitions", hot).await);
    let mut metrics = Vec::new();
    for (host, newest) in [("web1", 30), ("web2", 60), ("büro:1", 3)] {
        let dimensions = json!({"hostname": host, "service": "api"});
        for ago in [2, 1, 0] {
            metrics.push(json!({"name": "cpu.idle_perc", "dimensions": dimensions,
                                "timestamp": NOW - ago * MINUTE, "value": newest - ago}));
        }
    }
    let dimensions = json!({"hostname": "web1", "url": "http://web1:80/a@b c"});
    metrics.push(json!({"name": "http_status", "dimensions": dimensions, "value": 1,
                        "timestamp": NOW - MINUTE, "value_meta": {"detail": "refused"}}));
    assert_eq!(server.send("POST", "/v2.0/metrics", Value::from(metrics)).await.0, 204);
    // The engine follows the log by itself; asking is all that can be done from outside.
    for _ in 0..10_000 {
        let all = server.list("/v2.0/alarms").await;
        let hot = all.iter().filter(|alarm| alarm["state"] == "ALARM").count();
        if all.len() == 3 && hot == 2 {
            let web1 = server.list("/v2.0/alarms?metric_dimensions=hostname:web1").await;
            let alarm = web1[0]["id"].as_str().unwrap().to_owned();
            return (server, definition, method, alarm);
        }
        server.wait_until(1);
    }
    panic!("{:?}", server.list("/v2.0/alarms").await);
}

#[tokio::test]
async fn the_data_source_of_grafana() {
    let (server, ..) = monitored().await;
    let since = "start_time=2026-11-20T09:00:00.000Z";
    let raw = |name: &str, rest: &str| {
        format!("/v2.0/metrics/measurements?name={name}&merge_metrics=true&{since}{rest}")
    };
    let cpu = |rest: &str| raw("cpu.idle_perc", rest);
    let average = |rest: &str| {
        let fixed = "statistics=avg&period=300";
        format!("/v2.0/metrics/statistics?name=cpu.idle_perc&{since}{rest}&{fixed}")
    };
    let values = "/v2.0/metrics/dimensions/names/values?dimension_name=hostname";
    let one =
        |values: Value| vec![("/elements", Many(1)), ("/elements/0/measurements", Is(values))];
    let web1 = json!([
        ["2026-11-20T09:22:00.000Z", 28.0, {}],
        ["2026-11-20T09:23:00.000Z", 29.0, {}],
        ["2026-11-20T09:24:00.000Z", 30.0, {}]
    ]);
    let nothing = || {
        vec![
            ("/elements", Is(json!([]))),
            ("/links/0/rel", Is(json!("self"))),
            ("/links/0/href", Text),
            ("/links/1", Absent),
        ]
    };
    let rows = [
        get(
            "/v2.0/metrics/names",
            vec![
                ("/elements", Many(2)),
                ("/elements/0/name", Is(json!("cpu.idle_perc"))),
                ("/links/1", Absent),
            ],
        ),
        get(
            format!("/v2.0/metrics/dimensions/names?metric_name=cpu.idle_perc&{since}"),
            vec![
                ("/elements", Many(2)),
                ("/elements/0/dimension_name", Is(json!("hostname"))),
                ("/elements/1/dimension_name", Is(json!("service"))),
            ],
        ),
        get(
            values,
            vec![("/elements", Many(3)), ("/elements/0/dimension_value", Is(json!("büro:1")))],
        ),
        get(
            format!("{values}&{since}&end_time=2026-11-20T10:00:00.000Z"),
            vec![("/elements", Many(3))],
        ),
        get(
            format!(
                "{values}&start_time=2026-11-01T00:00:00.000Z&end_time=2026-11-02T00:00:00.000Z"
            ),
            nothing(),
        ),
        get(
            cpu("&dimensions=hostname:web1,service:api&alias=@hostname"),
            vec![
                ("/elements", Many(1)),
                ("/elements/0/id", Text),
                ("/elements/0/name", Is(json!("cpu.idle_perc"))),
                ("/elements/0/dimensions", Is(json!({"hostname": "web1", "service": "api"}))),
                ("/elements/0/columns", Is(json!(["timestamp", "value", "value_meta"]))),
                ("/elements/0/measurements/0/0", Time),
                ("/elements/0/measurements", Is(web1.clone())),
                ("/links/1", Absent),
            ],
        ),
        get(
            cpu("&dimensions=hostname:büro:1&alias={{hostname}}|[@hostname]/ü^`\\"),
            vec![
                ("/elements", Many(1)),
                ("/elements/0/measurements", Many(3)),
                ("/elements/0/dimensions/hostname", Is(json!("büro:1"))),
            ],
        ),
        get(
            cpu("&dimensions=hostname:web1|büro:1"),
            vec![("/elements/0/measurements", Many(3 * 2))],
        ),
        get(cpu("&dimensions=hostname:web1&alias=100%"), one(web1.clone())),
        get(
            cpu("&end_time=2026-11-20T09:22:00.001Z&dimensions=hostname:web1"),
            one(json!([web1[0]])),
        ),
        get(
            raw("http_status", "&dimensions=url:http://web1:80/a@b+c"),
            vec![
                ("/elements", Many(1)),
                ("/elements/0/measurements/0/2/detail", Is(json!("refused"))),
            ],
        ),
        get(
            cpu("&group_by=hostname"),
            vec![
                ("/elements", Many(3)),
                ("/elements/0/dimensions", Is(json!({"hostname": "büro:1"}))),
                ("/elements/2/id", Text),
            ],
        ),
        get(
            average("&group_by=*&dimensions=service:api"),
            vec![
                ("/elements", Many(3)),
                ("/elements/0/dimensions", Is(json!({"hostname": "büro:1", "service": "api"}))),
                ("/elements/0/columns", Is(json!(["timestamp", "avg"]))),
                ("/elements/0/statistics", Is(json!([["2026-11-20T09:20:00Z", 2.0]]))),
            ],
        ),
        get(
            average("&merge_metrics=true"),
            vec![
                ("/elements", Many(1)),
                ("/elements/0/statistics", Is(json!([["2026-11-20T09:20:00Z", 30.0]]))),
            ],
        ),
        get(raw("nothing", ""), nothing()),
        get(cpu("&dimensions=hostname:nobody"), nothing()),
        // What nobody has put a value into.
        send(
            "GET",
            cpu("&dimensions=hostname:{web1}"),
            Value::Null,
            422,
            vec![("/message", Text), ("/title", Text), ("/description", Text)],
        ),
        send(
            "GET",
            "/v2.0/metrics/measurements?name=cpu.idle_perc",
            Value::Null,
            422,
            vec![("/message", Is(json!("Missing start time")))],
        ),
    ];
    check(&server, "data source", &rows).await;
    server.stop().await;
}

/// Undoes percent-encoding as `decodeURIComponent` does.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Follows an answer as the data source does: the same target with the offset of the decoded link. Elements
/// of all pages are joined by their id. The number of pages with them.
async fn all_pages(
    server: &Server,
    target: &str,
    rows: &str,
) -> (usize, Vec<(String, Vec<Value>)>) {
    let mut joined: Vec<(String, Vec<Value>)> = Vec::new();
    let (mut pages, mut offset) = (0, String::new());
    loop {
        let (status, page) = server.get(&format!("{target}{offset}")).await;
        assert_eq!(status, 200, "{target}{offset}: {page}");
        pages += 1;
        assert!(pages < 10, "{target}{offset} does not end");
        let elements = page["elements"].as_array().unwrap();
        assert!(!elements.is_empty(), "the plugin reads the first element of its last page");
        for element in elements {
            let id = element["id"].as_str().unwrap();
            let more = element[rows].as_array().unwrap().clone();
            match joined.iter_mut().find(|(have, _)| have == id) {
                Some((_, have)) => have.extend(more),
                None => joined.push((id.to_owned(), more)),
            }
        }
        let links = page["links"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["rel"] == "next") else {
            return (pages, joined);
        };
        let href = decoded(next["href"].as_str().unwrap());
        let behind = href.split_once("offset=").unwrap().1;
        offset = format!("&offset={}", behind.split('&').next().unwrap());
    }
}

#[tokio::test]
async fn pages_are_joined_by_id() {
    let (server, ..) = monitored().await;
    let of = |path: &str, rest: &str| {
        format!("/v2.0/metrics/{path}?name=cpu.idle_perc&start_time=2026-11-20T09:00:00.000Z{rest}")
    };
    let average = "&statistics=avg&period=60&alias=offset=9";
    for (target, rows, limit, pages) in [
        (of("measurements", "&group_by=*"), "measurements", 4, 3),
        (of("measurements", "&group_by=hostname&merge_metrics=true"), "measurements", 2, 5),
        (of("measurements", "&merge_metrics=true&dimensions=hostname:web1"), "measurements", 1, 3),
        (of("measurements", "&merge_metrics=true&dimensions=hostname:web1"), "measurements", 3, 1),
        (of("statistics", &format!("&group_by=*{average}")), "statistics", 4, 3),
        (of("statistics", &format!("&merge_metrics=true{average}")), "statistics", 1, 3),
    ] {
        let (_, whole) = all_pages(&server, &target, rows).await;
        let got = all_pages(&server, &format!("{target}&limit={limit}"), rows).await;
        assert_eq!(got, (pages, whole), "{target} by {limit}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_monasca_app_of_grafana() {
    let (server, definition, method, alarm) = monitored().await;
    let by_dimension = "group_by=state&group_by=dimension_name&group_by=dimension_value";
    let hook = json!({"name": "n", "type": "WEBHOOK", "address": "https://h.example/"});
    let made = json!({"name": "d", "expression": "mem > 1", "description": "", "severity": "LOW",
                      "match_by": [], "alarm_actions": [method]});
    let found = |states: &str, count: usize| {
        get(format!("/v2.0/alarms/?state={states}"), vec![("/elements", Many(count))])
    };
    let rows = [
        get(
            "/v2.0/alarms/count/?group_by=state",
            vec![
                ("/columns", Is(json!(["count", "state"]))),
                ("/counts", Many(2)),
                ("/counts/0", Is(json!([2, "ALARM"]))),
            ],
        ),
        get(
            format!("/v2.0/alarms/count/?{by_dimension}"),
            vec![
                ("/columns", Is(json!(["count", "state", "dimension_name", "dimension_value"]))),
                ("/counts/0", Is(json!([1, "ALARM", "hostname", "web1"]))),
                ("/counts/2", Is(json!([2, "ALARM", "service", "api"]))),
            ],
        ),
        found("ALARM", 2),
        found("", 3),
        found("OK|UNDETERMINED", 1),
        found("OK%7CALARM%7CUNDETERMINED", 3),
        found("ALARM|", 2),
        get("/v2.0/alarms/?severity=LOW|HIGH", vec![("/elements", Many(3))]),
        get("/v2.0/alarms/?severity=LOW|CRITICAL&state=", vec![("/elements", Many(0))]),
        get(
            format!(
                "/v2.0/alarms/?metric_dimensions=hostname:web1,service:api&severity=&\
                 alarm_definition_id={definition}&sort_by=severity%20asc,alarm_definition_name%20desc"
            ),
            vec![("/elements", Many(1)), ("/elements/0/id", Is(json!(alarm)))],
        ),
        get(
            "/v2.0/alarms/?metric_dimensions=hostname:web1&metric_dimensions=service:api\
             &sort_by=severity&sort_by=state_updated_timestamp%20desc",
            vec![("/elements", Many(1))],
        ),
        get("/v2.0/alarms/?sort_by=", vec![("/elements", Many(3))]),
        get("/v2.0/metrics/dimensions/names/", vec![("/elements", Many(3))]),
        get(
            "/v2.0/metrics/dimensions/names/values/?dimension_name=url",
            vec![("/elements/0/dimension_value", Is(json!("http://web1:80/a@b c")))],
        ),
        get(
            format!("/v2.0/alarms/{alarm}"),
            vec![
                ("/id", Is(json!(alarm))),
                ("/state", Is(json!("ALARM"))),
                ("/alarm_definition/id", Is(json!(definition))),
                ("/alarm_definition/name", Is(json!("hot"))),
                ("/alarm_definition/severity", Is(json!("HIGH"))),
                ("/metrics/0/name", Is(json!("cpu.idle_perc"))),
                ("/metrics/0/dimensions/hostname", Is(json!("web1"))),
                ("/state_updated_timestamp", Text),
                ("/lifecycle_state", Is(Value::Null)),
            ],
        ),
        get(
            format!("/v2.0/alarms/{alarm}/state-history/"),
            vec![
                ("/elements/0/id", Text),
                ("/elements/0/timestamp", Time),
                ("/elements/0/alarm_id", Is(json!(alarm))),
                ("/elements/0/new_state", Is(json!("ALARM"))),
                ("/elements/0/old_state", Text),
                ("/elements/0/reason", Text),
                ("/elements/0/metrics/0/name", Is(json!("cpu.idle_perc"))),
            ],
        ),
        get("/v2.0/alarm-definitions/", vec![("/elements/0/name", Is(json!("hot")))]),
        send(
            "POST",
            "/v2.0/alarm-definitions/",
            made,
            201,
            vec![("/id", Text), ("/actions_enabled", Is(json!(true)))],
        ),
        send(
            "PATCH",
            format!("/v2.0/alarm-definitions/{definition}"),
            json!({"actions_enabled": false}),
            200,
            vec![("/actions_enabled", Is(json!(false))), ("/name", Is(json!("hot")))],
        ),
        get("/v2.0/notification-methods/types/", vec![("/elements/0/type", Is(json!("WEBHOOK")))]),
        send("POST", "/v2.0/notification-methods/", hook, 201, vec![("/id", Text)]),
        send(
            "PATCH",
            format!("/v2.0/notification-methods/{method}"),
            json!({"name": "called"}),
            200,
            vec![("/name", Is(json!("called"))), ("/type", Is(json!("WEBHOOK")))],
        ),
        send("DELETE", format!("/v2.0/notification-methods/{method}"), Value::Null, 204, vec![]),
        send("DELETE", format!("/v2.0/alarms/{alarm}"), Value::Null, 204, vec![]),
        send("DELETE", format!("/v2.0/alarm-definitions/{definition}"), Value::Null, 204, vec![]),
        send(
            "GET",
            format!("/v2.0/alarms/{alarm}"),
            Value::Null,
            404,
            vec![("/message", Text), ("/title", Text)],
        ),
    ];
    check(&server, "app", &rows).await;
    server.stop().await;
}
