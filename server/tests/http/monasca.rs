//! The Monasca API.

use std::sync::Arc;

use moneta_storage::model::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{NOW, Server, metric, open};

/// Two hosts with three measurements each, a minute apart, and one of another metric.
async fn filled() -> Server {
    let server = Server::start().await;
    let mut body = vec![metric("mem.free", "h1", 0, 7.0)];
    for n in 0..3_i32 {
        let ago = i64::from(n) * 60_000;
        body.push(metric("cpu.idle", "h1", ago, f64::from(n)));
        body.push(metric("cpu.idle", "h2", ago, f64::from(n) + 10.0));
    }
    let (status, answer) = server.send("POST", "/v2.0/metrics", json!(body)).await;
    assert_eq!((status, answer), (204, Value::Null));
    server
}

fn next(body: &Value) -> Option<&str> {
    let links = body["links"].as_array().unwrap();
    links.iter().find(|link| link["rel"] == "next").map(|link| link["href"].as_str().unwrap())
}

#[tokio::test]
async fn series_are_listed_in_pages() {
    let server = filled().await;
    let names = |list: Vec<Value>| -> Vec<String> {
        let shown = |one: &Value| {
            format!("{} {}", one["name"].as_str().unwrap(), one["dimensions"]["hostname"])
        };
        list.iter().map(shown).collect()
    };
    let all = server.list("/v2.0/metrics").await;
    assert_eq!(all.len(), 3);
    let mut paged = Vec::new();
    let mut target = "/v2.0/metrics?limit=1".to_owned();
    loop {
        let (status, body) = server.get(&target).await;
        assert_eq!(status, 200, "{body}");
        paged.extend(body["elements"].as_array().unwrap().clone());
        match next(&body) {
            Some(href) => target = href.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, all);
    let h2 = names(server.list("/v2.0/metrics/?name=cpu.idle&dimensions=hostname:h2|h3").await);
    assert_eq!(h2, ["cpu.idle \"h2\""]);
    assert!(server.list("/v2.0/metrics?name=nothing").await.is_empty());
    assert!(server.list("/v2.0/metrics?tenant_id=other").await.is_empty());
    // Only what has measurements in the span is listed, to the millisecond.
    let span = "start_time=2026-11-20T09:24:00.001Z";
    assert!(server.list(&format!("/v2.0/metrics?{span}")).await.is_empty());
    assert!(server.list(&format!("/v2.0/metrics/dimensions/names?{span}")).await.is_empty());
    let span = "start_time=2026-11-20T09:22:00Z&end_time=2026-11-20T09:24:00Z";
    assert_eq!(server.list(&format!("/v2.0/metrics?{span}")).await.len(), 2);
    // An offset that has no measurement in the span still has its place.
    for (at, one) in all.iter().enumerate() {
        let id = one["id"].as_str().unwrap();
        let rest = server.list(&format!("/v2.0/metrics?{span}&offset={id}")).await;
        let want = all[at + 1..].iter().filter(|one| one["name"] == "cpu.idle");
        assert_eq!(rest, want.cloned().collect::<Vec<_>>());
    }
    for offset in ["999", "abc"] {
        assert_eq!(server.get(&format!("/v2.0/metrics?offset={offset}")).await.0, 422);
    }
    assert_eq!(
        server.list("/v2.0/metrics/names").await,
        [json!({"name": "cpu.idle"}), json!({"name": "mem.free"})]
    );
    assert_eq!(
        server.list("/v2.0/metrics/dimensions/names?metric_name=mem.free").await,
        [json!({"dimension_name": "hostname"}), json!({"dimension_name": "service"})]
    );
    let values = "/v2.0/metrics/dimensions/names/values?dimension_name=hostname&limit=1&offset=h1";
    assert_eq!(server.list(values).await, [json!({"dimension_value": "h2"})]);
    server.running.shutdown().await.unwrap();
}

#[tokio::test]
async fn measurements_and_statistics_are_read() {
    let server = filled().await;
    let span = "start_time=2026-11-20T09:20:00Z&name=cpu.idle";
    let (status, body) = server.get(&format!("/v2.0/metrics/measurements?{span}")).await;
    assert_eq!((status, &body["title"]), (409, &json!("MultipleMetrics")));
    let one =
        server.list(&format!("/v2.0/metrics/measurements?{span}&dimensions=hostname:h1")).await;
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["dimensions"], json!({"hostname": "h1", "service": "s"}));
    assert_eq!(one[0]["columns"], json!(["timestamp", "value", "value_meta"]));
    assert_eq!(
        one[0]["measurements"],
        json!([
            ["2026-11-20T09:22:00.000Z", 2.0, {}],
            ["2026-11-20T09:23:00.000Z", 1.0, {}],
            ["2026-11-20T09:24:00.000Z", 0.0, {}],
        ])
    );
    let mut rows = Vec::new();
    let mut target = format!("/v2.0/metrics/measurements?{span}&group_by=hostname&limit=2");
    loop {
        let (status, body) = server.get(&target).await;
        assert_eq!(status, 200, "{body}");
        for element in body["elements"].as_array().unwrap() {
            for row in element["measurements"].as_array().unwrap() {
                rows.push(format!("{} {}", element["dimensions"], row[1]));
            }
        }
        match next(&body) {
            Some(href) => target = href.to_owned(),
            None => break,
        }
    }
    let want: Vec<String> =
        [("h1", 2.0), ("h1", 1.0), ("h1", 0.0), ("h2", 12.0), ("h2", 11.0), ("h2", 10.0)]
            .iter()
            .map(|(host, value)| format!("{} {}", json!({"hostname": host}), json!(value)))
            .collect();
    assert_eq!(rows, want);
    let merged = server
        .list(&format!(
            "/v2.0/metrics/statistics?{span}&merge_metrics=True&statistics=max,count,avg&period=3600"
        ))
        .await;
    assert_eq!(merged[0]["dimensions"], json!({}));
    assert_eq!(merged[0]["columns"], json!(["timestamp", "max", "count", "avg"]));
    assert_eq!(merged[0]["statistics"], json!([["2026-11-20T09:00:00Z", 12.0, 6, 6.0]]));
    server.running.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let server = filled().await;
    let before = server.list("/v2.0/metrics").await;
    let Server { running, clock, folder } = server;
    running.shutdown().await.unwrap();
    let again = open(folder.path(), Arc::clone(&clock)).await;
    let server = Server { running: again, clock, folder };
    assert_eq!(server.list("/v2.0/metrics").await, before);
    server.running.shutdown().await.unwrap();
}

#[tokio::test]
async fn definitions_live_from_creation_to_deletion() {
    let server = Server::start().await;
    let path = "/v2.0/alarm-definitions";
    assert!(server.list(path).await.is_empty());
    let method = json!({"name": "hook", "type": "webhook", "address": "http://127.0.0.1:9/x"});
    let (status, method) = server.send("POST", "/v2.0/notification-methods", method).await;
    assert_eq!((status, &method["type"], &method["period"]), (201, &json!("WEBHOOK"), &json!(0)));
    let body = json!({"name": "d", "expression": "max(cpu.idle{hostname=h1}) > 90",
                      "match_by": ["hostname"], "alarm_actions": [method["id"]]});
    let (status, made) = server.send("POST", path, body.clone()).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["expression"], body["expression"]);
    assert!(made["links"][0]["href"].as_str().unwrap().ends_with(made["id"].as_str().unwrap()));
    let (status, twice) = server.send("POST", path, body.clone()).await;
    assert_eq!((status, &twice["title"]), (409, &json!("AlreadyExistsException")));
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    assert_eq!(server.get(&one).await, (200, made.clone()));
    assert_eq!(server.list(&format!("{path}?dimensions=hostname:h1&severity=low")).await, [made]);
    assert!(server.list(&format!("{path}?name=e")).await.is_empty());
    let (status, bad) = server.send("PATCH", &one, json!({"expression": "max(cpu) >"})).await;
    assert_eq!((status, &bad["title"]), (422, &json!("Invalid alarm expression")));
    let (status, bad) = server.send("PATCH", &one, json!({"match_by": []})).await;
    assert_eq!(status, 422, "{bad}");
    let (status, changed) = server.send("PATCH", &one, json!({"severity": "high"})).await;
    assert_eq!((status, &changed["severity"]), (200, &json!("HIGH")));
    // A method that is deleted leaves every definition.
    let method = format!("/v2.0/notification-methods/{}", method["id"].as_str().unwrap());
    assert_eq!(server.delete(&method).await.0, 204);
    assert_eq!(server.get(&method).await.0, 404);
    assert_eq!(server.get(&one).await.1["alarm_actions"], json!([]));
    assert_eq!(server.delete(&one).await.0, 204);
    assert_eq!(server.get(&one).await.0, 404);
    server.running.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_alarm_comes_changes_and_is_remembered() {
    let server = Server::start().await;
    let body = json!({"name": "hot", "expression": "max(cpu.idle) > 90", "match_by": ["hostname"]});
    let (status, made) = server.send("POST", "/v2.0/alarm-definitions", body).await;
    assert_eq!(status, 201, "{made}");
    let write = json!([metric("cpu.idle", "h1", 0, 95.0), metric("cpu.idle", "h2", 0, 1.0)]);
    assert_eq!(server.send("POST", "/v2.0/metrics", write).await.0, 204);
    // The engine follows the log by itself; asking is all that can be done from outside.
    let mut found = Vec::new();
    for _ in 0..10_000 {
        found = server.list("/v2.0/alarms?state=alarm&metric_dimensions=hostname:h1").await;
        if !found.is_empty() {
            break;
        }
        server.clock.set(Timestamp::from_millis(NOW + 1));
    }
    assert_eq!(found.len(), 1, "{:?}", server.get("/v2.0/alarms").await);
    let alarm = &found[0];
    assert_eq!(alarm["alarm_definition"]["name"], "hot");
    assert_eq!(alarm["metrics"][0]["dimensions"]["hostname"], "h1");
    assert_eq!(
        server.list("/v2.0/alarms?sort_by=state desc,alarm_id".replace(' ', "%20").as_str()).await
            [0],
        *alarm
    );
    let (_, counts) = server.get("/v2.0/alarms/count?group_by=state").await;
    assert_eq!(counts["columns"], json!(["count", "state"]));
    assert_eq!(counts["counts"][0], json!([1, "ALARM"]));

    let id = alarm["id"].as_str().unwrap();
    let one = format!("/v2.0/alarms/{id}");
    let patch = json!({"state": "OK", "lifecycle_state": "ACK", "link": "http://l"});
    let (status, changed) = server.send("PATCH", &one, patch).await;
    assert_eq!(
        (status, &changed["state"], &changed["link"]),
        (200, &json!("OK"), &json!("http://l"))
    );
    let history = server.list(&format!("{one}/state-history/")).await;
    let states: Vec<String> =
        history.iter().map(|t| format!("{} {}", t["old_state"], t["new_state"])).collect();
    assert_eq!(states.last().unwrap(), "\"ALARM\" \"OK\"", "{history:?}");
    assert_eq!(history.last().unwrap()["reason"], "Alarm state updated via API");
    let of_host = "/v2.0/alarms/state-history/?dimensions=hostname:h1";
    assert_eq!(server.list(of_host).await, history);
    let (_, first) = server.get(&format!("{of_host}&limit=1")).await;
    let rest = server.list(next(&first).unwrap()).await;
    assert_eq!(rest, history[1..]);

    assert_eq!(server.delete(&one).await.0, 204);
    assert_eq!(server.get(&one).await.0, 404);
    server.running.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_server_tells_of_itself() {
    let server = filled().await;
    assert_eq!(server.get("/ready").await, (200, json!({"ready": true, "reasons": []})));
    let (status, health) = server.get("/healthcheck").await;
    assert_eq!(status, 200);
    let ok = json!("OK");
    assert_eq!(health, json!({"kafka": ok, "alarms_database": ok, "metrics_database": ok}));
    assert_eq!(server.ask("HEAD", "/healthcheck").await.0, 204);
    let (status, figures) = server.get("/metrics").await;
    let figures = figures.as_str().unwrap();
    assert_eq!(status, 200);
    for line in [
        "ingest_samples_total{dialect=\"monasca\",result=\"accepted\"} 7\n",
        "storage_series 3\n",
        "notification_queue_length 0\n",
    ] {
        assert!(figures.contains(line), "{line}{figures}");
    }
    let (status, logs) = server.send("POST", "/v2.0/logs", json!({})).await;
    assert_eq!((status, &logs["title"]), (501, &json!("Not Implemented")));
    server.running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_tenant_over_its_limits_is_told_which() {
    let settings = [
        ("limits.active_series", "4"),
        ("limits.new_series_per_minute", "3"),
        ("limits.dimensions", "2"),
    ];
    let server = Server::start_with(&settings).await;
    let series = |from: u32, to: u32| -> Value {
        let one = |n: u32| json!({"name": "m", "dimensions": {"host": format!("h{n}")}, "timestamp": NOW, "value": 1});
        (from..to).map(one).collect()
    };
    let check = async |body: Value, want: u16, text: &str| {
        let (status, answer) = server.send("POST", "/v2.0/metrics", body).await;
        assert_eq!(status, want, "{answer}");
        assert!(answer.to_string().contains(text), "{answer}");
    };
    check(series(0, 3), 204, "").await;
    check(series(3, 4), 429, "new_series_per_minute").await;
    server.clock.set(Timestamp::from_millis(NOW + 60_000));
    check(series(3, 6), 422, "active_series").await;
    check(series(10, 14), 422, "new_series_per_minute").await;
    let three = json!({"a": "1", "b": "2", "c": "3"});
    let three = json!({"name": "m", "dimensions": three, "timestamp": NOW, "value": 1});
    check(three, 422, "the number of dimensions of a series").await;
    let (_, figures) = server.get("/metrics").await;
    for line in [
        "limit_refusals_total{limit=\"active_series\"} 1\n",
        "limit_refusals_total{limit=\"new_series_per_minute\"} 2\n",
        "limit_refusals_total{limit=\"dimensions\"} 1\n",
        "storage_series 3\n",
    ] {
        assert!(figures.as_str().unwrap().contains(line), "{line}{figures}");
    }
    let (status, report) = server.get("/admin/cardinality?tenant=default&top=1").await;
    assert_eq!(status, 200);
    assert_eq!((&report["series"], &report["active_series"]), (&json!(3), &json!(3)));
    let host = json!([{"name": "host", "series": 3, "values": 3}]);
    assert_eq!(report["by_dimension"], host);
    assert_eq!(report["by_metric"], json!([{"name": "m", "series": 3}]));
    assert_eq!(report["new_per_hour"].as_array().unwrap().len(), 24);
    assert_eq!(server.get("/admin/cardinality?tenant=nobody").await.0, 404);
    assert_eq!(server.get("/admin/cardinality?top=0").await.0, 422);
    server.running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_measurement_reaches_the_webhook() {
    let server = Server::start().await;
    let receiver = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/hook", receiver.local_addr().unwrap());
    let method = json!({"name": "hook", "type": "WEBHOOK", "address": address});
    let (status, method) = server.send("POST", "/v2.0/notification-methods", method).await;
    assert_eq!(status, 201, "{method}");
    let body = json!({"name": "hot", "expression": "max(cpu.idle) > 90",
                      "alarm_actions": [method["id"]]});
    let (status, made) = server.send("POST", "/v2.0/alarm-definitions", body).await;
    assert_eq!(status, 201, "{made}");
    let write = json!(metric("cpu.idle", "h1", 0, 95.0));
    assert_eq!(server.send("POST", "/v2.0/metrics", write).await.0, 204);

    let (mut stream, _) = receiver.accept().await.unwrap();
    let mut request = String::new();
    let told: Value = loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "the request ended after {request}");
        request.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let body = request.split_once("\r\n\r\n").and_then(|(_, body)| body.parse().ok());
        if let Some(body) = body {
            break body;
        }
    };
    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    drop(stream);
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
    assert_eq!((&told["state"], &told["alarm_name"]), (&json!("ALARM"), &json!("hot")), "{told}");
    server.running.shutdown().await.unwrap();
}

#[tokio::test]
async fn large_bodies_are_taken_and_too_large_ones_refused() {
    let server = Server::start().await;
    let hosts = (0..2000).map(|n| metric("cpu.idle", &format!("h{n}"), 0, 1.0));
    let body: Vec<Value> = hosts.collect();
    assert!(json!(body).to_string().len() > 128 * 1024);
    assert_eq!(server.send("POST", "/v2.0/metrics", json!(body)).await.0, 204);
    assert_eq!(server.list("/v2.0/metrics?name=cpu.idle").await.len(), 2000);
    let mut wrong = body;
    wrong.push(json!({"name": "a b", "value": 1, "timestamp": NOW}));
    let (status, refused) = server.send("POST", "/v2.0/metrics", json!(wrong)).await;
    assert_eq!(
        (status, &refused["description"]),
        (422, &json!("invalid characters in metric name: a b"))
    );

    let mut stream = TcpStream::connect(server.running.address()).await.unwrap();
    let head = "POST /v2.0/metrics HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 33554433\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    server.running.shutdown().await.unwrap();
}
