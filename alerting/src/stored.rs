//! How alerting's records look on disk: a version byte, then JSON. Values of samples inside are kept
//! as the bits of the double, since reading a decimal back may miss the last bit.
//!
//! | Kind | Id | Value |
//! |---|---|---|
//! | `Definition` | UUID | [`StoredDefinition`] |
//! | `Alarm` | UUID of the group | [`crate::engine::StoredGroup`] |
//! | `AlarmSeries` | UUID of the group, series (u32, big-endian) | milliseconds when attached |
//! | `HeldBack` | time (i64), series (u32), both big-endian, time with its sign bit flipped | [`crate::engine::Held`] |
//! | `Checkpoint` | `alarms` | [`StoredPosition`]; of the tenant `SYSTEM` |
//!
//! Transitions are entries of a journal, see [`crate::history`].

use moneta_storage::model::{Sequence, SeriesId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::engine::{Held, Position};
use crate::error::Error;
use crate::model::{DefinitionSpec, Transition};

/// Version of the encoding of all of them.
const VERSION: u8 = 1;

/// Id of the engine's record of kind `Checkpoint`.
pub(crate) const CHECKPOINT_ID: &[u8] = b"alarms";

/// A definition.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredDefinition {
    pub(crate) spec: DefinitionSpec,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) position: StoredPosition,
}

/// A [`Position`].
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StoredPosition {
    sequence: u64,
    instant: i64,
}

impl From<Position> for StoredPosition {
    fn from(position: Position) -> Self {
        StoredPosition { sequence: position.sequence.number(), instant: position.instant.millis() }
    }
}

impl From<StoredPosition> for Position {
    fn from(stored: StoredPosition) -> Self {
        Position {
            sequence: Sequence::new(stored.sequence),
            instant: Timestamp::from_millis(stored.instant),
        }
    }
}

/// A transition with its doubles once more, as bits.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredTransition {
    transition: Transition,
    thresholds: Vec<u64>,
    values: Vec<Vec<u64>>,
}

impl StoredTransition {
    pub(crate) fn new(transition: &Transition) -> Self {
        let parts = transition.parts.iter();
        StoredTransition {
            thresholds: parts.clone().map(|part| part.expression.threshold.to_bits()).collect(),
            values: parts
                .map(|part| part.values.iter().map(|value| value.to_bits()).collect())
                .collect(),
            transition: transition.clone(),
        }
    }

    pub(crate) fn restored(self) -> Transition {
        let mut transition = self.transition;
        for ((part, threshold), values) in
            transition.parts.iter_mut().zip(self.thresholds).zip(self.values)
        {
            part.expression.threshold = f64::from_bits(threshold);
            part.values = values.into_iter().map(f64::from_bits).collect();
        }
        transition
    }
}

/// The bytes of a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, record).expect("records are plain data with text keys");
    bytes
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Error> {
    let corrupt = || Error::Store(moneta_storage::Error::corrupt(what, "an alerting record"));
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|_| corrupt()),
        Some(_) | None => Err(corrupt()),
    }
}

/// Id of an attachment.
pub(crate) fn attachment_id(group: Uuid, series: SeriesId) -> Vec<u8> {
    let mut id = group.as_bytes().to_vec();
    id.extend_from_slice(&series.number().to_be_bytes());
    id
}

/// Group and series of an attachment's id.
pub(crate) fn attachment(id: &[u8]) -> Option<(Uuid, SeriesId)> {
    let (group, series) = id.split_first_chunk::<16>()?;
    let series = u32::from_be_bytes(series.try_into().ok()?);
    Some((Uuid::from_bytes(*group), SeriesId::new(series)))
}

/// Milliseconds as bytes that sort like them.
pub(crate) fn sortable(ms: i64) -> [u8; 8] {
    (ms ^ i64::MIN).to_be_bytes()
}

/// Id of a held-back sample.
pub(crate) fn held_id(held: &Held) -> Vec<u8> {
    let mut id = sortable(held.time).to_vec();
    id.extend_from_slice(&held.series.to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PartState, Severity, State};

    #[test]
    fn a_transition_keeps_its_doubles_bit_for_bit() {
        let expression = crate::expression::Expression::parse("avg(a) > 0.1").unwrap();
        let mut shown = expression.parts[0].shown();
        shown.threshold = 0.1 + 0.2;
        let transition = Transition {
            id: "5-1".into(),
            alarm_id: "a".into(),
            definition_id: "d".into(),
            alarm_name: "n".into(),
            alarm_description: String::new(),
            metrics: Vec::new(),
            old_state: State::Ok,
            new_state: State::Alarm,
            reason: String::new(),
            parts: vec![PartState {
                expression: shown,
                state: State::Alarm,
                values: vec![1.0 / 3.0, 5e-324, 1.797_693_134_862_315_7e308],
            }],
            severity: Severity::Low,
            actions_enabled: true,
            link: None,
            lifecycle_state: None,
            time: 5,
        };
        let bytes = encode(&StoredTransition::new(&transition));
        let back: StoredTransition = decode(&bytes, "transition").unwrap();
        assert_eq!(back.restored(), transition);
        assert!(decode::<StoredTransition>(&[2], "transition").is_err());
    }

    #[test]
    fn times_sort_as_bytes() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX];
        assert!(times.map(sortable).is_sorted());
    }

    #[test]
    fn attachments_round_trip() {
        let (group, series) = (Uuid::from_u128(7), SeriesId::new(9));
        assert_eq!(attachment(&attachment_id(group, series)), Some((group, series)));
        assert_eq!(attachment(b"short"), None);
    }
}
