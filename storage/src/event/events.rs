//! The handle on a tenant's events.

use std::ops::Range;

use super::query::{EventCursor, EventQuery};
use super::{Event, TraitValue, encoding, id, limit, term};
use crate::error::Error;
use crate::journal::{Appended, Journal, JournalKind, Listing, PAGE_MAX, Place, Query};
use crate::model::{Moment, TenantId};
use crate::record::RecordBatch;
use crate::store::Store;

/// Most events that are appended together.
pub const EVENTS_MAX: usize = 10_000;
/// Most bytes that are appended together.
const BYTES_MAX: usize = 64 << 20;

/// Some events, and where to go on.
#[derive(Clone, PartialEq, Debug)]
pub struct EventPage {
    /// In the order asked for.
    pub events: Vec<Event>,
    /// Where the next page begins; `None` when there is none. A page has it also when it was cut short
    /// because too much had to be looked at for it, even if it is empty.
    pub next: Option<EventCursor>,
}

/// The events of a tenant. Cheap to clone; usable from every thread.
#[derive(Clone)]
pub struct Events {
    journal: Journal,
}

impl Store {
    /// A tenant's events.
    #[must_use]
    pub fn events(&self, tenant: TenantId) -> Events {
        Events { journal: self.journal(tenant, JournalKind::Event) }
    }
}

impl Events {
    /// The journal that holds them, which knows how long they are kept.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Stores events with one sync; they are durable and visible when this returns. Those stored
    /// already are counted and left alone; those too old to be kept, or more than a day ahead of the
    /// clock, are named in the answer and left out.
    ///
    /// # Errors
    /// `Invalid` or `Limit` if one of them cannot be stored or there are too many (then none is
    /// stored); `Stopped` if the store can no longer write.
    pub fn append(&self, events: &[Event]) -> Result<Appended, Error> {
        limit("the events appended together", events.len(), EVENTS_MAX)?;
        let bytes = events.iter().map(encoding::length).sum();
        limit("the bytes of events appended together", bytes, BYTES_MAX)?;
        let mut batch = RecordBatch::new();
        for event in events {
            batch.append_event(self.journal.tenant(), event)?;
        }
        self.journal.records().commit_counted(batch)
    }

    /// The event with an id.
    ///
    /// # Errors
    /// `Stopped` if RocksDB cannot read, `Corrupt` if the event does not verify.
    pub fn get(&self, id: &str) -> Result<Option<Event>, Error> {
        if id.len() > Event::NAME_CHARS_MAX * 4 {
            return Ok(None);
        }
        let key = id::to_bytes(id);
        let Some(time) = self.journal.find(&key)? else { return Ok(None) };
        let place = Place { time, id: key };
        self.journal.get(&place)?.map(|value| encoding::decode(&place, &value)).transpose()
    }

    /// A page of the events that satisfy a query. An event that is stored later with a place that has
    /// been passed is not met any more.
    ///
    /// # Errors
    /// `Invalid` if the cursor goes the other way, `Limit` for too many values of conditions,
    /// `Stopped` if RocksDB cannot read, `Corrupt` if an event does not verify.
    pub fn find(&self, query: &EventQuery) -> Result<EventPage, Error> {
        if query.after.as_ref().is_some_and(|after| after.order != query.order) {
            return Err(Error::Invalid("the cursor belongs to the other order".into()));
        }
        let asked = Query {
            range: query.range.clone(),
            order: query.order,
            after: query.after.as_ref().map(|after| after.place.clone()),
            terms: query.terms()?,
            limit: query.limit,
        };
        let page = self.journal.read(&asked, |place, value| {
            let event = encoding::decode(place, value)?;
            Ok::<_, Error>(query.accepts(&event).then_some(event))
        })?;
        let next = page.next.map(|place| EventCursor { order: query.order, place });
        Ok(EventPage { events: page.found, next })
    }

    /// Up to `limit` types of the events in a span, greater than `after`, ascending by bytes.
    ///
    /// # Errors
    /// `Limit` if too much would have to be looked at, `Stopped` if RocksDB cannot read.
    pub fn types(
        &self,
        range: Range<Moment>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let after = after.map(term::of_type);
        let listing =
            Listing { range, head: term::TYPES.to_vec(), after, limit: limit.min(PAGE_MAX) };
        self.journal.terms(&listing, |_| true)?.iter().map(|term| term::type_of(term)).collect()
    }

    /// Up to `limit` names of traits that events of a type have, greater than `after`, ascending by
    /// bytes. A name is known by the week: it is listed if an event of a week that the span touches
    /// has it.
    ///
    /// # Errors
    /// As for [`types`](Self::types).
    pub fn trait_names(
        &self,
        event_type: &str,
        range: Range<Moment>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let head = term::words_of(event_type);
        let after = after.map(|name| term::word(event_type, name));
        let listing = Listing { range, head, after, limit: limit.min(PAGE_MAX) };
        let corrupt = || Error::corrupt("word", "the index of events");
        let name = |word: &Vec<u8>| word.strip_prefix(listing.head.as_slice()).and_then(term::text);
        let words = self.journal.words(&listing)?;
        words.iter().map(|word| name(word).ok_or_else(corrupt)).collect()
    }

    /// Up to `limit` values that a trait has in the events of a span, of one type if given, greater
    /// than `after`: booleans, then whole numbers, then texts, each ascending. Values that are not
    /// part of the index are not listed: numbers with a fraction, instants, nulls, and texts of more
    /// than [`INDEXED_BYTES_MAX`](super::INDEXED_BYTES_MAX) bytes.
    ///
    /// # Errors
    /// As for [`types`](Self::types); `Invalid` if `after` is a value that is not listed.
    pub fn values(
        &self,
        name: &str,
        event_type: Option<&str>,
        range: Range<Moment>,
        after: Option<&TraitValue>,
        limit: usize,
    ) -> Result<Vec<TraitValue>, Error> {
        let head = term::of_trait(name)?;
        let not_listed = || Error::Invalid("values of this kind are not listed".into());
        let after = match after {
            Some(value) => Some(term::of_value(name, value)?.ok_or_else(not_listed)?),
            None => None,
        };
        let listing = Listing { range, head, after, limit: limit.min(PAGE_MAX) };
        let of_type = |note: &[u8]| event_type.is_none_or(|wanted| wanted.as_bytes() == note);
        let terms = self.journal.terms(&listing, of_type)?;
        let rest = |term: &Vec<u8>| term.get(listing.head.len()..).map(<[u8]>::to_vec);
        let values = terms.iter().filter_map(rest);
        values.filter_map(|rest| term::value_of(&rest).transpose()).collect()
    }
}
