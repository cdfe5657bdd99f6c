//! The outbox: notifications that are still to be delivered.
//!
//! An entry is committed in the batch of the transition it tells of, so a crash neither loses nor
//! invents one, and it is deleted in the batch that records what became of it.
//!
//! ```text
//! id     time u64 be │ n u32 be │ len u16 be, transition id │ len, alarm id │ len, method id
//! value  version u8 = 1 │ entry as JSON
//! ```
//!
//! `time` is the transition's, in milliseconds with the sign bit turned so that byte order is order
//! of time; `n` is the number behind the dash of its id. Writing the same transition again replaces
//! its entries instead of adding more.

use moneta_storage::model::{TenantId, Timestamp};
use moneta_storage::record::{RecordBatch, RecordKind};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::Transition;

/// Version of the encoding of an entry.
const VERSION: u8 = 1;

/// Adds one outbox entry per method to the batch that commits `transition`.
///
/// # Errors
/// `Invalid` if an id is longer than a record id can hold.
#[allow(dead_code, reason = "called by the engine")]
pub(crate) fn enqueue(
    batch: &mut RecordBatch,
    tenant: TenantId,
    transition: &Transition,
    methods: &[String],
) -> Result<(), Error> {
    for method in methods {
        let entry = Entry::new(tenant, transition, method);
        batch.put(tenant, RecordKind::Outbox, &entry.key()?, entry.encode());
    }
    Ok(())
}

/// A notification that is still to be delivered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The same at every attempt and after a restart; receivers recognise repeats by it.
    pub(crate) notification_id: String,
    /// Number of the tenant.
    pub(crate) tenant: u32,
    /// The method it goes to.
    pub(crate) method_id: String,
    /// What it tells.
    pub(crate) transition: Transition,
    /// Attempts made so far.
    pub(crate) attempt: u32,
    /// No attempt before this instant, milliseconds; 0 before the first.
    pub(crate) not_before: i64,
    /// When the first attempt was made, milliseconds.
    pub(crate) first_at: Option<i64>,
}

impl Entry {
    /// The notification of a transition by one method, not attempted yet.
    pub(crate) fn new(tenant: TenantId, transition: &Transition, method: &str) -> Self {
        let mut transition = transition.clone();
        // JSON has no infinity: a value that is not finite would come back as an unreadable entry.
        for part in &mut transition.parts {
            part.values.retain(|value| value.is_finite());
        }
        Entry {
            notification_id: notification_id(&transition.id, &transition.alarm_id, method),
            tenant: tenant.number(),
            method_id: method.to_owned(),
            attempt: 0,
            not_before: 0,
            first_at: None,
            transition,
        }
    }

    /// Its record id.
    pub(crate) fn key(&self) -> Result<Vec<u8>, Error> {
        let Transition { id, alarm_id, time, .. } = &self.transition;
        let n: u32 = id.split_once('-').and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
        let mut key = time_prefix(Timestamp::from_millis(*time)).to_vec();
        key.extend_from_slice(&n.to_be_bytes());
        for text in [id, alarm_id, &self.method_id] {
            let length = u16::try_from(text.len())
                .map_err(|_| Error::Invalid("an id of a notification is too long".to_owned()))?;
            key.extend_from_slice(&length.to_be_bytes());
            key.extend_from_slice(text.as_bytes());
        }
        Ok(key)
    }

    /// Its record value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = vec![VERSION];
        serde_json::to_writer(&mut value, self).expect("strings and numbers always serialise");
        value
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` if it is not that.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value.strip_prefix(&[VERSION])?).ok()
    }
}

/// What an entry is about and where it goes, from its record id alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Subject {
    pub(crate) transition: String,
    pub(crate) alarm: String,
    pub(crate) method: String,
    pub(crate) time: Timestamp,
}

impl Subject {
    /// Reads a record id; `None` if it is not one of the outbox.
    pub(crate) fn of(key: &[u8]) -> Option<Self> {
        let (time, rest) = key.split_first_chunk::<8>()?;
        let (_n, rest) = rest.split_first_chunk::<4>()?;
        let (transition, rest) = text(rest)?;
        let (alarm, rest) = text(rest)?;
        let (method, rest) = text(rest)?;
        let time = Timestamp::from_millis((u64::from_be_bytes(*time) ^ SIGN).cast_signed());
        rest.is_empty().then(|| Subject {
            transition: transition.to_owned(),
            alarm: alarm.to_owned(),
            method: method.to_owned(),
            time,
        })
    }

    /// The id of the notification.
    pub(crate) fn notification_id(&self) -> String {
        notification_id(&self.transition, &self.alarm, &self.method)
    }
}

fn notification_id(transition: &str, alarm: &str, method: &str) -> String {
    format!("{transition}.{alarm}.{method}")
}

/// Sorts before the record id of every entry whose transition is not before `time`.
pub(crate) fn time_prefix(time: Timestamp) -> [u8; 8] {
    (time.millis().cast_unsigned() ^ SIGN).to_be_bytes()
}

const SIGN: u64 = 1 << 63;

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Transitions to test with.
#[cfg(test)]
pub(crate) mod sample {
    use crate::model::{AlarmedMetric, PartExpression, PartState, Severity, State, Transition};

    /// A transition of an alarm to `ALARM`.
    pub(crate) fn transition(id: &str, alarm: &str, time: i64) -> Transition {
        Transition {
            id: id.to_owned(),
            alarm_id: alarm.to_owned(),
            definition_id: "definition".to_owned(),
            alarm_name: "high cpu".to_owned(),
            alarm_description: "the processor is busy".to_owned(),
            metrics: vec![AlarmedMetric {
                name: "cpu.user_perc".to_owned(),
                dimensions: [("hostname".to_owned(), "h1".to_owned())].into(),
            }],
            old_state: State::Ok,
            new_state: State::Alarm,
            reason: "too high".to_owned(),
            parts: vec![PartState {
                expression: PartExpression {
                    function: "AVG".to_owned(),
                    metric_name: "cpu.user_perc".to_owned(),
                    dimensions: Default::default(),
                    operator: "GT".to_owned(),
                    threshold: 90.0,
                    period: 60,
                    periods: 1,
                    deterministic: false,
                },
                state: State::Alarm,
                values: vec![95.5],
            }],
            severity: Severity::High,
            actions_enabled: true,
            link: None,
            lifecycle_state: Some("OPEN".to_owned()),
            time,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TENANT: TenantId = TenantId::new(7);

    fn key(id: &str, alarm: &str, time: i64, method: &str) -> Vec<u8> {
        Entry::new(TENANT, &sample::transition(id, alarm, time), method).key().unwrap()
    }

    #[test]
    fn ids_sort_by_time_then_number() {
        let keys = [
            key("-5", "a", -5, "m"),
            key("9", "b", 9, "m"),
            key("10", "a", 10, "m"),
            key("10-2", "z", 10, "m"),
            key("10-10", "a", 10, "m"),
            key("11", "a", 11, "m"),
        ];
        assert!(keys.is_sorted(), "{keys:?}");
        let before = time_prefix(Timestamp::from_millis(10));
        assert!(keys[1].as_slice() < before.as_slice() && before.as_slice() < keys[2].as_slice());
    }

    #[test]
    fn each_method_has_one_entry_and_the_same_again_is_the_same() {
        assert_eq!(key("10", "a", 10, "m"), key("10", "a", 10, "m"));
        assert_ne!(key("10", "a", 10, "m"), key("10", "a", 10, "n"));
        assert_ne!(key("10", "ab", 10, "c"), key("10", "a", 10, "bc"));
        let mut batch = RecordBatch::new();
        let transition = sample::transition("10", "a", 10);
        enqueue(&mut batch, TENANT, &transition, &[]).unwrap();
        assert!(batch.is_empty());
        enqueue(&mut batch, TENANT, &transition, &["m".to_owned()]).unwrap();
        assert!(!batch.is_empty());
    }

    #[test]
    fn entries_with_infinite_values_stay_readable() {
        let mut transition = sample::transition("10", "a", 10);
        transition.parts[0].values = vec![f64::INFINITY, 1.5, f64::NAN];
        let entry = Entry::new(TENANT, &transition, "m");
        assert_eq!(Entry::decode(&entry.encode()).unwrap().transition.parts[0].values, [1.5]);
    }

    proptest! {
        #[test]
        fn entries_round_trip(id in "[0-9]{1,13}(-[0-9]{1,3})?", alarm in ".{0,40}", method in ".{0,40}", time: i64) {
            let entry = Entry::new(TENANT, &sample::transition(&id, &alarm, time), &method);
            let subject = Subject::of(&entry.key().unwrap()).unwrap();
            prop_assert_eq!(subject.notification_id(), entry.notification_id.as_str());
            let time = Timestamp::from_millis(time);
            prop_assert_eq!(subject, Subject { transition: id, alarm, method, time });
            prop_assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (Subject::of(&bytes), Entry::decode(&bytes));
        }
    }
}
