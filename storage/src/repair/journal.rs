//! Journals: what does not decode is removed and said to be lost; terms, ids and words are made what the
//! entries ask for.

use super::Mending;
use crate::error::Error;
use crate::kv::Batch;
use crate::verify::{Examination, Part, Tally, Wrong, flaws, rows};

/// Changes that are committed at a time.
const CHANGES_AT_ONCE: usize = 10_000;

impl Mending<'_> {
    pub(super) fn journals(&mut self, examination: &Examination) -> Result<(), Error> {
        let Some(doubt) = &examination.journals else { return Ok(()) };
        let Some(kv) = self.kv.clone() else { return Ok(()) };
        let mut batch = Batch::default();
        let mut tally = Tally::default();
        flaws(&kv, doubt, &mut |flaw| {
            tally.add(&flaw);
            match flaw.right {
                Some(value) => batch.put_raw(flaw.family, flaw.key, value),
                None => batch.delete_raw(flaw.family, flaw.key),
            }
            if batch.len() < CHANGES_AT_ONCE {
                return Ok(());
            }
            self.commit(std::mem::take(&mut batch))
        })?;
        self.commit(batch)?;
        for (place, wrong, count, affects) in tally.sums() {
            let (step, lost) = match wrong {
                Wrong::Key => (
                    format!("remove {count} keys that do not decode"),
                    Some(format!("what stood under {count} keys that do not decode")),
                ),
                Wrong::Entry => (
                    format!("remove {count} entries that do not decode"),
                    Some(format!("{count} entries")),
                ),
                Wrong::Missing(part) | Wrong::Changed(part) => {
                    (format!("write {count} {} anew from the entries", rows(part)), None)
                }
                Wrong::Alone(part) => {
                    (format!("remove {count} {} that belong to no entry", rows(part)), None)
                }
                Wrong::Horizon => ("begin it with its first entry".to_owned(), None),
                Wrong::Keep => (
                    "keep it for ever".to_owned(),
                    Some("how long it is kept: for ever until that is set again".to_owned()),
                ),
            };
            self.step(format!("{place}: {step}"));
            if let Some(lost) = lost {
                self.lost.add(Part::Journal, place, lost, affects);
            }
        }
        Ok(())
    }
}
