//! Which series a field of a line belongs to: measurement and tags, taken apart and checked.
//!
//! The field `value` is the measurement's own metric, every other one is `measurement.field`. The tags are
//! the dimensions, but for the two with which the persister says whose the metric is.

use std::borrow::Cow;

use moneta_storage::model::{Dimensions, SeriesKey};

use super::gather::Fault;
use super::rules;

/// The field that is the measurement itself.
pub(crate) const VALUE: &str = "value";
/// The text that goes with it.
pub(crate) const VALUE_META: &str = "value_meta";
/// Tags that are no dimensions.
const OWN_TAGS: [&str; 2] = ["_tenant_id", "_region"];

/// The series of the field `field` of a line that begins with `series`, in `region`.
pub(crate) fn key(series: &str, field: &str, region: &str) -> Result<SeriesKey, Fault> {
    let mut parts = split(series, b',');
    let measurement = unescaped(parts.next().unwrap_or_default());
    let field = unescaped(field);
    let metric = match &*field {
        VALUE => measurement.into_owned(),
        field => format!("{measurement}.{field}"),
    };
    let mut tags: Vec<(String, String)> = Vec::new();
    for tag in parts {
        let mut sides = split(tag, b'=');
        let (name, value) = (sides.next().unwrap_or_default(), sides.next().unwrap_or_default());
        if name.is_empty() {
            return Err(Fault::Unreadable("missing tag key"));
        }
        if value.is_empty() {
            return Err(Fault::Unreadable("missing tag value"));
        }
        if sides.next().is_some() {
            return Err(Fault::Unreadable("invalid tag format"));
        }
        tags.push((unescaped(name).into_owned(), unescaped(value).into_owned()));
    }
    tags.sort();
    if tags.windows(2).any(|pair| matches!(pair, [one, two] if one.0 == two.0)) {
        return Err(Fault::Unreadable("duplicate tags"));
    }
    rules::check_name(&metric).map_err(Fault::Rule)?;
    tags.retain(|(name, _)| !OWN_TAGS.contains(&name.as_str()));
    for (name, value) in &tags {
        rules::check_dimension_name(name).map_err(Fault::Rule)?;
        rules::check_dimension_value(name, value).map_err(Fault::Rule)?;
    }
    let dimensions = Dimensions::from_pairs(tags);
    Ok(SeriesKey { metric, dimensions, region: region.to_owned() })
}

/// The parts of a text between separators that are not escaped.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = false;
        let at = text.bytes().position(|byte| {
            let ends = byte == separator && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let (part, after) = match at.and_then(|at| text.split_at_checked(at)) {
            Some((part, after)) => (part, after.get(1..)),
            None => (text, None),
        };
        rest = after;
        Some(part)
    })
}

/// A name or the value of a tag without the escapes of commas, spaces, equals signs and backslashes. Any
/// other backslash stands for itself.
pub(crate) fn unescaped(text: &str) -> Cow<'_, str> {
    without_escapes(text, |c| matches!(c, ',' | ' ' | '=' | '\\'))
}

/// A text without the escapes of quotes and backslashes.
pub(crate) fn unescaped_text(text: &str) -> Cow<'_, str> {
    without_escapes(text, |c| matches!(c, '"' | '\\'))
}

fn without_escapes(text: &str, escapable: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().filter(|next| c == '\\' && escapable(*next));
        if next.is_some() {
            chars.next();
        }
        out.push(next.unwrap_or(c));
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_named_by_measurement_tags_and_field() {
        let check = |series: &str, field: &str, want: &str| {
            let got = match key(series, field, "r") {
                Ok(key) => format!("{}{}@{}", key.metric, key.dimensions, key.region),
                Err(fault @ Fault::Unreadable(_)) => format!("unreadable: {}", fault.text()),
                Err(fault) => fault.text(),
            };
            assert_eq!(got, want, "{series} {field}");
        };
        check("cpu", "idle", "cpu.idle{}@r");
        check("cpu.idle_perc", "value", "cpu.idle_perc{}@r");
        check("cpu,host=a,zone=b", "idle", "cpu.idle{host=a, zone=b}@r");
        check("cpu,zone=b,host=a", "value", "cpu{host=a, zone=b}@r");
        // As the persister writes them; time and value are names like others.
        check(
            r"cpu.idle,_region=RegionOne,_tenant_id=t1,dev\ ice=x\ yz/é,hostname=a",
            "value",
            "cpu.idle{dev ice=x yz/é, hostname=a}@r",
        );
        check(
            r"#a,_region=r,_tenant_id=t,time=1,value=2,value_meta=3",
            "value",
            "#a{time=1, value=2, value_meta=3}@r",
        );
        check(r"a,k=it's\ (é)", r"b", "a.b{k=it's (é)}@r");
        check("cpu,host", "v", "unreadable: missing tag value");
        check("cpu,host=", "v", "unreadable: missing tag value");
        check("cpu,=a", "v", "unreadable: missing tag key");
        check("cpu,", "v", "unreadable: missing tag key");
        check("cpu,a=1,,b=2", "v", "unreadable: missing tag key");
        check("cpu,a=1=2", "v", "unreadable: invalid tag format");
        check("cpu,a=1,a=2", "v", "unreadable: duplicate tags");
        check("cpu,_region=1,a=2,_region=3", "v", "unreadable: duplicate tags");
        check(r"c\ pu", "value", "invalid characters in metric name: c pu");
        check(r"c\,pu", "value", "invalid characters in metric name: c,pu");
        check("cpu", r"a\=b", "invalid characters in metric name: cpu.a=b");
        check(r"cpu,a=C:\\x", "v", r"invalid characters in dimension value C:\x from key a");
        check(r"cpu,a=C:\x", "v", r"invalid characters in dimension value C:\x from key a");
        check(r"cpu,a\=b=1", "v", "invalid characters in dimension key a=b");
        check("cpu,_a=1", "v", "invalid characters in dimension key _a");
        check(
            &format!("cpu,a={}", "x".repeat(256)),
            "v",
            &format!("invalid length (256) for dimension value {} from key a", "x".repeat(256)),
        );
        check(
            &"x".repeat(256),
            "value",
            &format!("invalid length for metric name: {}", "x".repeat(256)),
        );
    }

    #[test]
    fn escapes_are_resolved() {
        let check = |text: &str, name: &str, quoted: &str| {
            assert_eq!((unescaped(text), unescaped_text(text)), (name.into(), quoted.into()));
        };
        check("plain", "plain", "plain");
        check(r"a\,b\ c\=d\\e", r"a,b c=d\e", r"a\,b\ c\=d\e");
        check(r#"a\"b\n\"#, r#"a\"b\n\"#, r#"a"b\n\"#);
        check(r"\\\\", r"\\", r"\\");
    }
}
