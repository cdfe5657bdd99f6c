//! Requests of the programs of OpenStack that call the Monasca API, and what they read, as in
//! `dashboards.rs`.

use serde_json::{Value, json};

use crate::dashboards::Want::{Absent, Is, Many, Text};
use crate::dashboards::{check, get, monitored, send};

#[tokio::test]
async fn horizon() {
    let (server, definition, method, alarm) = monitored().await;
    let definition_at = format!("/v2.0/alarm-definitions/{definition}");
    let method_at = format!("/v2.0/notification-methods/{method}");
    let alarm_at = format!("/v2.0/alarms/{alarm}");
    let series = server.list("/v2.0/metrics").await;
    let last = series.last().unwrap()["id"].as_str().unwrap();
    let history = server.list(&format!("{alarm_at}/state-history")).await;
    let newest = history.last().unwrap()["id"].as_str().unwrap();
    let empty = |target: String| {
        get(target, vec![("/elements", Is(json!([]))), ("/links/0/rel", Is(json!("self")))])
    };
    let expression =
        "avg(cpu.idle_perc{service=api},deterministic,60) > 5 times 3 and max(mem) < 2";
    let made = json!({"name": "made", "expression": expression, "description": "", "severity": "LOW",
                      "match_by": ["hostname"], "alarm_actions": [method], "ok_actions": [],
                      "undetermined_actions": []});
    let edited = json!({"name": "hot", "expression": "max(cpu.idle_perc{service=api}) > 26",
                        "description": "warm", "severity": "CRITICAL", "match_by": ["hostname"],
                        "alarm_actions": [method], "ok_actions": [method],
                        "undetermined_actions": [], "actions_enabled": true});
    let mut renamed = json!({"name": "new", "type": "WEBHOOK", "address": "https://h.example/"});
    renamed["period"] = json!(0);
    let whole = json!({"state": "OK", "lifecycle_state": "OPEN", "link": "http://l.example/"});
    let rows = [
        get(
            "/v2.0/alarms?offset=0&limit=10000&sort_by=alarm_definition_name",
            vec![
                ("/elements", Many(3)),
                ("/elements/0/state", Text),
                ("/elements/0/alarm_definition/severity", Is(json!("HIGH"))),
                ("/elements/0/metrics/0/dimensions/service", Is(json!("api"))),
                ("/links/0/rel", Is(json!("self"))),
            ],
        ),
        get(
            "/v2.0/alarms?offset=2&limit=21&metric_name=cpu.idle_perc&metric_dimensions=hostname",
            vec![("/elements", Many(1))],
        ),
        empty("/v2.0/alarms?metric_dimensions=url".into()),
        get(
            format!("{alarm_at}/state-history?offset=&limit=21"),
            vec![("/elements/0/id", Text), ("/links/0/href", Text)],
        ),
        empty(format!("{alarm_at}/state-history?offset={newest}&limit=21")),
        send(
            "PATCH",
            alarm_at.clone(),
            json!({"state": "OK"}),
            200,
            vec![("/state", Is(json!("OK"))), ("/id", Is(json!(alarm)))],
        ),
        send("PUT", alarm_at.clone(), whole, 200, vec![("/lifecycle_state", Is(json!("OPEN")))]),
        get(
            "/v2.0/alarm-definitions?offset=0&limit=21&sort_by=name",
            vec![
                ("/elements/0/name", Is(json!("hot"))),
                ("/elements/0/alarm_actions", Is(json!([method]))),
                ("/elements/0/match_by", Is(json!(["hostname"]))),
                ("/elements/0/actions_enabled", Is(json!(true))),
                ("/links", Many(1)),
            ],
        ),
        get(
            definition_at.clone(),
            vec![("/expression", Text), ("/undetermined_actions", Is(json!([])))],
        ),
        get(
            method_at.clone(),
            vec![("/name", Is(json!("hook"))), ("/address", Text), ("/period", Is(json!(0)))],
        ),
        empty("/v2.0/alarm-definitions?name=made&limit=1".into()),
        get(
            "/v2.0/metrics",
            vec![("/elements", Many(4)), ("/elements/3/id", Is(json!(last))), ("/links/1", Absent)],
        ),
        empty(format!("/v2.0/metrics?offset={last}")),
        get(
            "/v2.0/notification-methods?offset=0&limit=10000&sort_by=name",
            vec![("/elements/0/id", Is(json!(method))), ("/elements/0/type", Text)],
        ),
        send(
            "POST",
            "/v2.0/alarm-definitions",
            made,
            201,
            vec![("/id", Text), ("/expression", Is(json!(expression)))],
        ),
        get("/v2.0/alarm-definitions?name=made&limit=1", vec![("/elements", Many(1))]),
        send(
            "PATCH",
            definition_at.clone(),
            edited.clone(),
            200,
            vec![("/severity", Is(json!("CRITICAL"))), ("/ok_actions", Is(json!([method])))],
        ),
        send("PUT", definition_at.clone(), edited, 200, vec![("/description", Is(json!("warm")))]),
        send("PUT", method_at.clone(), renamed, 200, vec![("/name", Is(json!("new")))]),
        get("/v2.0/notification-methods/types", vec![("/elements/0/type", Text)]),
        // Through its proxy for Grafana; each key is a list of one.
        get(
            "/v2.0/metrics/dimensions/names/values?dimension_name=hostname&metric_name=cpu.idle_perc",
            vec![("/elements", Many(3))],
        ),
        send("DELETE", definition_at, Value::Null, 204, vec![]),
        send("DELETE", method_at, Value::Null, 204, vec![]),
        // It went with its definition.
        send("DELETE", alarm_at, Value::Null, 404, vec![("/message", Text)]),
    ];
    check(&server, "Horizon", &rows).await;
    server.stop().await;
}

#[tokio::test]
async fn other_clients() {
    let (server, _, method, _) = monitored().await;
    let cloudkitty = "name=cpu.idle_perc&start_time=2018-01-01%2000:00:00%2B00:00\
                      &end_time=2026-11-20%2010:00:00%2B00:00&period=280922400&merge_metrics=True";
    let watcher = "name=cpu.idle_perc&dimensions=hostname:web1&period=300&statistics=avg\
                   &start_time=2026-11-20T09:00:00.123456&end_time=2026-11-20T09:24:00.654321";
    let heat = json!({"name": "stack-alarm-x", "description": "", "expression": "mem > 1",
                      "match_by": [], "severity": "low", "ok_actions": [],
                      "alarm_actions": [method], "undetermined_actions": []});
    let rows = [
        get(
            "/v2.0/metrics?limit=1",
            vec![("/elements", Many(1)), ("/links/1/rel", Is(json!("next")))],
        ),
        get(
            format!("/v2.0/metrics/statistics?{watcher}&group_by=*"),
            vec![("/elements/0/statistics/0/1", Is(json!(29.0)))],
        ),
        get(
            format!("/v2.0/metrics/statistics?{cloudkitty}&statistics=mean&group_by=service"),
            vec![
                ("/elements", Many(1)),
                ("/elements/0/columns", Is(json!(["timestamp", "mean"]))),
                ("/elements/0/statistics/0/1", Is(json!(30.0))),
            ],
        ),
        get(
            format!(
                "/v2.0/metrics/statistics?{cloudkitty}&statistics=max&group_by=hostname&group_by=service"
            ),
            vec![
                ("/elements", Many(3)),
                ("/elements/0/dimensions", Is(json!({"hostname": "büro:1", "service": "api"}))),
                ("/elements/0/statistics/0/1", Is(json!(3.0))),
            ],
        ),
        send(
            "POST",
            "/v2.0/notification-methods",
            json!({"name": "stack-hook", "type": "webhook", "address": "http://h.example/?a=1"}),
            201,
            vec![("/id", Text), ("/type", Is(json!("WEBHOOK")))],
        ),
        send(
            "POST",
            "/v2.0/alarm-definitions",
            heat,
            201,
            vec![("/id", Text), ("/severity", Is(json!("LOW")))],
        ),
        send("DELETE", "/v2.0/alarm-definitions/gone", Value::Null, 404, vec![("/title", Text)]),
    ];
    check(&server, "others", &rows).await;
    server.stop().await;
}
