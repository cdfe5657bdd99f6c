//! The sweeper: a thread that gives back the space of what may no longer be seen. It looks for segments
//! that hold expired or deleted samples, drops them or has the merger rewrite them; a tombstone goes
//! when nothing is left that it hides.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::activity;
use crate::census;
use crate::deletion::{self, DeletionState, Tombstone};
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::index::clean;
use crate::keeper;
use crate::manifest::Change;
use crate::merge::{QUIET, merger};
use crate::model::{Sequence, Timestamp};
use crate::orders;
use crate::output::metric_lookup;
use crate::retention::{RollupStep, Rules};
use crate::rollup;
use crate::rollup::roller::{self, Due};
use crate::segment::Segment;
use crate::sieve::Sieve;
use crate::threads::Shared;

/// How often the sweeper looks for itself.
const BEAT: Duration = Duration::from_secs(60);
/// How often the time that has passed is stored where nothing else is.
const NOTED_EVERY_MS: u64 = 3_600_000;
/// The index is written again when so many series of a tenant have left it at once.
const COMPACTED_FROM: u64 = 10_000;
/// Series that lost their last sample are looked for after each correction; those that somebody held
/// until later, once in so many sweeps.
const CLEAN_BEATS: u32 = 60;
/// A segment is rewritten when a twentieth of its samples has expired.
const EXPIRED_SHARE: u64 = 20;

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Segments of which nothing may be seen any more: removed.
    pub segments_removed: u64,
    /// Segments written again without what may not be seen.
    pub segments_rewritten: u64,
    /// Bytes of segment files given back.
    pub bytes: u64,
    /// Deletions of which nothing is left.
    pub deletions_finished: u64,
    /// Series without samples that were taken out of the index.
    pub series_removed: u64,
    /// Rollups of a day that were made.
    pub rollups_made: u64,
}

pub(crate) enum Order {
    /// There may be something to do.
    Nudge,
    /// Sweep now and tell what was done.
    Sweep(SyncSender<Result<Swept, Error>>),
    /// Look as at every beat, and say when it is done.
    #[cfg(test)]
    Beat(SyncSender<Result<(), Error>>),
    /// Make rollups of all days that are over now and tell how many.
    Roll(SyncSender<Result<u64, Error>>),
    Stop,
}

impl orders::Order for Order {
    const NUDGE: Self = Order::Nudge;
}

/// Serves orders until told to stop.
pub(crate) fn run(shared: &Arc<Shared>, inbox: &Receiver<Order>) {
    let mut sweeper = Sweeper {
        shared,
        looked: HashMap::new(),
        untouched: HashSet::new(),
        beats_to_clean: 0,
        arrivals: HashMap::new(),
    };
    loop {
        match inbox.recv_timeout(BEAT) {
            Ok(Order::Nudge) | Err(RecvTimeoutError::Timeout) => sweeper.beat(),
            #[cfg(test)]
            Ok(Order::Beat(reply)) => {
                sweeper.beat();
                drop(reply.send(Ok(())));
            }
            Ok(Order::Sweep(reply)) => {
                shared.retention.look(shared.clock.now(), true);
                // The one who asked may have gone.
                drop(reply.send(sweeper.sweep()));
            }
            Ok(Order::Roll(reply)) => drop(reply.send(sweeper.roll_all())),
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Sweeper<'a> {
    shared: &'a Arc<Shared>,
    /// By number of segment: the rules by which and the moment at which it was looked at.
    looked: HashMap<u64, (Arc<Rules>, Timestamp)>,
    /// Deletion and segment, where the segment has nothing that the deletion hides.
    untouched: HashSet<(u64, u64)>,
    /// Sweeps until the index is cleaned even if no day was corrected.
    beats_to_clean: u32,
    /// The newest sequence of days of which a rollup is to be made, and when it was first seen.
    arrivals: HashMap<rollup::Home, (Sequence, Timestamp)>,
}

/// What a look at a segment has found.
#[derive(Default)]
struct Found {
    samples: u64,
    expired: u64,
    /// Those that no reader sees because of a deletion; there may be more.
    deleted: u64,
    /// Whether a deletion hides some.
    touched: bool,
}

impl Sweeper<'_> {
    fn beat(&mut self) {
        let shared = self.shared;
        shared.retention.look(shared.clock.now(), false);
        if shared.stopped().is_some() {
            return;
        }
        if let Err(error) = shared.retention.note(&shared.kv, NOTED_EVERY_MS) {
            tracing::warn!(%error, "the time that has passed could not be stored");
        }
        if let Err(error) = self.sweep()
            && !shared.is_closing()
        {
            // Nothing is lost by it: what should be gone is hidden all the same.
            tracing::warn!(%error, "space of expired or deleted samples was not given back");
        }
    }

    fn sweep(&mut self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        let shared = self.shared;
        let tombstones = self.reclaimed()?;
        let head_reaches = |tombstone: &Tombstone| shared.live.lock().head_reaches(tombstone.upto);
        if tombstones.iter().any(|tombstone| head_reaches(tombstone)) {
            match shared.keeper.ask(keeper::Order::Flush) {
                Err(error @ Error::Stopped { .. }) => return Err(error),
                // Those tombstones wait; what goes below may give the space that it lacks.
                Err(error) => tracing::warn!(%error, "deleted samples stay in the head"),
                Ok(()) => {}
            }
        }
        // What is removed below is in the rollups first.
        let mut days = self.remove_expired_rollups(&mut swept)?;
        match self.make_rollups(Patience::Quiet, &mut days) {
            Ok(made) => swept.rollups_made = made,
            Err(error @ Error::Stopped { .. }) => return Err(error),
            // What is needed for them stays; the rest may give the space they lack.
            Err(error) => tracing::warn!(%error, "rollups were not made"),
        }
        let now = shared.retention.removed_by(shared.clock.now());
        let rules = shared.retention.rules();
        let segments = shared.live.lock().segments.clone();
        let mut gone = Vec::new();
        let mut left: BTreeMap<u64, u64> = BTreeMap::new();
        // Weak: none of them is kept on disk while it waits for its turn.
        let mut stale: Vec<Weak<Segment>> = Vec::new();
        for segment in segments.iter() {
            self.go_on()?;
            let hiding: Vec<&Arc<Tombstone>> =
                tombstones.iter().filter(|tombstone| self.concerns(tombstone, segment)).collect();
            if hiding.is_empty() && !self.may_have_expired(segment, &rules, now) {
                continue;
            }
            let note = (rules.clone(), now);
            let Some(found) = whole(self.look(segment, &hiding))? else {
                self.looked.insert(segment.address.number, note);
                continue;
            };
            if found.expired + found.deleted >= found.samples {
                gone.push(segment.clone());
            } else if found.touched || found.expired * EXPIRED_SHARE >= found.samples {
                for tombstone in hiding {
                    *left.entry(tombstone.number).or_default() += 1;
                }
                stale.push(Arc::downgrade(segment));
                days.insert(segment.address.partition);
            } else {
                self.looked.insert(segment.address.number, note);
            }
        }
        drop(segments);
        for (&number, &left) in &left {
            deletion::note_left(shared, number, left)?;
        }
        fail_point::pass(Point::SweepFound);
        days.extend(gone.iter().map(|segment| segment.address.partition));
        if !gone.is_empty() {
            swept.segments_removed = count(gone.len());
            swept.bytes = gone.iter().map(|segment| segment.facts.bytes).sum();
            let change = Change { removed: gone, ..Change::default() };
            change.commit(shared, |_| ()).inspect_err(|error| shared.stop(error))?;
        }
        fail_point::pass(Point::SweepRemoved);
        let before: u64 = bytes(shared);
        let failed = self.rewrite(&stale, (rules, now), &mut swept)?;
        fail_point::pass(Point::SweepRewritten);
        swept.bytes += before.saturating_sub(bytes(shared));
        let done: Vec<&Arc<Tombstone>> =
            tombstones.iter().filter(|tombstone| self.is_done(tombstone)).collect();
        days.extend(activity::days_of(shared, &done)?);
        days.extend(activity::empty_days(shared)?);
        let corrects = !days.is_empty();
        // Before the tombstones go: until then they keep series in doubt.
        self.correct_activity(days)?;
        for tombstone in done {
            deletion::finish(shared, tombstone)?;
            swept.deletions_finished += 1;
        }
        if corrects || self.beats_to_clean == 0 {
            self.beats_to_clean = CLEAN_BEATS;
            for tenant in shared.index.tenants() {
                let removed = clean::clean_unused(shared, tenant)?;
                swept.series_removed += removed;
                if removed >= COMPACTED_FROM {
                    shared.kv.compact_index(tenant);
                }
            }
        }
        self.beats_to_clean -= 1;
        self.forget();
        failed.map_or(Ok(swept), Err)
    }

    /// Has segments written again. What fails is tried again at the next sweep; the others are written
    /// all the same, since they may give the space that it lacks. Returns the first failure.
    fn rewrite(
        &mut self,
        stale: &[Weak<Segment>],
        looked: (Arc<Rules>, Timestamp),
        swept: &mut Swept,
    ) -> Result<Option<Error>, Error> {
        let mut failed = None;
        for segment in stale {
            self.go_on()?;
            // One that has gone meanwhile was merged, and is looked at next time.
            let Some(segment) = segment.upgrade() else { continue };
            let number = segment.address.number;
            match whole(self.shared.merger.ask(|reply| merger::Order::Rewrite(segment, reply))) {
                Ok(Some(())) => swept.segments_rewritten += 1,
                Ok(None) => drop(self.looked.insert(number, looked.clone())),
                Err(error @ Error::Stopped { .. }) => return Err(error),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        Ok(failed)
    }

    /// Has the keeper make the activity of `days` say what is stored, a day at a time: in between it
    /// looks after the head.
    fn correct_activity(&self, days: BTreeSet<i32>) -> Result<(), Error> {
        for day in days {
            self.go_on()?;
            self.shared.keeper.ask(|reply| keeper::Order::CorrectActivity(day, reply))?;
        }
        Ok(())
    }

    /// # Errors
    /// `Stopped` if the store closes.
    fn go_on(&self) -> Result<(), Error> {
        match self.shared.is_closing() {
            true => Err(Error::Stopped { reason: "the store is closing".into() }),
            false => Ok(()),
        }
    }

    /// Tombstones whose space is to be given back.
    fn reclaimed(&self) -> Result<Vec<Arc<Tombstone>>, Error> {
        let mut found = Vec::new();
        let tombstones = self.shared.live.lock().tombstones.clone();
        for tombstone in tombstones.iter() {
            let deletion = deletion::deletion(self.shared, tombstone.number)?;
            let cancelled =
                deletion.is_some_and(|deletion| deletion.state == DeletionState::Cancelled);
            // Of a cancelled one, ordinary merges may have left nothing.
            if !cancelled || self.is_done(tombstone) {
                found.push(tombstone.clone());
            }
        }
        Ok(found)
    }

    /// Whether a segment may hold rows that a tombstone hides and that are not known to be absent.
    fn concerns(&self, tombstone: &Tombstone, segment: &Segment) -> bool {
        let facts = &segment.facts;
        let number = segment.address.number;
        number < tombstone.clean_from
            && facts.sequences.0 <= tombstone.upto
            && tombstone.overlaps(facts.times)
            && !self.untouched.contains(&(tombstone.number, number))
    }

    fn is_done(&self, tombstone: &Tombstone) -> bool {
        let live = self.shared.live.lock();
        let segments = live.segments.clone();
        let in_head = live.head_reaches(tombstone.upto);
        drop(live);
        // What is in quarantine may come back.
        let waits = self.shared.live.quarantined().iter().any(|missing| {
            missing.address.number < tombstone.clean_from && tombstone.overlaps(missing.times)
        });
        // A rollup that does not know it may show what it has deleted once it is forgotten.
        let rollups = self.shared.live.moment().rolled;
        let unknown = rollups.iter().any(|((_, day), record)| {
            record.deletions < tombstone.number && tombstone.overlaps(rollup::span_of(*day))
        });
        !in_head
            && !waits
            && !unknown
            && !segments.iter().any(|segment| self.concerns(tombstone, segment))
    }

    /// Whether more samples of a segment may have expired since it was looked at.
    fn may_have_expired(&self, segment: &Segment, rules: &Arc<Rules>, now: Timestamp) -> bool {
        let looked = self.looked.get(&segment.address.number);
        let since = match looked {
            Some((old, at)) if Arc::ptr_eq(old, rules) => *at,
            Some(_) | None if rules.has_floors() => return true,
            Some(_) | None => Timestamp::MIN,
        };
        rules.spans().any(|keep| {
            let expires = segment.facts.times.end.plus_millis(keep);
            since < expires && expires <= now
        })
    }

    /// Counts the samples of a segment that may not be seen. A stretch counts as expired when all of
    /// it is.
    fn look(&mut self, segment: &Segment, tombstones: &[&Arc<Tombstone>]) -> Result<Found, Error> {
        let sieve = Sieve::now(self.shared);
        let metric_of = metric_lookup(&self.shared.index);
        let mut found = Found::default();
        let mut touched: HashSet<u64> = HashSet::new();
        census::of_segment(segment, census::Scope::ALL, &metric_of, |stretch| {
            let place = stretch.place;
            found.samples += stretch.rows;
            if !sieve.knows(place.tenant) {
                found.deleted += stretch.rows;
                let own = tombstones.iter().filter(|tombstone| tombstone.tenant == place.tenant);
                touched.extend(own.map(|tombstone| tombstone.number));
                return Ok(());
            }
            if sieve.has_expired(place, stretch.times) {
                found.expired += stretch.rows;
                return Ok(());
            }
            let mut deleted = 0;
            for tombstone in tombstones {
                let own = tombstone.tenant == place.tenant
                    && tombstone.series.contains(place.series.number());
                let rows = if own { stretch.rows_in(tombstone.times)? } else { 0 };
                if rows > 0 {
                    touched.insert(tombstone.number);
                }
                // Where the segment goes on after the deletion, some of the rows may be newer.
                if tombstone.upto >= segment.facts.sequences.1 {
                    deleted = deleted.max(rows);
                }
            }
            found.deleted += deleted;
            Ok(())
        })?;
        found.touched = !touched.is_empty();
        for tombstone in tombstones {
            if !touched.contains(&tombstone.number) {
                self.untouched.insert((tombstone.number, segment.address.number));
            }
        }
        Ok(found)
    }

    /// Makes all rollups that are missing or outdated, also of what is in the head.
    fn roll_all(&mut self) -> Result<u64, Error> {
        self.shared.keeper.ask(keeper::Order::Flush)?;
        let mut days = BTreeSet::new();
        let made = self.make_rollups(Patience::Nothing, &mut days)?;
        self.correct_activity(days)?;
        Ok(made)
    }

    /// Makes rollups, and adds the days to `days` of which series may have lost all they had.
    fn make_rollups(&mut self, patience: Patience, days: &mut BTreeSet<i32>) -> Result<u64, Error> {
        let shared = self.shared;
        let (rules, now) = (shared.retention.rules(), shared.clock.now());
        let mut made = 0;
        for step in RollupStep::ALL {
            let due = roller::due(shared, &rules, step, now);
            let tier = step.tier();
            self.arrivals.retain(|home, _| home.0 != tier || due.contains_key(&home.1));
            for (day, why) in due {
                let waits = match why {
                    Due::Samples(newest) => !self.is_quiet((tier, day), newest, now),
                    Due::Now => false,
                };
                if waits && patience == Patience::Quiet {
                    continue;
                }
                if whole(roller::roll(shared, step, day))? == Some(true) {
                    made += 1;
                    days.extend((why == Due::Now).then_some(day));
                }
            }
        }
        if made > 0 {
            // Samples whose rollups are made now may go.
            self.looked.clear();
        }
        Ok(made)
    }

    fn is_quiet(&mut self, home: rollup::Home, newest: Sequence, now: Timestamp) -> bool {
        let (seen, since) = self.arrivals.entry(home).or_insert((newest, now));
        if *seen != newest {
            (*seen, *since) = (newest, now);
        }
        now.since(*since) >= QUIET
    }

    /// The days of rollups that were removed.
    fn remove_expired_rollups(&self, swept: &mut Swept) -> Result<BTreeSet<i32>, Error> {
        let shared = self.shared;
        let expired = roller::expired(shared, &shared.retention.rules(), shared.clock.now());
        for home in &expired {
            swept.bytes += roller::remove(shared, *home)?;
        }
        Ok(expired.into_iter().map(|home| home.1).collect())
    }

    /// Forgets what is known of segments and deletions that are no more.
    fn forget(&mut self) {
        let live = self.shared.live.lock();
        let segments: HashSet<u64> =
            live.segments.iter().map(|segment| segment.address.number).collect();
        let deletions: HashSet<u64> =
            live.tombstones.iter().map(|tombstone| tombstone.number).collect();
        drop(live);
        self.looked.retain(|number, _| segments.contains(number));
        self.untouched.retain(|(deletion, segment)| {
            deletions.contains(deletion) && segments.contains(segment)
        });
    }
}

/// What is waited for before a rollup is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until nothing has come for a while.
    Quiet,
    Nothing,
}

/// A segment that does not verify is left as it is; the rest goes on.
fn whole<T>(outcome: Result<T, Error>) -> Result<Option<T>, Error> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error @ Error::Corrupt { .. }) => {
            tracing::error!(%error, "a segment is left as it is");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn bytes(shared: &Shared) -> u64 {
    shared.live.lock().segments.iter().map(|segment| segment.facts.bytes).sum()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
