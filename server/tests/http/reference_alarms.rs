//! The rows of `reference.rs` that are about alarms: definitions, alarms, history, notification methods.

use serde_json::json;

use crate::reference::{ALARMS, Case, DEFINITIONS, METHODS, METRICS, NOT_JSON, Row, WRONG};
use crate::server::{Server, metric};

#[tokio::test]
async fn alarm_definitions() {
    let case = Case::start().await;
    let one = "/v2.0/alarm-definitions/{definition}";
    let nobody = "/v2.0/alarm-definitions/nobody";
    let missing = "no alarm definition has the id nobody";
    let action = "Non-existent notification id nobody submitted for ALARM notification action";
    let no_id = "Alarm definition ID not provided";
    let body = |change: &str| format!(r#"{{"name":"x","expression":"a > 1",{change}}}"#);
    let posts: Vec<(String, u16, &str, &str)> = vec![
        ("[]".into(), 422, WRONG, "expected a dictionary"),
        ("{}".into(), 422, WRONG, "required key not provided @ data['name']"),
        (r#"{"name": "x"}"#.into(), 422, WRONG, "required key not provided @ data['expression']"),
        (
            r#"{"name": "", "expression": "a>1"}"#.into(),
            422,
            WRONG,
            "length of value must be at least 1 for dictionary value @ data['name']",
        ),
        (
            r#"{"name": "d1", "expression": "a>1"}"#.into(),
            409,
            "AlreadyExistsException",
            "An alarm definition with the name d1 already exists",
        ),
        (
            r#"{"name": "x", "expression": "max(a"}"#.into(),
            422,
            "Invalid alarm expression",
            "parser failed on expression 'max(a' at column 6: expected ')'",
        ),
        (
            body(r#""description":null"#),
            422,
            WRONG,
            "expected str for dictionary value @ data['description']",
        ),
        (
            body(r#""severity":"x""#),
            422,
            WRONG,
            "not a valid value for dictionary value @ data['severity']",
        ),
        (
            body(r#""match_by":"h""#),
            422,
            WRONG,
            "expected a list for dictionary value @ data['match_by']",
        ),
        (body(r#""match_by":["a<b"]"#), 422, WRONG, "invalid characters in dimension key a<b"),
        (
            body(r#""ok_actions":["X","X"]"#),
            422,
            WRONG,
            "Duplicate OK notification method X for dictionary value @ data['ok_actions']",
        ),
        (
            body(r#""alarm_actions":"X""#),
            422,
            WRONG,
            "Not a list: <class 'str'> for dictionary value @ data['alarm_actions']",
        ),
        (body(r#""alarm_actions":["nobody"]"#), 422, "InvalidUpdateException", action),
        (
            body(r#""actions_enabled":"yes""#),
            422,
            WRONG,
            "expected bool for dictionary value @ data['actions_enabled']",
        ),
    ];
    let mut rows: Vec<Row<'_>> = posts
        .iter()
        .map(|(body, status, title, text)| {
            ("POST", DEFINITIONS, body.as_str(), *status, *title, *text)
        })
        .collect();
    rows.extend([
        ("PUT", DEFINITIONS, "{}", 400, "Bad Request", no_id),
        ("PATCH", "/v2.0/alarm-definitions/", "{}", 400, "Bad Request", no_id),
        ("DELETE", DEFINITIONS, "", 400, "Bad Request", no_id),
        ("GET", nobody, "", 404, "404 Not Found", missing),
        ("PATCH", nobody, "{}", 404, "404 Not Found", missing),
        ("DELETE", nobody, "", 404, "404 Not Found", missing),
        (
            "PUT",
            one,
            r#"{"name": "x"}"#,
            422,
            WRONG,
            "required key not provided @ data['expression']",
        ),
        ("PATCH", one, "{}", 200, "", ""),
        ("PATCH", one, r#"{"severity": "low", "more": 1}"#, 200, "", ""),
        ("PATCH", one, r#"{"severity": "x"}"#, 422, WRONG, "Invalid severity"),
        ("PATCH", one, r#"{"match_by": ["hostname"]}"#, 200, "", ""),
        (
            "PATCH",
            one,
            r#"{"match_by": []}"#,
            422,
            "InvalidUpdateException",
            "match_by must not change",
        ),
        ("PATCH", one, r#"{"alarm_actions": ["nobody"]}"#, 422, "InvalidUpdateException", action),
        ("PATCH", one, r#"{"alarm_actions": ["{method}"]}"#, 200, "", ""),
        (
            "PATCH",
            one,
            r#"{"expression": "max(cpu{hostname=h2}) > 2 and count(disk) > 5"}"#,
            422,
            "InvalidUpdateException",
            "metrics in subexpression must not change",
        ),
        (
            "PATCH",
            one,
            r#"{"expression": "max(cpu{hostname=h1}) > 2"}"#,
            422,
            "InvalidUpdateException",
            "number of subexpressions must not change",
        ),
        (
            "PATCH",
            one,
            r#"{"expression": "min(cpu{hostname=h1}, 120) < 3 times 2 or count(mem) > 5"}"#,
            200,
            "",
            "",
        ),
        ("GET", "/v2.0/alarm-definitions?dimensions=hostname", "", 200, "", ""),
        (
            "GET",
            "/v2.0/alarm-definitions?severity=x",
            "",
            422,
            "Invalid Severity",
            "Severity x must be one of ['LOW', 'MEDIUM', 'HIGH', 'CRITICAL']",
        ),
        ("GET", "/v2.0/alarm-definitions?sort_by=name%20desc,created_at", "", 200, "", ""),
        (
            "GET",
            "/v2.0/alarm-definitions?sort_by=x",
            "",
            422,
            WRONG,
            "sort_by field x must be one of ['id', 'name', 'severity', 'updated_at', 'created_at']",
        ),
        (
            "GET",
            "/v2.0/alarm-definitions?sort_by=name%20DESC",
            "",
            422,
            WRONG,
            "sort_by value DESC must be 'asc' or 'desc'",
        ),
        (
            "GET",
            "/v2.0/alarm-definitions?sort_by=a%20b%20c",
            "",
            422,
            WRONG,
            "Invalid sort_by a b c",
        ),
        (
            "GET",
            "/v2.0/alarm-definitions?offset=x",
            "",
            422,
            WRONG,
            "Offset value x must be an integer",
        ),
    ]);
    case.check(&rows).await;
    case.server.stop().await;
}

#[tokio::test]
async fn alarms_and_their_history() {
    let case = Case::start().await;
    let missing = "no alarm has the id nobody";
    let nobody = "/v2.0/alarms/nobody";
    let whole = r#"{"state": "OK", "lifecycle_state": null, "link": null}"#;
    let groups = "One or more group-by values from ['x'] are not in {'alarm_definition_id', 'name', \
                  'state', 'severity', 'link', 'lifecycle_state', 'metric_name', 'dimension_name', \
                  'dimension_value'}";
    let not_a_state =
        "not one of ['ALARM', 'OK', 'UNDETERMINED'] for dictionary value @ data['state']";
    let state = "State x must be one of ['ALARM', 'OK', 'UNDETERMINED']";
    case.check(&[
        ("GET", nobody, "", 404, "404 Not Found", missing),
        ("PUT", nobody, whole, 404, "404 Not Found", missing),
        ("PATCH", nobody, "{}", 404, "404 Not Found", missing),
        ("DELETE", nobody, "", 404, "404 Not Found", missing),
        ("PUT", nobody, "", 400, NOT_JSON.0, NOT_JSON.1),
        ("PUT", nobody, "{}", 422, WRONG, "Field 'state' is required"),
        ("PUT", nobody, r#"{"state": "OK"}"#, 422, WRONG, "Field 'lifecycle_state' is required"),
        (
            "PUT",
            nobody,
            r#"{"state": "OK", "lifecycle_state": "", "link": "x"}"#,
            422,
            WRONG,
            "Field 'lifecycle_state' is required",
        ),
        (
            "PUT",
            nobody,
            r#"{"state": "OK", "lifecycle_state": "x"}"#,
            422,
            WRONG,
            "Field 'link' is required",
        ),
        ("PATCH", nobody, r#"{"state": "ok"}"#, 422, WRONG, not_a_state),
        (
            "PATCH",
            nobody,
            r#"{"link": 5}"#,
            422,
            WRONG,
            "expected str for dictionary value @ data['link']",
        ),
        (
            "GET",
            "/v2.0/alarms?state=alarm&severity=low%7CHIGH&metric_dimensions=a:b%7Cc,d",
            "",
            200,
            "",
            "",
        ),
        ("GET", "/v2.0/alarms?state=x", "", 422, "Invalid State", state),
        (
            "GET",
            "/v2.0/alarms?state=OK&state=ALARM",
            "",
            422,
            WRONG,
            "state must be given only once",
        ),
        ("GET", "/v2.0/alarms?state_updated_start_time=2026-11-20T00:00:00Z", "", 200, "", ""),
        (
            "GET",
            "/v2.0/alarms?metric_dimensions=_a",
            "",
            422,
            WRONG,
            "Dimension key _a may not start with '_'",
        ),
        ("GET", "/v2.0/alarms?offset=x", "", 422, WRONG, "Offset value x must be an integer"),
        ("GET", "/v2.0/alarms/count?group_by=state,name", "", 200, "", ""),
        ("GET", "/v2.0/alarms/count?group_by=x", "", 422, WRONG, groups),
        ("GET", "/v2.0/alarms/count?state=x", "", 422, "Invalid State", state),
        (
            "GET",
            "/v2.0/alarms/count?offset=x",
            "",
            422,
            WRONG,
            "Offset must be a valid integer, was x",
        ),
        ("GET", "/v2.0/alarms/state-history/", "", 200, "", ""),
        ("GET", "/v2.0/alarms/state-history?start_time=2027&end_time=2026", "", 200, "", ""),
        (
            "GET",
            "/v2.0/alarms/state-history?end_time=x",
            "",
            422,
            WRONG,
            "Unable to parse date string 'x'",
        ),
        (
            "GET",
            "/v2.0/alarms/state-history?offset=x",
            "",
            422,
            WRONG,
            "Offset value x is neither an id nor a time",
        ),
        ("GET", "/v2.0/alarms/nobody/state-history", "", 200, "", ""),
        ("GET", "/v2.0/alarms/a';b/state-history", "", 200, "", ""),
        ("POST", ALARMS, "{}", 405, "405 Method Not Allowed", "POST is not allowed here"),
    ])
    .await;
    case.server.stop().await;
}

#[tokio::test]
async fn notification_methods() {
    let case = Case::start().await;
    let one = "/v2.0/notification-methods/{method}";
    let nobody = "/v2.0/notification-methods/nobody";
    let missing = "no notification method has the id nobody";
    let body = |change: &str| {
        format!(r#"{{"name":"x","type":"WEBHOOK","address":"http://h","period":0,{change}}}"#)
    };
    let posts: Vec<(String, u16, &str)> = vec![
        ("[]".into(), 400, "expected a dictionary"),
        ("{}".into(), 400, "required key not provided @ data['name']"),
        (r#"{"name": "x"}"#.into(), 400, "required key not provided @ data['type']"),
        (body(r#""more":1"#), 400, "extra keys not allowed @ data['more']"),
        (body(r#""period":"x""#), 400, "Period x must be a valid integer"),
        (body(r#""period":30"#), 400, "30 is not in the configured list of valid periods: [0, 60]"),
        (body(r#""name":5"#), 400, "expected str for dictionary value @ data['name']"),
        (body(r#""address":"nowhere""#), 400, "Address nowhere does not have URL scheme"),
        (body(r#""address":"http:""#), 400, "Address http: does not have network location"),
        (body(r#""address":"ftp://h""#), 400, "Address ftp://h scheme is not in ['http', 'https']"),
        (body(r#""type":"PIGEON""#), 400, "Not a valid notification method type PIGEON "),
    ];
    let mut rows: Vec<Row<'_>> = posts
        .iter()
        .map(|(body, status, text)| ("POST", METHODS, body.as_str(), *status, "Bad Request", *text))
        .collect();
    let hook = r#"{"name": "hook", "type": "WEBHOOK", "address": "http://h"}"#;
    rows.extend([
        (
            "POST",
            METHODS,
            hook,
            409,
            "AlreadyExistsException",
            "A notification method with the name hook already exists",
        ),
        ("GET", nobody, "", 404, "404 Not Found", missing),
        ("PATCH", nobody, "{}", 404, "404 Not Found", missing),
        ("DELETE", nobody, "", 404, "404 Not Found", missing),
        ("PUT", one, hook, 400, "Bad Request", "Period is required"),
        ("PATCH", one, r#"{"period": "0"}"#, 200, "", ""),
        ("PATCH", one, r#"{"id": "x"}"#, 400, "Bad Request", "extra keys not allowed @ data['id']"),
        ("GET", "/v2.0/notification-methods/types/", "", 200, "", ""),
        ("GET", "/v2.0/notification-methods?sort_by=name%20desc", "", 200, "", ""),
        ("GET", "/v2.0/notification-methods?sort_by=created_at,updated_at%20desc", "", 200, "", ""),
        (
            "GET",
            "/v2.0/notification-methods?sort_by=x",
            "",
            422,
            WRONG,
            "sort_by field x must be one of ['id', 'name', 'type', 'address', 'updated_at', 'created_at']",
        ),
        (
            "GET",
            "/v2.0/notification-methods?offset=x",
            "",
            422,
            WRONG,
            "Offset value x must be an integer",
        ),
        ("PUT", METHODS, "{}", 405, "405 Method Not Allowed", "PUT is not allowed here"),
    ]);
    case.check(&rows).await;
    case.server.stop().await;
}

#[tokio::test]
async fn history_shows_metrics_as_the_reference_does() {
    let server = Server::start().await;
    let rule = json!({"name": "hot", "expression": "max(cpu) > 90", "match_by": ["hostname"]});
    assert_eq!(server.send("POST", DEFINITIONS, rule).await.0, 201);
    assert_eq!(server.send("POST", METRICS, metric("cpu", "h1", 0, 95.0)).await.0, 204);
    let mut found = Vec::new();
    for _ in 0..10_000 {
        found = server.list("/v2.0/alarms?state=ALARM").await;
        if !found.is_empty() {
            break;
        }
        server.wait_until(1);
    }
    let alarm = format!("/v2.0/alarms/{}", found[0]["id"].as_str().unwrap());
    assert_eq!(server.send("PATCH", &alarm, json!({"state": "OK"})).await.0, 200);
    let history = server.list(&format!("{alarm}/state-history")).await;
    let [by_engine, by_client] = history.as_slice() else { panic!("{history:?}") };
    let dimensions = json!({"hostname": "h1", "service": "s"});
    assert_eq!(
        by_engine["metrics"],
        json!([{"id": null, "name": "cpu", "dimensions": dimensions}])
    );
    assert_eq!(by_client["metrics"], json!([{"name": "cpu", "dimensions": dimensions}]));
    assert_eq!((&by_client["reason_data"], &by_client["sub_alarms"]), (&json!("{}"), &json!([])));
    server.stop().await;
}
