//! Where two answers differ in what they mean. Ids, links and what only one system can know are left
//! out; elements of lists are paired by what they are about, not by place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::plan::Query;
use crate::client::Answer;

/// Numbers that differ by less, in proportion, are the same: sums depend on the order of adding.
const NUMBERS_APART: f64 = 1e-9;
/// Longest value that is shown.
const VALUE_CHARS_MAX: usize = 200;

/// Fields that each system makes up for itself.
const OWN: [&str; 7] = [
    "id",
    "links",
    "message",
    "created_timestamp",
    "updated_timestamp",
    "state_updated_timestamp",
    "alarm_id",
];
/// Lists of ids: how many there are is all that can be compared.
const LISTS_OF_IDS: [&str; 3] = ["alarm_actions", "ok_actions", "undetermined_actions"];
/// Lists whose order means nothing.
const UNORDERED: [&str; 3] = ["metrics", "sub_alarms", "counts"];
/// What an element of a list is about.
const ABOUT: [&str; 9] = [
    "alarm_definition",
    "name",
    "dimensions",
    "metrics",
    "dimension_name",
    "dimension_value",
    "type",
    "timestamp",
    "new_state",
];

/// What differs, a line each: the place in the answer, then what each says.
pub(crate) fn differences(query: &Query, old: &Answer, new: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    if old.status != new.status {
        let of = |answer: &Answer| format!("{}{}", answer.status, told(&answer.body));
        found.push(format!("status: old {}, new {}", of(old), of(new)));
        return found;
    }
    if old.status >= 400 {
        refusals(&old.body, &new.body, &mut found);
        return found;
    }
    // A version is called by its id, nothing else is.
    let is_version = matches!(query.path(), "" | "/v2.0");
    let (old, new) = (plain(&old.body, is_version), plain(&new.body, is_version));
    if query.has("sort_by") {
        compare("", &old, &new, &mut found);
    } else {
        lists(&old, &new, &mut found);
    }
    found
}

/// Refusals say the same if title and description do; a description that the old one lacks is no matter.
fn refusals(old: &Value, new: &Value, found: &mut Vec<String>) {
    for name in ["title", "description"] {
        let text = |of: &Value| of.get(name).and_then(Value::as_str).map(unwrapped);
        if let (Some(old), new) = (text(old), text(new))
            && new.as_ref() != Some(&old)
        {
            let new = new.unwrap_or_else(|| "nothing".to_owned());
            found.push(format!("{name}: old {}, new {}", cut(&old), cut(&new)));
        }
    }
}

/// Older servers show texts as their language writes bytes: `b'…'`.
fn unwrapped(text: &str) -> String {
    text.replace("b'", "'").replace('\'', "")
}

fn told(body: &Value) -> String {
    let text = body.get("description").or_else(|| body.get("title")).and_then(Value::as_str);
    text.map(|text| format!(" ({})", cut(text))).unwrap_or_default()
}

/// An answer without what systems make up for themselves, and with one way of writing each thing.
fn plain(value: &Value, keeps_id: bool) -> Value {
    match value {
        Value::Object(fields) => Value::Object(plain_fields(fields, keeps_id)),
        Value::Array(items) => items.iter().map(|item| plain(item, keeps_id)).collect(),
        Value::String(text) => json!(short_time(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn plain_fields(fields: &Map<String, Value>, keeps_id: bool) -> Map<String, Value> {
    let counts = |name: &str| !OWN.contains(&name) || keeps_id && name == "id";
    let kept = fields.iter().filter(|(name, _)| counts(name));
    kept.map(|(name, value)| (name.clone(), plain_field(name, value, keeps_id))).collect()
}

fn plain_field(name: &str, value: &Value, keeps_id: bool) -> Value {
    // Nothing in dimensions is a time.
    if name == "dimensions" {
        return value.clone();
    }
    if name == "description" && value.is_null() {
        return json!("");
    }
    let Some(items) = value.as_array() else { return plain(value, keeps_id) };
    if LISTS_OF_IDS.contains(&name) {
        return json!(format!("{} of them", items.len()));
    }
    if name == "measurements" {
        return items.iter().map(measurement).collect();
    }
    let mut items: Vec<Value> = items.iter().map(|item| plain(item, keeps_id)).collect();
    if UNORDERED.contains(&name) {
        items.sort_by_cached_key(Value::to_string);
    }
    Value::Array(items)
}

/// A row in which no value_meta is an empty one.
fn measurement(row: &Value) -> Value {
    let Some([time, value, meta]) = row.as_array().map(Vec::as_slice) else { return row.clone() };
    let meta = if meta.is_null() { json!({}) } else { meta.clone() };
    // One way of writing 2, so that rows of one time are sorted alike.
    json!([plain(time, false), value.as_f64(), meta])
}

/// A time without zeros at the end of its fraction.
fn short_time(text: &str) -> String {
    let Some((whole, fraction)) = text.strip_suffix('Z').and_then(|text| text.split_once('.'))
    else {
        return text.to_owned();
    };
    let is_time = whole.len() == 19 && whole.get(10..11) == Some("T");
    if !is_time || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.to_owned();
    }
    match fraction.trim_end_matches('0') {
        "" => format!("{whole}Z"),
        fraction => format!("{whole}.{fraction}Z"),
    }
}

/// Compares two answers, the elements of a list paired by what they are about.
fn lists(old: &Value, new: &Value, found: &mut Vec<String>) {
    let elements = |of: &Value| of.get("elements").and_then(Value::as_array).cloned();
    let (Some(old_elements), Some(new_elements)) = (elements(old), elements(new)) else {
        compare("", old, new, found);
        return;
    };
    let (mut old_groups, mut new_groups) = (grouped(old_elements), grouped(new_elements));
    let keys: BTreeSet<String> = old_groups.keys().chain(new_groups.keys()).cloned().collect();
    for key in keys {
        let before = old_groups.remove(&key).unwrap_or_default();
        let after = new_groups.remove(&key).unwrap_or_default();
        let place = format!("elements[{}]", cut(&key));
        match (before.as_slice(), after.as_slice()) {
            ([], _) => found.push(format!("{place}: only new has it")),
            (_, []) => found.push(format!("{place}: only old has it")),
            (before, after) => {
                if before.len() != after.len() {
                    found.push(format!("{place}: old {} times, new {}", before.len(), after.len()));
                }
                for (old, new) in before.iter().zip(after) {
                    compare(&place, old, new, found);
                }
            }
        }
    }
}

/// Elements by what they are about. Pages of the same thing become one, its rows by time.
fn grouped(elements: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for element in elements {
        let same = groups.entry(about(&element)).or_default();
        if !same.last_mut().is_some_and(|last| join(last, &element)) {
            same.push(element);
        }
    }
    for element in groups.values_mut().flatten() {
        for rows in ["measurements", "statistics"] {
            if let Some(rows) = element.get_mut(rows).and_then(Value::as_array_mut) {
                // Of several series merged, rows of one time come in any order.
                rows.sort_by_cached_key(Value::to_string);
            }
        }
    }
    groups
}

/// Adds the rows of `more` to `element`, if they have rows.
fn join(element: &mut Value, more: &Value) -> bool {
    for name in ["measurements", "statistics"] {
        let rows = more.get(name).and_then(Value::as_array);
        if let (Some(all), Some(rows)) = (element.get_mut(name).and_then(Value::as_array_mut), rows)
        {
            all.extend(rows.iter().cloned());
            return true;
        }
    }
    false
}

fn about(element: &Value) -> String {
    let known = ABOUT.iter().filter_map(|name| Some(format!("{name}: {}", element.get(name)?)));
    let text = known.collect::<Vec<String>>().join(", ");
    if text.is_empty() { element.to_string() } else { text }
}

/// Compares field by field.
fn compare(place: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, old) in before {
                let place = format!("{place}{}{name}", if place.is_empty() { "" } else { "." });
                match after.get(name) {
                    Some(new) => compare(&place, old, new, found),
                    None => found.push(format!("{place}: only old has it: {}", shown(old))),
                }
            }
            for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                let dot = if place.is_empty() { "" } else { "." };
                found.push(format!("{place}{dot}{name}: only new has it: {}", shown(new)));
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            if before.len() != after.len() {
                found.push(format!("{place}: old has {}, new {}", before.len(), after.len()));
            }
            for (at, (old, new)) in before.iter().zip(after).enumerate() {
                compare(&format!("{place}[{at}]"), old, new, found);
            }
        }
        (old, new) if same(old, new) => {}
        (old, new) => found.push(format!("{place}: old {}, new {}", shown(old), shown(new))),
    }
}

fn same(old: &Value, new: &Value) -> bool {
    match (old.as_f64(), new.as_f64()) {
        (Some(old), Some(new)) => {
            old == new || (old - new).abs() <= NUMBERS_APART * old.abs().max(new.abs())
        }
        _ => old == new,
    }
}

fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(VALUE_CHARS_MAX).chain(['…']).collect()
}
