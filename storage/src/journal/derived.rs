//! What of a journal is derived from its entries: terms, ids and words only serve to find them. Appending
//! writes it with the entry; verification compares it, and repair writes it again.

use super::{Entry, ID_DAYS, JournalKind, Place, Term, partition_of};
use crate::event;
use crate::key::Key;
use crate::model::TenantId;

/// Version of a transition.
const TRANSITION_VERSION: u8 = 1;

/// What an entry adds to the index of its journal, as keys.
pub(crate) struct Derived {
    /// The entry's own rows, its terms and its id, with their values.
    pub(crate) rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// Words, which it shares with other entries of its partition. They have no values.
    pub(crate) words: Vec<Vec<u8>>,
    /// The partition of its terms and words.
    pub(crate) partition: i32,
}

impl Derived {
    pub(crate) fn of(
        tenant: TenantId,
        kind: JournalKind,
        place: &Place,
        terms: Vec<Term>,
        words: &[Vec<u8>],
    ) -> Self {
        let Place { time, id } = place;
        let partition = partition_of(*time, kind.term_days());
        let of_term = |Term { term, note }| {
            (Key::JournalTerm(tenant, kind, partition, &term, *time, id).encode(), note)
        };
        let mut rows: Vec<_> = terms.into_iter().map(of_term).collect();
        if kind.has_unique_ids() {
            let key = Key::JournalId(tenant, kind, partition_of(*time, ID_DAYS), id);
            rows.push((key.encode(), time.micros().to_le_bytes().to_vec()));
        }
        let word = |word: &Vec<u8>| Key::JournalWord(tenant, kind, partition, word).encode();
        Derived { rows, words: words.iter().map(word).collect(), partition }
    }

    /// Of an entry as it is stored; `None` if it does not decode.
    pub(crate) fn of_stored(
        tenant: TenantId,
        kind: JournalKind,
        place: &Place,
        value: &[u8],
    ) -> Option<Self> {
        let (terms, words) = match kind {
            JournalKind::Event => event::found_by(place, value)?,
            JournalKind::Transition => (vec![of_transition(place, value)?], Vec::new()),
        };
        let fits = |term: &Term| (1..=Entry::TERM_BYTES_MAX).contains(&term.term.len());
        let all = terms.iter().all(fits);
        all.then(|| Derived::of(tenant, kind, place, terms, &words))
    }
}

/// What a transition is found by: its alarm. What it says behind that is text, and belongs to the layer
/// that writes it.
fn of_transition(place: &Place, value: &[u8]) -> Option<Term> {
    let (&TRANSITION_VERSION, rest) = value.split_first()? else { return None };
    let (alarm, text) = rest.split_first_chunk::<16>()?;
    let whole = place.id.len() == 4 && std::str::from_utf8(text).is_ok();
    whole.then(|| Term { term: alarm.to_vec(), note: Vec::new() })
}
