//! The history of state changes, as records of kind `Transition`.
//!
//! ```text
//! id   [0][time, 8 bytes][n, 4 bytes]                 the transition
//!      [1][alarm, 16 bytes][time, 8 bytes][n, 4]      its place in the history of one alarm, no value
//! ```
//! All numbers are big-endian, times with the sign bit flipped, so that a scan is in order of time.
//! `n` counts the transitions of a tenant in one millisecond from 0.

use std::collections::HashMap;

use moneta_storage::model::{TenantId, TimeRange, Timestamp};
use moneta_storage::record::{RecordBatch, RecordKind, Records};
use uuid::Uuid;

use crate::error::Error;
use crate::model::Transition;
use crate::stored::{StoredTransition, decode, encode, sortable};

const BY_TIME: u8 = 0;
const BY_ALARM: u8 = 1;
/// Records read at once.
const PAGE: usize = 1000;

/// Place of a transition in its tenant's history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    time: i64,
    n: u32,
}

impl Place {
    fn bytes(self) -> Vec<u8> {
        let mut bytes = sortable(self.time).to_vec();
        bytes.extend_from_slice(&self.n.to_be_bytes());
        bytes
    }

    /// The last 12 bytes of an id.
    fn of(id: &[u8]) -> Option<Place> {
        let (_, tail) = id.split_last_chunk::<12>()?;
        let (time, n) = tail.split_first_chunk::<8>()?;
        Some(Place {
            time: i64::from_be_bytes(*time) ^ i64::MIN,
            n: u32::from_be_bytes(n.try_into().ok()?),
        })
    }

    /// `<milliseconds>`, or `<milliseconds>-<n>` unless it is the first of its millisecond.
    fn text(self) -> String {
        if self.n == 0 { self.time.to_string() } else { format!("{}-{}", self.time, self.n) }
    }

    fn parse(text: &str) -> Option<Place> {
        // A leading minus belongs to the time.
        let at = text.get(1..).and_then(|rest| rest.find('-')).map(|at| at + 1);
        let (time, n) = match at {
            Some(at) => (text.get(..at)?, text.get(at + 1..)?.parse().ok()?),
            None => (text, 0),
        };
        Some(Place { time: time.parse().ok()?, n })
    }
}

fn id(prefix: &[u8], place: &[u8]) -> Vec<u8> {
    [prefix, place].concat()
}

/// What begins the ids of one alarm, or of all.
fn prefix(alarm: Option<Uuid>) -> Vec<u8> {
    match alarm {
        None => vec![BY_TIME],
        Some(alarm) => id(&[BY_ALARM], alarm.as_bytes()),
    }
}

/// Gives transitions their ids and puts them into batches.
pub(crate) struct History {
    records: Records,
    newest: HashMap<TenantId, Place>,
}

impl History {
    pub(crate) fn new(records: Records) -> Self {
        History { records, newest: HashMap::new() }
    }

    /// Gives the transition its id. Ids already stored are never given again, also not by a replay
    /// that was cut short in the middle of a millisecond.
    pub(crate) fn number(
        &mut self,
        tenant: TenantId,
        transition: &mut Transition,
    ) -> Result<(), Error> {
        let time = transition.time;
        let place = match self.newest.get(&tenant) {
            Some(newest) if newest.time == time => Place { time, n: newest.n.saturating_add(1) },
            Some(_) | None => self.first_free(tenant, time)?,
        };
        self.newest.insert(tenant, place);
        transition.id = place.text();
        Ok(())
    }

    fn first_free(&self, tenant: TenantId, time: i64) -> Result<Place, Error> {
        let within = id(&[BY_TIME], &sortable(time));
        let mut after: Option<Vec<u8>> = None;
        loop {
            let found = self.records.scan(
                tenant,
                RecordKind::Transition,
                &within,
                after.as_deref(),
                PAGE,
            )?;
            match found.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => break,
            }
        }
        let n = after.and_then(|last| Place::of(&last)).map_or(0, |last| last.n.saturating_add(1));
        Ok(Place { time, n })
    }
}

/// Puts a numbered transition into a batch.
pub(crate) fn put(batch: &mut RecordBatch, tenant: TenantId, alarm: Uuid, transition: &Transition) {
    let Some(place) = Place::parse(&transition.id) else { return };
    let value = encode(&StoredTransition::new(transition));
    batch.put(tenant, RecordKind::Transition, &id(&prefix(None), &place.bytes()), value);
    let indexed = id(&prefix(Some(alarm)), &place.bytes());
    batch.put(tenant, RecordKind::Transition, &indexed, Vec::new());
}

/// Up to `limit` transitions with a time in `range` after the one with the id `after`.
pub(crate) fn read(
    records: &Records,
    tenant: TenantId,
    alarm: Option<Uuid>,
    range: TimeRange,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Transition>, Error> {
    let prefix = prefix(alarm);
    // A time without a number sorts before all with it.
    let mut from = id(&prefix, &sortable(range.start.millis()));
    if let Some(after) = after {
        let place = Place::parse(after)
            .ok_or_else(|| Error::Invalid(format!("{after} is not the id of a transition")))?;
        from = from.max(id(&prefix, &place.bytes()));
    }
    let mut found = Vec::new();
    while found.len() < limit {
        let wanted = (limit - found.len()).min(PAGE);
        let page = records.scan(tenant, RecordKind::Transition, &prefix, Some(&from), wanted)?;
        let full = page.len() == wanted;
        for (key, value) in page {
            let inside = |place: &Place| Timestamp::from_millis(place.time) < range.end;
            let Some(place) = Place::of(&key).filter(inside) else { return Ok(found) };
            let value = match alarm {
                None => Some(value),
                Some(_) => {
                    let main = id(&[BY_TIME], &place.bytes());
                    records.get(tenant, RecordKind::Transition, &main)?
                }
            };
            if let Some(value) = value {
                found.push(decode::<StoredTransition>(&value, "transition")?.restored());
            }
            from = key;
        }
        if !full {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(place: Place, text: &str) {
        assert_eq!(place.text(), text);
        assert_eq!(Place::parse(text), Some(place));
        assert_eq!(Place::of(&id(&prefix(None), &place.bytes())), Some(place));
    }

    #[test]
    fn ids_round_trip_and_sort_by_time() {
        check(Place { time: 1_795_166_507_329, n: 0 }, "1795166507329");
        check(Place { time: 1_795_166_507_329, n: 12 }, "1795166507329-12");
        check(Place { time: -5, n: 1 }, "-5-1");
        check(Place { time: -5, n: 0 }, "-5");
        assert_eq!(Place::parse("x"), None);
        assert_eq!(Place::parse("5-"), None);
        let places = [(-2, 9), (-1, 0), (5, 0), (5, 1), (6, 0)].map(|(time, n)| Place { time, n });
        assert!(places.map(Place::bytes).is_sorted());
    }
}
