//! Journals: every entry decodes, and the rows that serve to find it are there, both ways. What entries
//! ask for and what is there are claims, whose sums are equal in a healthy store, as with the
//! [index of series](super::index); only the rows whose sums differ are looked up one by one.
//!
//! Entries go before the rows that lead to them, which go by whole partitions. The journal's *horizon*
//! tells which rows may be alone: those of entries before it.

use std::collections::HashSet;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

use super::Verified;
use super::flaw::{Flaw, Owner, Tally, Wrong};
use super::problem::{Findings, Part};
use crate::error::Error;
use crate::journal::{
    self, Derived, ID_DAYS, Place, partition_of, partition_start, stored_horizon,
};
use crate::key::{self, Family, JournalPart, Key};
use crate::kv::Kv;
use crate::model::Moment;
use crate::record::RecordKind;

/// Sums of claims: so many that few rows share one.
const SUMS: usize = 1 << 16;

/// Which sums differ.
pub(crate) struct Doubt(Vec<bool>);

impl Doubt {
    fn is_about(&self, key: &[u8]) -> bool {
        self.0.get(place_of(key).0).copied().unwrap_or(true)
    }
}

/// Reads all journals. What is wrong goes to the findings; `None` if nothing is.
pub(crate) fn check(
    kv: &Kv,
    findings: &Findings,
    verified: &mut Verified,
) -> Result<Option<Doubt>, Error> {
    let mut wanted = vec![0_u64; SUMS];
    let mut found = vec![0_u64; SUMS];
    let mut bad = false;
    settings(kv, &mut |_| {
        bad = true;
        Ok(())
    })?;
    walk(kv, &mut |seen| {
        match seen {
            Seen::Entry => verified.journal_entries += 1,
            Seen::Flaw(_) => bad = true,
            Seen::Wanted { key, value, .. } => add(&mut wanted, key, value),
            Seen::Found { key, value, .. } => {
                verified.journal_rows += 1;
                add(&mut found, key, value);
            }
            Seen::Excused => verified.journal_rows += 1,
        }
        Ok(())
    })?;
    let doubt = Doubt(wanted.iter().zip(&found).map(|(wanted, found)| wanted != found).collect());
    if !bad && wanted == found {
        return Ok(None);
    }
    let mut tally = Tally::default();
    flaws(kv, &doubt, &mut |flaw| {
        tally.add(&flaw);
        Ok(())
    })?;
    for (place, wrong, count, affects) in tally.sums() {
        findings.add(Part::Journal, place, wrong.words(count), affects);
    }
    // Sums may differ where nothing is wrong: an id may have been stored again after its time.
    Ok((!tally.is_empty()).then_some(doubt))
}

/// Calls `each` with everything that is wrong, entries first.
pub(crate) fn flaws(
    kv: &Kv,
    doubt: &Doubt,
    each: &mut dyn FnMut(Flaw) -> Result<(), Error>,
) -> Result<(), Error> {
    settings(kv, each)?;
    let mut words: HashSet<u128> = HashSet::new();
    // Rows that are put right because of their entry are not looked at again for themselves.
    let mut mended: HashSet<u128> = HashSet::new();
    walk(kv, &mut |seen| match seen {
        Seen::Entry | Seen::Excused => Ok(()),
        Seen::Flaw(flaw) => each(flaw),
        Seen::Wanted { owner, part, key, value, time } => {
            if !doubt.is_about(key) {
                return Ok(());
            }
            if part == JournalPart::Word {
                words.insert(xxh3_128(key));
            }
            let stored = kv.get_raw(Family::Journal, key)?;
            let wrong = match stored {
                Some(stored) if stored == value => return Ok(()),
                Some(stored) if is_stored_again(kv, owner, part, key, &stored, time)? => {
                    return Ok(());
                }
                Some(_) => Wrong::Changed(part),
                None => Wrong::Missing(part),
            };
            mended.insert(xxh3_128(key));
            each(Flaw {
                owner: Some(owner),
                wrong,
                family: Family::Journal,
                key: key.to_vec(),
                right: Some(value.to_vec()),
                time: Some(time),
            })
        }
        Seen::Found { owner, part, key, entry, .. } => {
            let hash = xxh3_128(key);
            if !doubt.is_about(key) || mended.contains(&hash) {
                return Ok(());
            }
            let asked_for = match &entry {
                Some(place) => {
                    let derived = derived_of(kv, owner, place)?;
                    derived.is_some_and(|derived| derived.rows.iter().any(|(row, _)| row == key))
                }
                None => part == JournalPart::Word && words.contains(&hash),
            };
            if asked_for {
                return Ok(());
            }
            each(Flaw {
                owner: Some(owner),
                wrong: Wrong::Alone(part),
                family: Family::Journal,
                key: key.to_vec(),
                right: None,
                time: entry.map(|place| place.time),
            })
        }
    })
}

/// Whether an id stands for a later entry with the same one, in the same partition: it may be stored
/// again when its time is over, before the first entry has been removed.
fn is_stored_again(
    kv: &Kv,
    owner: Owner,
    part: JournalPart,
    key: &[u8],
    stored: &[u8],
    time: Moment,
) -> Result<bool, Error> {
    let later = moment(stored).filter(|later| part == JournalPart::Id && *later > time);
    let Some((later, (_, id))) = later.zip(key::decode_partition(key)) else { return Ok(false) };
    let derived = derived_of(kv, owner, &Place { time: later, id: id.to_vec() })?;
    Ok(derived.is_some_and(|derived| derived.rows.iter().any(|(row, _)| row == key)))
}

/// What the entry at a place asks for, if there is one that decodes.
fn derived_of(kv: &Kv, owner: Owner, place: &Place) -> Result<Option<Derived>, Error> {
    let (tenant, kind) = owner;
    let value = kv.get(&Key::JournalEntry(tenant, kind, place.time, &place.id))?;
    Ok(value.and_then(|value| Derived::of_stored(tenant, kind, place, &value)))
}

fn moment(bytes: &[u8]) -> Option<Moment> {
    Some(Moment::from_micros(i64::from_le_bytes(bytes.try_into().ok()?)))
}

fn place_of(key: &[u8]) -> (usize, u64) {
    let hash = xxh3_64(key);
    (usize::try_from(hash % (1 << 16)).unwrap_or(0), hash)
}

fn add(sums: &mut [u64], key: &[u8], value: &[u8]) {
    let (at, hash) = place_of(key);
    if let Some(sum) = sums.get_mut(at) {
        *sum = sum.wrapping_add(xxh3_64_with_seed(value, hash));
    }
}

/// What a walk through the journals comes by.
enum Seen<'a> {
    /// An entry that decodes; what it asks for follows.
    Entry,
    /// A row that an entry asks for. A word comes once in a partition.
    Wanted { owner: Owner, part: JournalPart, key: &'a [u8], value: &'a [u8], time: Moment },
    /// A row that leads to an entry, if it is not a word.
    Found { owner: Owner, part: JournalPart, key: &'a [u8], value: &'a [u8], entry: Option<Place> },
    /// A row that leads to an entry which was removed.
    Excused,
    /// Something that is wrong for itself.
    Flaw(Flaw),
}

/// What a walk knows of the journal it is in.
struct Around {
    owner: Owner,
    horizon: Moment,
    partition: Option<i32>,
    /// Words of this partition.
    words: HashSet<u128>,
    /// Words of entries in partitions that begin before the horizon.
    late: HashSet<u128>,
}

/// Goes through all journals, in each through entries first.
fn walk(kv: &Kv, each: &mut dyn FnMut(Seen<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let mut around: Option<Around> = None;
    kv.scan(Family::Journal, &[], &[], |key, value| {
        let Some((tenant, kind, part, rest)) = key::decode_journal(key) else {
            each(Seen::Flaw(bad_key(None, key)))?;
            return Ok(true);
        };
        let owner = (tenant, kind);
        if around.as_ref().is_none_or(|around| around.owner != owner) {
            around = Some(Around::enter(kv, owner, each)?);
        }
        let Some(around) = &mut around else { return Ok(true) };
        match part {
            JournalPart::Entry => around.entry(key, rest, value, each)?,
            JournalPart::Term | JournalPart::Id | JournalPart::Word => {
                around.row(kv, part, key, value, each)?;
            }
            JournalPart::Horizon if rest.is_empty() => {}
            JournalPart::Horizon => each(Seen::Flaw(bad_key(Some(owner), key)))?,
        }
        Ok::<_, Error>(true)
    })
}

fn bad_key(owner: Option<Owner>, key: &[u8]) -> Flaw {
    let wrong = Wrong::Key;
    Flaw { owner, wrong, family: Family::Journal, key: key.to_vec(), right: None, time: None }
}

impl Around {
    fn enter(
        kv: &Kv,
        owner: Owner,
        each: &mut dyn FnMut(Seen<'_>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let (tenant, kind) = owner;
        let horizon = match stored_horizon(kv, tenant, kind)? {
            Some(Ok(horizon)) => horizon,
            None => Moment::MIN,
            Some(Err(_)) => {
                // What is before all entries has been removed.
                let prefix = key::journal_prefix(tenant, kind, JournalPart::Entry);
                let first = kv.key_from(Family::Journal, &prefix)?;
                let first = first.as_ref().and_then(|key| key.strip_prefix(prefix.as_slice()));
                let first = first.and_then(|place| Place::parse(place).ok());
                let horizon = first.map(|place| place.time);
                each(Seen::Flaw(Flaw {
                    owner: Some(owner),
                    wrong: Wrong::Horizon,
                    family: Family::Journal,
                    key: Key::JournalHorizon(tenant, kind).encode(),
                    right: horizon.map(|time| time.micros().to_le_bytes().to_vec()),
                    time: None,
                }))?;
                horizon.unwrap_or(Moment::MAX)
            }
        };
        let (words, late) = (HashSet::new(), HashSet::new());
        Ok(Around { owner, horizon, partition: None, words, late })
    }

    /// Whether a partition of terms and words holds what is before the horizon.
    fn is_late(&self, partition: i32) -> bool {
        partition_start(partition, self.owner.1.term_days()) < self.horizon
    }

    fn entry(
        &mut self,
        key: &[u8],
        place: &[u8],
        value: &[u8],
        each: &mut dyn FnMut(Seen<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let owner = self.owner;
        let Some(place) = Place::parse(place).ok().filter(|place| !place.id.is_empty()) else {
            return each(Seen::Flaw(bad_key(Some(owner), key)));
        };
        let time = place.time;
        let Some(derived) = Derived::of_stored(owner.0, owner.1, &place, value) else {
            let (key, time) = (key.to_vec(), Some(time));
            let (owner, wrong, family) = (Some(owner), Wrong::Entry, Family::Journal);
            return each(Seen::Flaw(Flaw { owner, wrong, family, key, right: None, time }));
        };
        each(Seen::Entry)?;
        for (key, value) in &derived.rows {
            let part = key::decode_journal(key).map_or(JournalPart::Term, |(_, _, part, _)| part);
            each(Seen::Wanted { owner, part, key, value, time })?;
        }
        if self.partition != Some(derived.partition) {
            self.partition = Some(derived.partition);
            self.words.clear();
        }
        for key in &derived.words {
            let hash = xxh3_128(key);
            if self.words.insert(hash) {
                each(Seen::Wanted { owner, part: JournalPart::Word, key, value: &[], time })?;
                if self.is_late(derived.partition) {
                    self.late.insert(hash);
                }
            }
        }
        Ok(())
    }

    /// A row that serves to find entries.
    fn row(
        &self,
        kv: &Kv,
        part: JournalPart,
        key: &[u8],
        value: &[u8],
        each: &mut dyn FnMut(Seen<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let owner = self.owner;
        let bad = || Seen::Flaw(bad_key(Some(owner), key));
        let Some((partition, rest)) = key::decode_partition(key) else { return each(bad()) };
        let entry = match part {
            JournalPart::Term => {
                let place = key::take_bytes(rest).and_then(|(_, place)| Place::parse(place).ok());
                let Some(place) = place else { return each(bad()) };
                Some(place)
            }
            // One that says no time leads to nothing: the entry it is of asks for it.
            JournalPart::Id => moment(value).map(|time| Place { time, id: rest.to_vec() }),
            JournalPart::Word | JournalPart::Entry | JournalPart::Horizon => None,
        };
        let removed = match (&entry, part) {
            (None, JournalPart::Word) => {
                self.is_late(partition) && !self.late.contains(&xxh3_128(key))
            }
            (Some(place), _) if place.time < self.horizon => {
                let (tenant, kind) = owner;
                let days = if part == JournalPart::Id { ID_DAYS } else { kind.term_days() };
                partition == partition_of(place.time, days)
                    && kv.get(&Key::JournalEntry(tenant, kind, place.time, &place.id))?.is_none()
            }
            (Some(_) | None, _) => false,
        };
        if removed {
            return each(Seen::Excused);
        }
        each(Seen::Found { owner, part, key, value, entry })
    }
}

/// Calls `each` with the settings of how long journals are kept that do not decode.
fn settings(kv: &Kv, each: &mut dyn FnMut(Flaw) -> Result<(), Error>) -> Result<(), Error> {
    kv.scan(Family::Record, &[], &[], |key, value| {
        let Some((tenant, kind, id)) = key::decode_record(key) else { return Ok(true) };
        let is_setting = kind == RecordKind::Setting as u8;
        let bad = is_setting.then(|| journal::bad_setting(id, value)).flatten();
        if let Some((kind, right)) = bad {
            let (owner, wrong, family) = (Some((tenant, kind)), Wrong::Keep, Family::Record);
            let (key, right) = (key.to_vec(), Some(right));
            each(Flaw { owner, wrong, family, key, right, time: None })?;
        }
        Ok::<_, Error>(true)
    })
}
