//! Which notification is sent next: pure bookkeeping, with instants given.
//!
//! ```text
//! destination (a method of a tenant)      one request at a time, a pause after failures
//!   └ lane (an alarm)                     strictly in order: the next one waits for the one before
//!       └ entries of the outbox, by record id, each with the instant it is due
//! ```
//!
//! A destination that fails delays only itself, and an entry that waits for its next attempt holds
//! back only later ones of its own alarm. Memory holds record ids and instants, at most
//! [`Bounds`] of them; what has no room stays in the outbox and is offered again by a full look.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use moneta_storage::model::TenantId;

/// Record id of an entry of the outbox.
pub(crate) type Key = Arc<[u8]>;

/// Where notifications go: a method of a tenant.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Destination {
    pub(crate) tenant: TenantId,
    pub(crate) method: Arc<str>,
}

/// How much of the outbox is looked through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extent {
    /// All of it, in order of the ids.
    Full,
    /// Only its newest part.
    Newest,
}

/// How many entries are held in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Per destination, while less than half of the total is taken.
    pub(crate) destination: usize,
    /// Per destination from then on, so that a few dead destinations do not take all room.
    pub(crate) destination_crowded: usize,
    /// In all.
    pub(crate) total: usize,
}

/// What became of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// The receiver answered and the entry is finished.
    Answered,
    /// The entry is finished without the receiver having been asked, or for good without an answer.
    Dropped,
    /// The destination failed: the entry is due again, the destination pauses.
    Again { due: Instant, pause: Instant },
    /// The destination was not asked; the entry is due again.
    NotAsked { due: Instant },
}

/// The entries waiting to be sent.
pub(crate) struct Agenda {
    bounds: Bounds,
    queues: HashMap<Destination, Queue>,
    /// Destinations that may send, by the instant from which they may.
    ready: BTreeSet<(Instant, Destination)>,
    /// Every entry in memory, also those that are finished but not yet deleted from the outbox:
    /// a look must not take them for new ones.
    known: HashSet<(TenantId, Key)>,
    /// Destinations with entries in the outbox for which there was no room.
    overflowed: HashSet<Destination>,
}

#[derive(Default)]
struct Queue {
    lanes: HashMap<Arc<str>, BTreeMap<Key, Instant>>,
    /// The first entry of each lane, but for the one being sent, with its alarm.
    heads: BTreeMap<(Instant, Key), Arc<str>>,
    len: usize,
    pause: Option<Instant>,
    failures: u32,
    sending: Option<(Key, Arc<str>)>,
    /// Its place in `ready`.
    scheduled: Option<Instant>,
}

impl Agenda {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Agenda {
            bounds,
            queues: HashMap::new(),
            ready: BTreeSet::new(),
            known: HashSet::new(),
            overflowed: HashSet::new(),
        }
    }

    /// How many entries are in memory.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether the entry needs no offer.
    pub(crate) fn knows(&self, tenant: TenantId, key: &Key) -> bool {
        self.known.contains(&(tenant, key.clone()))
    }

    /// A full look begins: destinations with room again may take entries that had none. Those that
    /// overflow during this look stay closed to its end, else a later entry could pass an earlier.
    pub(crate) fn begin_full_look(&mut self) {
        let mut overflowed = std::mem::take(&mut self.overflowed);
        overflowed.retain(|destination| !self.has_room_again(destination));
        self.overflowed = overflowed;
    }

    /// Whether a full look would find entries for which there is room now.
    pub(crate) fn wants_full_look(&self) -> bool {
        self.overflowed.iter().any(|destination| self.has_room_again(destination))
    }

    /// Half of what may be held, so that looks are few.
    fn has_room_again(&self, destination: &Destination) -> bool {
        self.known.len() < self.bounds.total && self.held(destination) <= self.share() / 2
    }

    fn held(&self, destination: &Destination) -> usize {
        self.queues.get(destination).map_or(0, |queue| queue.len)
    }

    fn share(&self) -> usize {
        if self.known.len() < self.bounds.total / 2 {
            self.bounds.destination
        } else {
            self.bounds.destination_crowded
        }
    }

    /// Takes an entry found in the outbox, unless it is known or there is no room.
    pub(crate) fn offer(&mut self, destination: &Destination, alarm: &str, key: Key, due: Instant) {
        if self.knows(destination.tenant, &key) || self.overflowed.contains(destination) {
            return;
        }
        if self.held(destination) >= self.share() || self.known.len() >= self.bounds.total {
            self.overflowed.insert(destination.clone());
            return;
        }
        self.known.insert((destination.tenant, key.clone()));
        let queue = self.queues.entry(destination.clone()).or_default();
        queue.insert(alarm, key, due);
        self.schedule(destination);
    }

    /// Remembers a record that is not sent but about to be deleted.
    pub(crate) fn note(&mut self, tenant: TenantId, key: Key) {
        self.known.insert((tenant, key));
    }

    /// The entry to send now, if one is due at a destination that is free.
    pub(crate) fn start(&mut self, now: Instant) -> Option<(Destination, Key)> {
        let (at, destination) = self.ready.first()?.clone();
        if at > now {
            return None;
        }
        let queue = self.queues.get_mut(&destination)?;
        let ((_, key), alarm) = queue.heads.pop_first()?;
        queue.sending = Some((key.clone(), alarm));
        self.schedule(&destination);
        Some((destination, key))
    }

    /// When the next entry is due at a destination that is free.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.ready.first().map(|(at, _)| *at)
    }

    /// How often in a row the destination has failed.
    pub(crate) fn failures(&self, destination: &Destination) -> u32 {
        self.queues.get(destination).map_or(0, |queue| queue.failures)
    }

    /// The attempt at the destination has ended. A finished entry stays known until it is
    /// [forgotten](Self::forget).
    pub(crate) fn finish(&mut self, destination: &Destination, after: After) {
        let Some(queue) = self.queues.get_mut(destination) else { return };
        let Some((key, alarm)) = queue.sending.take() else { return };
        match after {
            After::Answered => {
                queue.failures = 0;
                queue.remove(&alarm, &key);
            }
            After::Dropped => queue.remove(&alarm, &key),
            After::Again { due, pause } => {
                queue.failures = queue.failures.saturating_add(1);
                queue.pause = Some(pause);
                queue.postpone(alarm, key, due);
            }
            After::NotAsked { due } => queue.postpone(alarm, key, due),
        }
        self.schedule(destination);
    }

    /// The entry is no longer in the outbox.
    pub(crate) fn forget(&mut self, tenant: TenantId, key: &Key) {
        self.known.remove(&(tenant, key.clone()));
    }

    /// Puts the destination at its place among the ready ones, or removes it from memory.
    fn schedule(&mut self, destination: &Destination) {
        let Some(queue) = self.queues.get_mut(destination) else { return };
        let place = queue.next();
        let before = std::mem::replace(&mut queue.scheduled, place);
        let idle = queue.len == 0;
        if before != place {
            if let Some(at) = before {
                self.ready.remove(&(at, destination.clone()));
            }
            if let Some(at) = place {
                self.ready.insert((at, destination.clone()));
            }
        }
        if idle {
            self.queues.remove(destination);
        }
    }
}

impl Queue {
    fn insert(&mut self, alarm: &str, key: Key, due: Instant) {
        let alarm = match self.lanes.get_key_value(alarm) {
            Some((alarm, _)) => alarm.clone(),
            None => alarm.into(),
        };
        let lane = self.lanes.entry(alarm.clone()).or_default();
        let first = lane.first_key_value().map(|(key, due)| (key.clone(), *due));
        lane.insert(key.clone(), due);
        self.len += 1;
        match first {
            Some((first, _)) if first < key => {}
            Some((first, first_due)) => {
                // The head gives way to the earlier one, unless it is on its way already.
                if self.heads.remove(&(first_due, first)).is_some() {
                    self.heads.insert((due, key), alarm);
                }
            }
            None => {
                self.heads.insert((due, key), alarm);
            }
        }
    }

    fn remove(&mut self, alarm: &Arc<str>, key: &Key) {
        let Some(lane) = self.lanes.get_mut(alarm) else { return };
        lane.remove(key);
        self.len = self.len.saturating_sub(1);
        self.lead(alarm);
    }

    fn postpone(&mut self, alarm: Arc<str>, key: Key, due: Instant) {
        if let Some(lane) = self.lanes.get_mut(&alarm) {
            lane.insert(key, due);
        }
        self.lead(&alarm);
    }

    /// Makes the first entry of a lane of which nothing is being sent its head.
    fn lead(&mut self, alarm: &Arc<str>) {
        match self.lanes.get(alarm).and_then(|lane| lane.first_key_value()) {
            Some((key, due)) => {
                self.heads.insert((*due, key.clone()), alarm.clone());
            }
            None => {
                self.lanes.remove(alarm);
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        if self.sending.is_some() {
            return None;
        }
        let ((due, _), _) = self.heads.first_key_value()?;
        Some(self.pause.map_or(*due, |pause| pause.max(*due)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// An agenda, the instant it counts from, and shorthands: destinations are names, times
    /// seconds, keys numbers.
    struct Case {
        agenda: Agenda,
        zero: Instant,
    }

    fn key(n: u32) -> Key {
        n.to_be_bytes().as_slice().into()
    }

    fn destination(name: &str) -> Destination {
        Destination { tenant: TenantId::new(1), method: name.into() }
    }

    impl Case {
        fn new(bounds: Bounds) -> Self {
            Case { agenda: Agenda::new(bounds), zero: Instant::now() }
        }

        fn roomy() -> Self {
            Case::new(Bounds { destination: 100, destination_crowded: 100, total: 1000 })
        }

        fn at(&self, seconds: u64) -> Instant {
            self.zero + Duration::from_secs(seconds)
        }

        fn offer(&mut self, to: &str, alarm: &str, n: u32) {
            let due = self.at(0);
            self.agenda.offer(&destination(to), alarm, key(n), due);
        }

        fn start(&mut self, seconds: u64) -> Option<(String, u32)> {
            let (destination, key) = self.agenda.start(self.at(seconds))?;
            let n = u32::from_be_bytes((&*key).try_into().unwrap());
            Some((destination.method.to_string(), n))
        }

        fn succeed(&mut self, to: &str, n: u32) {
            self.agenda.finish(&destination(to), After::Answered);
            self.agenda.forget(TenantId::new(1), &key(n));
        }

        fn fail(&mut self, to: &str, due: u64, pause: u64) {
            let again = After::Again { due: self.at(due), pause: self.at(pause) };
            self.agenda.finish(&destination(to), again);
        }

        /// Starts and finishes all that is due.
        fn drain(&mut self, seconds: u64) -> Vec<(String, u32)> {
            let mut sent = Vec::new();
            while let Some((to, n)) = self.start(seconds) {
                self.succeed(&to, n);
                sent.push((to, n));
            }
            sent
        }
    }

    fn sent(to: &str, n: u32) -> Option<(String, u32)> {
        Some((to.to_owned(), n))
    }

    #[test]
    fn one_at_a_time_per_destination_and_others_are_not_delayed() {
        let mut case = Case::roomy();
        for (to, n) in [("x", 1), ("x", 2), ("y", 3)] {
            case.offer(to, &n.to_string(), n);
        }
        assert_eq!(
            (case.start(0), case.start(0), case.start(0)),
            (sent("x", 1), sent("y", 3), None)
        );
        case.succeed("x", 1);
        assert_eq!(case.start(0), sent("x", 2));
    }

    #[test]
    fn an_alarm_waits_for_its_earlier_notification_and_other_alarms_do_not() {
        let mut case = Case::roomy();
        for (alarm, n) in [("a", 1), ("a", 2), ("b", 3)] {
            case.offer("x", alarm, n);
        }
        assert_eq!(case.start(0), sent("x", 1));
        case.fail("x", 30, 1);
        assert_eq!(case.start(0), None);
        assert_eq!(case.agenda.next_due(), Some(case.at(1)));
        assert_eq!(case.drain(1), [("x".to_owned(), 3)]);
        assert_eq!(case.start(29), None);
        assert_eq!(case.drain(30), [("x".to_owned(), 1), ("x".to_owned(), 2)]);
        assert_eq!((case.agenda.len(), case.agenda.next_due()), (0, None));
        assert!(case.agenda.queues.is_empty());
    }

    #[test]
    fn failures_in_a_row_are_counted_until_an_answer() {
        let mut case = Case::roomy();
        case.offer("x", "a", 1);
        case.offer("x", "b", 2);
        case.start(0);
        case.fail("x", 1, 1);
        case.start(1);
        case.fail("x", 2, 2);
        assert_eq!(case.agenda.failures(&destination("x")), 2);
        case.start(2);
        case.succeed("x", 1);
        assert_eq!(case.agenda.failures(&destination("x")), 0);
    }

    #[test]
    fn entries_found_late_go_before_later_ones() {
        let mut case = Case::roomy();
        for n in [5, 3, 4] {
            case.offer("x", "a", n);
        }
        assert_eq!(case.start(0), sent("x", 3));
        case.offer("x", "a", 1);
        assert_eq!(case.start(0), None);
        case.succeed("x", 3);
        assert_eq!(case.drain(0).into_iter().map(|(_, n)| n).collect::<Vec<_>>(), [1, 4, 5]);
    }

    #[test]
    fn a_known_entry_is_taken_once_until_it_is_forgotten() {
        let mut case = Case::roomy();
        case.offer("x", "a", 1);
        case.offer("x", "a", 1);
        assert_eq!(case.start(0), sent("x", 1));
        case.agenda.finish(&destination("x"), After::Answered);
        case.offer("x", "a", 1);
        assert_eq!(case.start(0), None);
        case.agenda.forget(TenantId::new(1), &key(1));
        case.offer("x", "a", 1);
        assert_eq!(case.start(0), sent("x", 1));
    }

    #[test]
    fn what_has_no_room_waits_in_order_for_a_full_look() {
        let mut case = Case::new(Bounds { destination: 4, destination_crowded: 4, total: 1000 });
        for n in 0..6 {
            case.offer("x", "a", n);
        }
        assert_eq!(case.agenda.len(), 4);
        assert_eq!(case.start(0), sent("x", 0));
        case.succeed("x", 0);
        // There is room, but 4 and 5 come first.
        case.offer("x", "a", 6);
        assert!(!case.agenda.wants_full_look());
        assert_eq!(case.drain(0).len(), 3);
        assert!(case.agenda.wants_full_look());
        case.agenda.begin_full_look();
        for n in 4..7 {
            case.offer("x", "a", n);
        }
        assert!(!case.agenda.wants_full_look());
        assert_eq!(case.drain(0).into_iter().map(|(_, n)| n).collect::<Vec<_>>(), [4, 5, 6]);
    }

    #[test]
    fn memory_is_bounded_over_all_destinations() {
        let mut case = Case::new(Bounds { destination: 100, destination_crowded: 100, total: 4 });
        for n in 0..8 {
            case.offer(&format!("d{n}"), "a", n);
        }
        assert_eq!(case.agenda.len(), 4);
        assert_eq!(case.drain(0).len(), 4);
        assert!(case.agenda.wants_full_look());
        case.agenda.begin_full_look();
        for n in 4..8 {
            case.offer(&format!("d{n}"), "a", n);
        }
        assert_eq!(case.drain(0).len(), 4);
    }

    #[test]
    fn a_dead_destination_leaves_room_for_others() {
        let mut case = Case::new(Bounds { destination: 100, destination_crowded: 2, total: 8 });
        for n in 0..9 {
            case.offer("dead", "a", n);
        }
        assert_eq!(case.agenda.len(), 4);
        for n in 20..23 {
            case.offer("x", "a", n);
        }
        assert_eq!(case.agenda.len(), 6);
        assert_eq!(case.start(0), sent("dead", 0));
        assert_eq!(case.start(0), sent("x", 20));
        case.succeed("x", 20);
        assert!(case.agenda.wants_full_look());
    }

    proptest! {
        /// Whatever fails and in whichever order entries are found: every entry is sent
        /// successfully once, and those of an alarm to a destination in order.
        #[test]
        fn all_are_sent_once_and_alarms_in_order(
            entries in proptest::collection::vec((0u32..3, 0u32..4), 1..40),
            failing in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            let mut case = Case::roomy();
            for (n, (to, alarm)) in (0..).zip(&entries) {
                case.offer(&to.to_string(), &alarm.to_string(), n);
            }
            let mut sent: Vec<u32> = Vec::new();
            let mut failing = failing.into_iter();
            let mut clock = 0;
            while case.agenda.len() > 0 {
                prop_assert!(clock < 1000);
                match case.start(clock) {
                    Some((to, _)) if failing.next() == Some(true) => case.fail(&to, clock + 3, clock + 1),
                    Some((to, n)) => {
                        case.succeed(&to, n);
                        sent.push(n);
                    }
                    None => clock += 1,
                }
            }
            let mut lanes: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
            for n in &sent {
                lanes.entry(entries[*n as usize]).or_default().push(*n);
            }
            prop_assert!(lanes.values().all(|lane| lane.is_sorted()), "{sent:?}");
            sent.sort_unstable();
            prop_assert_eq!(sent, (0..u32::try_from(entries.len()).unwrap()).collect::<Vec<_>>());
            prop_assert!(case.agenda.queues.is_empty() && case.agenda.ready.is_empty());
        }
    }
}
