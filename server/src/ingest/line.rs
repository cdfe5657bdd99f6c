//! Influx line protocol, read in one pass.
//!
//! ```text
//! measurement[,tag=value…] field=value[,field=value…] [time]
//! └── series, as it stands ┘└──────── fields ───────┘
//! ```
//!
//! Of a line only where its parts lie is found, and its numbers are read. Measurement and tags are kept as
//! they stand: these bytes and a field's key are what a series is looked up by, and only one that has not
//! been seen lately is parsed (`line_series.rs`). A line that cannot be read is told and ends where the next
//! one begins; the others count.
//!
//! A backslash takes the next byte as it is, outside of texts and within, but not the end of a line. A text
//! may hold line breaks. `\r` before the end of a line does not count.

use super::number::finite;

/// Fields that a line may have.
const FIELDS_MAX: usize = 16 * 1024;

/// A number, or the inside of a text with its escapes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum FieldValue<'a> {
    /// Also a boolean: 1 or 0. Finite.
    Number(f64),
    Text(&'a str),
}

/// A field of a line.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Field<'a> {
    /// With its escapes.
    pub(crate) key: &'a str,
    pub(crate) value: FieldValue<'a>,
}

/// A line that could be read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Line<'a> {
    /// Measurement and tags, with their escapes.
    pub(crate) series: &'a str,
    /// The value of the tag `_tenant_id`, with its escapes.
    pub(crate) tenant: Option<&'a str>,
    /// The value of the tag `_region`, with its escapes.
    pub(crate) region: Option<&'a str>,
    /// In units of the precision that the request tells.
    pub(crate) time: Option<i64>,
}

/// What is found in a body.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Found<'a, 'f> {
    Line(Line<'a>, &'f [Field<'a>]),
    /// A line that could not be read, and why.
    Unreadable(&'a [u8], &'static str),
}

/// Calls `each` for every line of a body that is neither empty nor a comment, until it says that this is
/// enough.
pub(crate) fn each_line<'a, E>(
    body: &'a [u8],
    mut each: impl FnMut(Found<'a, '_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut fields = Vec::new();
    if let Ok(text) = std::str::from_utf8(body) {
        return each_line_of(text, &mut fields, &mut each);
    }
    // Some bytes are no text: the lines that hold none are read, each for itself.
    for line in body.split(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(text) => each_line_of(text, &mut fields, &mut each)?,
            Err(_) => each(Found::Unreadable(line, "invalid UTF-8"))?,
        }
    }
    Ok(())
}

fn each_line_of<'a, E>(
    text: &'a str,
    fields: &mut Vec<Field<'a>>,
    each: &mut impl FnMut(Found<'a, '_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut cursor = Cursor { text, at: 0 };
    loop {
        cursor.skip(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        let start = cursor.at;
        match cursor.peek() {
            None => return Ok(()),
            Some(b'#') if !cursor.is_data_all_the_same() => {
                cursor.skip(|byte| byte != b'\n');
                continue;
            }
            Some(_) => {}
        }
        fields.clear();
        match cursor.line(fields) {
            Ok(line) => each(Found::Line(line, fields))?,
            Err(why) => {
                cursor.skip(|byte| byte != b'\n');
                let line = cursor.since(start).trim_end_matches('\r');
                each(Found::Unreadable(line.as_bytes(), why))?;
            }
        }
    }
}

/// A place in a body.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The text from `start` to here. Both lie beside an ASCII byte, or at an end.
    #[inline]
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Goes over the bytes that are wanted.
    #[inline]
    fn skip(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = self.rest();
        self.at += rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
    }

    /// Goes to the first byte that ends a part, over escaped ones.
    #[inline]
    fn until(&mut self, ends: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let rest = self.rest();
        let mut at = 0;
        while let Some(&byte) = rest.get(at) {
            if byte == b'\\' {
                at += escape_length(rest, at);
            } else if ends(byte) {
                break;
            } else {
                at += 1;
            }
        }
        self.at += at;
        self.since(start)
    }

    /// Whether a line that begins as a comment is a metric all the same: names may begin with `#`, and the
    /// persister does not escape it. Its lines always say their region.
    fn is_data_all_the_same(&self) -> bool {
        let mut ahead = Cursor { text: self.text, at: self.at };
        ahead.until(|byte| matches!(byte, b' ' | b'\n')).contains(",_region=")
    }

    /// Reads a line, and goes behind it. After a failure the cursor stands where it was noticed.
    fn line(&mut self, fields: &mut Vec<Field<'a>>) -> Result<Line<'a>, &'static str> {
        let mut line = self.series()?;
        self.skip(is_space);
        if self.is_at_end() {
            return Err("missing fields");
        }
        loop {
            fields.push(self.field()?);
            if fields.len() > FIELDS_MAX {
                return Err("too many fields");
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b' ' | b'\t' | b'\r' | b'\n') | None => break,
                Some(_) => return Err("invalid field format"),
            }
        }
        self.skip(is_space);
        if !self.is_at_end() {
            line.time = Some(self.time()?);
            self.skip(is_space);
            if !self.is_at_end() {
                return Err("point is invalid");
            }
        }
        Ok(line)
    }

    #[inline]
    fn is_at_end(&self) -> bool {
        matches!(self.peek(), None | Some(b'\n'))
    }

    /// Measurement and tags.
    fn series(&mut self) -> Result<Line<'a>, &'static str> {
        let start = self.at;
        let rest = self.rest();
        let (mut tenant, mut region) = (None, None);
        let mut at = 0;
        while let Some(&byte) = rest.get(at) {
            match byte {
                b' ' | b'\n' => break,
                b'\\' => at += escape_length(rest, at),
                b',' => {
                    at += 1;
                    if rest.get(at) == Some(&b'_') {
                        let tag = rest.get(at..).unwrap_or_default();
                        if tag.starts_with(b"_tenant_id=") {
                            tenant = Some(start + at + b"_tenant_id=".len());
                        } else if tag.starts_with(b"_region=") {
                            region = Some(start + at + b"_region=".len());
                        }
                    }
                }
                _ => at += 1,
            }
        }
        self.at = start + at;
        let series = self.since(start);
        if series.is_empty() || series.starts_with(',') {
            return Err("missing measurement");
        }
        let value = |at: Option<usize>| {
            at.map(|at| {
                Cursor { text: self.text, at }.until(|byte| matches!(byte, b',' | b' ' | b'\n'))
            })
        };
        Ok(Line { series, tenant: value(tenant), region: value(region), time: None })
    }

    fn field(&mut self) -> Result<Field<'a>, &'static str> {
        let key = self.until(|byte| matches!(byte, b'=' | b',' | b' ' | b'\n'));
        if self.peek() != Some(b'=') {
            return Err(if key.is_empty() { "missing field key" } else { "invalid field format" });
        }
        if key.is_empty() {
            return Err("missing field key");
        }
        self.at += 1;
        let value = if self.peek() == Some(b'"') {
            FieldValue::Text(self.quoted()?)
        } else {
            let start = self.at;
            self.skip(|byte| !matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n'));
            FieldValue::Number(scalar(self.since(start))?)
        };
        Ok(Field { key, value })
    }

    /// The inside of a text.
    fn quoted(&mut self) -> Result<&'a str, &'static str> {
        let start = self.at + 1;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let mut at = 0;
        loop {
            match rest.get(at) {
                None => return Err("unbalanced quotes"),
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
            }
        }
        let inside = self.text.get(start..start + at).unwrap_or_default();
        self.at = start + at + 1;
        Ok(inside)
    }

    fn time(&mut self) -> Result<i64, &'static str> {
        let start = self.at;
        self.skip(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        let text = self.since(start);
        let digits = text.strip_prefix('-').unwrap_or(text);
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
        number.flatten().ok_or("bad timestamp")
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// How many bytes the backslash at `at` takes with itself.
#[inline]
fn escape_length(rest: &[u8], at: usize) -> usize {
    if matches!(rest.get(at + 1), None | Some(b'\n')) { 1 } else { 2 }
}

/// What a field says that is no text.
#[inline]
fn scalar(text: &str) -> Result<f64, &'static str> {
    match text.as_bytes() {
        [] => Err("missing field value"),
        [b'0'..=b'9' | b'-' | b'+' | b'.', ..] => number(text).ok_or("invalid number"),
        [b't' | b'T' | b'f' | b'F', ..] => match text {
            "t" | "T" | "true" | "True" | "TRUE" => Ok(1.0),
            "f" | "F" | "false" | "False" | "FALSE" => Ok(0.0),
            _ => Err("invalid boolean"),
        },
        [..] => Err("invalid field format"),
    }
}

/// A number with an `i` for an integer, a `u` for one without a sign. Integers beyond 2^53 become the
/// nearest double, as every value does.
#[inline]
fn number(text: &str) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "values are doubles")]
    if let Some(digits) = text.strip_suffix('i') {
        return digits.parse::<i64>().ok().map(|number| number as f64);
    } else if let Some(digits) = text.strip_suffix('u') {
        return digits.parse::<u64>().ok().map(|number| number as f64);
    }
    is_decimal(text).then(|| finite(text)).flatten()
}

/// Whether a text is a decimal number: `-1`, `+.5`, `2.`, `1e-7`.
fn is_decimal(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut at = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let whole = digits(at);
    at += whole;
    let mut decimals = 0;
    if bytes.get(at) == Some(&b'.') {
        decimals = digits(at + 1);
        at += 1 + decimals;
    }
    if whole + decimals == 0 {
        return false;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
        let exponent = digits(at);
        if exponent == 0 {
            return false;
        }
        at += exponent;
    }
    at == bytes.len()
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
