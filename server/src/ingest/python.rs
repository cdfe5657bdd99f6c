//! How the reference implementation prints a value inside its error texts, and how long it finds a
//! value's JSON text. Clients show and compare these texts, so they are kept.

use super::json::Json;

/// As `str(value)`.
pub(crate) fn display(value: &Json<'_>) -> String {
    match value {
        Json::Text(text) => text.to_string(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            let mut out = String::new();
            represent(value, &mut out);
            out
        }
    }
}

/// As `repr(value)`.
fn represent(value: &Json<'_>, out: &mut String) {
    match value {
        Json::Null => out.push_str("None"),
        Json::Bool(true) => out.push_str("True"),
        Json::Bool(false) => out.push_str("False"),
        Json::Number(text) => out.push_str(&number(text)),
        Json::Text(text) => out.push_str(&quoted(text)),
        Json::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                represent(item, out);
            }
            out.push(']');
        }
        Json::Object(pairs) => {
            out.push('{');
            for (at, (key, value)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                out.push_str(&quoted(key));
                out.push_str(": ");
                represent(value, out);
            }
            out.push('}');
        }
    }
}

/// As `repr(text)`.
pub(crate) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// As `repr` of the number that the text stands for.
fn number(text: &str) -> String {
    match text {
        "NaN" => return "nan".into(),
        "Infinity" => return "inf".into(),
        "-Infinity" => return "-inf".into(),
        "-0" => return "0".into(),
        _ => {}
    }
    if !text.contains(['.', 'e', 'E']) {
        return text.to_owned();
    }
    let value: f64 = text.parse().unwrap_or(f64::NAN);
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    // Shortest digits, in scientific form below 1e-4 and from 1e16.
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// How many characters `json.dumps(value)` gives: `", "` and `": "` between parts, everything
/// outside ASCII as `\u` and four hexadecimal digits.
pub(crate) fn dumped_length(value: &Json<'_>) -> usize {
    match value {
        Json::Null | Json::Bool(true) => 4,
        Json::Bool(false) => 5,
        Json::Number(text @ ("NaN" | "Infinity" | "-Infinity")) => text.len(),
        Json::Number(text) => number(text).len(),
        Json::Text(text) => dumped_text_length(text),
        Json::List(items) => {
            2 + items.len().saturating_sub(1) * 2 + items.iter().map(dumped_length).sum::<usize>()
        }
        Json::Object(pairs) => {
            let parts = pairs.iter();
            let parts =
                parts.map(|(key, value)| dumped_text_length(key) + 2 + dumped_length(value));
            2 + pairs.len().saturating_sub(1) * 2 + parts.sum::<usize>()
        }
    }
}

fn dumped_text_length(text: &str) -> usize {
    let lengths = text.chars().map(|c| match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        ' '..='~' => 1,
        c if u32::from(c) > 0xffff => 12,
        _ => 6,
    });
    2 + lengths.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_the_reference_does() {
        let check = |json: &str, want: &str| {
            assert_eq!(display(&Json::parse(json).unwrap()), want);
        };
        check("\"it's\"", "it's");
        check("null", "None");
        check("true", "True");
        check(r#"["a", "it's", 1, 1.0, {"k": null}]"#, r#"['a', "it's", 1, 1.0, {'k': None}]"#);
        check("-0", "0");
        check("-0.0", "-0.0");
        check("1e3", "1000.0");
        check("1e16", "1e+16");
        check("123456789012345680.0", "1.2345678901234568e+17");
        check("0.0001", "0.0001");
        check("0.00001", "1e-05");
        check("1e400", "inf");
        check("-Infinity", "-inf");
        check("12345678901234567890", "12345678901234567890");
    }

    #[test]
    fn counts_the_characters_of_the_dumped_text() {
        let check = |json: &str, want: &str| {
            assert_eq!(dumped_length(&Json::parse(json).unwrap()), want.chars().count());
        };
        check(r#"{"a":1,"b":[true,null]}"#, r#"{"a": 1, "b": [true, null]}"#);
        check("\"é😀\\n\\u0001\"", r#""\u00e9\ud83d\ude00\n\u0001""#);
        check("{}", "{}");
        check("[1.50]", "[1.5]");
    }
}
