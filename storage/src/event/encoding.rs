//! An event as bytes; `FORMAT.md` has the table.

use std::collections::BTreeMap;

use super::value::TraitValue;
use super::{Event, id};
use crate::error::Error;
use crate::journal::Place;
use crate::model::Moment;
use crate::text;

/// Version of the encoding.
pub(crate) const VERSION: u8 = 1;

const NULL: u8 = 0;
const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const FLOAT: u8 = 3;
const TEXT: u8 = 4;
const TIME: u8 = 5;

/// Bytes that [`encode`] takes.
pub(super) fn length(event: &Event) -> usize {
    let value = |value: &TraitValue| match value {
        TraitValue::Null => 0,
        TraitValue::Boolean(_) => 1,
        TraitValue::Integer(_) | TraitValue::Float(_) | TraitValue::Time(_) => 8,
        TraitValue::Text(text) => 4 + text.len(),
    };
    let traits = event.traits.iter().map(|(name, have)| 2 + name.len() + 1 + value(have));
    1 + 2 + event.event_type.len() + 2 + traits.sum::<usize>() + event.payload.len()
}

/// The bytes of an event that has been checked, without its id and time, which are its place.
pub(super) fn encode(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(length(event));
    out.push(VERSION);
    put_name(&mut out, &event.event_type);
    put_u16(&mut out, event.traits.len());
    for (name, value) in &event.traits {
        put_name(&mut out, name);
        match value {
            TraitValue::Null => out.push(NULL),
            TraitValue::Boolean(truth) => out.extend_from_slice(&[BOOLEAN, u8::from(*truth)]),
            TraitValue::Integer(number) => put_word(&mut out, INTEGER, number.cast_unsigned()),
            TraitValue::Float(number) => put_word(&mut out, FLOAT, number.to_bits()),
            TraitValue::Time(time) => put_word(&mut out, TIME, time.micros().cast_unsigned()),
            TraitValue::Text(value) => {
                out.push(TEXT);
                text::put(&mut out, value);
            }
        }
    }
    out.extend_from_slice(&event.payload);
    out
}

fn put_word(out: &mut Vec<u8>, tag: u8, bits: u64) {
    out.push(tag);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn put_u16(out: &mut Vec<u8>, number: usize) {
    let number = u16::try_from(number).expect("names and traits of events are checked");
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    put_u16(out, name.len());
    out.extend_from_slice(name.as_bytes());
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(place: &Place, bytes: &[u8]) -> Result<Event, Error> {
    let at = || format!("the event of {} µs", place.time.micros());
    read(place, &mut Bytes(bytes)).ok_or_else(|| Error::corrupt("encoding", at()))
}

fn read(place: &Place, bytes: &mut Bytes<'_>) -> Option<Event> {
    if bytes.byte()? != VERSION {
        return None;
    }
    let event_type = bytes.name()?;
    let mut traits = BTreeMap::new();
    for _ in 0..bytes.u16()? {
        let name = bytes.name()?;
        let value = match bytes.byte()? {
            NULL => TraitValue::Null,
            BOOLEAN => TraitValue::Boolean(bytes.byte()? != 0),
            INTEGER => TraitValue::Integer(bytes.word()?.cast_signed()),
            FLOAT => TraitValue::Float(f64::from_bits(bytes.word()?)),
            TEXT => TraitValue::Text(text::take(&mut bytes.0)?),
            TIME => TraitValue::Time(Moment::from_micros(bytes.word()?.cast_signed())),
            _ => return None,
        };
        if traits.insert(name, value).is_some() {
            return None;
        }
    }
    let id = id::from_bytes(&place.id)?;
    Some(Event { id, event_type, time: place.time, traits, payload: bytes.0.to_vec() })
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(chunk)
    }

    fn byte(&mut self) -> Option<u8> {
        self.chunk::<1>().map(|[byte]| *byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(*self.chunk()?))
    }

    fn word(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.chunk()?))
    }

    fn name(&mut self) -> Option<String> {
        let length = self.u16()?;
        let (name, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        String::from_utf8(name.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = TraitValue> {
        prop_oneof![
            Just(TraitValue::Null),
            any::<bool>().prop_map(TraitValue::Boolean),
            any::<i64>().prop_map(TraitValue::Integer),
            any::<f64>().prop_map(TraitValue::Float),
            any::<String>().prop_map(TraitValue::Text),
            any::<i64>().prop_map(|micros| TraitValue::Time(Moment::from_micros(micros))),
        ]
    }

    proptest! {
        #[test]
        fn events_round_trip_and_torn_ones_are_noticed(
            id in ".{1,20}",
            event_type in ".{1,20}",
            micros in any::<i64>(),
            traits in prop::collection::btree_map(".{1,9}", value(), 0..5),
            payload in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let time = Moment::from_micros(micros);
            let event = Event { id, event_type, time, traits, payload };
            let bytes = encode(&event);
            prop_assert_eq!(bytes.len(), length(&event));
            let place = Place { time, id: id::to_bytes(&event.id) };
            prop_assert_eq!(&decode(&place, &bytes).unwrap(), &event);
            // All before the payload is needed.
            for end in 0..bytes.len() - event.payload.len() {
                prop_assert!(decode(&place, &bytes[..end]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_an_event_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let place = Place { time: Moment::default(), id: id::to_bytes("x") };
            let versioned = [&[VERSION][..], &bytes].concat();
            let _ = decode(&place, &bytes);
            let _ = decode(&place, &versioned);
            let bad_id = Place { time: Moment::default(), id: vec![0xFF] };
            prop_assert!(decode(&bad_id, &versioned).is_err());
        }
    }
}
