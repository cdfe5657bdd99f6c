//! Groups of series: what they are called and in which order they come.

use std::collections::BTreeMap;
use std::sync::Arc;

use moneta_storage::model::{Dimensions, SeriesId, SeriesKey};

use crate::expr::GroupBy;

/// Series that are answered together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SeriesGroup {
    pub(super) id: String,
    pub(super) dimensions: Dimensions,
    /// Ascending.
    pub(super) series: Vec<SeriesId>,
}

/// Puts series together, ascending by dimensions, then by id of the group.
pub(super) fn groups(
    series: Vec<(SeriesId, Arc<SeriesKey>)>,
    group_by: &GroupBy,
) -> Vec<SeriesGroup> {
    match group_by {
        GroupBy::All { name } => all(&series, name),
        GroupBy::Dimensions(names) => by_dimensions(&series, names),
        GroupBy::Series => each(series),
    }
}

fn all(series: &[(SeriesId, Arc<SeriesKey>)], name: &[u8]) -> Vec<SeriesGroup> {
    if series.is_empty() {
        return Vec::new();
    }
    let series = sorted(series.iter().map(|(id, _)| *id).collect());
    vec![SeriesGroup { id: group_id(b"all", name), dimensions: Dimensions::none(), series }]
}

fn by_dimensions(series: &[(SeriesId, Arc<SeriesKey>)], names: &[String]) -> Vec<SeriesGroup> {
    let mut groups: BTreeMap<(Dimensions, &str), Vec<SeriesId>> = BTreeMap::new();
    for (id, key) in series {
        let value = |name: &String| key.dimensions.get(name).unwrap_or_default().to_owned();
        let grouping = names.iter().map(|name| (name.clone(), value(name))).collect();
        groups.entry((grouping, &key.metric)).or_default().push(*id);
    }
    let group = |((dimensions, metric), series): ((Dimensions, &str), Vec<SeriesId>)| {
        let key = SeriesKey {
            metric: metric.to_owned(),
            dimensions: dimensions.clone(),
            region: String::new(),
        };
        SeriesGroup { id: group_id(b"by", &key.encode()), dimensions, series: sorted(series) }
    };
    groups.into_iter().map(group).collect()
}

fn each(series: Vec<(SeriesId, Arc<SeriesKey>)>) -> Vec<SeriesGroup> {
    let group = |(id, key): (SeriesId, Arc<SeriesKey>)| SeriesGroup {
        id: group_id(b"series", &key.encode()),
        dimensions: key.dimensions.clone(),
        series: vec![id],
    };
    let mut groups: Vec<SeriesGroup> = series.into_iter().map(group).collect();
    groups.sort_by(|a, b| a.dimensions.cmp(&b.dimensions).then_with(|| a.id.cmp(&b.id)));
    groups
}

fn sorted(mut series: Vec<SeriesId>) -> Vec<SeriesId> {
    series.sort_unstable();
    series
}

/// FNV-1a, 128 bits, of the kind of group and its canonical bytes. Stable for ever: clients keep
/// these ids between requests. Not a defence against chosen collisions: whoever can write series
/// into a tenant can only confuse the pages of that tenant.
fn group_id(kind: &[u8], canonical: &[u8]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = kind.iter().chain(&[0]).chain(canonical);
    let hash = bytes.fold(OFFSET, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(pairs: &[&[(&str, &str)]]) -> Vec<(SeriesId, Arc<SeriesKey>)> {
        let key = |pairs: &[(&str, &str)]| SeriesKey {
            metric: "cpu".into(),
            dimensions: pairs.iter().copied().collect(),
            region: String::new(),
        };
        (0..).zip(pairs).map(|(at, pairs)| (SeriesId::new(at), Arc::new(key(pairs)))).collect()
    }

    /// `{dimensions}=ids` of each group.
    #[track_caller]
    fn check(group_by: &GroupBy, want: &str) {
        let series = series(&[
            &[("host", "b"), ("zone", "1")],
            &[("host", "a"), ("zone", "1")],
            &[("host", "a")],
            &[("host", "a"), ("zone", "2")],
        ]);
        let show = |group: &SeriesGroup| {
            let ids: Vec<String> = group.series.iter().map(ToString::to_string).collect();
            format!("{}={}", group.dimensions, ids.join("+"))
        };
        let mut backwards = series.clone();
        backwards.reverse();
        let groups = super::groups(series, group_by);
        assert_eq!(groups.iter().map(show).collect::<Vec<_>>().join(" "), want);
        assert_eq!(super::groups(backwards, group_by), groups, "the order of series matters");
    }

    #[test]
    fn groups_ascend_by_dimensions() {
        check(
            &GroupBy::Series,
            "{host=a}=2 {host=a, zone=1}=1 {host=a, zone=2}=3 {host=b, zone=1}=0",
        );
        check(&GroupBy::All { name: b"q".to_vec() }, "{}=0+1+2+3");
        check(&GroupBy::Dimensions(vec!["host".into()]), "{host=a}=1+2+3 {host=b}=0");
    }

    #[test]
    fn a_missing_dimension_counts_as_empty() {
        check(&GroupBy::Dimensions(vec!["zone".into()]), "{zone=}=2 {zone=1}=0+1 {zone=2}=3");
        check(&GroupBy::Dimensions(vec!["rack".into()]), "{rack=}=0+1+2+3");
    }

    #[test]
    fn ids_are_stable() {
        assert_eq!(group_id(b"", b""), format!("{:032x}", fnv_reference(&[0])));
        let groups = super::groups(series(&[&[("host", "a")]]), &GroupBy::Series);
        assert_eq!(groups[0].id, GOLDEN_ID);
        assert!(super::groups(Vec::new(), &GroupBy::All { name: Vec::new() }).is_empty());
    }

    /// Written down once: a change would break the paging of every client across an upgrade.
    const GOLDEN_ID: &str = "a5a095304daf15258efa0b7595cd5a87";

    fn fnv_reference(bytes: &[u8]) -> u128 {
        let mut hash = 144_066_263_297_769_815_596_495_629_667_062_367_629_u128;
        for &byte in bytes {
            hash ^= u128::from(byte);
            hash = hash.wrapping_mul(309_485_009_821_345_068_724_781_371);
        }
        hash
    }
}
