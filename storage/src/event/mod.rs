//! Events: what happened at an instant, of some type, with typed traits and a payload.
//!
//! They are entries of the tenant's [journal](crate::journal), found by id, by time, by type, and by
//! the traits whose values are worth an index: texts, integers, booleans. Other conditions are looked
//! at as events pass by. An id is stored once, however often it is sent.

mod encoding;
mod events;
mod id;
mod query;
mod term;
mod value;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::journal::{Entry, JournalKind, Place, Term};
use crate::model::{Moment, TenantId};
use crate::record::RecordBatch;

pub use events::{EVENTS_MAX, EventPage, Events};
pub use query::{EventCursor, EventQuery, TraitCondition, TraitTest};
pub use term::INDEXED_BYTES_MAX;
pub use value::TraitValue;

/// An event of a tenant.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Unique in the tenant, 1 to 255 characters.
    pub id: String,
    /// What kind of thing happened, 1 to 255 characters.
    pub event_type: String,
    /// When it happened.
    pub time: Moment,
    /// Facts about it, by name (1 to 255 characters); at most [`TRAITS_MAX`](Self::TRAITS_MAX).
    pub traits: BTreeMap<String, TraitValue>,
    /// What the writer wants back as it is; empty if nothing.
    pub payload: Vec<u8>,
}

impl Event {
    /// Most traits.
    pub const TRAITS_MAX: usize = 512;
    /// Longest text of a trait, bytes.
    pub const TEXT_BYTES_MAX: usize = 64 * 1024;
    /// Largest event, bytes, as it is stored.
    pub const BYTES_MAX: usize = 4 << 20;
    /// Longest id, type or name of a trait, characters.
    pub const NAME_CHARS_MAX: usize = 255;

    /// Holds when the event can be stored.
    ///
    /// # Errors
    /// `Invalid` or `Limit` names what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let names = [("an event's id", &self.id), ("an event's type", &self.event_type)];
        let traits = self.traits.keys().map(|name| ("a trait's name", name));
        for (what, name) in names.into_iter().chain(traits) {
            let chars = name.chars().count();
            if !(1..=Self::NAME_CHARS_MAX).contains(&chars) {
                let max = Self::NAME_CHARS_MAX;
                return Err(Error::Invalid(format!(
                    "{what} must have 1 to {max} characters, not {chars}"
                )));
            }
        }
        limit("the traits of an event", self.traits.len(), Self::TRAITS_MAX)?;
        for (name, value) in &self.traits {
            if let TraitValue::Text(text) = value {
                limit("the bytes of a trait's text", text.len(), Self::TEXT_BYTES_MAX)?;
            }
            if matches!(value, TraitValue::Float(number) if !number.is_finite()) {
                return Err(Error::Invalid(format!("trait {name} is not a finite number")));
            }
        }
        limit("the bytes of an event", encoding::length(self), Self::BYTES_MAX)
    }

    /// The event as an entry of its tenant's journal.
    fn entry(&self) -> Result<Entry, Error> {
        self.check()?;
        Ok(Entry {
            time: self.time,
            id: id::to_bytes(&self.id),
            value: encoding::encode(self),
            terms: term::terms(self),
            words: words(self),
        })
    }
}

/// Terms and words of a stored event; `None` if it does not decode.
pub(crate) fn found_by(place: &Place, value: &[u8]) -> Option<(Vec<Term>, Vec<Vec<u8>>)> {
    let event = encoding::decode(place, value).ok()?;
    Some((term::terms(&event), words(&event)))
}

/// That its type has its traits.
fn words(event: &Event) -> Vec<Vec<u8>> {
    event.traits.keys().map(|name| term::word(&event.event_type, name)).collect()
}

fn limit(limit: &'static str, size: usize, max: usize) -> Result<(), Error> {
    if size <= max {
        return Ok(());
    }
    Err(Error::Limit { limit, max: u64::try_from(max).unwrap_or(u64::MAX) })
}

impl RecordBatch {
    /// Appends an event, to be durable with the rest of the batch. One that is stored already, is too
    /// old to be kept, or more than a day ahead of the clock, is left out when the batch commits.
    ///
    /// # Errors
    /// As for [`Event::check`].
    pub fn append_event(&mut self, tenant: TenantId, event: &Event) -> Result<(), Error> {
        self.append(tenant, JournalKind::Event, event.entry()?)
    }
}
