//! The history of state changes: a journal of the store.
//!
//! ```text
//! time   of the change        id     n, 4 bytes, big-endian
//! term   the alarm, 16 bytes  value  version = 1, the alarm, a `StoredTransition` as JSON
//! ```
//! `n` counts the transitions of a tenant in one millisecond from 0. The alarm stands in front of the
//! text, so that transitions of others are left out without reading theirs.

use std::collections::{HashMap, HashSet};

use moneta_storage::Store;
use moneta_storage::journal::{Entry, JournalKind, Order, Place as JournalPlace, Query, Term};
use moneta_storage::journal::{PAGE_MAX, TERMS_MAX};
use moneta_storage::model::{Moment, TenantId, TimeRange, Timestamp};
use moneta_storage::record::RecordBatch;
use uuid::Uuid;

use crate::alarms::Alarms;
use crate::error::Error;
use crate::model::{HistoryPage, Transition};
use crate::stored::StoredTransition;

/// Version of the value.
const VERSION: u8 = 1;
/// More alarms than these are not looked up one by one: their tenant's history is gone through, and
/// what belongs to others is left out.
const ALARMS_LOOKED_UP: usize = TERMS_MAX;

/// Place of a transition in its tenant's history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    time: i64,
    n: u32,
}

impl Place {
    fn in_journal(self) -> JournalPlace {
        let time = Moment::from(Timestamp::from_millis(self.time));
        JournalPlace { time, id: self.n.to_be_bytes().to_vec() }
    }

    /// The place of an entry; of a place between entries the one before it.
    fn of(place: &JournalPlace) -> Result<Place, Error> {
        let time = place.time.timestamp().millis();
        if place.id.is_empty() {
            return Ok(Place { time: time.saturating_sub(1), n: u32::MAX });
        }
        let n = place.id.as_slice().try_into().map_err(|_| corrupt())?;
        Ok(Place { time, n: u32::from_be_bytes(n) })
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

fn corrupt() -> Error {
    Error::Store(moneta_storage::Error::corrupt("transition", "the history of alarms"))
}

/// Gives transitions their ids and puts them into batches.
pub(crate) struct History {
    store: Store,
    newest: HashMap<TenantId, Place>,
}

impl History {
    pub(crate) fn new(store: Store) -> Self {
        History { store, newest: HashMap::new() }
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
        let start = Timestamp::from_millis(time);
        let newest = Query {
            range: Moment::from(start)..Moment::from(start.plus_millis(1)),
            order: Order::NewestFirst,
            after: None,
            terms: Vec::new(),
            limit: 1,
        };
        let journal = self.store.journal(tenant, JournalKind::Transition);
        let page = journal.read(&newest, |place, _| Place::of(place).map(Some))?;
        let n = page.found.first().map_or(0, |newest| newest.n.saturating_add(1));
        Ok(Place { time, n })
    }
}

/// Puts a numbered transition into a batch.
pub(crate) fn put(
    batch: &mut RecordBatch,
    tenant: TenantId,
    alarm: Uuid,
    transition: &Transition,
) -> Result<(), Error> {
    let place = Place::parse(&transition.id).ok_or_else(corrupt)?.in_journal();
    let mut value = vec![VERSION];
    value.extend_from_slice(alarm.as_bytes());
    serde_json::to_writer(&mut value, &StoredTransition::new(transition))
        .expect("transitions are plain data with text keys");
    let entry = Entry {
        time: place.time,
        id: place.id,
        value,
        terms: vec![Term { term: alarm.as_bytes().to_vec(), note: Vec::new() }],
        words: Vec::new(),
    };
    Ok(batch.append(tenant, JournalKind::Transition, entry)?)
}

/// Whose transitions are wanted.
pub(crate) enum Whose<'a> {
    /// All of the tenant.
    All,
    /// Those of these alarms, which may no longer exist.
    Of(&'a HashSet<Uuid>),
}

/// Up to `limit` transitions with a time in `range` after the one with the id `after`.
pub(crate) fn read(
    store: &Store,
    tenant: TenantId,
    whose: &Whose<'_>,
    range: TimeRange,
    after: Option<&str>,
    limit: usize,
) -> Result<HistoryPage, Error> {
    let after = after.map(|id| {
        let invalid = || Error::Invalid(format!("{id} is not the id of a transition"));
        Place::parse(id).map(Place::in_journal).ok_or_else(invalid)
    });
    let terms = match whose {
        Whose::Of(alarms) if alarms.len() <= ALARMS_LOOKED_UP => {
            vec![alarms.iter().map(|alarm| alarm.as_bytes().to_vec()).collect()]
        }
        Whose::Of(_) | Whose::All => Vec::new(),
    };
    let mut query = Query {
        range: Moment::from(range.start)..Moment::from(range.end),
        order: Order::OldestFirst,
        after: after.transpose()?,
        terms,
        limit,
    };
    let journal = store.journal(tenant, JournalKind::Transition);
    let mut transitions = Vec::new();
    while transitions.len() < limit {
        query.limit = limit - transitions.len();
        let wanted = query.limit.min(PAGE_MAX);
        let page = journal.read(&query, |_, value| decode(value, whose))?;
        let short = page.found.len() < wanted;
        transitions.extend(page.found);
        query.after = page.next;
        if short || query.after.is_none() {
            break;
        }
    }
    let next = query.after.as_ref().map(Place::of).transpose()?;
    Ok(HistoryPage { transitions, next: next.map(Place::text) })
}

/// The transition that a value holds, if it is wanted.
fn decode(value: &[u8], whose: &Whose<'_>) -> Result<Option<Transition>, Error> {
    let (&VERSION, rest) = value.split_first().ok_or_else(corrupt)? else { return Err(corrupt()) };
    let (alarm, json) = rest.split_first_chunk::<16>().ok_or_else(corrupt)?;
    let wanted = match whose {
        Whose::All => true,
        Whose::Of(alarms) => alarms.contains(&Uuid::from_bytes(*alarm)),
    };
    if !wanted {
        return Ok(None);
    }
    let stored: StoredTransition = serde_json::from_slice(json).map_err(|_| corrupt())?;
    Ok(Some(stored.restored()))
}

impl Alarms {
    /// Up to `limit` transitions of a tenant with a time in `range`, ascending by id, whose id comes
    /// after `after`; of one alarm (which may no longer exist) if `alarm` is given.
    ///
    /// # Errors
    /// `Invalid` if `after` is not the id of a transition; `Corrupt` or `Stopped` when the store fails.
    pub fn history(
        &self,
        tenant: TenantId,
        alarm: Option<&str>,
        range: TimeRange,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Transition>, Error> {
        let alarms: Option<HashSet<Uuid>> = match alarm.map(Uuid::parse_str) {
            None => None,
            Some(Ok(id)) => Some(HashSet::from([id])),
            // Nothing can have such an id, so it has no history.
            Some(Err(_)) => return Ok(Vec::new()),
        };
        let whose = alarms.as_ref().map_or(Whose::All, Whose::Of);
        let page = read(self.store(), tenant, &whose, range, after, limit)?;
        Ok(page.transitions)
    }

    /// [`history`](Self::history) of the alarms with these ids. What it costs is bounded also when the
    /// tenant has a long history of other alarms.
    ///
    /// # Errors
    /// As for `history`.
    pub fn history_of(
        &self,
        tenant: TenantId,
        alarms: &[String],
        range: TimeRange,
        after: Option<&str>,
        limit: usize,
    ) -> Result<HistoryPage, Error> {
        let alarms = alarms.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect();
        let whose = Whose::Of(&alarms);
        read(self.store(), tenant, &whose, range, after, limit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use moneta_storage::StoreConfig;
    use moneta_storage::clock::ManualClock;
    use moneta_storage::model::Keep;

    use super::*;
    use crate::model::{Severity, State};

    fn check(place: Place, text: &str) {
        assert_eq!(place.text(), text);
        assert_eq!(Place::parse(text), Some(place));
        assert_eq!(Place::of(&place.in_journal()).unwrap(), place);
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
        assert!(places.map(Place::in_journal).is_sorted());
        // All of a millisecond come after what lies before it.
        let edge = JournalPlace { time: Moment::from_micros(5000), id: Vec::new() };
        assert_eq!(Place::of(&edge).unwrap(), Place { time: 4, n: u32::MAX });
    }

    const DAY: i64 = 86_400_000;

    fn open(now: i64, config: StoreConfig) -> (tempfile::TempDir, Store, TenantId) {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(now));
        let store = Store::open(directory.path(), config, clock).unwrap();
        let tenant = store.tenant("t").unwrap();
        (directory, store, tenant)
    }

    /// Stores a change of the alarm with this number at each of the times.
    fn fill(store: &Store, tenant: TenantId, changes: &[(i64, u128)]) -> Vec<Transition> {
        let mut history = History::new(store.clone());
        let mut batch = RecordBatch::new();
        let mut stored = Vec::new();
        for &(time, alarm) in changes {
            let mut transition = Transition {
                id: String::new(),
                alarm_id: Uuid::from_u128(alarm).to_string(),
                definition_id: "d".into(),
                alarm_name: "n".into(),
                alarm_description: String::new(),
                metrics: Vec::new(),
                old_state: State::Ok,
                new_state: State::Alarm,
                reason: String::new(),
                parts: Vec::new(),
                severity: Severity::Low,
                actions_enabled: true,
                link: None,
                lifecycle_state: None,
                time,
            };
            history.number(tenant, &mut transition).unwrap();
            put(&mut batch, tenant, Uuid::from_u128(alarm), &transition).unwrap();
            stored.push(transition);
        }
        store.records().commit(batch).unwrap();
        stored
    }

    fn times(page: &HistoryPage) -> Vec<i64> {
        page.transitions.iter().map(|transition| transition.time).collect()
    }

    #[test]
    fn few_alarms_and_many_have_the_same_history() {
        let (_directory, store, tenant) = open(400 * DAY, StoreConfig::default());
        let changes: Vec<_> =
            (0..300_u32).map(|n| (i64::from(n) * DAY, u128::from(n % 7))).collect();
        let stored = fill(&store, tenant, &changes);
        let few: HashSet<Uuid> = [2, 5, 9].map(Uuid::from_u128).into();
        let absent = (1000..3000).map(Uuid::from_u128);
        let many: HashSet<Uuid> = few.iter().copied().chain(absent).collect();
        let want: Vec<&Transition> = stored
            .iter()
            .filter(|transition| few.contains(&transition.alarm_id.parse().unwrap()))
            .collect();
        assert!(want.len() > 80);
        for whose in [Whose::Of(&few), Whose::Of(&many)] {
            let (mut after, mut found) = (None, Vec::new());
            loop {
                let after_id = after.as_deref();
                let page = read(&store, tenant, &whose, TimeRange::ALL, after_id, 20).unwrap();
                found.extend(page.transitions);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), want);
            let start = Timestamp::from_millis(2 * DAY);
            let range = TimeRange::new(start, Timestamp::from_millis(9 * DAY));
            let page = read(&store, tenant, &whose, range, None, 20).unwrap();
            assert_eq!((times(&page), page.next), (vec![2 * DAY, 5 * DAY], None));
        }
        let nobody = read(&store, tenant, &Whose::Of(&HashSet::new()), TimeRange::ALL, None, 9);
        assert_eq!(nobody.unwrap(), HistoryPage::default());
        assert!(read(&store, tenant, &Whose::All, TimeRange::ALL, Some("x"), 9).is_err());
    }

    #[test]
    fn numbers_go_on_within_a_millisecond_and_what_is_over_is_not_seen() {
        let keep_transitions = Keep::For(Duration::from_secs(86_400));
        let config = StoreConfig { keep_transitions, ..StoreConfig::default() };
        let (_directory, store, tenant) = open(3 * DAY, config);
        fill(&store, tenant, &[(DAY, 1), (2 * DAY - 1, 1), (2 * DAY, 1), (2 * DAY, 2)]);
        let last = fill(&store, tenant, &[(2 * DAY, 1)]);
        assert_eq!(last[0].id, format!("{}-2", 2 * DAY));
        let page = read(&store, tenant, &Whose::All, TimeRange::ALL, None, 9).unwrap();
        assert_eq!(times(&page), [2 * DAY; 3]);
        store.expire_journals().unwrap();
        assert_eq!(read(&store, tenant, &Whose::All, TimeRange::ALL, None, 9).unwrap(), page);
    }
}
