//! Requests to the administration that make no sense: each is answered with what is wrong, and changes
//! nothing.

use serde_json::{Value, json};

use crate::server::{MINUTE, Server, exchange, measured};

/// Method, target, body, status, and a part of the description.
type Case = (&'static str, &'static str, &'static str, u16, &'static str);

const RETENTION: &str = "/admin/retention";
const PLAN: &str = "/admin/retention/plan";
const DELETIONS: &str = "/admin/deletions";

const OF_POLICIES: &[(&str, u16, &str)] = &[
    ("", 400, "not valid JSON"),
    ("{", 400, "not valid JSON"),
    ("null", 422, "the body must be an object"),
    ("[]", 422, "the body must be an object"),
    ("{}", 422, "missing field `policies`"),
    (r#"{"policies": {}}"#, 422, "expected a sequence"),
    (r#"{"policies": [], "dry_run": true}"#, 422, "unknown field `dry_run`"),
    (r#"{"policies": [{"keep": "1d"}]}"#, 422, "missing field `metric`"),
    (r#"{"policies": [{"metric": "*"}]}"#, 422, "missing field `keep`"),
    (r#"{"policies": [{"metric": "*", "keep": "1d", "for": "a"}]}"#, 422, "unknown field `for`"),
    (r#"{"policies": [{"metric": "*", "keep": 30}]}"#, 422, "expected a string"),
    (r#"{"policies": [{"metric": "*", "keep": "30"}]}"#, 422, "not \"30\""),
    (r#"{"policies": [{"metric": "*", "keep": "-1d"}]}"#, 422, "not \"-1d\""),
    (r#"{"policies": [{"metric": "*", "keep": "0d"}]}"#, 422, "for an hour at least"),
    (r#"{"policies": [{"metric": "*", "keep": "59m"}]}"#, 422, "for an hour at least"),
    (r#"{"policies": [{"metric": "*", "keep": "2000y"}]}"#, 422, "a thousand years at most"),
    (r#"{"policies": [{"metric": "", "keep": "1d"}]}"#, 422, "a metric pattern has 1 to"),
    (
        r#"{"policies": [{"tenant": "", "metric": "*", "keep": "1d"}]}"#,
        422,
        "a tenant name has 1 to",
    ),
    (
        r#"{"policies": [{"metric": "*", "keep": "1d"}, {"metric": "*", "keep": "2d"}]}"#,
        422,
        "two policies have the same tenant and metric",
    ),
    (
        r#"{"policies": [{"metric": "*", "keep": "1d", "rollups": [{"step": "10m", "keep": "1y"}]}]}"#,
        422,
        "the step of a rollup is 5m or 1h, not \"10m\"",
    ),
    (
        r#"{"policies": [{"metric": "*", "keep": "1d", "rollups": [{"step": "1h", "keep": "long"}]}]}"#,
        422,
        "not \"long\"",
    ),
    (
        r#"{"policies": [{"metric": "*", "keep": "1d", "rollups": [{"step": "1h"}]}]}"#,
        422,
        "missing field `keep`",
    ),
    (
        r#"{"policies": [{"metric": "*", "keep": "1d", "rollups": [{"step": "1h", "keep": "1y"}, {"step": "1h", "keep": "2y"}]}]}"#,
        422,
        "two rollups of a policy have the same step",
    ),
];

const OF_DELETIONS: &[(&str, u16, &str)] = &[
    ("not JSON", 400, "not valid JSON"),
    ("[]", 422, "the body must be an object"),
    ("{}", 422, "missing field `tenant`"),
    (r#"{"tenant": "a"}"#, 422, "name a metric or dimensions"),
    (r#"{"tenant": "a", "all_series": false}"#, 422, "name a metric or dimensions"),
    (r#"{"tenant": "nobody", "metric": "m"}"#, 404, "no tenant is called nobody"),
    (r#"{"tenant": "a", "name": "m"}"#, 422, "unknown field `name`"),
    (r#"{"tenant": "a", "metric": ["m"]}"#, 422, "expected a string"),
    (r#"{"tenant": "a", "metric": "nothing"}"#, 422, "no series with samples there is selected"),
    (r#"{"tenant": "a", "metric": "m", "start": "yesterday"}"#, 422, "\"yesterday\" is no time"),
    (r#"{"tenant": "a", "metric": "m", "end": 5}"#, 422, "expected a string"),
    (
        r#"{"tenant": "a", "metric": "m", "start": "2026-11-20", "end": "2026-11-20"}"#,
        422,
        "start must be before end",
    ),
    (
        r#"{"tenant": "a", "metric": "m", "end": "2026-11-19"}"#,
        422,
        "no series with samples there is selected",
    ),
    (r#"{"tenant": "a", "dimensions": ["hostname"]}"#, 422, "expected a map"),
    (r#"{"tenant": "a", "dimensions": {"hostname": 5}}"#, 422, "the value of \"hostname\" must be"),
    (
        r#"{"tenant": "a", "dimensions": {"hostname": ["h1", 5]}}"#,
        422,
        "the value of \"hostname\" must be",
    ),
    (
        r#"{"tenant": "a", "dimensions": {"hostname": {"regexp": "h"}}}"#,
        422,
        "the value of \"hostname\" must be",
    ),
    (r#"{"tenant": "a", "dimensions": {"hostname": {"regex": "("}}}"#, 422, "("),
    (r#"{"tenant": "a", "dimensions": {"": "m"}}"#, 422, "a dimension's name is not empty"),
    (
        r#"{"tenant": "a", "dimensions": {"hostname": []}}"#,
        422,
        "no series with samples there is selected",
    ),
    (r#"{"tenant": "a", "all_series": 1}"#, 422, "expected a boolean"),
];

const OTHERS: &[Case] = &[
    ("GET", "/admin/retention/explain", "", 422, "the parameter metric is missing"),
    (
        "GET",
        "/admin/retention/explain?metric=a&metric=b",
        "",
        422,
        "metric must be given only once",
    ),
    ("GET", "/admin/deletions/7", "", 404, "there is no deletion 7"),
    ("GET", "/admin/deletions/x", "", 404, "there is no deletion x"),
    ("GET", "/admin/deletions/99999999999999999999", "", 404, "there is no deletion 9999"),
    ("GET", "/admin/deletions/%FF", "", 400, "UTF-8"),
    ("DELETE", "/admin/deletions/7", "", 404, "there is no deletion 7"),
    ("GET", "/admin/tenants/nobody", "", 404, "no tenant is called nobody"),
    ("GET", "/admin/tenants/%FF", "", 400, "UTF-8"),
    ("DELETE", "/admin/tenants/%FF?confirm=a", "", 400, "UTF-8"),
    ("DELETE", "/admin/tenants/nobody", "", 422, "?confirm=nobody"),
    ("DELETE", "/admin/tenants/nobody?confirm=nobody", "", 404, "no tenant is called nobody"),
    ("DELETE", "/admin/tenants/a?confirm=a&confirm=a", "", 422, "confirm must be given only once"),
    ("DELETE", "/admin/tenants/a?confirm=a&by=x&by=y", "", 422, "by must be given only once"),
    ("GET", "/admin/cardinality?tenant=nobody", "", 404, "no tenant is called nobody"),
    ("GET", "/admin/cardinality?tenant=a&top=0", "", 422, "top must be a number from 1 to 1000"),
    ("GET", "/admin/cardinality?tenant=a&top=1001", "", 422, "top must be a number from 1 to 1000"),
    ("GET", "/admin/cardinality?tenant=a&top=ten", "", 422, "top must be a number from 1 to 1000"),
    ("POST", RETENTION, "{}", 405, "POST is not allowed here"),
    ("DELETE", RETENTION, "", 405, "DELETE is not allowed here"),
    ("GET", PLAN, "", 405, "GET is not allowed here"),
    ("GET", "/admin/retention/apply", "", 405, "GET is not allowed here"),
    ("PUT", "/admin/retention/explain", "{}", 405, "PUT is not allowed here"),
    ("PUT", DELETIONS, "{}", 405, "PUT is not allowed here"),
    ("DELETE", DELETIONS, "", 405, "DELETE is not allowed here"),
    ("PATCH", "/admin/deletions/1", "{}", 405, "PATCH is not allowed here"),
    ("DELETE", "/admin/tenants", "", 405, "DELETE is not allowed here"),
    ("PUT", "/admin/tenants/a", "{}", 405, "PUT is not allowed here"),
    ("POST", "/admin/cardinality", "{}", 405, "POST is not allowed here"),
    ("GET", "/admin/tenants/a/b", "", 404, "nothing has the path"),
    ("GET", "/admin/nothing", "", 404, "nothing has the path"),
];

/// What no refused request may change.
async fn state(server: &Server) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [RETENTION, DELETIONS, "/admin/tenants", "/admin/tenants/a", "/admin/tenants/b"] {
        let (status, body) = server.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        all.push(body);
    }
    all.push(json!(server.measurements("a", "m").await));
    all.push(json!(server.measurements("b", "m").await));
    all
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong_and_change_nothing() {
    let server = Server::start().await;
    for tenant in ["a", "b"] {
        server.write_as(tenant, measured("m", "h1", 0, MINUTE, 3)).await;
    }
    let policies = json!({"policies": [{"metric": "m", "keep": "30d"}]});
    assert_eq!(server.send("PUT", RETENTION, policies).await.0, 200);
    let before = state(&server).await;
    let mut cases: Vec<Case> = Vec::new();
    for (method, target) in [("PUT", RETENTION), ("POST", PLAN)] {
        cases.extend(
            OF_POLICIES.iter().map(|&(body, status, text)| (method, target, body, status, text)),
        );
    }
    cases.extend(
        OF_DELETIONS.iter().map(|&(body, status, text)| ("POST", DELETIONS, body, status, text)),
    );
    cases.extend(OTHERS);
    let mut wrong = Vec::new();
    for (method, target, body, status, text) in cases {
        let answer = server.send_text(method, target, body).await;
        let description = answer.body["description"].as_str().unwrap_or_default();
        let told = answer.body["title"].is_string() && answer.body["message"] == description;
        if answer.status != status || !description.contains(text) || !told {
            wrong.push(format!("{method} {target} {body}\n  {} {}", answer.status, answer.body));
        }
        if status == 405 {
            assert!(answer.header("allow").is_some(), "{method} {target}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(state(&server).await, before);
    server.stop().await;
}

#[tokio::test]
async fn bodies_have_to_be_json_and_of_some_length() {
    let server = Server::start().await;
    server.write_as("a", measured("m", "h1", 0, MINUTE, 3)).await;
    let address = server.running.address();
    let delete = json!({"tenant": "a", "metric": "m"}).to_string();
    for (method, target, body) in [
        ("PUT", RETENTION, r#"{"policies": []}"#),
        ("POST", PLAN, r#"{"policies": []}"#),
        ("POST", DELETIONS, delete.as_str()),
    ] {
        for headers in [&[("content-type", "text/plain")][..], &[]] {
            let answer = exchange(address, method, target, headers, body).await;
            assert_eq!(answer.status, 400, "{method} {target}");
            let text = answer.body["description"].as_str().unwrap();
            assert_eq!(text, "Bad content type. Must be application/json");
        }
        let long = format!("{}{body}", " ".repeat(1 << 20));
        assert_eq!(server.send_text(method, target, &long).await.status, 413, "{method} {target}");
    }
    let by = json!({"tenant": "a", "metric": "m", "by": "x".repeat(20_000)});
    let (status, answer) = server.send("POST", DELETIONS, by).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["description"].as_str().unwrap().contains("at most 16384 bytes"), "{answer}");
    let many: Vec<Value> =
        (0..1001).map(|n| json!({"metric": format!("m{n}"), "keep": "1d"})).collect();
    let (status, answer) = server.send("PUT", RETENTION, json!({"policies": many})).await;
    assert_eq!((status, &answer["title"]), (422, &json!("Limit exceeded")), "{answer}");
    assert_eq!(server.measurements("a", "m").await.len(), 3);
    server.stop().await;
}
