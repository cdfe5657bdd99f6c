//! Fills a page from groups, reading no more of them than it needs.

use moneta_storage::model::Timestamp;

use super::group::SeriesGroup;
use crate::error::Error;
use crate::expr::{Group, Page, PageStart, Paging};

/// At most so many groups are read at once.
const GROUPS_AT_ONCE_MAX: usize = 4096;

/// How a page is filled.
pub(super) struct Filling<'a, Row> {
    pub(super) paging: &'a Paging,
    /// No group has more rows than this.
    pub(super) rows_per_group_max: u64,
    /// The time of a row.
    pub(super) time: fn(&Row) -> Timestamp,
}

impl<Row> Filling<'_, Row> {
    /// Fills a page from `groups`. `rows_of(some, after, wanted)` gives the rows of each of some
    /// groups, ascending, only those later than `after`; of each group at least the first `wanted`
    /// if it has as many.
    pub(super) fn fill(
        &self,
        groups: &[SeriesGroup],
        mut rows_of: impl FnMut(
            &[SeriesGroup],
            Option<Timestamp>,
            usize,
        ) -> Result<Vec<Vec<Row>>, Error>,
    ) -> Result<Page<Row>, Error> {
        let mut filled = Filled {
            groups: Vec::new(),
            left: self.paging.rows_max.max(1),
            next: None,
            time: self.time,
        };
        let (mut waiting, everywhere) = (groups, self.after_everywhere());
        if let Some((first, after, later)) = self.begun_group(groups)? {
            let rows =
                rows_of(std::slice::from_ref(first), Some(after), filled.left.saturating_add(1))?;
            waiting = later;
            if filled.take(std::slice::from_ref(first), rows) {
                return Ok(filled.page());
            }
        }
        let (mut at_once, mut rows_seen, mut groups_seen) = (self.surely_needed(&filled), 0, 0);
        while !waiting.is_empty() {
            let (some, later) = waiting.split_at(at_once.min(waiting.len()));
            let rows = rows_of(some, everywhere, filled.left.saturating_add(1))?;
            rows_seen += rows.iter().map(Vec::len).sum::<usize>();
            groups_seen += some.len();
            if filled.take(some, rows) {
                break;
            }
            waiting = later;
            // Twice as many, but not more than the page needs if the next ones are like these.
            let like_these = filled.left.saturating_mul(groups_seen) / rows_seen.max(1) + 1;
            at_once = (at_once * 2).min(like_these).clamp(1, GROUPS_AT_ONCE_MAX);
        }
        Ok(filled.page())
    }

    /// Groups that the page needs even if each is as long as it can be.
    fn surely_needed(&self, filled: &Filled<Row>) -> usize {
        let rows = u64::try_from(filled.left).unwrap_or(u64::MAX);
        let groups = usize::try_from(rows / self.rows_per_group_max.max(1)).unwrap_or(usize::MAX);
        groups.clamp(1, GROUPS_AT_ONCE_MAX)
    }

    fn after_everywhere(&self) -> Option<Timestamp> {
        match &self.paging.start {
            Some(PageStart { group: None, after }) => Some(*after),
            Some(PageStart { group: Some(_), .. }) | None => None,
        }
    }

    /// The group the previous page ended in, where it ended, and the groups after it.
    #[expect(clippy::type_complexity, reason = "taken apart at once by its one caller")]
    fn begun_group<'g>(
        &self,
        groups: &'g [SeriesGroup],
    ) -> Result<Option<(&'g SeriesGroup, Timestamp, &'g [SeriesGroup])>, Error> {
        let Some(PageStart { group: Some(id), after }) = &self.paging.start else {
            return Ok(None);
        };
        let gone = || Error::Invalid(format!("the page begins in group {id}, which is not there"));
        let at = groups.iter().position(|group| group.id == *id).ok_or_else(gone)?;
        let from_here = groups.get(at..).unwrap_or_default();
        let (first, later) = from_here.split_first().ok_or_else(gone)?;
        Ok(Some((first, *after, later)))
    }
}

/// A page being filled.
struct Filled<Row> {
    groups: Vec<Group<Row>>,
    left: usize,
    next: Option<PageStart>,
    time: fn(&Row) -> Timestamp,
}

impl<Row> Filled<Row> {
    /// Takes the rows of groups. True when the page is full and more is known to follow.
    fn take(&mut self, groups: &[SeriesGroup], rows: Vec<Vec<Row>>) -> bool {
        groups.iter().zip(rows).any(|(group, rows)| self.take_group(group, rows))
    }

    fn take_group(&mut self, group: &SeriesGroup, mut rows: Vec<Row>) -> bool {
        if rows.is_empty() {
            return false;
        }
        if self.left == 0 {
            self.next = self.end();
            return true;
        }
        let cut = self.cut(&rows);
        let more = cut < rows.len();
        rows.truncate(cut);
        self.left = self.left.saturating_sub(rows.len());
        let (id, dimensions) = (group.id.clone(), group.dimensions.clone());
        self.groups.push(Group { id, dimensions, rows });
        if more {
            self.next = self.end();
        }
        more
    }

    /// How many rows go onto the page: rows of one instant stay together, because the next page
    /// begins after an instant.
    fn cut(&self, rows: &[Row]) -> usize {
        let Some(last) = rows.get(self.left - 1) else { return rows.len() };
        let last = (self.time)(last);
        let tied = rows.iter().skip(self.left).take_while(|row| (self.time)(row) == last).count();
        self.left + tied
    }

    fn end(&self) -> Option<PageStart> {
        let group = self.groups.last()?;
        let after = (self.time)(group.rows.last()?);
        Some(PageStart { group: Some(group.id.clone()), after })
    }

    fn page(self) -> Page<Row> {
        Page { groups: self.groups, next: self.next, warnings: Vec::new() }
    }
}

impl<Row> Page<Row> {
    pub(super) fn map_rows<To>(self, mut to: impl FnMut(Row) -> To) -> Page<To> {
        let groups = self.groups.into_iter().map(|Group { id, dimensions, rows }| Group {
            id,
            dimensions,
            rows: rows.into_iter().map(&mut to).collect(),
        });
        Page { groups: groups.collect(), next: self.next, warnings: self.warnings }
    }
}
