//! What is asked of a tenant's events.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Bound, Range};
use std::str::FromStr;

use super::{Event, TraitValue, id, term};
use crate::error::Error;
use crate::journal::{Order, Place};
use crate::model::Moment;

/// More types than these are looked at as events pass by, not each by the index.
const TYPES_INDEXED_MAX: usize = 64;

/// A condition on the value of a trait.
#[derive(Clone, PartialEq, Debug)]
pub enum TraitTest {
    /// The event has the trait.
    Present,
    /// It is one of these values, see [`TraitValue::equals`].
    OneOf(Vec<TraitValue>),
    /// It lies between these, see [`TraitValue::compare`].
    Within(Bound<TraitValue>, Bound<TraitValue>),
}

/// A condition on one trait. An event without the trait does not satisfy it.
#[derive(Clone, PartialEq, Debug)]
pub struct TraitCondition {
    /// The trait's name.
    pub name: String,
    /// What holds for its value.
    pub test: TraitTest,
}

impl TraitCondition {
    fn holds(&self, event: &Event) -> bool {
        let Some(value) = event.traits.get(&self.name) else { return false };
        match &self.test {
            TraitTest::Present => true,
            TraitTest::OneOf(wanted) => wanted.iter().any(|wanted| value.equals(wanted)),
            TraitTest::Within(from, to) => {
                let order = |bound: &TraitValue| value.compare(bound);
                let above = match from {
                    Bound::Unbounded => true,
                    Bound::Included(bound) => order(bound).is_some_and(Ordering::is_ge),
                    Bound::Excluded(bound) => order(bound).is_some_and(Ordering::is_gt),
                };
                let below = match to {
                    Bound::Unbounded => true,
                    Bound::Included(bound) => order(bound).is_some_and(Ordering::is_le),
                    Bound::Excluded(bound) => order(bound).is_some_and(Ordering::is_lt),
                };
                above && below
            }
        }
    }

    /// The terms of which a satisfying event carries one, if that can be said.
    fn terms(&self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        match &self.test {
            TraitTest::Present | TraitTest::Within(..) => Ok(None),
            TraitTest::OneOf(values) => {
                values.iter().map(|value| term::of_value(&self.name, value)).collect()
            }
        }
    }
}

/// Which events are wanted: all conditions must hold.
#[derive(Clone, PartialEq, Debug)]
pub struct EventQuery {
    /// With a time in this half-open span.
    pub range: Range<Moment>,
    /// In this order of (time, id); ids that are UUIDs come before others.
    pub order: Order,
    /// Of one of these types; `None`: of every type.
    pub types: Option<Vec<String>>,
    /// Of none of these types.
    pub types_except: Vec<String>,
    /// With these traits.
    pub traits: Vec<TraitCondition>,
    /// Only those that come after this place.
    pub after: Option<EventCursor>,
    /// Most events of a page, at least one.
    pub limit: usize,
}

impl EventQuery {
    /// All events of a span, oldest first.
    #[must_use]
    pub fn all(range: Range<Moment>, limit: usize) -> Self {
        EventQuery {
            range,
            order: Order::OldestFirst,
            types: None,
            types_except: Vec::new(),
            traits: Vec::new(),
            after: None,
            limit,
        }
    }

    /// Whether an event satisfies the conditions on type and traits.
    #[must_use]
    pub fn accepts(&self, event: &Event) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(&event.event_type))
            && !self.types_except.contains(&event.event_type)
            && self.traits.iter().all(|condition| condition.holds(event))
    }

    /// Lists of terms of which a satisfying event carries one each.
    pub(super) fn terms(&self) -> Result<Vec<Vec<Vec<u8>>>, Error> {
        let types = self.types.as_ref().filter(|types| types.len() <= TYPES_INDEXED_MAX);
        let types = types.map(|types| types.iter().map(|name| term::of_type(name)).collect());
        let mut lists: Vec<Vec<Vec<u8>>> = types.into_iter().collect();
        for condition in &self.traits {
            lists.extend(condition.terms()?);
        }
        Ok(lists)
    }
}

/// A place in a tenant's events and the way through them. As text it is opaque: keep it, and give it
/// back with the same query.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventCursor {
    pub(super) order: Order,
    pub(super) place: Place,
}

impl EventCursor {
    /// The place of an event.
    #[must_use]
    pub fn at(event: &Event, order: Order) -> Self {
        let place = Place { time: event.time, id: id::to_bytes(&event.id) };
        EventCursor { order, place }
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.order {
            Order::OldestFirst => 'a',
            Order::NewestFirst => 'd',
        };
        write!(f, "{order}{:016x}", self.place.time.micros())?;
        self.place.id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for EventCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The text may be a body's worth of anything: it is not repeated.
        let invalid = || Error::Invalid("this is not a cursor of events".into());
        let (order, rest) = match text.split_at_checked(1).ok_or_else(invalid)? {
            ("a", rest) => (Order::OldestFirst, rest),
            ("d", rest) => (Order::NewestFirst, rest),
            _ => return Err(invalid()),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_hexdigit()) || rest.len() % 2 != 0 {
            return Err(invalid());
        }
        let (time, id) = rest.split_at_checked(16).ok_or_else(invalid)?;
        let micros = u64::from_str_radix(time, 16).map_err(|_| invalid())?.cast_signed();
        let digits = id.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let id = digits.map(byte).collect::<Option<Vec<u8>>>().ok_or_else(invalid)?;
        Ok(EventCursor { order, place: Place { time: Moment::from_micros(micros), id } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_as_text() {
        for (order, micros, id) in [
            (Order::OldestFirst, 0, "x"),
            (Order::NewestFirst, -1, "\u{0}é"),
            (Order::OldestFirst, i64::MAX, ""),
            (Order::NewestFirst, i64::MIN, "00000000-0000-0000-0000-000000000001"),
        ] {
            let place = Place { time: Moment::from_micros(micros), id: id.as_bytes().to_vec() };
            let cursor = EventCursor { order, place };
            assert_eq!(cursor.to_string().parse::<EventCursor>().unwrap(), cursor);
        }
        for text in
            ["", "a", "a123", "x0000000000000000", "a000000000000000g", "a00000000000000001"]
        {
            assert!(text.parse::<EventCursor>().is_err(), "{text}");
        }
        assert!("a+000000000000001".parse::<EventCursor>().is_err());
        assert!("é".parse::<EventCursor>().is_err());
    }

    fn event(value: TraitValue) -> Event {
        Event {
            id: "1".into(),
            event_type: "compute.instance.create".into(),
            time: Moment::default(),
            traits: [("a".to_owned(), value)].into(),
            payload: Vec::new(),
        }
    }

    #[test]
    fn conditions_hold_by_typed_value() {
        use TraitValue::{Float, Integer, Null, Text};
        let check = |have: TraitValue, test: TraitTest, want: bool| {
            let condition = TraitCondition { name: "a".into(), test };
            assert_eq!(condition.holds(&event(have.clone())), want, "{have:?} {condition:?}");
        };
        let one = |value| TraitTest::OneOf(vec![value]);
        check(Integer(5), one(Float(5.0)), true);
        check(Float(5.0), one(Integer(5)), true);
        check(Integer(4096), one(Text("4096".into())), false);
        check(Null, one(Null), true);
        check(Null, TraitTest::Present, true);
        check(Text("active".into()), one(Text("act*".into())), false);
        let over = TraitTest::Within(Bound::Excluded(Integer(2048)), Bound::Unbounded);
        check(Integer(4096), over.clone(), true);
        check(Integer(2048), over.clone(), false);
        check(Float(2048.5), over.clone(), true);
        check(Text("4096".into()), over, false);
        let missing = TraitCondition { name: "b".into(), test: TraitTest::Present };
        assert!(!missing.holds(&event(Null)));
    }
}
