//! Alarms, counts of them, and their history. The reference has them from its threshold engine, which is
//! not here: ours evaluates, and the reference is given the same alarms in its database and the same
//! transitions through Kafka.

use std::fmt::Write;

use jiff::Timestamp;
use moneta_tests::wait::until;
use serde_json::{Value, json};

use super::comparison::{Pair, Request};

const ALARMS: &str = "/alarms";
const COUNT: &str = "/alarms/count";
const HISTORY: &str = "/alarms/state-history";

const NO_LIMIT: &str = "`limit=0` is refused (422)";
const TIMES: &str = "`state_updated_start_time` takes every form of time";
const WRONG_BODY: &str = "wrong alarm bodies are 422";
const NULL: &str = "`null` in a PATCH of an alarm keeps what is there";
const WRONG_METHOD: &str = "a method that a resource does not have is 405";
const KEY_ALONE: &str = "filters by dimension work in every form on definitions and counts";

pub(crate) async fn compare(pair: &mut Pair) {
    pair.compare_all(nothing_yet()).await;
    raise(pair).await;
    pair.compare_all(lists()).await;
    pair.compare_all(counts()).await;
    pair.compare_all(history()).await;
    pair.compare_all(changes()).await;
    // What was changed through the API is history as well, once it has gone through Kafka.
    let of_one = Request::get("/alarms/{first}/state-history");
    let rows = |body: &Value| body["elements"].as_array().map_or(0, Vec::len);
    let (_, ours) = pair.ask(1, &of_one).await;
    pair.await_reference(&of_one, |body| rows(body) == rows(&ours)).await;
    pair.compare_all(history()).await;
    pair.compare_all(lists()).await;
    pair.compare_all(removal()).await;
}

fn nothing_yet() -> Vec<Request> {
    let mut requests: Vec<Request> = [
        "",
        "?state=OK",
        "?state=ok",
        "?state=NOPE",
        "?severity=LOW",
        "?metric_name=cpu",
        "?metric_name=a%20b",
        "?metric_dimensions=a:b",
        "?sort_by=state",
        "?sort_by=nobody",
        "?lifecycle_state=OPEN",
        "?link=x",
        "?alarm_definition_id=nobody",
        "?limit=x",
        "?offset=5",
        "?offset=x",
        "/nobody",
        "/nobody/state-history",
        "/count",
        "/count?group_by=state",
        "/count?group_by=severity,state",
        "/count?group_by=nobody",
        "/count?metric_name=cpu",
        "/state-history",
        "/state-history/",
        "/state-history?dimensions=hostname:a",
        "/state-history?start_time=x",
        "/state-history?start_time=2026-01-01T00:00:00Z",
    ]
    .map(|query| Request::get(format!("{ALARMS}{query}")))
    .into();
    requests.extend([
        Request::get(format!("{ALARMS}?limit=0")).differs(NO_LIMIT),
        Request::get(format!("{ALARMS}?state_updated_start_time=2026-01-01T00:00:00Z"))
            .differs(TIMES),
        Request::get(format!("{ALARMS}?state_updated_start_time=x")).differs(TIMES),
        Request::send("PUT", "/alarms/nobody", json!({"state": "OK"})),
        Request::send("PUT", "/alarms/nobody", json!({})),
        Request::send("PATCH", "/alarms/nobody", json!({"state": "OK"})),
        Request::send("PATCH", "/alarms/nobody", json!({"state": "x"})).differs(WRONG_BODY),
        Request::of("DELETE", "/alarms/nobody"),
        Request::of("DELETE", ALARMS).differs(WRONG_METHOD),
        Request::send("POST", ALARMS, json!({})),
    ]);
    requests
}

/// Makes the same three alarms on both sides, called `first`, `second` and `third`.
async fn raise(pair: &mut Pair) {
    let high = json!({"name": "high load", "expression": "max(load{service=x}) > 5",
                      "match_by": ["hostname"], "severity": "HIGH"});
    let both = json!({"name": "both", "severity": "CRITICAL",
                      "expression": "max(load{service=x}) > 100 or max(memory{service=x}) > 3"});
    pair.compare(Request::send("POST", "/alarm-definitions", high).keep("high")).await;
    pair.compare(Request::send("POST", "/alarm-definitions", both).keep("both")).await;
    let now = pair.now();
    let sample = |name: &str, host: &str, value: f64| {
        let dimensions = json!({"hostname": host, "service": "x"});
        json!({"name": name, "dimensions": dimensions, "timestamp": now, "value": value})
    };
    let samples =
        json!([sample("load", "a", 9.0), sample("load", "b", 1.0), sample("memory", "a", 7.0)]);
    pair.compare(Request::send("POST", "/metrics", samples)).await;

    let all = Request::get(format!("{ALARMS}?sort_by=state%20desc,severity"));
    let alarms = until("alarms", async || {
        let (_, body) = pair.ask(1, &all).await;
        let alarms = body["elements"].as_array().unwrap();
        let states: Vec<&str> = alarms.iter().filter_map(|alarm| alarm["state"].as_str()).collect();
        let raised = states == ["ALARM", "UNDETERMINED", "UNDETERMINED"];
        if raised { Ok(alarms.clone()) } else { Err(body.to_string()) }
    })
    .await;
    for (name, alarm) in ["first", "second", "third"].into_iter().zip(&alarms) {
        let id = alarm["id"].as_str().unwrap();
        pair.know(name, [id, id]);
        let definition = ["high", "both"]
            .into_iter()
            .find(|name| alarm["alarm_definition"]["id"] == pair.id(1, name))
            .unwrap();
        let statements = rows_of(alarm, pair.id(0, definition));
        pair.reference.sql(&statements);
    }
    let (_, history) = pair.ask(1, &Request::get(HISTORY)).await;
    let transitions = history["elements"].as_array().unwrap();
    assert_eq!(transitions.len(), 1, "{history}");
    for transition in transitions {
        pair.reference.publish("alarm-state-transitions", &record_of(transition));
    }
    let there = |body: &Value| body["elements"].as_array().is_some_and(|rows| rows.len() == 1);
    pair.await_reference(&Request::get(HISTORY), there).await;
}

/// The rows of an alarm in the reference's database.
fn rows_of(alarm: &Value, definition: &str) -> String {
    let (id, state) = (alarm["id"].as_str().unwrap(), alarm["state"].as_str().unwrap());
    let mut rows = format!(
        "INSERT INTO alarm VALUES ('{id}', '{definition}', '{state}', NULL, NULL, NOW(), NOW(), NOW());\
         INSERT INTO sub_alarm SELECT UUID(), '{id}', id, 'load > 5', NOW(), NOW(), '{state}' \
         FROM sub_alarm_definition WHERE alarm_definition_id = '{definition}';"
    );
    for metric in alarm["metrics"].as_array().unwrap() {
        let name = metric["name"].as_str().unwrap();
        let dimensions = metric["dimensions"].to_string();
        let hash = |text: &str| format!("UNHEX(SHA1('{text}'))");
        let (of_name, of_set) = (hash(name), hash(&dimensions));
        let of_both = hash(&format!("{name}{dimensions}"));
        write!(
            rows,
            "INSERT IGNORE INTO metric_definition VALUES ({of_name}, '{name}', 't1', 'RegionOne');\
             INSERT IGNORE INTO metric_definition_dimensions VALUES ({of_both}, {of_name}, {of_set});\
             INSERT INTO alarm_metric VALUES ('{id}', {of_both});"
        )
        .unwrap();
        for (key, value) in metric["dimensions"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            write!(
                rows,
                "INSERT IGNORE INTO metric_dimension VALUES ({of_set}, '{key}', '{value}');"
            )
            .unwrap();
        }
    }
    rows
}

/// A transition as the threshold engine publishes it.
fn record_of(transition: &Value) -> String {
    let sub_alarm = |part: &Value| {
        let mut expression = part["sub_alarm_expression"].clone();
        let fields = expression.as_object_mut().unwrap();
        let definition = json!({"id": null, "name": fields.remove("metric_name"),
                                "dimensions": fields.remove("dimensions")});
        fields.insert("metricDefinition".to_owned(), definition);
        json!({"subAlarmExpression": expression, "subAlarmState": part["sub_alarm_state"],
               "currentValues": part["current_values"]})
    };
    let parts: Vec<Value> =
        transition["sub_alarms"].as_array().unwrap().iter().map(sub_alarm).collect();
    let time: Timestamp = transition["timestamp"].as_str().unwrap().parse().unwrap();
    let body = json!({
        "tenantId": "t1", "alarmId": transition["alarm_id"], "alarmDefinitionId": "", "alarmName": "",
        "alarmDescription": "", "metrics": transition["metrics"],
        "oldState": transition["old_state"], "newState": transition["new_state"],
        "actionsEnabled": true, "stateChangeReason": transition["reason"], "severity": "HIGH",
        "link": null, "lifecycleState": null, "subAlarms": parts, "timestamp": time.as_millisecond()
    });
    json!({"alarm-transitioned": body}).to_string()
}

fn lists() -> Vec<Request> {
    [
        "",
        "?state=ALARM",
        "?state=alarm",
        "?state=UNDETERMINED",
        "?severity=HIGH",
        "?severity=HIGH%7CCRITICAL",
        "?alarm_definition_id={high}",
        "?alarm_definition_id={both}",
        "?metric_name=load",
        "?metric_name=memory",
        "?metric_dimensions=hostname:a",
        "?metric_dimensions=hostname:b",
        "?metric_dimensions=hostname",
        "?metric_dimensions=hostname:a%7Cb",
        "?metric_dimensions=hostname:a,service:x",
        "?metric_name=load&metric_dimensions=hostname:b",
        "?lifecycle_state=OPEN",
        "?link=http://x/y",
        "?state_updated_start_time=2026-01-01T00:00:00.000Z",
        "?state_updated_start_time=2099-01-01T00:00:00.000Z",
        "?sort_by=alarm_id",
        "?sort_by=alarm_id%20desc",
        "?sort_by=severity,alarm_id",
        "?sort_by=state,alarm_id",
        "?sort_by=state%20desc,alarm_id&limit=2",
        "?sort_by=alarm_definition_name,alarm_id",
        "?sort_by=alarm_id&limit=1",
        "?sort_by=alarm_id&limit=1&offset=1",
        "?sort_by=alarm_id&offset=2",
        "?sort_by=alarm_id&offset=3",
        "/{first}",
        "/{second}",
        "/{third}",
        "/{first}/",
    ]
    .map(|query| Request::get(format!("{ALARMS}{query}")))
    .into()
}

fn counts() -> Vec<Request> {
    let mut requests: Vec<Request> = [
        "",
        "?state=ALARM",
        "?severity=HIGH",
        "?metric_name=load",
        "?metric_dimensions=hostname:a",
        "?group_by=state",
        "?group_by=severity",
        "?group_by=severity,state",
        "?group_by=state,severity",
        "?group_by=name",
        "?group_by=link",
        "?group_by=lifecycle_state",
        "?group_by=metric_name",
        "?group_by=dimension_name",
        "?group_by=dimension_name,dimension_value",
        "?group_by=metric_name,dimension_name,dimension_value",
        "?group_by=metric_name&limit=1",
        "?group_by=dimension_value&limit=2&offset=1",
        "?group_by=state&metric_name=nobody",
        "?alarm_definition_id={both}&group_by=metric_name",
        "?offset=x",
        "?limit=x",
    ]
    .map(|query| Request::get(format!("{COUNT}{query}")))
    .into();
    let key_alone = format!("{COUNT}?metric_dimensions=hostname");
    requests.push(Request::get(key_alone).differs(KEY_ALONE));
    requests
}

fn history() -> Vec<Request> {
    [
        "",
        "/",
        "?dimensions=hostname:a",
        "?dimensions=hostname:b",
        "?dimensions=service:x",
        "?dimensions=hostname:nobody",
        "?start_time=2026-01-01T00:00:00Z",
        "?end_time=2026-01-01T00:00:00Z",
    ]
    .map(|query| Request::get(format!("{HISTORY}{query}")))
    .into_iter()
    .chain(
        ["{first}", "{second}", "{third}"]
            .map(|id| Request::get(format!("{ALARMS}/{id}/state-history"))),
    )
    .collect()
}

fn changes() -> Vec<Request> {
    let put = |body: Value| Request::send("PUT", "/alarms/{first}", body);
    let patch = |body: Value| Request::send("PATCH", "/alarms/{first}", body);
    let whole =
        |state: &str| json!({"state": state, "lifecycle_state": "OPEN", "link": "http://x/y"});
    vec![
        put(json!({})),
        put(json!({"state": "OK"})),
        put(json!({"state": "OK", "lifecycle_state": "OPEN"})),
        put(whole("ok")).differs(WRONG_BODY),
        put(whole("OK")),
        put(whole("OK")),
        patch(json!({})),
        patch(json!({"state": "ALARM"})),
        patch(json!({"state": "UNDETERMINED"})),
        patch(json!({"lifecycle_state": "CLOSED"})),
        patch(json!({"lifecycle_state": ""})),
        patch(json!({"lifecycle_state": null})).differs(NULL),
        patch(json!({"link": "http://x/z"})),
        patch(json!({"link": 1})).differs(WRONG_BODY),
        patch(json!({"state": "x"})).differs(WRONG_BODY),
        patch(json!({"lifecycle_state": "x".repeat(51)})).differs(WRONG_BODY),
        patch(json!({"link": "x".repeat(513)})).differs(WRONG_BODY),
        patch(json!({"unknown": 1})),
        patch(json!({"state": "OK", "lifecycle_state": "OPEN", "link": "http://x/y"})),
        Request::text("PATCH", "/alarms/{first}", "x{"),
        Request::get("/alarms/{first}"),
        Request::get("/alarms/count?group_by=lifecycle_state,link"),
    ]
}

fn removal() -> Vec<Request> {
    vec![
        Request::of("DELETE", "/alarms/{third}"),
        Request::get("/alarms/{third}"),
        Request::of("DELETE", "/alarms/{third}"),
        Request::get(ALARMS),
        Request::get(HISTORY),
        // With a definition go its alarms.
        Request::of("DELETE", "/alarm-definitions/{both}"),
        Request::get(ALARMS),
        Request::get(COUNT),
        Request::get("/alarms/{first}"),
        Request::get("/alarms/{second}"),
    ]
}
