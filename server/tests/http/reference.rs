//! What the reference answers to requests that are wrong or odd, row by row: status, title, description.
//! Where a row differs from the reference, `API.md` says why.

use serde_json::{Value, json};

use crate::server::{Answer, NOW, Server, exchange, metric};

/// Method, target, body, status, title, description. Of a success the last two are empty.
pub(crate) type Row<'a> = (&'a str, &'a str, &'a str, u16, &'a str, &'a str);

pub(crate) const METRICS: &str = "/v2.0/metrics";
const NAMES: &str = "/v2.0/metrics/names";
const DIMENSIONS: &str = "/v2.0/metrics/dimensions/names";
const VALUES: &str = "/v2.0/metrics/dimensions/names/values";
const MEASUREMENTS: &str = "/v2.0/metrics/measurements";
const STATISTICS: &str = "/v2.0/metrics/statistics";
pub(crate) const DEFINITIONS: &str = "/v2.0/alarm-definitions";
pub(crate) const ALARMS: &str = "/v2.0/alarms";
pub(crate) const METHODS: &str = "/v2.0/notification-methods";

/// Title of most refusals.
pub(crate) const WRONG: &str = "Unprocessable Entity";
const LIMIT: (&str, &str) = ("Invalid limit", "Limit parameter must be a positive integer");
const ORDER: (&str, &str) = ("Bad request", "start_time must be before end_time");
pub(crate) const NOT_JSON: (&str, &str) = ("Bad request", "Request body is not valid JSON");

/// A server with two series of one metric, one of another, and all kinds of objects about alarms.
pub(crate) struct Case {
    pub(crate) server: Server,
    definition: String,
    method: String,
}

impl Case {
    pub(crate) async fn start() -> Case {
        let server = Server::start().await;
        let write = json!([
            metric("cpu", "h1", 0, 95.0),
            metric("cpu", "h2", 0, 1.0),
            metric("mem", "h1", 0, 7.0)
        ]);
        assert_eq!(server.send("POST", METRICS, write).await.0, 204);
        let id = |made: (u16, Value)| {
            assert_eq!(made.0, 201, "{}", made.1);
            made.1["id"].as_str().unwrap().to_owned()
        };
        let method = json!({"name": "hook", "type": "WEBHOOK", "address": "http://127.0.0.1:9/x"});
        let method = id(server.send("POST", METHODS, method).await);
        let other = json!({"name": "other", "type": "WEBHOOK", "address": "http://127.0.0.1:9/x"});
        id(server.send("POST", METHODS, other).await);
        let one = json!({"name": "d1", "expression": "max(cpu{hostname=h1}) > 2 and count(mem) > 5",
                         "match_by": ["hostname"]});
        let definition = id(server.send("POST", DEFINITIONS, one).await);
        let two = json!({"name": "d2", "expression": "cpu > 1"});
        id(server.send("POST", DEFINITIONS, two).await);
        Case { server, definition, method }
    }

    /// Sends every row; `{definition}` and `{method}` stand for the first of each.
    pub(crate) async fn check(&self, rows: &[Row<'_>]) {
        let mut wrong = Vec::new();
        for (method, target, body, status, title, description) in rows {
            let filled = |text: &str| {
                text.replace("{definition}", &self.definition).replace("{method}", &self.method)
            };
            let answer = self.server.send_text(method, &filled(target), &filled(body)).await;
            let text = |name: &str| answer.body[name].as_str().unwrap_or_default().to_owned();
            let same = answer.status == *status
                && text("title") == *title
                && (title.is_empty() || text("description") == filled(description))
                && (title.is_empty() || text("message") == text("description"));
            if !same {
                wrong
                    .push(format!("{method} {target} {body}\n  {} {}", answer.status, answer.body));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[tokio::test]
async fn lists_of_series_and_names() {
    let case = Case::start().await;
    let target = |path: &str, query: &str| format!("{path}?{query}");
    let mut rows: Vec<(String, u16, &str, &str)> = Vec::new();
    for path in [METRICS, NAMES, DIMENSIONS] {
        rows.extend([
            (path.to_owned(), 200, "", ""),
            (format!("{path}/"), 200, "", ""),
            (target(path, "limit=20000&nobody=knows&this"), 200, "", ""),
            (target(path, "limit=0"), 422, LIMIT.0, LIMIT.1),
            (target(path, "limit=-1"), 422, LIMIT.0, LIMIT.1),
            (target(path, "limit=x"), 422, LIMIT.0, LIMIT.1),
        ]);
    }
    for path in [METRICS, DIMENSIONS] {
        rows.extend([
            (target(path, "start_time=2026&end_time=2026"), 400, ORDER.0, ORDER.1),
            (target(path, "start_time=2027&end_time=2026"), 400, ORDER.0, ORDER.1),
            (target(path, "end_time=2026"), 200, "", ""),
            (target(path, "start_time=now"), 422, WRONG, "Unable to parse date string 'now'"),
            (
                target(path, "end_time=1795166599"),
                422,
                WRONG,
                "Unable to parse date string '1795166599'",
            ),
        ]);
    }
    rows.extend([
        (target(METRICS, "name="), 200, "", ""),
        (target(METRICS, "name=nothing"), 200, "", ""),
        (target(METRICS, "dimensions="), 200, "", ""),
        (target(METRICS, "dimensions=hostname:h1&dimensions=service"), 200, "", ""),
        (target(METRICS, "name=a%20b"), 422, WRONG, "invalid characters in metric name: a b"),
        (
            target(METRICS, "name=a&name=b"),
            422,
            WRONG,
            "invalid metric name type: ['a', 'b'] is not a string type ",
        ),
        (target(METRICS, "dimensions=_a"), 422, WRONG, "Dimension key _a may not start with '_'"),
        (
            target(METRICS, "dimensions=a:b%7C"),
            422,
            WRONG,
            "invalid length (0) for dimension value  from key a",
        ),
        (target(METRICS, "offset=abc"), 422, WRONG, "Offset value abc is not an id"),
        (VALUES.to_owned(), 422, WRONG, "Missing dimension_name"),
        (target(VALUES, "dimension_name=nothing"), 200, "", ""),
        (
            target(VALUES, "dimension_name=a%22b"),
            422,
            WRONG,
            "invalid characters in dimension key a\"b",
        ),
        (
            target(DIMENSIONS, "metric_name=a%22b"),
            422,
            WRONG,
            "invalid characters in metric name: a\"b",
        ),
    ]);
    let rows: Vec<Row<'_>> = rows
        .iter()
        .map(|(target, status, title, text)| ("GET", target.as_str(), "", *status, *title, *text))
        .collect();
    case.check(&rows).await;
    case.server.stop().await;
}

#[tokio::test]
async fn questions_about_values() {
    let case = Case::start().await;
    let several = "Found multiple metrics matching metric name and dimensions. Please refine your search \
         criteria using a unique metric name or additional dimensions. Alternatively, you may \
         specify 'merge_metrics=True' as a query parameter to combine all metrics matching search \
         criteria into a single series.";
    // What both take, behind what each needs besides.
    let both: &[(&str, u16, &str, &str)] = &[
        ("", 422, WRONG, "Missing name"),
        ("name=cpu", 422, WRONG, "Missing start time"),
        ("name=cpu&end_time=2026", 422, WRONG, "Missing start time"),
        ("start_time=2026", 422, WRONG, "Missing name"),
        ("name=cpu&start_time=2026", 409, "MultipleMetrics", several),
        // Every known series counts, whatever the span.
        ("name=cpu&start_time=2025&end_time=2026", 409, "MultipleMetrics", several),
        ("name=cpu&start_time=2026&group_by=", 409, "MultipleMetrics", several),
        ("name=cpu&start_time=2026&merge_metrics=1", 409, "MultipleMetrics", several),
        ("name=cpu&start_time=2026&merge_metrics=false", 409, "MultipleMetrics", several),
        ("name=cpu&start_time=2026&merge_metrics=true", 200, "", ""),
        ("name=cpu&start_time=2026&merge_metrics=True", 200, "", ""),
        ("name=cpu&start_time=2026&merge_metrics=t", 200, "", ""),
        ("name=cpu&start_time=2026&group_by=hostname", 200, "", ""),
        ("name=cpu&start_time=2026&group_by=*&merge_metrics=true", 200, "", ""),
        ("name=cpu&start_time=2026&group_by=my-dim", 200, "", ""),
        ("name=mem&start_time=2026&limit=1", 200, "", ""),
        ("name=mem&start_time=2026-11-20T09:00:00.123456%2B01:00", 200, "", ""),
        ("name=mem&start_time=20261120T0900", 200, "", ""),
        ("name=mem&start_time=2026&offset=1795166640000", 200, "", ""),
        ("name=nothing&start_time=2026", 200, "", ""),
        ("name=mem&start_time=2026&end_time=2025", 400, ORDER.0, ORDER.1),
        ("name=mem&start_time=2026&end_time=2026", 400, ORDER.0, ORDER.1),
        ("name=mem&start_time=2026&limit=0", 422, LIMIT.0, LIMIT.1),
        (
            "name=mem&start_time=2026&offset=abc",
            422,
            WRONG,
            "Offset value abc is neither a time nor an id and a time",
        ),
        (
            "name=mem&start_time=2026&offset=1_2026-11-20T09:00:00.000Z",
            422,
            WRONG,
            "the page begins in group 1, which is not there",
        ),
    ];
    let of_statistics: &[(&str, u16, &str, &str)] = &[
        ("statistics=", 422, WRONG, "Missing statistics"),
        ("statistics=avg,median", 422, WRONG, "Invalid statistic"),
        ("statistics=AVG,avg,Count", 200, "", ""),
        ("statistics=avg&period=0", 200, "", ""),
        ("statistics=avg&period=x", 422, WRONG, "Period must be a valid integer"),
        ("statistics=avg&period=1.5", 422, WRONG, "Period must be a valid integer"),
        ("statistics=avg&period=-60", 422, WRONG, "Period must be a positive integer"),
    ];
    let mut rows = Vec::new();
    for (query, status, title, text) in both {
        rows.push((format!("{MEASUREMENTS}?{query}"), *status, *title, *text));
        rows.push((format!("{STATISTICS}?{query}&statistics=avg"), *status, *title, *text));
    }
    for (query, status, title, text) in of_statistics {
        let target = format!("{STATISTICS}?name=mem&start_time=2026&{query}");
        rows.push((target, *status, *title, *text));
    }
    let rows: Vec<Row<'_>> = rows
        .iter()
        .map(|(target, status, title, text)| ("GET", target.as_str(), "", *status, *title, *text))
        .collect();
    case.check(&rows).await;
    case.server.stop().await;
}

#[tokio::test]
async fn measurements_that_are_written() {
    let case = Case::start().await;
    let of = |change: &str, text: &str| {
        (format!(r#"{{"name":"m","timestamp":{NOW},{change}}}"#), text.to_owned())
    };
    let metric = |change: &str, text: &str| of(change, &format!("{text}: for metric m"));
    let mut rows: Vec<(String, String)> = vec![
        ("{}".into(), "'name'".into()),
        (r#"{"name": "m"}"#.into(), "\"'value': for metric m\"".into()),
        (r#"{"name": "m", "value": 1}"#.into(), "\"'timestamp': for metric m\"".into()),
        (
            r#"{"name": 5, "value": 1}"#.into(),
            "invalid metric name type: 5 is not a string type ".into(),
        ),
        (r#"{"name": "", "value": 1}"#.into(), "invalid length for metric name: ".into()),
        (r#"{"name": "a(b", "value": 1}"#.into(), "invalid characters in metric name: a(b".into()),
        (
            r#"{"name": "m", "value": 1, "timestamp": "1"}"#.into(),
            "invalid timestamp type: 1 is not a number type for metric: for metric m".into(),
        ),
    ];
    rows.extend([
        metric(r#""value":"1""#, "invalid value type: 1 is not a number type for metric"),
        metric(r#""value":NaN"#, "invalid value: nan is not a valid value for metric"),
        metric(r#""value":1,"dimensions":null"#, "invalid dimensions type: None is not an object"),
        metric(r#""value":1,"dimensions":[]"#, "invalid dimensions type: [] is not an object"),
        metric(r#""value":1,"dimensions":{"":"a"}"#, "invalid length (0) for dimension key "),
        metric(r#""value":1,"dimensions":{"a<":"a"}"#, "invalid characters in dimension key a<"),
        metric(
            r#""value":1,"dimensions":{"a":5}"#,
            "invalid dimension value type: 5 must be a string (from key a)",
        ),
        metric(
            r#""value":1,"dimensions":{"a":""}"#,
            "invalid length (0) for dimension value  from key a",
        ),
        metric(
            r#""value":1,"dimensions":{"a":"1;"}"#,
            "invalid characters in dimension value 1; from key a",
        ),
        metric(
            r#""value":1,"value_meta":{"":"a"}"#,
            "valueMeta name cannot be empty: key=, value=a",
        ),
    ]);
    let mut all: Vec<Row<'_>> = rows
        .iter()
        .map(|(body, text)| ("POST", METRICS, body.as_str(), 422, WRONG, text.as_str()))
        .collect();
    let good = of(r#""value":true,"value_meta":null,"more":{}"#, "").0;
    all.extend([
        ("POST", METRICS, "", 400, NOT_JSON.0, NOT_JSON.1),
        ("POST", METRICS, "[", 400, NOT_JSON.0, NOT_JSON.1),
        ("POST", METRICS, "[]", 204, "", ""),
        ("POST", METRICS, good.as_str(), 204, "", ""),
    ]);
    case.check(&all).await;
    case.server.stop().await;
}

#[tokio::test]
async fn what_every_path_does() {
    let case = Case::start().await;
    let address = case.server.running.address();
    let ask = async |method: &str, target: &str| exchange(address, method, target, &[], "").await;
    let check = async |target: &str, want: &str| {
        let Answer { status, body, .. } = ask("OPTIONS", target).await;
        assert_eq!((status, body), (200, Value::Null), "{target}");
        let answer = ask("OPTIONS", target).await;
        assert_eq!(answer.header("allow"), Some(want), "{target}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    };
    check(METRICS, "POST, GET, HEAD, OPTIONS").await;
    check("/v2.0/alarms/some", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS").await;
    check("/v2.0/alarms/count", "GET, HEAD, OPTIONS").await;
    let version = "No versions found matching v1.0";
    case.check(&[
        ("GET", "/", "", 200, "", ""),
        ("GET", "/v2.0/", "", 200, "", ""),
        ("GET", "/v1.0", "", 422, "Invalid version", version),
        ("GET", "/v2.0/nothing", "", 404, "404 Not Found", "nothing has the path /v2.0/nothing"),
        ("POST", "/v2.0/events", "{}", 404, "404 Not Found", "nothing has the path /v2.0/events"),
        ("POST", "/v2.0/logs", "{}", 501, "Not Implemented", "logs are not available yet"),
        ("GET", "/healthcheck/", "", 200, "", ""),
        ("DELETE", METRICS, "", 405, "405 Method Not Allowed", "DELETE is not allowed here"),
    ])
    .await;
    for (media, status) in [("text/plain", 400), ("application/json; charset=utf-8", 204)] {
        let body = metric("cpu", "h1", 0, 1.0).to_string();
        let answer = exchange(address, "POST", METRICS, &[("content-type", media)], &body).await;
        assert_eq!(answer.status, status, "{media}");
    }
    // Definitions are not strict about an absent type, but about a wrong one.
    let body = r#"{"name": "d9", "expression": "a > 1"}"#;
    let plain = [("content-type", "text/plain")];
    assert_eq!(exchange(address, "POST", DEFINITIONS, &plain, body).await.status, 400);
    assert_eq!(exchange(address, "POST", DEFINITIONS, &[], body).await.status, 201);
    case.server.stop().await;
}
