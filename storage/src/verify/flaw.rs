//! What is wrong in journals, each row for itself and counted.

use std::collections::BTreeMap;

use super::problem::Affected;
use crate::journal::JournalKind;
use crate::key::{Family, JournalPart};
use crate::model::{Moment, TenantId, TimeRange};

/// Whose journal, and of what kind.
pub(crate) type Owner = (TenantId, JournalKind);

/// What is wrong with a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Wrong {
    /// Nobody's key.
    Key,
    /// An entry that does not decode.
    Entry,
    /// A row that an entry asks for is not there.
    Missing(JournalPart),
    /// It is there and says something else.
    Changed(JournalPart),
    /// No entry asks for it.
    Alone(JournalPart),
    /// The horizon does not decode.
    Horizon,
    /// How long the journal is kept does not decode.
    Keep,
}

/// A row that is not as it must be, and what would be right.
pub(crate) struct Flaw {
    pub(crate) owner: Option<Owner>,
    pub(crate) wrong: Wrong,
    pub(crate) family: Family,
    pub(crate) key: Vec<u8>,
    /// What should stand there; `None`: nothing.
    pub(crate) right: Option<Vec<u8>>,
    /// When, as far as that is known.
    pub(crate) time: Option<Moment>,
}

impl Wrong {
    pub(super) fn words(self, count: u64) -> String {
        match self {
            Wrong::Key => format!("{count} keys do not decode"),
            Wrong::Entry => format!("{count} entries do not decode"),
            Wrong::Missing(part) => format!("{count} {} of entries are missing", rows(part)),
            Wrong::Changed(part) => format!("{count} {} are not those of their entry", rows(part)),
            Wrong::Alone(part) => format!("{count} {} belong to no entry", rows(part)),
            Wrong::Horizon => "what was removed last does not decode".to_owned(),
            Wrong::Keep => "how long it is kept does not decode".to_owned(),
        }
    }
}

/// A word for rows of a part.
pub(crate) const fn rows(part: JournalPart) -> &'static str {
    match part {
        JournalPart::Entry => "entries",
        JournalPart::Term => "terms",
        JournalPart::Id => "ids",
        JournalPart::Word => "words",
        JournalPart::Horizon => "horizons",
    }
}

/// How often something is wrong, and from when to when.
#[derive(Default)]
struct Count {
    flaws: u64,
    times: Option<(Moment, Moment)>,
}

/// How much is wrong, by journal and kind.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<(Option<Owner>, Wrong), Count>);

impl Tally {
    pub(crate) fn add(&mut self, flaw: &Flaw) {
        let count = self.0.entry((flaw.owner, flaw.wrong)).or_default();
        count.flaws += 1;
        if let Some(time) = flaw.time {
            let (first, last) = count.times.get_or_insert((time, time));
            *first = time.min(*first);
            *last = time.max(*last);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which journal, what, how often, and what that affects.
    pub(crate) fn sums(&self) -> impl Iterator<Item = (String, Wrong, u64, Affected)> {
        self.0.iter().map(|((owner, wrong), count)| {
            let place = match owner {
                Some((tenant, JournalKind::Event)) => format!("events of tenant {tenant}"),
                Some((tenant, JournalKind::Transition)) => {
                    format!("history of alarms of tenant {tenant}")
                }
                None => "journals".to_owned(),
            };
            let times = count.times.map(|(first, last)| {
                TimeRange::new(first.timestamp(), last.timestamp().plus_millis(1))
            });
            let tenant = owner.map(|(tenant, _)| tenant);
            (place, *wrong, count.flaws, Affected { tenant, times, ..Affected::default() })
        })
    }
}
