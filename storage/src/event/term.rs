//! What an event can be found by.
//!
//! ```text
//! type   1 │ type
//! trait  2 │ length of the name │ name │ 1 boolean │ 2 integer │ 3 text │ 4 start of a longer text
//! word   type, zero bytes escaped, 00 00 │ name of a trait
//! ```
//! Numbers that are equal have the same term. Floats with a fraction, instants and nulls have none:
//! nobody looks for one instant, and nearly every event would bring a term of its own.

use super::value::{TraitValue, whole};
use super::{Event, limit};
use crate::error::Error;
use crate::journal::Term;
use crate::key;

/// So many bytes of a text are part of the index.
pub const INDEXED_BYTES_MAX: usize = 1024;

const TYPE: u8 = 1;
const TRAIT: u8 = 2;
const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const TEXT: u8 = 3;
const LONG_TEXT: u8 = 4;

/// The term of all events of a type.
pub(super) fn of_type(event_type: &str) -> Vec<u8> {
    [&[TYPE], event_type.as_bytes()].concat()
}

/// What the terms of all types begin with.
pub(super) const TYPES: [u8; 1] = [TYPE];

/// The type that a term is of.
pub(super) fn type_of(term: &[u8]) -> Result<String, Error> {
    term.strip_prefix(&TYPES).and_then(text).ok_or_else(corrupt)
}

/// What the terms of all values of a trait begin with.
pub(super) fn of_trait(name: &str) -> Result<Vec<u8>, Error> {
    // Two digits of base 255, each plus one: a zero byte would take two bytes in a key.
    limit("the bytes of a trait's name", name.len(), Event::NAME_CHARS_MAX * 4)?;
    let digit = |number: usize| u8::try_from(number + 1).unwrap_or(u8::MAX);
    let mut out = vec![TRAIT, digit(name.len() / 255), digit(name.len() % 255)];
    out.extend_from_slice(name.as_bytes());
    Ok(out)
}

/// The term of a trait's value, if it has one.
pub(super) fn of_value(name: &str, value: &TraitValue) -> Result<Option<Vec<u8>>, Error> {
    let mut out = of_trait(name)?;
    let integer = |number: i64| (number ^ i64::MIN).to_be_bytes();
    match value {
        TraitValue::Boolean(truth) => out.extend_from_slice(&[BOOLEAN, u8::from(*truth) + 1]),
        TraitValue::Integer(number) => {
            out.push(INTEGER);
            out.extend_from_slice(&integer(*number));
        }
        TraitValue::Float(number) => match whole(*number) {
            Some(number) => {
                out.push(INTEGER);
                out.extend_from_slice(&integer(number));
            }
            None => return Ok(None),
        },
        TraitValue::Text(text) => {
            let start = text.as_bytes().get(..INDEXED_BYTES_MAX);
            out.push(if text.len() > INDEXED_BYTES_MAX { LONG_TEXT } else { TEXT });
            out.extend_from_slice(start.unwrap_or(text.as_bytes()));
        }
        TraitValue::Null | TraitValue::Time(_) => return Ok(None),
    }
    Ok(Some(out))
}

/// The value that the rest of a term behind [`of_trait`] says; `None` of the start of a longer text.
pub(super) fn value_of(rest: &[u8]) -> Result<Option<TraitValue>, Error> {
    match rest.split_first() {
        Some((&BOOLEAN, &[truth])) => Ok(Some(TraitValue::Boolean(truth == 2))),
        Some((&INTEGER, bytes)) => {
            let bits = i64::from_be_bytes(bytes.try_into().map_err(|_| corrupt())?);
            Ok(Some(TraitValue::Integer(bits ^ i64::MIN)))
        }
        Some((&TEXT, bytes)) => text(bytes).map(TraitValue::Text).map(Some).ok_or_else(corrupt),
        Some((&LONG_TEXT, _)) => Ok(None),
        Some(_) | None => Err(corrupt()),
    }
}

/// All terms of an event. Those of traits note its type, for listings of the values of one type.
pub(super) fn terms(event: &Event) -> Vec<Term> {
    let by_type = Term { term: of_type(&event.event_type), note: Vec::new() };
    let by_trait = event.traits.iter().filter_map(|(name, value)| {
        let term = of_value(name, value).ok().flatten()?;
        Some(Term { term, note: event.event_type.as_bytes().to_vec() })
    });
    std::iter::once(by_type).chain(by_trait).collect()
}

/// What the words of a type begin with.
pub(super) fn words_of(event_type: &str) -> Vec<u8> {
    key::whole_bytes(event_type.as_bytes())
}

/// The word that a type has a trait.
pub(super) fn word(event_type: &str, name: &str) -> Vec<u8> {
    [&words_of(event_type), name.as_bytes()].concat()
}

pub(super) fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn corrupt() -> Error {
    Error::corrupt("term", "the index of events")
}
