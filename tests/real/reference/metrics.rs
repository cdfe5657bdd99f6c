//! Writing, listing, measurements and statistics.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::comparison::{Pair, Request};

const METRICS: &str = "/metrics";
const VALUES: &str = "/metrics/dimensions/names/values";
/// Where lists of series begin.
const LISTS: [&str; 3] = [METRICS, "/metrics/names", "/metrics/dimensions/names"];

const NO_LIMIT: &str = "`limit=0` is refused (422)";
const BAD_OFFSET: &str = "a bad `offset` is refused (422)";
const WINDOW: &str = "names and values are those with samples in it";
const OWN_LANGUAGE: &str = "dimensions or `value_meta` that are no object are told so";
const ONCE: &str = "a repeated one is refused (422)";
const BACKWARDS: &str = "`start_time` behind `end_time` is refused everywhere (400)";
const TWICE: &str = "a statistic asked for twice has its name twice in `columns`";
const SPACES: &str = "spaces in dimensions come back as they were written";
const NEXT: &str = "`next` is there when something follows";

fn metric(name: &str, dimensions: Value, time: i64, value: f64) -> Value {
    json!({"name": name, "dimensions": dimensions, "timestamp": time, "value": value})
}

/// A span of time as parameters.
fn span(start: i64, end: i64) -> String {
    let [start, end] = [start, end].map(|time| Timestamp::from_millisecond(time).unwrap());
    format!("start_time={start}&end_time={end}")
}

pub(crate) async fn compare(pair: &mut Pair) {
    // A full hour that is over.
    let base = (pair.now() / 3_600_000 - 2) * 3_600_000;
    write(pair, base).await;
    pair.compare_all(versions()).await;
    pair.compare_all(lists(base)).await;
    pair.compare_all(values_of_dimensions(base)).await;
    pair.compare_all(series(base)).await;
    pair.compare_all(statistics(base)).await;
    pair.compare_all(refused(base)).await;
    spaces(pair, base).await;
}

/// Last, for the reference shows what it made of them in every list.
async fn spaces(pair: &mut Pair, base: i64) {
    let sample = metric("spaced", json!({"disk": "C drive"}), base, 1.0);
    pair.compare(Request::send("POST", METRICS, sample)).await;
    let list = Request::get(format!("{METRICS}?name=spaced"));
    let there = |body: &Value| body["elements"].as_array().is_some_and(|rows| !rows.is_empty());
    pair.await_reference(&list, there).await;
    pair.compare(list.differs(SPACES)).await;
}

async fn write(pair: &mut Pair, base: i64) {
    let mut samples = Vec::new();
    for at in 0..40_u8 {
        for (host, late, level) in [("a", 7, 0.0), ("b", 250, 100.0)] {
            let dimensions = json!({"hostname": host, "service": "nova", "n": "1"});
            let time = base + i64::from(at) * 30_000 + late;
            samples.push(metric("cpu.idle", dimensions, time, level + f64::from(at) * 1.5));
        }
    }
    for at in 0..10_u8 {
        let dimensions = json!({"url": "http://x:80/a_b", "hostname": "a"});
        let time = base + i64::from(at) * 60_000;
        let mut sample = metric("http_status", dimensions, time, f64::from(at % 2));
        sample["value_meta"] = json!({"rc": "404", "msg": "é \"q\" \\ x"});
        samples.push(sample);
    }
    let odd = json!({"ключ": "знач", "a.b-c": "x_y"});
    samples.push(metric("é.metric", odd, base, 0.1 + 0.2));
    for (millis, value) in [(1, 1e300), (2, -5e-324), (3, 12_345_678_901_234_568.0)] {
        samples.push(metric("nodims", json!({}), base + millis, value));
    }
    for number in 0..12_u8 {
        let dimensions = json!({"k": number.to_string()});
        let (name, time) = (format!("multi.{number:02}"), base + i64::from(number));
        samples.push(metric(&name, dimensions, time, f64::from(number)));
    }
    for (host, minute, value) in [("a", 0, 1.0), ("a", 20, 5.0), ("c", 10, 7.0)] {
        samples.push(metric("gap", json!({"hostname": host}), base + minute * 60_000, value));
    }
    for body in samples.chunks(50) {
        pair.compare(Request::send("POST", METRICS, json!(body))).await;
    }
    // One alone, and once more the same.
    pair.compare(Request::send("POST", METRICS, samples[0].clone())).await;
    // The persister takes the partitions as it likes.
    let rows = |body: &Value| body["elements"][0]["measurements"].as_array().map(Vec::len);
    for (name, count) in [("cpu.idle", 80), ("http_status", 10), ("nodims", 3), ("gap", 3)] {
        let all = span(base, base + 3_600_000);
        let target = format!("/metrics/measurements?name={name}&merge_metrics=true&{all}");
        pair.await_reference(&Request::get(target), |body| rows(body) == Some(count)).await;
    }
    let (_, ours) = pair.ask(1, &Request::get(METRICS)).await;
    let series = |body: &Value| body["elements"].as_array().map(Vec::len);
    pair.await_reference(&Request::get(METRICS), |body| series(body) == series(&ours)).await;
}

fn versions() -> Vec<Request> {
    ["", "/"].map(Request::get).into()
}

fn lists(base: i64) -> Vec<Request> {
    let hour = 3_600_000;
    let mut requests = Vec::new();
    for list in LISTS {
        requests.extend([
            Request::get(list),
            Request::get(format!("{list}?limit=3")),
            Request::get(format!("{list}?limit=1")),
            Request::get(format!("{list}?limit=10000")),
            Request::get(format!("{list}?limit=20000")),
            Request::get(format!("{list}?limit=0")).differs(NO_LIMIT),
            Request::get(format!("{list}?limit=x")),
            Request::get(format!("{list}?limit=-1")),
            Request::get(format!("{list}?name=cpu.idle")),
            Request::get(format!("{list}?name=no.such")),
            Request::get(format!("{list}?name=")),
            Request::get(format!("{list}?name=%C3%A9.metric")),
            Request::get(format!("{list}?metric_name=cpu.idle")),
            Request::get(format!("{list}?dimensions=hostname:a")),
            Request::get(format!("{list}?dimensions=hostname")),
            Request::get(format!("{list}?dimensions=hostname:a%7Cb")),
            Request::get(format!("{list}?dimensions=hostname:a,service:nova")),
            Request::get(format!("{list}?dimensions=hostname:zzz")),
            Request::get(format!(
                "{list}?dimensions=%D0%BA%D0%BB%D1%8E%D1%87:%D0%B7%D0%BD%D0%B0%D1%87"
            )),
            Request::get(format!("{list}?dimensions=url:http://x:80/a_b")),
            Request::get(format!("{list}?unknown=parameter")),
            Request::get(format!("{list}?{}", span(base, base + hour))),
            Request::get(format!("{list}?{}", span(base, base + hour / 6))),
            Request::get(format!("{list}?start_time=2099-01-01T00:00:00Z")),
            Request::of("DELETE", list),
        ]);
    }
    let (late, backwards) = (span(base + hour / 6, base + hour), span(base + hour, base));
    requests.extend([
        Request::get(format!("{METRICS}?{late}")),
        Request::get(format!("/metrics/names?{late}")),
        Request::get(format!("/metrics/dimensions/names?{late}")).differs(WINDOW),
        Request::get(format!("{METRICS}?{backwards}")),
        Request::get(format!("/metrics/dimensions/names?{backwards}")).differs(BACKWARDS),
        Request::get(format!("{METRICS}?offset=zzz")).differs(BAD_OFFSET),
        Request::of("PUT", METRICS),
    ]);
    requests
}

fn values_of_dimensions(base: i64) -> Vec<Request> {
    let all = span(base, base + 3_600_000);
    [
        "".to_owned(),
        "?dimension_name=hostname".to_owned(),
        "?dimension_name=hostname&limit=1".to_owned(),
        "?dimension_name=hostname&metric_name=cpu.idle".to_owned(),
        "?dimension_name=hostname&metric_name=no.such".to_owned(),
        "?dimension_name=nobody".to_owned(),
        "?dimension_name=%D0%BA%D0%BB%D1%8E%D1%87".to_owned(),
        "?dimension_name=url".to_owned(),
        "?metric_name=cpu.idle".to_owned(),
        format!("?dimension_name=hostname&{all}"),
    ]
    .map(|query| Request::get(format!("{VALUES}{query}")))
    .into()
}

/// Measurements and statistics of one, several and no series.
fn series(base: i64) -> Vec<Request> {
    let all = span(base, base + 3_600_000);
    let of_cpu = format!("name=cpu.idle&{all}");
    let queries = [
        of_cpu.clone(),
        format!("{of_cpu}&dimensions=hostname:a"),
        format!("{of_cpu}&dimensions=hostname:a&limit=5"),
        format!("{of_cpu}&merge_metrics=true"),
        format!("{of_cpu}&merge_metrics=true&limit=7"),
        format!("{of_cpu}&group_by=hostname"),
        format!("{of_cpu}&group_by=*"),
        format!("{of_cpu}&group_by=hostname&limit=10"),
        format!("{of_cpu}&group_by=hostname,service"),
        format!("{of_cpu}&group_by=service"),
        format!("{of_cpu}&group_by=nobody"),
        format!("{of_cpu}&group_by=hostname&merge_metrics=true"),
        format!("{of_cpu}&dimensions=hostname:a%7Cb&group_by=hostname"),
        format!("name=cpu.idle&{}&dimensions=hostname:b", span(base, base + 600_000)),
        format!("name=cpu.idle&{}&dimensions=hostname:a", span(base + 7, base + 600_007)),
        format!("name=cpu.idle&{}", span(base + 600_000, base)),
        format!("name=http_status&{all}"),
        format!("name=nodims&{all}"),
        format!("name=%C3%A9.metric&{all}"),
        format!("name=no.such&{all}"),
        format!("name=gap&merge_metrics=true&{all}"),
        all.clone(),
        "name=cpu.idle".to_owned(),
        "name=cpu.idle&start_time=zzz".to_owned(),
    ];
    let of = |query: &String| {
        let statistics = format!("/metrics/statistics?period=60&{query}");
        [
            Request::get(format!("/metrics/measurements?{query}")),
            Request::get(format!("{statistics}&statistics=avg")),
            Request::get(format!("{statistics}&statistics=avg,min,max,count,sum")),
        ]
    };
    queries.iter().flat_map(of).collect()
}

fn statistics(base: i64) -> Vec<Request> {
    let hour = 3_600_000;
    let of = |name: &str, start: i64, rest: &str| {
        let span = span(start, base + hour);
        Request::get(format!("/metrics/statistics?name={name}&dimensions=hostname:a&{span}{rest}"))
    };
    let mut requests = Vec::new();
    for rest in [
        "",
        "&statistics=",
        "&statistics=avg",
        "&statistics=AVG",
        "&statistics=median",
        "&statistics=avg,foo",
        "&statistics=avg&period=0",
        "&statistics=avg&period=-1",
        "&statistics=avg&period=x",
        "&statistics=avg&period=77",
        "&statistics=avg&period=300",
        "&statistics=sum&period=86400",
        "&statistics=count,avg&period=600&limit=1",
    ] {
        requests.push(of("cpu.idle", base, rest));
    }
    requests.extend([
        of("cpu.idle", base, "&statistics=count,avg&period=600&limit=2").differs(NEXT),
        of("cpu.idle", base, "&statistics=avg,avg").differs(TWICE),
        of("cpu.idle", base, "&statistics=avg&statistics=max&period=600").differs(ONCE),
        of("cpu.idle", base + 17_000, "&statistics=avg&period=60"),
        of("cpu.idle", base + 17_000, "&statistics=avg,count&period=300"),
        of("gap", base, "&statistics=avg,count&period=300"),
    ]);
    requests
}

/// Bodies that are wrong.
fn refused(base: i64) -> Vec<Request> {
    let good = || metric("a", json!({}), base, 1.0);
    let with = |field: &str, value: Value| {
        let mut body = good();
        body[field] = value;
        body
    };
    let named = |name: &str, value: &str| with("dimensions", json!({name: value}));
    let long = "x".repeat(256);
    let mut bodies = vec![
        json!({}),
        json!([]),
        json!({"name": "a"}),
        json!({"name": "a", "value": 1}),
        json!({"name": "a", "timestamp": base}),
        json!({"value": 1, "timestamp": base}),
        json!([good(), with("name", json!("a b"))]),
        with("unknown", json!(1)),
    ];
    bodies.extend(["", "a b", "a<b", &long].map(|name| with("name", json!(name))));
    bodies.push(with("name", json!(1)));
    bodies.extend([
        named("_x", "1"),
        named("x", ""),
        named("", "1"),
        named("x;", "1"),
        named("x", "a;b"),
        named("x", &long),
        named(&long, "x"),
        with("dimensions", json!({"x": 1})),
        with("timestamp", json!("x")),
        with("value", json!("x")),
        with("value", Value::Null),
        with("value_meta", json!({long.clone(): "v"})),
        with("value_meta", json!({"k": "v".repeat(3000)})),
        with("value_meta", json!({"k": 1})),
        with("value_meta", (0..17).map(|n| (format!("k{n:02}"), json!("v"))).collect()),
        with("value_meta", Value::Null),
    ]);
    let mut requests: Vec<Request> =
        bodies.into_iter().map(|body| Request::send("POST", METRICS, body)).collect();
    requests.extend(["{", ""].map(|body| Request::text("POST", METRICS, body)));
    let own = [
        json!([[]]),
        json!(null),
        with("value_meta", json!("text")),
        with("dimensions", json!("text")),
        with("dimensions", Value::Null),
    ];
    requests.extend(own.map(|body| Request::send("POST", METRICS, body).differs(OWN_LANGUAGE)));
    requests
}
