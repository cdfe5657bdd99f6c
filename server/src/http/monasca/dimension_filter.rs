//! The `dimensions` parameter: `key`, `key:value`, `key:v1|v2`, joined by commas, all of which must
//! hold. It can be repeated; of a key given twice the last counts.

use moneta_storage::model::{DimensionMatcher, ValueMatcher};

use crate::ingest::rules;
use crate::status::Failure;
use crate::wire::metrics::DimensionMap;
use crate::wire::parameters::Parameters;

/// A parsed filter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct DimensionFilter {
    /// Key, and everything behind its colon as written.
    items: Vec<(String, String)>,
}

impl DimensionFilter {
    /// Reads all occurrences of the parameter `name`.
    pub(super) fn parse(parameters: &Parameters, name: &str) -> Result<Self, Failure> {
        let mut items: Vec<(String, String)> = Vec::new();
        for item in parameters.all(name).flat_map(|text| text.split(',')) {
            let (key, value) = item.split_once(':').unwrap_or((item, ""));
            check(key, value).map_err(Failure::unprocessable)?;
            match items.iter_mut().find(|(have, _)| have == key) {
                Some((_, old)) => value.clone_into(old),
                None => items.push((key.to_owned(), value.to_owned())),
            }
        }
        Ok(DimensionFilter { items })
    }

    /// The conditions.
    pub(super) fn matchers(&self) -> Vec<DimensionMatcher> {
        let matcher = |(key, value): &(String, String)| DimensionMatcher {
            name: key.clone(),
            value: if value.is_empty() {
                ValueMatcher::Present
            } else if value.contains('|') {
                ValueMatcher::OneOf(value.split('|').map(str::to_owned).collect())
            } else {
                ValueMatcher::Equals(value.clone())
            },
        };
        self.items.iter().map(matcher).collect()
    }

    /// The filter as a map, as merged results show it.
    pub(super) fn echo(&self) -> DimensionMap {
        DimensionMap(self.items.clone())
    }

    /// Whether nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether every item holds for the dimensions that `get` looks up.
    pub(super) fn holds<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.items.iter().all(|(key, want)| match get(key) {
            Some(value) => want.is_empty() || want.split('|').any(|want| want == value),
            None => false,
        })
    }
}

fn check(key: &str, value: &str) -> Result<(), String> {
    if key.starts_with('_') {
        return Err(format!("Dimension key {key} may not start with '_'"));
    }
    rules::check_dimension_name(key)?;
    if value.is_empty() {
        return Ok(());
    }
    value.split('|').try_for_each(|value| rules::check_dimension_value(key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<DimensionFilter, Failure> {
        DimensionFilter::parse(&Parameters::parse(query), "dimensions")
    }

    #[test]
    fn every_form_is_read() {
        let check = |query: &str, want: &[(&str, ValueMatcher)]| {
            let got: Vec<(String, ValueMatcher)> =
                parse(query).unwrap().matchers().into_iter().map(|m| (m.name, m.value)).collect();
            let want: Vec<(String, ValueMatcher)> =
                want.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
            assert_eq!(got, want, "{query}");
        };
        let equals = |value: &str| ValueMatcher::Equals(value.into());
        check("", &[]);
        check("dimensions=", &[]);
        check("dimensions=a", &[("a", ValueMatcher::Present)]);
        check("dimensions=a:", &[("a", ValueMatcher::Present)]);
        check("dimensions=a:1,b:2", &[("a", equals("1")), ("b", equals("2"))]);
        check("dimensions=url:http%3A//x:80/", &[("url", equals("http://x:80/"))]);
        check("dimensions=a:1%7C2", &[("a", ValueMatcher::OneOf(vec!["1".into(), "2".into()]))]);
        check("dimensions=a:1&dimensions=b:*", &[("a", equals("1")), ("b", equals("*"))]);
        check("dimensions=a:1,b:2,a:3", &[("a", equals("3")), ("b", equals("2"))]);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |query: &str, want: &str| {
            let failure = parse(query).unwrap_err();
            assert_eq!((failure.status.as_u16(), failure.description.as_str()), (422, want));
        };
        check("dimensions=_a:1", "Dimension key _a may not start with '_'");
        check("dimensions=a:1%7C", "invalid length (0) for dimension value  from key a");
        check("dimensions=a:1,", "invalid length (0) for dimension key ");
        check("dimensions=a%3C:1", "invalid characters in dimension key a<");
        check("dimensions=a:x%3Dy", "invalid characters in dimension value x=y from key a");
    }

    #[test]
    fn items_hold_together() {
        let filter = parse("dimensions=a:1%7C2,b").unwrap();
        let check = |have: &[(&'static str, &'static str)], want: bool| {
            let get = |key: &str| have.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
            assert_eq!(filter.holds(get), want, "{have:?}");
        };
        check(&[("a", "2"), ("b", "x"), ("c", "y")], true);
        check(&[("a", "3"), ("b", "x")], false);
        check(&[("a", "1")], false);
        check(&[], false);
    }
}
