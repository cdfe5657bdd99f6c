//! Tests of decoding measurements: the fast path against the slow one, and every error text.

use proptest::prelude::*;

use super::*;

/// A metric with everything parsed, for comparing.
type Plain = (SeriesKey, i64, u64, Option<String>);

fn plain(metric: &Metric<'_>) -> Result<Plain, Rejection> {
    let key = metric.identity.key("r")?;
    Ok((key, metric.time.millis(), metric.value.to_bits(), metric.meta.clone()))
}

fn decode(body: &[u8]) -> Result<Vec<Plain>, Rejection> {
    let mut all = Vec::new();
    each_metric(body, |metric| {
        all.push(plain(&metric)?);
        Ok(())
    })?;
    Ok(all)
}

/// What [`decode`] gives, by way of the tree alone.
fn decode_slowly(body: &[u8]) -> Result<Vec<Plain>, Rejection> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed::Syntax)?;
    let json = Json::parse(text)?;
    let items = if let Json::List(items) = json { items } else { vec![json] };
    items.iter().map(|item| plain(&any_metric(item)?)).collect()
}

fn check(body: &str, want: &str) {
    let got = match decode(body.as_bytes()) {
        Ok(metrics) => metrics
            .iter()
            .map(|(key, time, value, meta)| {
                let meta = meta.as_deref().map_or(String::new(), |meta| format!(" {meta}"));
                let value = f64::from_bits(*value);
                format!("{}{} {time} {value:?}{meta}", key.metric, key.dimensions)
            })
            .collect::<Vec<_>>()
            .join("; "),
        Err(Rejection::Invalid(text)) => format!("422 {text}"),
        Err(Rejection::Malformed(what)) => format!("400 {what:?}"),
        Err(Rejection::Store(refusal)) => format!("store {}", refusal.0),
    };
    assert_eq!(got, want, "{body}");
    assert_eq!(decode(body.as_bytes()), decode_slowly(body.as_bytes()), "{body}");
}

#[test]
fn what_metrics_before_said_is_not_mistaken() {
    let two = |first: &str, second: &str| {
        format!(
            r#"[{{"name":"a","value":1,{first}}},{{"name":"b","value":2,{second}}},{{"name":"c","value":3,{second}}}]"#
        )
    };
    let times = |first: &str, second: &str| {
        two(&format!(r#""timestamp":{first}"#), &format!(r#""timestamp":{second}"#))
    };
    check(&times("17", "17"), "a{} 17 1.0; b{} 17 2.0; c{} 17 3.0");
    check(&times("17", "170"), "a{} 17 1.0; b{} 170 2.0; c{} 170 3.0");
    check(&times("170", "17"), "a{} 170 1.0; b{} 17 2.0; c{} 17 3.0");
    check(&times("17", "17.9"), "a{} 17 1.0; b{} 17 2.0; c{} 17 3.0");
    check(&times("17", "17e1"), "a{} 17 1.0; b{} 170 2.0; c{} 170 3.0");
    check(&times("17", "17 "), "a{} 17 1.0; b{} 17 2.0; c{} 17 3.0");
    check(&times("0", "01"), "400 Syntax");
    let named = |first: &str, second: &str| {
        let with = |text: &str| format!(r#""timestamp":1,"dimensions":{text}"#);
        two(&with(first), &with(second))
    };
    check(&named(r#"{"h":"1"}"#, r#"{"h":"1"}"#), "a{h=1} 1 1.0; b{h=1} 1 2.0; c{h=1} 1 3.0");
    check(
        &named(r#"{"h":"1"}"#, r#"{"h":"1","i":"2"}"#),
        "a{h=1} 1 1.0; b{h=1, i=2} 1 2.0; c{h=1, i=2} 1 3.0",
    );
    check(&named(r#"{"h":"1"}"#, "{}"), "a{h=1} 1 1.0; b{} 1 2.0; c{} 1 3.0");
    check(&named(r#"{"h":"1"}"#, r#"{"h":"1"}}"#), "400 Syntax");
}

#[test]
fn what_clients_send_is_read() {
    check("[]", "");
    check(" [ ] ", "");
    check(r#"{"name":"cpu.idle_perc","timestamp":1,"value":2}"#, "cpu.idle_perc{} 1 2.0");
    check(
        r#"[{"name": "a", "dimensions": {"h": "1", "z": "x"}, "timestamp": 1795166675045.7786,
            "value": 0.25, "value_meta": null}, {"value": 1e3, "timestamp": 7, "name": "b"}]"#,
        "a{h=1, z=x} 1795166675045 0.25; b{} 7 1000.0",
    );
    check(r#"{"name":"a","timestamp":-1.9,"value":-0.5}"#, "a{} -1 -0.5");
    check(r#"{"name":"a","timestamp":-0.9,"value":true}"#, "a{} 0 1.0");
    check(r#"{"name":"a","timestamp":1.5e3,"value":false}"#, "a{} 1500 0.0");
    check(r#"{"name":"é'\u0041","timestamp":1,"value":1}"#, "é'A{} 1 1.0");
    check(r#"{"n\u0061me":"a","timestamp":1,"value":1}"#, "a{} 1 1.0");
    check(r#"{"name":5,"timestamp":1,"value":1,"name":"a"}"#, "a{} 1 1.0");
    check(r#"{"name":"a","timestamp":1,"value":1,"value":2}"#, "a{} 1 2.0");
    check(r#"{"name":"a","timestamp":1,"value":1,"more":[{"x":null}]}"#, "a{} 1 1.0");
    check(r#"{"name":"a","timestamp":1,"value":1,"value_meta":{}}"#, "a{} 1 1.0");
    check(
        r#"{"name":"a","timestamp":1,"value":1,"value_meta":{"k": "v", "n": [1, null]}}"#,
        r#"a{} 1 1.0 {"k":"v","n":[1,null]}"#,
    );
    check(
        r#"{"name":"a","timestamp":1,"value":1,"dimensions":{"a b(c)": "d (e)", "x":"1","x":"2"}}"#,
        "a{a b(c)=d (e), x=2} 1 1.0",
    );
}

#[test]
fn every_rule_has_its_text() {
    let long = "x".repeat(256);
    let with = |rest: &str| format!(r#"{{"name":"m","timestamp":1,"value":1,{rest}}}"#);
    check("{}", "422 'name'");
    check("[{}]", "422 'name'");
    check("5", "422 a metric must be an object, not 5");
    check(r#"{"name":5}"#, "422 invalid metric name type: 5 is not a string type ");
    check(
        r#"{"name":["a","b"]}"#,
        "422 invalid metric name type: ['a', 'b'] is not a string type ",
    );
    check(r#"{"name":null}"#, "422 invalid metric name type: None is not a string type ");
    check(r#"{"name":"","timestamp":1,"value":1}"#, "422 invalid length for metric name: ");
    check(
        &format!(r#"{{"name":"{long}","timestamp":1,"value":1}}"#),
        &format!("422 invalid length for metric name: {long}"),
    );
    let accented = "é".repeat(255);
    check(
        &format!(r#"{{"name":"{accented}","timestamp":1,"value":1}}"#),
        &format!("{accented}{{}} 1 1.0"),
    );
    for c in ["<", ">", "=", "{", "}", ",", ";", "&", "(", ")", " "] {
        check(
            &format!(r#"{{"name":"a{c}","timestamp":1,"value":1}}"#),
            &format!("422 invalid characters in metric name: a{c}"),
        );
    }
    check(
        r#"{"name":"a\"","timestamp":1,"value":1}"#,
        "422 invalid characters in metric name: a\"",
    );
    check(r#"{"name":"m","timestamp":1}"#, "422 \"'value': for metric m\"");
    check(r#"{"name":"m","value":1}"#, "422 \"'timestamp': for metric m\"");
    for (value, shown) in [("\"1\"", "1"), ("null", "None"), ("[]", "[]"), ("{}", "{}")] {
        check(
            &format!(r#"{{"name":"m","timestamp":1,"value":{value}}}"#),
            &format!(
                "422 invalid value type: {shown} is not a number type for metric: for metric m"
            ),
        );
        check(
            &format!(r#"{{"name":"m","value":1,"timestamp":{value}}}"#),
            &format!(
                "422 invalid timestamp type: {shown} is not a number type for metric: for metric m"
            ),
        );
    }
    for (value, shown) in
        [("NaN", "nan"), ("Infinity", "inf"), ("-Infinity", "-inf"), ("1e400", "inf")]
    {
        check(
            &format!(r#"{{"name":"m","timestamp":1,"value":{value}}}"#),
            &format!("422 invalid value: {shown} is not a valid value for metric: for metric m"),
        );
    }
    check(
        r#"{"name":"m","value":1,"timestamp":NaN}"#,
        "422 invalid timestamp: nan is not a point in time: for metric m",
    );
    let dimension = |pairs: &str, want: &str| {
        check(&with(&format!(r#""dimensions":{pairs}"#)), &format!("422 {want}: for metric m"));
    };
    dimension("null", "invalid dimensions type: None is not an object");
    dimension("[]", "invalid dimensions type: [] is not an object");
    dimension(r#"{"":"v"}"#, "invalid length (0) for dimension key ");
    dimension(
        &format!(r#"{{"{long}":"v"}}"#),
        &format!("invalid length (256) for dimension key {long}"),
    );
    dimension(r#"{"_k":"v"}"#, "invalid characters in dimension key _k");
    dimension(r#"{"k":5}"#, "invalid dimension value type: 5 must be a string (from key k)");
    dimension(r#"{"k":""}"#, "invalid length (0) for dimension value  from key k");
    dimension(
        &format!(r#"{{"k":"{long}"}}"#),
        &format!("invalid length (256) for dimension value {long} from key k"),
    );
    for c in ["<", ">", "=", "{", "}", ",", ";", "&"] {
        dimension(
            &format!(r#"{{"k{c}":"v"}}"#),
            &format!("invalid characters in dimension key k{c}"),
        );
        dimension(
            &format!(r#"{{"k":"v{c}"}}"#),
            &format!("invalid characters in dimension value v{c} from key k"),
        );
    }
    let meta = |pairs: &str, want: &str| {
        check(&with(&format!(r#""value_meta":{pairs}"#)), &format!("422 {want}: for metric m"));
    };
    let entries: Vec<String> = (0..17).map(|n| format!(r#""{n}":0"#)).collect();
    let shown: Vec<String> = (0..17).map(|n| format!("'{n}': 0")).collect();
    meta(
        &format!("{{{}}}", entries.join(",")),
        &format!("Too many valueMeta entries 17, limit is 16: valueMeta {{{}}}", shown.join(", ")),
    );
    meta(r#"{"":1}"#, "valueMeta name cannot be empty: key=, value=1");
    meta(
        &format!(r#"{{"{long}":1}}"#),
        &format!("valueMeta name too long: {long} must be 255 characters or less"),
    );
    // {"k": "…"} has nine characters around the value.
    let text = "é".repeat(339) + "abcde";
    assert_eq!(text.chars().map(|c| if c == 'é' { 6 } else { 1 }).sum::<usize>() + 9, 2048);
    check(
        &with(&format!(r#""value_meta":{{"k":"{text}"}}"#)),
        &format!(r#"m{{}} 1 1.0 {{"k":"{text}"}}"#),
    );
    meta(
        &format!(r#"{{"k":"{text}f"}}"#),
        &format!(
            "valueMeta name value combinations must be 2048 characters or less: valueMeta \
             {{'k': '{text}f'}}"
        ),
    );
    meta("[1]", "invalid valueMeta type: [1] is not an object");
}

#[test]
fn a_body_that_is_not_json_is_told_so_first() {
    for body in ["", "{", "[{}", r#"[{"name":"a b"},]"#, "nope", "[1,2", "{} x"] {
        check(body, "400 Syntax");
    }
    check(&"[".repeat(1000), "400 Depth");
    assert_eq!(decode(b"\"\xff\""), Err(Rejection::Malformed(Malformed::Syntax)));
}

#[test]
fn equal_raw_bytes_mean_equal_series_only() {
    let raw = |body: &str| {
        let mut out = Vec::new();
        each_metric(body.as_bytes(), |metric| {
            metric.identity.raw(&mut out);
            Ok(())
        })
        .unwrap();
        out
    };
    let metric =
        |name: &str, rest: &str| raw(&format!(r#"{{"name":"{name}","timestamp":1,{rest}}}"#));
    assert_eq!(metric("a", r#""value":1"#), metric("a", r#""value":2"#));
    assert_ne!(metric("a", r#""value":1"#), metric("b", r#""value":1"#));
    assert_ne!(
        metric("a", r#""value":1,"dimensions":{"h":"1"}"#),
        metric("a", r#""value":1,"dimensions":{"h":"2"}"#)
    );
    // Read as a tree, because of the boolean.
    assert_ne!(
        metric("a", r#""value":true,"dimensions":{"h":"1"}"#),
        metric("a", r#""value":true,"dimensions":{"h":"2"}"#)
    );
}

fn fragments() -> impl Strategy<Value = String> {
    let member = prop_oneof![
        8 => Just(r#""name":"cpu.idle""#),
        1 => Just(r#""name":"a b""#),
        1 => Just(r#""name":7"#),
        8 => Just(r#""timestamp":1795166675045.77"#),
        1 => Just(r#""timestamp":"x""#),
        8 => Just(r#""value":12.5"#),
        2 => Just(r#""value":1e-7"#),
        1 => Just(r#""value":NaN"#),
        1 => Just(r#""value":null"#),
        3 => Just(r#""dimensions":{"h":"x","a":"\u00e9"}"#),
        1 => Just(r#""dimensions":{"_h":"x"}"#),
        1 => Just(r#""dimensions":null"#),
        2 => Just(r#""value_meta":null"#),
        2 => Just(r#""value_meta":{"k":"v"}"#),
        1 => Just(r#""value_meta":{"":1}"#),
        1 => Just(r#""x":[1,{"y":"\\"}]"#),
        1 => Just(r#""x":[1"#),
    ];
    let item =
        prop::collection::vec(member, 0..8).prop_map(|all| format!("{{{}}}", all.join(" , ")));
    prop::collection::vec(item, 0..4).prop_map(|items| format!("[{}]", items.join(",")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_fast_reader_agrees_with_the_slow_one(body in fragments()) {
        prop_assert_eq!(decode(body.as_bytes()), decode_slowly(body.as_bytes()));
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(decode(&body), decode_slowly(&body));
    }

    #[test]
    fn numbers_are_the_nearest_doubles(text in "-?(0|[1-9][0-9]{0,19})(\\.[0-9]{1,18})?(e-?[0-9]{1,2})?") {
        let exact: f64 = text.parse().unwrap();
        prop_assert_eq!(finite(&text).map(f64::to_bits), Some(exact.to_bits()));
        let cut = milliseconds(&text).map(Timestamp::millis);
        if text.len() <= 15 && !text.contains('e') {
            let whole = format!("{:.0}", exact.trunc());
            prop_assert_eq!(cut, whole.parse().ok());
        } else {
            prop_assert!(cut.is_some());
        }
    }
}
