//! Answers expressions from the store.
//!
//! ```text
//! select ▶ groups, sorted ▶ a few groups at a time: read, aggregate, merge ▶ page; stop when full
//! ```

mod aggregate;
mod group;
mod page;
mod scan;
mod source;
mod watched;

#[cfg(test)]
pub(crate) mod memory;

pub(crate) use source::{Source, StoreSource};
pub(crate) use watched::Watched;

use moneta_storage::model::{SeriesId, TimeRange, Timestamp};

use crate::error::Error;
use crate::expr::{GroupBy, Matches, Page, Paging, Samples, Select, Warning, Windowed};
use crate::limits::{SampleBudget, check_series};
use page::Filling;
use scan::Reach;

/// The samples of an expression. Values that are not finite are left out.
pub(crate) fn samples(
    source: &impl Source,
    expression: &Samples,
    paging: &Paging,
) -> Result<Page<scan::SampleRow>, Error> {
    let groups = selected_groups(source, &expression.select, &expression.group)?;
    let budget = SampleBudget::new(paging.samples_max);
    let range = expression.select.range;
    let filling =
        Filling { paging, rows_per_group_max: u64::MAX, time: |row: &scan::SampleRow| row.0 };
    filling.fill(&groups, |groups, after, wanted| {
        let start = after.map_or(range.start, |after| range.start.max(after.plus_millis(1)));
        let range = TimeRange::new(start, range.end);
        scan::samples(source, groups, Reach { range, wanted, budget: &budget })
    })
}

/// The windows of an expression; windows without finite samples are left out.
pub(crate) fn windowed(
    source: &impl Source,
    expression: &Windowed,
    paging: &Paging,
) -> Result<Page<(Timestamp, Vec<f64>)>, Error> {
    let groups = selected_groups(source, &expression.select, &expression.group)?;
    let budget = SampleBudget::new(paging.samples_max);
    let (range, windows) = (expression.select.range, expression.windows);
    let filling = Filling {
        paging,
        rows_per_group_max: windows.count_max(range),
        time: |row: &aggregate::WindowPartial| row.0,
    };
    let mut page = filling.fill(&groups, |groups, after, wanted| {
        let range = after.map_or(range, |after| windows.after(range, after));
        scan::windows(source, groups, windows, Reach { range, wanted, budget: &budget })
    })?;
    let coarse = source.resolution().map(|step_ms| Warning::Resolution { step_ms });
    page.warnings.extend(coarse);
    Ok(page.map_rows(|(start, partial)| {
        (start, expression.aggregates.iter().map(|&aggregate| partial.value(aggregate)).collect())
    }))
}

/// The groups of the selected series, in the order of the answer.
fn selected_groups(
    source: &impl Source,
    select: &Select,
    group_by: &GroupBy,
) -> Result<Vec<group::SeriesGroup>, Error> {
    let series = matching(source, select)?;
    if select.range.is_empty() {
        return Ok(Vec::new());
    }
    let mut keyed = Vec::with_capacity(series.len());
    for id in series {
        // A series may be removed between selecting and looking at it: it has no samples then.
        if let Some(key) = source.series(id)? {
            keyed.push((id, key));
        }
    }
    Ok(group::groups(keyed, group_by))
}

fn matching(source: &impl Source, select: &Select) -> Result<Vec<SeriesId>, Error> {
    let mut selector = select.selector.clone();
    match select.matches {
        Matches::AtMostOne => {
            let known = source.select(&selector)?;
            if known.len() > 1 { Err(Error::SeveralSeries) } else { Ok(known) }
        }
        Matches::Any if select.range.is_empty() => Ok(Vec::new()),
        Matches::Any => {
            selector.active = Some(select.range);
            let active = source.select(&selector)?;
            check_series(active.len())?;
            Ok(active)
        }
    }
}
