//! Which alarms a definition has: groups of series by match key. Pure.
//!
//! A series' *key* is the sub-map of its `match_by` dimensions; `k < k'` means that `k` is not empty and
//! a proper sub-map of `k'`. There is one group for every key of a seen series that is not `<` another
//! one, and it holds all seen series whose key equals the group's key or is `<` it. A group in which
//! every part has a fitting series is an alarm, for ever; any other is a candidate.
//!
//! Keys with all `match_by` dimensions are the many; those with fewer (*partial* keys) are kept in an
//! index of their own, since only they can be `<` another.

use std::collections::{BTreeMap, BTreeSet};

use moneta_storage::model::{Dimensions, SeriesId, SeriesKey};

use crate::id_map::IdMap;

/// A group inside the engine. Not stored; never reused while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct GroupNo(pub(crate) u64);

/// The groups of one definition.
#[derive(Debug, Default)]
pub(crate) struct Matching {
    match_by: Vec<String>,
    all_parts: u64,
    seen: IdMap<SeriesId, Seen>,
    /// Series by those keys that lack `match_by` dimensions.
    partial_series: BTreeMap<Dimensions, BTreeSet<SeriesId>>,
    groups: BTreeMap<Dimensions, Group>,
    /// The keys of groups that lack `match_by` dimensions.
    partial_groups: BTreeSet<Dimensions>,
}

#[derive(Debug)]
struct Seen {
    key: Dimensions,
    fits: u64,
    groups: u32,
}

/// A set of series under one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    /// Its place in the engine.
    pub(crate) no: GroupNo,
    /// The series in it.
    pub(crate) series: BTreeSet<SeriesId>,
    /// The parts that have a fitting series.
    pub(crate) fits: u64,
    /// Order in which candidates came into being.
    pub(crate) ordinal: u64,
    /// Order in which alarms came into being; `None` for a candidate.
    pub(crate) alarm: Option<u64>,
}

/// What became of the groups when a series was seen, in the order in which it is to be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// A new group.
    Formed(GroupNo),
    /// The group got a greater key.
    Rekeyed(GroupNo, Dimensions),
    /// The group vanished.
    Removed(GroupNo),
    /// These series joined the group.
    Joined(GroupNo, Vec<SeriesId>),
    /// The group became an alarm, of this age.
    Completed(GroupNo, u64),
}

/// Whether `a` is `<` `b`.
fn below(a: &Dimensions, b: &Dimensions) -> bool {
    !a.is_empty() && a.len() < b.len() && b.contains_all(a)
}

impl Matching {
    /// No series seen yet.
    pub(crate) fn new(match_by: &[String], all_parts: u64) -> Self {
        Matching { match_by: match_by.to_vec(), all_parts, ..Matching::default() }
    }

    /// The key of a series.
    pub(crate) fn key(&self, series: &SeriesKey) -> Dimensions {
        let names = self.match_by.iter();
        names.filter_map(|name| Some((name.as_str(), series.dimensions.get(name)?))).collect()
    }

    /// Whether the series has been seen.
    pub(crate) fn has_seen(&self, series: SeriesId) -> bool {
        self.seen.contains_key(&series)
    }

    /// The groups, ascending by key.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Dimensions, &Group)> {
        self.groups.iter()
    }

    /// Replaces what every seen series fits, after the parts have changed places.
    pub(crate) fn refit(&mut self, fits: impl Fn(SeriesId) -> u64) {
        for (id, seen) in &mut self.seen {
            seen.fits = fits(*id);
        }
        for group in self.groups.values_mut() {
            let fits = group.series.iter().filter_map(|id| self.seen.get(id)).map(|seen| seen.fits);
            group.fits = fits.fold(0, |all, one| all | one);
        }
    }

    fn is_partial(&self, key: &Dimensions) -> bool {
        key.len() < self.match_by.len()
    }

    /// Puts a stored group back.
    pub(crate) fn restore(
        &mut self,
        key: Dimensions,
        group: Group,
        members: &[(SeriesId, Dimensions, u64)],
    ) {
        for (id, series_key, fits) in members {
            self.remember(*id, series_key.clone(), *fits);
        }
        for id in &group.series {
            if let Some(seen) = self.seen.get_mut(id) {
                seen.groups += 1;
            }
        }
        if self.is_partial(&key) {
            self.partial_groups.insert(key.clone());
        }
        self.groups.insert(key, group);
    }

    fn remember(&mut self, series: SeriesId, key: Dimensions, fits: u64) {
        if self.is_partial(&key) {
            self.partial_series.entry(key.clone()).or_default().insert(series);
        }
        self.seen.entry(series).or_insert(Seen { key, fits, groups: 0 });
    }

    /// Takes a qualifying series that has not been seen. `next` numbers groups and ages.
    pub(crate) fn see(
        &mut self,
        series: SeriesId,
        key: Dimensions,
        fits: u64,
        next: &mut u64,
    ) -> Vec<Change> {
        debug_assert!(!self.has_seen(series), "a series is seen once");
        self.remember(series, key.clone(), fits);
        let mut changes = Vec::new();
        if self.groups.contains_key(&key) {
            self.join(&key, vec![series], next, &mut changes);
            return changes;
        }
        if self.is_partial(&key) {
            let above: Vec<Dimensions> =
                self.groups.keys().filter(|group| below(&key, group)).cloned().collect();
            for group in &above {
                self.join(group, vec![series], next, &mut changes);
            }
            if !above.is_empty() {
                return changes;
            }
        }
        self.take_over(&key, next, &mut changes);
        // Everything below the new key belongs to it, and what has exactly this key is new.
        let mut members: Vec<SeriesId> = Vec::new();
        for (other, ids) in &self.partial_series {
            if below(other, &key) {
                members.extend(ids);
            }
        }
        members.push(series);
        members.sort_unstable();
        self.join(&key, members, next, &mut changes);
        changes
    }

    /// Makes the group of `key`: the oldest alarm (else the oldest candidate) among those with a
    /// smaller key takes it over and the others go; without any a group is formed.
    fn take_over(&mut self, key: &Dimensions, next: &mut u64, changes: &mut Vec<Change>) {
        let smaller: Vec<Dimensions> =
            self.partial_groups.iter().filter(|group| below(group, key)).cloned().collect();
        let mut taken: Vec<Group> = Vec::new();
        for old in smaller {
            self.partial_groups.remove(&old);
            taken.extend(self.groups.remove(&old));
        }
        taken.sort_by_key(|group| (group.alarm.is_none(), group.alarm, group.ordinal));
        let mut taken = taken.into_iter();
        let heir = match taken.next() {
            Some(heir) => {
                changes.push(Change::Rekeyed(heir.no, key.clone()));
                heir
            }
            None => {
                *next += 1;
                changes.push(Change::Formed(GroupNo(*next)));
                Group {
                    no: GroupNo(*next),
                    series: BTreeSet::new(),
                    fits: 0,
                    ordinal: *next,
                    alarm: None,
                }
            }
        };
        for gone in taken {
            changes.push(Change::Removed(gone.no));
            self.leave(&gone.series);
        }
        if self.is_partial(key) {
            self.partial_groups.insert(key.clone());
        }
        self.groups.insert(key.clone(), heir);
    }

    fn join(
        &mut self,
        key: &Dimensions,
        members: Vec<SeriesId>,
        next: &mut u64,
        changes: &mut Vec<Change>,
    ) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let mut joined = Vec::new();
        for id in members {
            let Some(seen) = self.seen.get_mut(&id) else { continue };
            if group.series.insert(id) {
                seen.groups += 1;
                group.fits |= seen.fits;
                joined.push(id);
            }
        }
        changes.push(Change::Joined(group.no, joined));
        if group.alarm.is_none() && group.fits == self.all_parts {
            *next += 1;
            group.alarm = Some(*next);
            changes.push(Change::Completed(group.no, *next));
        }
    }

    /// Takes the series out of one group each, without forgetting them.
    fn leave(&mut self, series: &BTreeSet<SeriesId>) {
        for id in series {
            if let Some(seen) = self.seen.get_mut(id) {
                seen.groups = seen.groups.saturating_sub(1);
            }
        }
    }

    /// Deletes a group. Returns those of its series that are in no other group: they are no longer
    /// seen.
    pub(crate) fn delete(&mut self, key: &Dimensions) -> Vec<SeriesId> {
        let Some(group) = self.groups.remove(key) else { return Vec::new() };
        self.partial_groups.remove(key);
        self.leave(&group.series);
        let mut forgotten = Vec::new();
        for id in group.series {
            if self.seen.get(&id).is_none_or(|seen| seen.groups > 0) {
                continue;
            }
            let Some(seen) = self.seen.remove(&id) else { continue };
            if let Some(ids) = self.partial_series.get_mut(&seen.key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.partial_series.remove(&seen.key);
                }
            }
            forgotten.push(id);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A series as (metric, values of x and y, 0 for none).
    type Row = (usize, u8, u8);

    fn key(row: Row) -> Dimensions {
        let pairs = [("x", row.1), ("y", row.2)];
        pairs.into_iter().filter(|pair| pair.1 > 0).map(|(n, v)| (n, v.to_string())).collect()
    }

    fn id(at: usize) -> SeriesId {
        SeriesId::new(u32::try_from(at).unwrap())
    }

    /// Group keys with series, and whether they are alarms, after seeing `rows` in `order`.
    fn grouped(rows: &[Row], order: &[usize]) -> Vec<(String, Vec<u32>, bool)> {
        let mut matching = Matching::new(&["x".into(), "y".into()], 0b11);
        let mut next = 0;
        for at in order {
            matching.see(id(*at), key(rows[*at]), 1 << rows[*at].0, &mut next);
        }
        let numbers = |group: &Group| group.series.iter().map(|id| id.number()).collect();
        matching
            .groups()
            .map(|(key, group)| (key.to_string(), numbers(group), group.alarm.is_some()))
            .collect()
    }

    /// The same by the definition in the head of this file.
    fn declared(rows: &[Row]) -> Vec<(String, Vec<u32>, bool)> {
        let keys: BTreeSet<Dimensions> = rows.iter().map(|row| key(*row)).collect();
        let maximal = keys.iter().filter(|key| !keys.iter().any(|other| below(key, other)));
        let group = |group: &Dimensions| {
            let inside = |at: &usize| {
                let own = key(rows[*at]);
                own == *group || below(&own, group)
            };
            let members: Vec<usize> = (0..rows.len()).filter(inside).collect();
            let fits = members.iter().fold(0, |all, at| all | 1 << rows[*at].0);
            let ids = members.iter().map(|at| id(*at).number()).collect();
            (group.to_string(), ids, fits == 0b11)
        };
        maximal.map(group).collect()
    }

    proptest! {
        /// Invariant 10.
        #[test]
        fn groups_do_not_depend_on_the_order_of_arrival(
            (rows, order) in prop::collection::vec((0usize..2, 0u8..3, 0u8..3), 1..12)
                .prop_flat_map(|rows| {
                    let order: Vec<usize> = (0..rows.len()).collect();
                    (Just(rows), Just(order).prop_shuffle())
                })
        ) {
            prop_assert_eq!(grouped(&rows, &order), declared(&rows));
        }

        #[test]
        fn deleting_every_group_forgets_every_series(
            rows in prop::collection::vec((0usize..2, 0u8..3, 0u8..3), 1..12)
        ) {
            let mut matching = Matching::new(&["x".into(), "y".into()], 0b11);
            let mut next = 0;
            for (at, row) in rows.iter().enumerate() {
                matching.see(id(at), key(*row), 1 << row.0, &mut next);
            }
            let keys: Vec<Dimensions> = matching.groups().map(|(key, _)| key.clone()).collect();
            for key in keys {
                matching.delete(&key);
            }
            prop_assert!(matching.seen.is_empty() && matching.partial_series.is_empty());
        }
    }

    #[test]
    fn the_oldest_alarm_takes_over_the_greater_key() {
        let mut matching = Matching::new(&["x".into(), "y".into()], 0b1);
        let mut next = 0;
        let first = matching.see(id(0), key((0, 1, 0)), 1, &mut next);
        assert_eq!(first[0], Change::Formed(GroupNo(1)));
        matching.see(id(1), key((0, 0, 1)), 1, &mut next);
        let changes = matching.see(id(2), key((0, 1, 1)), 1, &mut next);
        assert_eq!(changes[0], Change::Rekeyed(GroupNo(1), key((0, 1, 1))));
        assert_eq!(changes[1], Change::Removed(GroupNo(3)));
        assert_eq!(changes[2], Change::Joined(GroupNo(1), vec![id(1), id(2)]));
    }
}
