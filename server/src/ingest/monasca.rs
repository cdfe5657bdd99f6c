//! The body of `POST /v2.0/metrics`: the hot path.
//!
//! One pass over the bytes. Of a regular item only the raw text of its name and dimensions is found
//! and its numbers are read; the text is looked up in the store's series cache as it stands, and is
//! parsed and checked only when it has not been seen lately. Anything irregular in an item is read
//! again as a tree, which knows every rule and error text. A body is all or nothing.

use std::borrow::Cow;

use moneta_storage::model::{Dimensions, SeriesKey, Timestamp};

use super::json::{Cursor, Json, Malformed, RawText};
use super::number::finite;
use super::{python, rules};

/// Why a body is refused.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Rejection {
    /// It is not JSON.
    Malformed(Malformed),
    /// A metric breaks a rule; the text says which.
    Invalid(String),
    /// The store refuses a sample.
    Store(StoreRefusal),
}

/// A refusal of the store, comparable by its text.
#[derive(Clone, Debug)]
pub(crate) struct StoreRefusal(pub(crate) moneta_storage::Error);

impl PartialEq for StoreRefusal {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl From<Malformed> for Rejection {
    fn from(malformed: Malformed) -> Self {
        Rejection::Malformed(malformed)
    }
}

impl From<moneta_storage::Error> for Rejection {
    fn from(error: moneta_storage::Error) -> Self {
        Rejection::Store(StoreRefusal(error))
    }
}

impl Rejection {
    /// In the words of this API, where it is the store that refuses: the one rule about a single
    /// sample that `push` enforces is the range of times.
    pub(crate) fn of_metric(self, identity: &Identity<'_>) -> Self {
        match self {
            Rejection::Store(StoreRefusal(moneta_storage::Error::Invalid(text))) => {
                let name = match identity {
                    Identity::Raw { name, .. } => name.unescape(),
                    Identity::Checked { name, .. } => name.as_str().into(),
                };
                of_metric(&format!("invalid timestamp: {text}"), &name)
            }
            Rejection::Malformed(_) | Rejection::Invalid(_) | Rejection::Store(_) => self,
        }
    }
}

/// What says which series a metric belongs to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Identity<'a> {
    /// As it stands in the body: a string, and an object (empty if there is none).
    Raw {
        /// The name.
        name: RawText<'a>,
        /// The object's text.
        dimensions: &'a str,
    },
    /// Parsed and checked.
    Checked {
        /// The name.
        name: String,
        /// The dimensions.
        dimensions: Dimensions,
    },
}

impl Identity<'_> {
    /// Bytes of which equal ones mean the same series. The byte 0xFF stands in no UTF-8 text, so the
    /// parts cannot run together, nor the two kinds.
    pub(crate) fn raw(&self, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Identity::Raw { name, dimensions } => {
                out.extend_from_slice(name.inside.as_bytes());
                out.push(0xff);
                out.extend_from_slice(dimensions.as_bytes());
            }
            Identity::Checked { name, dimensions } => {
                for text in [(name.as_str(), "")].into_iter().chain(dimensions.iter()) {
                    out.push(0xff);
                    out.extend_from_slice(text.0.as_bytes());
                    out.push(0xff);
                    out.extend_from_slice(text.1.as_bytes());
                }
            }
        }
    }

    /// The series, checked.
    pub(crate) fn key(&self, region: &str) -> Result<SeriesKey, Rejection> {
        let (metric, dimensions) = match self {
            Identity::Raw { name, dimensions } => {
                let name = name.unescape().into_owned();
                rules::check_name(&name).map_err(Rejection::Invalid)?;
                let dimensions = if dimensions.is_empty() {
                    Dimensions::none()
                } else {
                    let json = Json::parse(dimensions)?;
                    rules::check_dimensions(&json).map_err(|text| of_metric(&text, &name))?
                };
                (name, dimensions)
            }
            Identity::Checked { name, dimensions } => (name.clone(), dimensions.clone()),
        };
        Ok(SeriesKey { metric, dimensions, region: region.to_owned() })
    }
}

/// One metric of a body.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Metric<'a> {
    /// Its series.
    pub(crate) identity: Identity<'a>,
    /// Its time, fractions of a millisecond cut off.
    pub(crate) time: Timestamp,
    /// Its value; finite.
    pub(crate) value: f64,
    /// The compact text of a `value_meta` with anything in it.
    pub(crate) meta: Option<String>,
}

/// Calls `each` for every metric of a body, until one is refused; then nothing of the body counts.
pub(crate) fn each_metric<'a>(
    body: &'a [u8],
    each: impl FnMut(Metric<'a>) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed::Syntax)?;
    read(text, each).map_err(|rejection| match rejection {
        // A body that is not JSON is told so even if one of its first metrics is wrong.
        Rejection::Invalid(_) | Rejection::Store(_) => {
            let mut cursor = Cursor::new(text);
            cursor.space();
            let syntax = cursor.skip(0).and_then(|_| cursor.end());
            syntax.err().map_or(rejection, Rejection::Malformed)
        }
        Rejection::Malformed(_) => rejection,
    })
}

fn read<'a>(
    text: &'a str,
    mut each: impl FnMut(Metric<'a>) -> Result<(), Rejection>,
) -> Result<(), Rejection> {
    let mut cursor = Cursor::new(text);
    cursor.space();
    let mut before = Before::default();
    if !cursor.take(b'[') {
        each(metric(&mut cursor, 0, &mut before)?)?;
        return Ok(cursor.end()?);
    }
    cursor.space();
    if !cursor.take(b']') {
        loop {
            each(metric(&mut cursor, 1, &mut before)?)?;
            if !cursor.more(b']')? {
                break;
            }
        }
    }
    Ok(cursor.end()?)
}

/// What the metrics before said last of their dimensions and time, as it stands in the body. An agent
/// sends together what it has measured together: the same text is gone over by comparing it.
#[derive(Default)]
struct Before<'a> {
    /// An object, or nothing.
    dimensions: &'a str,
    /// A number, or nothing.
    time: &'a str,
    /// What that number means.
    moment: Option<Timestamp>,
}

impl<'a> Before<'a> {
    fn dimensions(&mut self, cursor: &mut Cursor<'a>, depth: usize) -> Result<&'a str, Malformed> {
        // An object ends where its text does, whatever follows.
        if self.dimensions.is_empty() || !cursor.take_text(self.dimensions) {
            self.dimensions = cursor.skip(depth)?;
        }
        Ok(self.dimensions)
    }

    fn time(&mut self, cursor: &mut Cursor<'a>) -> Result<Option<Timestamp>, Malformed> {
        let mut ahead = cursor.clone();
        // A number may go on behind an equal one.
        if !self.time.is_empty()
            && ahead.take_text(self.time)
            && matches!(ahead.peek(), Some(b',' | b'}'))
        {
            *cursor = ahead;
        } else {
            self.time = cursor.number()?;
            self.moment = milliseconds(self.time);
        }
        Ok(self.moment)
    }
}

/// What a member of a metric says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    Name,
    Dimensions,
    Time,
    Value,
    Meta,
    Other,
}

impl Member {
    /// Those that every metric has: to compare them is cheaper than to read a string.
    const USUAL: [(&'static str, Member); 4] = [
        ("\"name\"", Member::Name),
        ("\"dimensions\"", Member::Dimensions),
        ("\"timestamp\"", Member::Time),
        ("\"value\"", Member::Value),
    ];

    /// Reads a key; `None` if it has escapes.
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, Malformed> {
        for (quoted, member) in Member::USUAL {
            if cursor.take_text(quoted) {
                return Ok(Some(member));
            }
        }
        let key = cursor.string()?;
        let member = if key.inside == "value_meta" { Member::Meta } else { Member::Other };
        Ok((!key.escaped).then_some(member))
    }
}

/// Reads one metric; `depth` is how many lists are open.
fn metric<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    before: &mut Before<'a>,
) -> Result<Metric<'a>, Rejection> {
    let start = cursor.clone();
    if let Some(metric) = regular_metric(cursor, depth, before)? {
        return Ok(metric);
    }
    *cursor = start;
    any_metric(&cursor.value(depth)?)
}

/// Reads a metric of the usual form; `None` if it has another one, wherever the cursor is then.
fn regular_metric<'a>(
    cursor: &mut Cursor<'a>,
    depth: usize,
    before: &mut Before<'a>,
) -> Result<Option<Metric<'a>>, Malformed> {
    if !cursor.take(b'{') {
        return Ok(None);
    }
    cursor.space();
    if cursor.peek() == Some(b'}') {
        return Ok(None);
    }
    let (mut name, mut dimensions) = (None, "");
    let (mut time, mut value, mut meta) = (None, None, None);
    loop {
        let Some(member) = Member::read(cursor)? else { return Ok(None) };
        cursor.expect(b':')?;
        match (member, cursor.peek()) {
            (Member::Name, Some(b'"')) => name = Some(cursor.string()?),
            (Member::Dimensions, Some(b'{')) => {
                dimensions = before.dimensions(cursor, depth + 1)?
            }
            (Member::Time, Some(b'0'..=b'9' | b'-')) => time = before.time(cursor)?,
            (Member::Value, Some(b'0'..=b'9' | b'-')) => value = finite(cursor.number()?),
            (Member::Meta, Some(b'n')) => {
                cursor.skip(depth + 1)?;
                meta = None;
            }
            (Member::Meta, Some(b'{')) => {
                match rules::check_value_meta(&cursor.value(depth + 1)?) {
                    Ok(checked) => meta = checked,
                    Err(_) => return Ok(None),
                }
            }
            (Member::Other, _) => {
                cursor.skip(depth + 1)?;
            }
            (
                Member::Name | Member::Dimensions | Member::Time | Member::Value | Member::Meta,
                _,
            ) => return Ok(None),
        }
        if !cursor.more(b'}')? {
            break;
        }
    }
    let (Some(name), Some(time), Some(value)) = (name, time, value) else {
        return Ok(None);
    };
    Ok(Some(Metric { identity: Identity::Raw { name, dimensions }, time, value, meta }))
}

fn of_metric(text: &str, name: &str) -> Rejection {
    Rejection::Invalid(format!("{text}: for metric {name}"))
}

/// Reads a metric of any form, by every rule, in the reference's order.
fn any_metric(json: &Json<'_>) -> Result<Metric<'static>, Rejection> {
    let Json::Object(pairs) = json else {
        let text = format!("a metric must be an object, not {}", python::display(json));
        return Err(Rejection::Invalid(text));
    };
    let find = |key: &str| pairs.iter().find(|(have, _)| have == key).map(|(_, value)| value);
    let name = match find("name") {
        None => return Err(Rejection::Invalid("'name'".into())),
        Some(Json::Text(name)) => name,
        Some(other) => {
            // The space at the end is part of the text.
            let value = python::display(other);
            let text = format!("invalid metric name type: {value} is not a string type ");
            return Err(Rejection::Invalid(text));
        }
    };
    rules::check_name(name).map_err(Rejection::Invalid)?;
    let missing = |key: &str| Rejection::Invalid(format!("\"'{key}': for metric {name}\""));
    let value = find("value").ok_or_else(|| missing("value"))?;
    let value = checked_value(value).map_err(|text| of_metric(&text, name))?;
    let time = find("timestamp").ok_or_else(|| missing("timestamp"))?;
    let time = checked_time(time).map_err(|text| of_metric(&text, name))?;
    let dimensions =
        find("dimensions").map_or_else(|| Ok(Dimensions::none()), rules::check_dimensions);
    let dimensions = dimensions.map_err(|text| of_metric(&text, name))?;
    let meta = find("value_meta").map_or(Ok(None), rules::check_value_meta);
    let meta = meta.map_err(|text| of_metric(&text, name))?;
    let identity = Identity::Checked { name: name.to_string(), dimensions };
    Ok(Metric { identity, time, value, meta })
}

/// The number a JSON value counts as: booleans are numbers in the reference.
fn as_number<'a>(json: &'a Json<'a>) -> Option<Cow<'a, str>> {
    match json {
        Json::Number(text) => Some((*text).into()),
        Json::Bool(true) => Some("1".into()),
        Json::Bool(false) => Some("0".into()),
        Json::Null | Json::Text(_) | Json::List(_) | Json::Object(_) => None,
    }
}

fn checked_value(json: &Json<'_>) -> Result<f64, String> {
    let text = as_number(json).ok_or_else(|| {
        format!("invalid value type: {} is not a number type for metric", python::display(json))
    })?;
    finite(&text).ok_or_else(|| {
        format!("invalid value: {} is not a valid value for metric", python::display(json))
    })
}

fn checked_time(json: &Json<'_>) -> Result<Timestamp, String> {
    let text = as_number(json).ok_or_else(|| {
        format!("invalid timestamp type: {} is not a number type for metric", python::display(json))
    })?;
    milliseconds(&text).ok_or_else(|| {
        format!("invalid timestamp: {} is not a point in time", python::display(json))
    })
}

/// The milliseconds of a JSON number, its fraction cut off; `None` for what is no number. Beyond the
/// range of times the nearest one, which the store refuses.
fn milliseconds(text: &str) -> Option<Timestamp> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    if !text.contains(['e', 'E']) && whole.len() <= 18 {
        return whole.parse().ok().map(Timestamp::from_millis);
    }
    let value: f64 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cutting the fraction is wanted; saturates"
    )]
    let millis = value as i64;
    value.is_finite().then(|| Timestamp::from_millis(millis))
}

#[cfg(test)]
#[path = "monasca_tests.rs"]
mod tests;
