//! The manifest and the segments it lists.

use std::collections::HashSet;
use std::fs;

use super::salvage::{self, Hidden, salvage};
use super::{Mending, Mode};
use crate::error::Error;
use crate::key::{Fact, Family, Key};
use crate::kv::{Batch, Sync};
use crate::manifest;
use crate::offline::{self, Offline, QUARANTINE};
use crate::recovery;
use crate::rollup::Record;
use crate::segment::{SAMPLES, Segment, SegmentAddress, SegmentFacts};
use crate::verify::{Affected, Examination, Part};

type Listed = (SegmentAddress, SegmentFacts);

impl Mending<'_> {
    /// Makes the manifest list what is there. Only where RocksDB has lost something may a file without
    /// an entry be part of the store; else it is a flush or merge that did not come to its commit.
    pub(super) fn manifest(&mut self, examination: &Examination) -> Result<(), Error> {
        let mut batch = Batch::default();
        for key in &examination.bad_entries {
            self.step("remove an entry of the manifest that does not decode".to_owned());
            batch.delete_raw(Family::Manifest, key.clone());
        }
        let rebuild = examination.database_damaged
            || examination.database_short
            || !examination.bad_entries.is_empty();
        let Some(kv) = self.kv.clone() else { return Ok(()) };
        let mut listed = offline::manifest_entries(&kv, |_| {}).unwrap_or_default();
        if rebuild && self.applies() {
            listed = self.choose(&kv, listed, examination, &mut batch)?;
        }
        self.commit(batch)?;
        self.numbers(&listed)
    }

    /// Facts that follow from the segments.
    fn numbers(&mut self, listed: &[Listed]) -> Result<(), Error> {
        let Some(kv) = self.kv.clone() else { return Ok(()) };
        let newest = listed.iter().map(|(_, facts)| facts.sequences.1.number()).max().unwrap_or(0);
        if Offline::fact(&kv, Fact::TrimmedTo).unwrap_or(0) < newest {
            self.step(format!("the log begins after sequence {newest}"));
            self.put_fact(Fact::TrimmedTo, newest)?;
        }
        let mut greatest = listed.iter().map(|(address, _)| address.number).max().unwrap_or(0);
        for root in ["segments", QUARANTINE] {
            for path in recovery::segment_files(&self.directory.join(root))? {
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                greatest = greatest.max(number.unwrap_or(0));
            }
        }
        if Offline::fact(&kv, Fact::NextSegment).unwrap_or(0) <= greatest {
            self.put_fact(Fact::NextSegment, greatest.saturating_add(1))?;
        }
        Ok(())
    }

    /// Replaces segments with something wrong in them by what is whole in them.
    pub(super) fn segments(&mut self, examination: &Examination) -> Result<(), Error> {
        let listed = match &self.kv {
            Some(kv) => offline::manifest_entries(kv, |_| {})?,
            None => examination.segments.clone(),
        };
        let undefined = self.still_undefined(examination);
        if listed.iter().any(|entry| !self.is_there(entry)) {
            self.keep_unlisted(&listed)?;
        }
        for (address, facts) in &listed {
            let damaged = examination.damaged.contains(&address.number);
            if damaged || !undefined.is_empty() && self.holds(address, &undefined) {
                self.one_segment(address, facts, &listed)?;
            }
        }
        Ok(())
    }

    /// Puts files without an entry aside, since the next start would remove them. Where a segment is gone
    /// one of them may hold what was in it.
    fn keep_unlisted(&mut self, listed: &[Listed]) -> Result<(), Error> {
        let root = self.directory.join("segments");
        for path in recovery::segment_files(&root)? {
            let Some(address) = offline::address_of(&root, &path) else { continue };
            if listed.iter().any(|(known, _)| *known == address) {
                continue;
            }
            self.step(format!("put aside {}, which has no entry", path.display()));
            if self.applies() {
                offline::quarantine(self.directory, &address)?;
            }
        }
        Ok(())
    }

    fn is_there(&self, listed: &Listed) -> bool {
        Offline::find(self.directory, &listed.0).is_some()
    }

    fn holds(&self, address: &SegmentAddress, undefined: &HashSet<(u32, u32)>) -> bool {
        let Ok(segment) = Segment::open(self.directory, address.clone()) else { return false };
        let in_rows = segment.row_groups().iter().any(|group| {
            segment.row_group(group).is_ok_and(|entries| {
                entries.iter().any(|entry| {
                    let series =
                        segment.with_row_block(entry, |block| block.series()).unwrap_or_default();
                    let tenant = entry.first.tenant.number();
                    series.iter().any(|&id| {
                        u32::try_from(id).is_ok_and(|id| undefined.contains(&(tenant, id)))
                    })
                })
            })
        });
        let key =
            |place: &crate::segment::SeriesPlace| (place.tenant.number(), place.series.number());
        in_rows
            || segment.series_groups().iter().any(|group| {
                segment.series_group(group).is_ok_and(|entries| {
                    entries.iter().any(|entry| undefined.contains(&key(&entry.place)))
                })
            })
    }

    fn one_segment(
        &mut self,
        address: &SegmentAddress,
        facts: &SegmentFacts,
        listed: &[Listed],
    ) -> Result<(), Error> {
        let all = Affected {
            samples: Some(facts.samples),
            times: Some(facts.times),
            ..Affected::default()
        };
        let shown = address.path();
        let shown = shown.display();
        let path = Offline::find(self.directory, address);
        let opened = match &path {
            Some(path) => Segment::open_damaged(path, address.clone(), *facts)?,
            None => None,
        };
        let mut batch = Batch::default();
        batch.delete(&manifest::key(address));
        if address.tier != SAMPLES {
            // What is lost of a rollup is made again, where there are samples to make it of.
            let key = Key::Rollup(address.tier, address.partition);
            let stored = self.kv.as_ref().map_or(Ok(None), |kv| kv.get(&key))?;
            let known = stored.and_then(|value| Record::decode(&value)).unwrap_or_default();
            let outdated = Record { deletions: known.deletions, ..Record::default() };
            batch.put(&key, outdated.encode());
        }
        let mut kept = salvage::Kept::default();
        match (&path, opened) {
            (None, _)
                if listed
                    .iter()
                    .any(|other| covers(other, address, facts) && self.is_there(other)) =>
            {
                self.step(format!("forget {shown}: another segment has what was in it"));
                return self.commit(batch);
            }
            (Some(path), Some(segment)) => {
                let next =
                    self.kv.as_ref().map_or(Ok(0), |kv| Offline::fact(kv, Fact::NextSegment))?;
                let new = SegmentAddress { number: next.max(1), ..address.clone() };
                let target = self.directory.join(new.path());
                let into = (self.mode == Mode::Apply).then_some(target.as_path());
                let hidden = Hidden { tombstones: self.tombstones()?, removed: &self.removed };
                kept = salvage(&segment, self.kv.as_ref(), &hidden, into, self.lost)?;
                if let Some(facts) = &kept.facts {
                    batch.put(&manifest::key(&new), manifest::encode(facts));
                    let next = new.number.saturating_add(1).to_le_bytes().to_vec();
                    batch.put(&Key::Fact(Fact::NextSegment), next);
                    self.reopen_tombstones(&mut batch)?;
                }
                let (samples, of) = (kept.samples, facts.samples.saturating_sub(kept.hidden));
                let to = new.path();
                self.step(format!(
                    "{}: {samples} of {of} samples are whole and go to {}",
                    path.display(),
                    to.display()
                ));
            }
            (Some(path), None) => {
                self.step(format!("{}: nothing in it can be read", path.display()));
                self.lost.add(Part::Segment, path.display().to_string(), "unreadable", all);
            }
            (None, _) => {
                self.step(format!("{shown}: the file is gone"));
                self.lost.add(Part::Segment, shown.to_string(), "missing", all);
            }
        }
        let lost = facts.samples.saturating_sub(kept.samples).saturating_sub(kept.hidden);
        self.repaired.lost_samples = self.repaired.lost_samples.saturating_add(lost);
        if !self.applies() {
            return Ok(());
        }
        // The old file has its second name before the entry goes: without an entry it would be
        // removed at the next start.
        let from = self.directory.join(address.path());
        if from.is_file() {
            offline::keep(self.directory, address)?;
        }
        let Some(kv) = &self.kv else { return Ok(()) };
        kv.commit(batch, Sync::Disk)?;
        kv.flush_manifest()?;
        if from.is_file() {
            fs::remove_file(&from).map_err(|source| Error::io(&from, &source))?;
        }
        Ok(())
    }
}

/// Whether `other` is another segment that holds all sequences of this one and more: what this one was
/// merged into. One with the same sequences is a sibling, of other series.
fn covers(other: &Listed, address: &SegmentAddress, facts: &SegmentFacts) -> bool {
    let (a, b) = (other.1.sequences, facts.sequences);
    offline::home(&other.0) == offline::home(address) && a != b && a.0 <= b.0 && b.1 <= a.1
}
