//! Notification methods and alarm definitions.

use serde_json::{Value, json};

use super::comparison::{Pair, Request};

const METHODS: &str = "/notification-methods";
const DEFINITIONS: &str = "/alarm-definitions";

const PERIODS: &str = "the `period` of a notification method must be 0";
const TYPES: &str = "of the types of notification methods only `WEBHOOK` is available";
const LINK: &str = "the link of a notification method carries its id once";
const ALTERNATIVES: &str = "filters by dimension work in every form on definitions";
const PARSER: &str = "what is wrong with an expression is told in words of our own";
const UNKNOWN_FIRST: &str = "a definition that is not there is 404";
const LISTED: &str = "wrong types within a list are told of the list";
const WRONG_METHOD: &str = "a method that a resource does not have is 405";

pub(crate) async fn compare(pair: &mut Pair) {
    pair.compare_all(methods()).await;
    pair.compare_all(made()).await;
    pair.compare_all(refused()).await;
    pair.compare_all(lists()).await;
    pair.compare_all(changes()).await;
}

fn method(name: &str) -> Value {
    json!({"name": name, "type": "WEBHOOK", "address": "http://127.0.0.1:9/x"})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn methods() -> Vec<Request> {
    let post = |body: Value| Request::send("POST", METHODS, body);
    let own = format!("{METHODS}/{{hook}}");
    let mut requests = vec![
        Request::get(METHODS),
        Request::get(format!("{METHODS}/types")).differs(TYPES),
        post(method("hook")).keep("hook"),
        post(method("hook")),
        post(with(method("second"), "period", json!(0))).keep("second"),
        post(with(method("third"), "period", json!("0"))).keep("third"),
        post(with(method("fourth"), "type", json!("webhook"))).keep("fourth"),
        post(with(method("x"), "period", json!(61))),
        post(with(method("x"), "period", json!("x"))),
        post(with(method("x"), "period", json!(-1))),
        post(with(method("x"), "type", json!("NOPE"))),
        post(with(method("x"), "type", json!("EMAIL"))).differs(TYPES),
        post(with(method("x"), "address", json!("nowhere"))),
        post(with(method("x"), "address", json!(""))),
        post(with(method("x"), "address", json!("ftp://x/y"))),
        post(with(method("x"), "address", json!(format!("http://{}", "x".repeat(600))))),
        post(with(method("x"), "unknown", json!(1))),
        post(with(method("x"), "name", json!(1))),
        post(method(&"x".repeat(251))),
        post(json!({"name": "x", "type": "WEBHOOK"})),
        post(json!({"name": "x", "address": "http://x/"})),
        post(json!({"type": "WEBHOOK", "address": "http://x/"})),
        post(json!([])),
        Request::text("POST", METHODS, "x{"),
    ];
    requests.extend(
        [
            "",
            "?sort_by=name",
            "?sort_by=name%20desc",
            "?sort_by=nobody",
            "?sort_by=name%20up",
            "?offset=x",
            "?limit=x",
        ]
        .map(|query| Request::get(format!("{METHODS}{query}"))),
    );
    let put = |body: Value| Request::send("PUT", &own, body);
    let patch = |body: Value| Request::send("PATCH", &own, body);
    requests.extend([
        Request::get(&own).differs(LINK),
        Request::get(format!("{METHODS}/nobody")),
        put(with(method("hook1"), "period", json!(0))).differs(LINK),
        put(method("hook1")),
        put(with(method("second"), "period", json!(0))),
        Request::send("PUT", format!("{METHODS}/nobody"), with(method("new"), "period", json!(0))),
        patch(json!({"name": "hook2"})).differs(LINK),
        patch(json!({})).differs(LINK),
        patch(json!({"type": "NOPE"})),
        patch(json!({"address": "nowhere"})),
        patch(json!({"name": "second"})),
        patch(json!({"unknown": 1})),
        patch(json!({"period": 60})).differs(PERIODS),
        Request::send("PATCH", &own, json!({"period": 0})).differs(LINK),
        Request::send("PATCH", format!("{METHODS}/nobody"), json!({"name": "new"})),
        Request::of("DELETE", format!("{METHODS}/nobody")),
        Request::of("DELETE", format!("{METHODS}/{{fourth}}")),
        Request::get(format!("{METHODS}?sort_by=name")),
        Request::of("DELETE", METHODS).differs(WRONG_METHOD),
    ]);
    requests
}

fn definition(name: &str, expression: &str) -> Value {
    json!({"name": name, "expression": expression})
}

fn made() -> Vec<Request> {
    let post = |body: Value| Request::send("POST", DEFINITIONS, body);
    let one = json!({
        "name": "one", "expression": "max(cpu.idle{hostname=a}) > 5", "description": "the first",
        "match_by": ["hostname"], "severity": "HIGH", "alarm_actions": ["{hook}"],
        "ok_actions": ["{hook}"], "undetermined_actions": ["{second}"]
    });
    let two =
        "avg(cpu.idle,120) >= 5 times 3 and (min(mem{hostname=a,service=b}) < 1.5 or count(x.y)>0)";
    let three = "count(log.error{path=/var/log/x},deterministic) > 0";
    let four = "last(cpu.idle)>1 or last(cpu.idle) lt 0";
    vec![
        Request::get(DEFINITIONS),
        post(one.clone()).keep("one"),
        post(one),
        post(with(definition("two", two), "severity", json!("low"))).keep("two"),
        post(with(definition("three", three), "match_by", json!(["hostname", "service"])))
            .keep("three"),
        post(with(definition("four", four), "actions_enabled", json!(false))).keep("four"),
        post(definition("six", "max(cpu{a=b,a=c})>1")),
        post(definition("é", "max(é.m{x=ü})>1")),
        post(definition("less", "max(cpu)>-1.5")),
        post(definition("odd; name", "cpu>1 times 2")),
    ]
}

fn refused() -> Vec<Request> {
    let post = |body: Value| Request::send("POST", DEFINITIONS, body);
    let good = || definition("new", "max(cpu.idle{hostname=a}) > 5");
    let field = |name: &str, value: Value| post(with(good(), name, value));
    let mut requests = vec![
        post(json!([])),
        Request::text("POST", DEFINITIONS, "x{"),
        post(json!({"name": "new"})),
        post(json!({"expression": "max(cpu)>1"})),
        field("name", json!(1)),
        field("name", json!("x".repeat(256))),
        field("expression", json!(1)),
        field("severity", json!("NOPE")),
        field("severity", json!(1)),
        field("match_by", json!("hostname")),
        field("match_by", json!(["x".repeat(256)])),
        field("match_by", json!([1])).differs(LISTED),
        field("alarm_actions", json!("x")),
        field("alarm_actions", json!(["nobody"])),
        field("ok_actions", json!(["nobody"])),
        field("alarm_actions", json!(["{hook}", "{hook}"])),
        field("description", json!("x".repeat(256))),
        field("description", json!(1)),
        field("actions_enabled", json!("yes")),
    ];
    for expression in [
        "",
        "cpu",
        "cpu >",
        "max(cpu",
        "max(cpu,x)>1",
        "max(cpu,0)>1",
        "max(cpu)>1 times 0",
        "foo(cpu)>1",
        "max(cpu)>x",
        "max(cpu)>1 and",
        "max(cpu{hostname=})>1",
        "max(cpu{=x})>1",
        "MAX( a{b = c} ) > 1E3",
    ] {
        requests.push(field("expression", json!(expression)).differs(PARSER));
    }
    requests
}

fn lists() -> Vec<Request> {
    let mut requests: Vec<Request> = [
        "",
        "?limit=100",
        "?name=one",
        "?name=nobody",
        "?name=",
        "?dimensions=hostname:a",
        "?severity=HIGH",
        "?severity=HIGH%7CCRITICAL",
        "?severity=high",
        "?severity=NOPE",
        "?severity=",
        "?sort_by=state",
        "?sort_by=nobody",
        "?sort_by=name%20x",
        "?offset=x",
        "?limit=x",
        "/{one}",
        "/{two}",
        "/{three}",
        "/{four}",
        "/{one}/",
        "/nobody",
    ]
    .map(|query| Request::get(format!("{DEFINITIONS}{query}")))
    .into();
    for filter in ["service:b%7Cc", "hostname"] {
        let list = Request::get(format!("{DEFINITIONS}?dimensions={filter}"));
        requests.push(list.differs(ALTERNATIVES));
    }
    requests
}

fn changes() -> Vec<Request> {
    let own = format!("{DEFINITIONS}/{{one}}");
    let full = || {
        json!({
            "name": "one", "expression": "max(cpu.idle{hostname=a}) > 6",
            "match_by": ["hostname"], "description": "", "severity": "LOW", "alarm_actions": [],
            "ok_actions": [], "undetermined_actions": [], "actions_enabled": true
        })
    };
    let put = |name: &str, value: Value| Request::send("PUT", &own, with(full(), name, value));
    let patch = |name: &str, value: Value| Request::send("PATCH", &own, json!({name: value}));
    let mut requests = vec![
        put("description", json!("again")),
        put("match_by", json!(["service"])),
        put("expression", json!("max(other{hostname=a}) > 6")),
        put("expression", json!("max(cpu.idle{hostname=b}) > 6")),
        put("expression", json!("max(cpu.idle{hostname=a}) > 6 and max(x)>1")),
        put("name", json!("two")),
        Request::send("PUT", format!("{DEFINITIONS}/nobody"), full()).differs(UNKNOWN_FIRST),
    ];
    let fields = full();
    for name in fields.as_object().unwrap().keys() {
        let mut body = full();
        body.as_object_mut().unwrap().remove(name);
        requests.push(Request::send("PUT", &own, body));
    }
    requests.extend([
        Request::send("PATCH", &own, json!({})),
        patch("name", json!("uno")),
        patch("severity", json!("CRITICAL")),
        patch("severity", json!("NOPE")),
        patch("description", json!("neu")),
        patch("expression", json!("max(cpu.idle{hostname=a}) > 7")),
        patch("expression", json!("max(zzz)>7")),
        patch("match_by", json!(["x"])),
        patch("match_by", json!(["hostname"])),
        patch("alarm_actions", json!(["{second}"])),
        patch("alarm_actions", json!(["nobody"])),
        patch("actions_enabled", json!(false)),
        patch("actions_enabled", json!(true)),
        patch("name", json!("two")),
        patch("unknown", json!(1)),
        patch("alarm_actions", json!([])),
        patch("undetermined_actions", json!(["{hook}"])),
        Request::send("PATCH", format!("{DEFINITIONS}/nobody"), json!({"name": "x"})),
        Request::of("DELETE", format!("{DEFINITIONS}/nobody")),
        Request::of("DELETE", DEFINITIONS),
        Request::send("PUT", DEFINITIONS, json!({})),
        Request::send("POST", &own, json!({})).differs(WRONG_METHOD),
        Request::get(&own),
        // In use.
        Request::of("DELETE", format!("{METHODS}/{{hook}}")),
        Request::of("DELETE", format!("{DEFINITIONS}/{{four}}")),
        Request::get(format!("{DEFINITIONS}/{{four}}")),
        Request::of("DELETE", format!("{DEFINITIONS}/{{four}}")),
    ]);
    requests
}
