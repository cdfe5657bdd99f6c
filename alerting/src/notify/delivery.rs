//! What became of notifications: a record of each that is finished, the newest 10 000 per tenant.
//!
//! ```text
//! id     time of finishing u64 be, sign bit turned │ notification id
//! value  version u8 = 1 │ delivery as JSON
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};

use moneta_storage::model::{TenantId, Timestamp};
use moneta_storage::record::RecordKind;
use serde::{Deserialize, Serialize};

use super::shelf::{Change, Shelf};
use crate::error::Error;
use crate::model::State;
use crate::outbox::{Entry, Subject, time_prefix};

/// Deliveries kept per tenant.
const DELIVERIES_MAX: usize = 10_000;
/// Deliveries dropped at a time, so that the oldest need not be looked for at each one.
const TRIMMED: usize = 64;
/// Records read at a time.
const PAGE: usize = 1000;
/// Version of the encoding.
const VERSION: u8 = 1;

const KIND: RecordKind = RecordKind::Delivery;

/// What became of a notification.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryResult {
    /// The receiver has it.
    Delivered,
    /// The receiver, or the rules for addresses, refused it for good.
    Refused,
    /// It failed until it was too old to be tried again.
    GaveUp,
    /// It was too old before its first attempt.
    TooOld,
    /// Its notification method had been deleted.
    MethodDeleted,
    /// Its entry in the outbox could not be read.
    Unreadable,
}

/// A finished notification.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The id that the receiver saw.
    pub notification_id: String,
    /// The transition it told of.
    pub transition_id: String,
    /// The alarm.
    pub alarm_id: String,
    /// The definition's name; empty if the entry was unreadable.
    pub alarm_name: String,
    /// The state it told of; none if the entry was unreadable.
    pub state: Option<State>,
    /// The method it went to.
    pub method_id: String,
    /// The method's name; none if it had been deleted or was not looked up.
    pub method_name: Option<String>,
    /// What became of it.
    pub result: DeliveryResult,
    /// The status of the last answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong last, in words.
    pub detail: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// When the alarm changed, milliseconds.
    pub transition_time: i64,
    /// When the first attempt was made, milliseconds.
    pub first_at: Option<i64>,
    /// When it was finished, milliseconds.
    pub finished_at: i64,
}

impl Delivery {
    /// What became of an entry after the attempts it counts.
    pub(crate) fn of(entry: &Entry, result: DeliveryResult, finished: Timestamp) -> Self {
        let transition = &entry.transition;
        Delivery {
            notification_id: entry.notification_id.clone(),
            transition_id: transition.id.clone(),
            alarm_id: transition.alarm_id.clone(),
            alarm_name: transition.alarm_name.clone(),
            state: Some(transition.new_state),
            method_id: entry.method_id.clone(),
            method_name: None,
            result,
            status: None,
            detail: None,
            attempts: entry.attempt,
            transition_time: transition.time,
            first_at: entry.first_at,
            finished_at: finished.millis(),
        }
    }

    /// An entry of which only the record id could be read.
    pub(crate) fn unreadable(subject: Subject, finished: Timestamp) -> Self {
        Delivery {
            notification_id: subject.notification_id(),
            transition_id: subject.transition,
            alarm_id: subject.alarm,
            alarm_name: String::new(),
            state: None,
            method_id: subject.method,
            method_name: None,
            result: DeliveryResult::Unreadable,
            status: None,
            detail: None,
            attempts: 0,
            transition_time: subject.time.millis(),
            first_at: None,
            finished_at: finished.millis(),
        }
    }

    fn key(&self) -> Vec<u8> {
        let mut key = time_prefix(Timestamp::from_millis(self.finished_at)).to_vec();
        key.extend_from_slice(self.notification_id.as_bytes());
        key
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = vec![VERSION];
        serde_json::to_writer(&mut value, self).expect("strings and numbers always serialise");
        value
    }

    fn decode(id: &[u8], value: &[u8]) -> Result<Self, Error> {
        value
            .strip_prefix(&[VERSION])
            .and_then(|json| serde_json::from_slice(json).ok())
            .ok_or_else(|| {
                let place = format!("delivery {}", String::from_utf8_lossy(id));
                moneta_storage::Error::corrupt("record", place).into()
            })
    }
}

/// The newest `limit` deliveries of a tenant, newest first.
pub(crate) fn list(
    shelf: &dyn Shelf,
    tenant: TenantId,
    limit: usize,
) -> Result<Vec<Delivery>, Error> {
    let mut newest = VecDeque::new();
    pages(shelf, tenant, |page| {
        newest.extend(page.iter().cloned());
        newest.drain(..newest.len().saturating_sub(limit));
    })?;
    newest.iter().rev().map(|(id, value)| Delivery::decode(id, value)).collect()
}

fn pages(
    shelf: &dyn Shelf,
    tenant: TenantId,
    mut each: impl FnMut(&[(Vec<u8>, Vec<u8>)]),
) -> Result<(), Error> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = shelf.scan(tenant, KIND, after.as_deref(), PAGE)?;
        each(&page);
        match page.last() {
            Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
            Some(_) | None => return Ok(()),
        }
    }
}

/// Changes of the outbox that belong together.
#[derive(Clone, Debug)]
pub(crate) enum Settlement {
    /// The notification is finished: its entry goes, what became of it stays.
    Finished { tenant: TenantId, key: Vec<u8>, delivery: Box<Delivery> },
    /// It is tried again: the entry with the new count of attempts takes the place of the old one.
    Postponed { tenant: TenantId, key: Vec<u8>, entry: Box<Entry> },
    /// The record is not an entry of the outbox at all.
    Foreign { tenant: TenantId, key: Vec<u8> },
}

/// Writes settlements, keeping the number of deliveries in bounds. Has one owner at a time.
#[derive(Default)]
pub(crate) struct Ledger {
    /// How many deliveries a tenant has; read from the records when it is first needed.
    counts: HashMap<TenantId, usize>,
}

impl Ledger {
    /// Commits all settlements in one batch.
    ///
    /// # Errors
    /// The store's; nothing is changed then.
    pub(crate) fn commit(
        &mut self,
        shelf: &dyn Shelf,
        settlements: &[Settlement],
    ) -> Result<(), Error> {
        let mut changes = Vec::with_capacity(settlements.len() * 2);
        let mut finished: BTreeMap<TenantId, usize> = BTreeMap::new();
        for settlement in settlements {
            match settlement {
                Settlement::Finished { tenant, key, delivery } => {
                    changes.push(removal(*tenant, RecordKind::Outbox, key.clone()));
                    let (id, value) = (delivery.key(), Some(delivery.encode()));
                    changes.push(Change { tenant: *tenant, kind: KIND, id, value });
                    *finished.entry(*tenant).or_default() += 1;
                }
                Settlement::Postponed { tenant, key, entry } => {
                    let (kind, id, value) = (RecordKind::Outbox, key.clone(), Some(entry.encode()));
                    changes.push(Change { tenant: *tenant, kind, id, value });
                }
                Settlement::Foreign { tenant, key } => {
                    changes.push(removal(*tenant, RecordKind::Outbox, key.clone()));
                }
            }
        }
        let mut counts = Vec::new();
        for (tenant, added) in finished {
            let kept = self.count(shelf, tenant)?;
            let excess = (kept + added).saturating_sub(DELIVERIES_MAX);
            let oldest = match excess {
                0 => Vec::new(),
                excess => shelf.scan(tenant, KIND, None, excess.max(TRIMMED))?,
            };
            counts.push((tenant, (kept + added).saturating_sub(oldest.len())));
            changes.extend(oldest.into_iter().map(|(id, _)| removal(tenant, KIND, id)));
        }
        shelf.commit(changes)?;
        self.counts.extend(counts);
        Ok(())
    }

    fn count(&mut self, shelf: &dyn Shelf, tenant: TenantId) -> Result<usize, Error> {
        if let Some(count) = self.counts.get(&tenant) {
            return Ok(*count);
        }
        let mut count = 0;
        pages(shelf, tenant, |page| count += page.len())?;
        self.counts.insert(tenant, count);
        Ok(count)
    }
}

fn removal(tenant: TenantId, kind: RecordKind, id: Vec<u8>) -> Change {
    Change { tenant, kind, id, value: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::shelf::MapShelf;
    use crate::outbox::sample;

    const TENANT: TenantId = TenantId::new(3);

    fn entry(n: i64) -> Entry {
        Entry::new(TENANT, &sample::transition(&n.to_string(), "a", n), "m")
    }

    fn finished(n: i64) -> Settlement {
        let (entry, at) = (entry(n), Timestamp::from_millis(n));
        let delivery = Delivery::of(&entry, DeliveryResult::Delivered, at).into();
        Settlement::Finished { tenant: TENANT, key: entry.key().unwrap(), delivery }
    }

    fn put(shelf: &MapShelf, entry: &Entry) {
        let (id, value) = (entry.key().unwrap(), Some(entry.encode()));
        shelf.commit(vec![Change { tenant: TENANT, kind: RecordKind::Outbox, id, value }]).unwrap();
    }

    #[test]
    fn finished_leaves_the_outbox_and_postponed_stays() {
        let shelf = MapShelf::default();
        put(&shelf, &entry(1));
        put(&shelf, &entry(2));
        let mut later = entry(2);
        later.attempt = 1;
        let postponed = Settlement::Postponed {
            tenant: TENANT,
            key: later.key().unwrap(),
            entry: later.clone().into(),
        };
        Ledger::default().commit(&shelf, &[finished(1), postponed]).unwrap();
        let left = shelf.scan(TENANT, RecordKind::Outbox, None, 9).unwrap();
        assert_eq!(
            left.iter().map(|(_, value)| Entry::decode(value)).collect::<Vec<_>>(),
            [Some(later)]
        );
        let listed = list(&shelf, TENANT, 9).unwrap();
        assert_eq!(listed.iter().map(|d| d.transition_id.as_str()).collect::<Vec<_>>(), ["1"]);
        assert_eq!(list(&shelf, TenantId::new(4), 9).unwrap(), []);
    }

    #[test]
    fn keeps_the_newest_ten_thousand_also_after_a_restart() {
        let shelf = MapShelf::default();
        let mut ledger = Ledger::default();
        let (mut n, mut full) = (0, false);
        for round in 0..60 {
            if round == 55 {
                ledger = Ledger::default();
            }
            let batch: Vec<Settlement> = (0..200).map(|i| finished(n + i)).collect();
            ledger.commit(&shelf, &batch).unwrap();
            n += 200;
            let count = shelf.count(TENANT, KIND);
            assert!(count <= DELIVERIES_MAX, "{count}");
            full |= count == DELIVERIES_MAX;
        }
        assert!(full);
        let listed = list(&shelf, TENANT, usize::MAX).unwrap();
        assert!(listed.len() > DELIVERIES_MAX - TRIMMED);
        let times: Vec<i64> = listed.iter().map(|delivery| delivery.finished_at).collect();
        let want: Vec<i64> = (0..n).rev().take(times.len()).collect();
        assert_eq!(times, want);
        assert_eq!(list(&shelf, TENANT, 3).unwrap(), listed[..3]);
    }
}
