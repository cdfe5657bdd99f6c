//! Selecting series: posting lists, intersected. A set of series is never built value by value where
//! a list for the whole name, a literal or a prefix will do.

use roaring::RoaringBitmap;

use super::{Index, id_set};
use crate::error::Error;
use crate::key::{Family, Key, PostingKind};
use crate::model::{DimensionMatcher, Pattern, Selector, TenantId, ValueMatcher};

/// A regular expression is run over at most so many values or series.
const PATTERN_RUNS_MAX: u64 = 2_000_000;
/// Of so few candidates the definitions are read at once, without trying the distinct values.
const CANDIDATES_FEW: u64 = 256;
/// Reading a definition costs so many times what looking at a value does.
const DEFINITION_COST: u64 = 4;

/// Where the posting lists of a matcher lie.
#[derive(Clone, Copy)]
struct Field<'a> {
    tenant: TenantId,
    kind: PostingKind,
    name: &'a str,
}

/// What a matcher does to the candidates.
enum Step<'a> {
    Keep(RoaringBitmap),
    Drop(RoaringBitmap),
    Run(&'a DimensionMatcher, &'a Pattern, Sense),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sense {
    Matches,
    MatchesNot,
}

impl Index {
    /// The series that satisfy metric and dimensions of `selector`, whenever they had samples.
    pub(crate) fn select(
        &self,
        tenant: TenantId,
        selector: &Selector,
    ) -> Result<RoaringBitmap, Error> {
        let mut found: Option<RoaringBitmap> = None;
        if let Some(metric) = &selector.metric {
            found = Some(self.posting(tenant, PostingKind::Metric, "", metric)?);
        }
        // The cheapest to read first, and those that narrow before those that only take away.
        let mut matchers: Vec<&DimensionMatcher> = selector.dimensions.iter().collect();
        matchers.sort_by_key(|matcher| cost(&matcher.value));
        // What is taken from must be read before what is taken away: of a series that is created in
        // between, the former then says nothing.
        if found.is_none() && matchers.first().is_none_or(|first| cost(&first.value) > NAME) {
            found = Some(self.all_series(tenant));
        }
        for matcher in matchers {
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
            let step = self.step(tenant, matcher)?;
            found = Some(match (step, found) {
                (Step::Keep(ids), None) => ids,
                (Step::Keep(ids), Some(found)) => found & ids,
                (Step::Drop(ids), found) => found.unwrap_or_else(|| self.all_series(tenant)) - ids,
                (Step::Run(matcher, pattern, sense), found) => {
                    let candidates = found.unwrap_or_else(|| self.all_series(tenant));
                    self.run(tenant, matcher, pattern, sense, candidates)?
                }
            });
        }
        Ok(found.unwrap_or_else(|| self.all_series(tenant)))
    }

    pub(crate) fn all_series(&self, tenant: TenantId) -> RoaringBitmap {
        let Some(tenant) = self.tenant_by_id(tenant) else { return RoaringBitmap::new() };
        let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
        metrics.all()
    }

    fn step<'a>(&self, tenant: TenantId, matcher: &'a DimensionMatcher) -> Result<Step<'a>, Error> {
        let field = Field::of(tenant, matcher);
        Ok(match &matcher.value {
            ValueMatcher::Equals(value) => Step::Keep(self.with_value(field, value)?),
            ValueMatcher::OneOf(values) => Step::Keep(self.with_one_of(field, values)?),
            ValueMatcher::Present => Step::Keep(self.carriers(field)?),
            ValueMatcher::Absent => Step::Drop(self.carriers(field)?),
            ValueMatcher::NotEquals(value) => self.unless(field, std::slice::from_ref(value))?,
            ValueMatcher::NoneOf(values) => self.unless(field, values)?,
            ValueMatcher::Matches(pattern) => match pattern.literals() {
                Some(literals) => self.either(field, literals)?,
                None => self.of_pattern(field, matcher, pattern, Sense::Matches)?,
            },
            ValueMatcher::NotMatches(pattern) => match pattern.literals() {
                Some(literals) => self.unless(field, literals)?,
                None => self.of_pattern(field, matcher, pattern, Sense::MatchesNot)?,
            },
        })
    }

    fn with_value(&self, field: Field<'_>, value: &str) -> Result<RoaringBitmap, Error> {
        self.posting(field.tenant, field.kind, field.name, value)
    }

    fn with_one_of(&self, field: Field<'_>, values: &[String]) -> Result<RoaringBitmap, Error> {
        let mut ids = RoaringBitmap::new();
        for value in values {
            ids |= self.with_value(field, value)?;
        }
        Ok(ids)
    }

    /// The series that have the dimension.
    fn carriers(&self, field: Field<'_>) -> Result<RoaringBitmap, Error> {
        match field.kind {
            PostingKind::Metric => Ok(self.all_series(field.tenant)),
            PostingKind::Dimension | PostingKind::Name => {
                self.posting(field.tenant, PostingKind::Name, "", field.name)
            }
        }
    }

    /// Series that have one of the values, where a missing one is the empty text.
    fn either<'a>(&self, field: Field<'_>, values: &[String]) -> Result<Step<'a>, Error> {
        if values.iter().any(String::is_empty) {
            return Ok(Step::Drop(self.carriers(field)? - self.with_one_of(field, values)?));
        }
        Ok(Step::Keep(self.with_one_of(field, values)?))
    }

    /// Series that have none of the values, where a missing one is the empty text.
    fn unless<'a>(&self, field: Field<'_>, values: &[String]) -> Result<Step<'a>, Error> {
        if values.iter().any(String::is_empty) {
            return Ok(Step::Keep(self.carriers(field)? - self.with_one_of(field, values)?));
        }
        Ok(Step::Drop(self.with_one_of(field, values)?))
    }

    /// The two expressions that every dashboard has need no run.
    fn of_pattern<'a>(
        &self,
        field: Field<'_>,
        matcher: &'a DimensionMatcher,
        pattern: &'a Pattern,
        sense: Sense,
    ) -> Result<Step<'a>, Error> {
        let empty = [String::new()];
        match (pattern.text(), sense) {
            (".*", Sense::Matches) => Ok(Step::Drop(RoaringBitmap::new())),
            (".*", Sense::MatchesNot) => Ok(Step::Keep(RoaringBitmap::new())),
            (".+", Sense::Matches) => self.unless(field, &empty),
            (".+", Sense::MatchesNot) => self.either(field, &empty),
            (_, sense) => Ok(Step::Run(matcher, pattern, sense)),
        }
    }

    /// The candidates that satisfy a pattern, run over whichever is fewer: the distinct values with
    /// its prefix, or the candidates.
    fn run(
        &self,
        tenant: TenantId,
        matcher: &DimensionMatcher,
        pattern: &Pattern,
        sense: Sense,
        candidates: RoaringBitmap,
    ) -> Result<RoaringBitmap, Error> {
        let field = Field::of(tenant, matcher);
        let carriers = self.carriers(field)?;
        // Without the dimension the value is the empty text, the same for all.
        let without = match pattern.is_match("") == (sense == Sense::Matches) {
            true => &candidates - &carriers,
            false => RoaringBitmap::new(),
        };
        let candidates = candidates & carriers;
        let accepted = match self.run_over_values(field, pattern, candidates.len())? {
            Some(matching) if sense == Sense::Matches => candidates & matching,
            Some(matching) => candidates - matching,
            None => self.run_over_series(tenant, matcher, &candidates)?,
        };
        Ok(accepted | without)
    }

    /// The series with a matching value; `None` if it is cheaper to look at the candidates.
    fn run_over_values(
        &self,
        field: Field<'_>,
        pattern: &Pattern,
        candidates: u64,
    ) -> Result<Option<RoaringBitmap>, Error> {
        if candidates <= CANDIDATES_FEW {
            return Ok(None);
        }
        let most = candidates.saturating_mul(DEFINITION_COST).min(PATTERN_RUNS_MAX);
        let mut seen = 0;
        let mut ids = id_set::Gathered::default();
        let list = (field.tenant, field.kind, field.name);
        self.each_text(list, pattern.prefix(), None, |value, stored| {
            seen += 1;
            if pattern.is_match(value) {
                ids.add(stored)?;
            }
            Ok(seen <= most)
        })?;
        Ok((seen <= most).then(|| ids.into_set()))
    }

    fn run_over_series(
        &self,
        tenant: TenantId,
        matcher: &DimensionMatcher,
        candidates: &RoaringBitmap,
    ) -> Result<RoaringBitmap, Error> {
        if candidates.len() > PATTERN_RUNS_MAX {
            return Err(Error::Limit {
                limit: "values and series a regular expression is run over",
                max: PATTERN_RUNS_MAX,
            });
        }
        let mut accepted = RoaringBitmap::new();
        self.each_key(tenant, candidates, |id, key| {
            if matcher.accepts(&key) {
                accepted.insert(id.number());
            }
            true
        })?;
        Ok(accepted)
    }

    /// Series with samples, as the index knows it, on the days from `first` to `last`, both inside.
    pub(crate) fn active(
        &self,
        tenant: TenantId,
        first: i32,
        last: i32,
    ) -> Result<RoaringBitmap, Error> {
        let mut ids = RoaringBitmap::new();
        if first > last {
            return Ok(ids);
        }
        let prefix = tenant.number().to_be_bytes();
        let end = Key::Activity(tenant, last).encode();
        self.kv.scan(
            Family::Activity,
            &prefix,
            &Key::Activity(tenant, first).encode(),
            |key, value| {
                let inside = key <= end.as_slice();
                if inside {
                    ids |= id_set::decode(value)?;
                }
                Ok::<_, Error>(inside)
            },
        )?;
        Ok(ids)
    }
}

impl<'a> Field<'a> {
    fn of(tenant: TenantId, matcher: &'a DimensionMatcher) -> Self {
        let kind =
            if matcher.is_on_metric() { PostingKind::Metric } else { PostingKind::Dimension };
        Field { tenant, kind, name: &matcher.name }
    }
}

/// The cost of reading the list of a dimension's name. Conditions that cost more may take away.
const NAME: usize = 1 << 20;
/// The cost of running a regular expression of which nothing is known: after everything else.
const RUN: usize = NAME * 8;

/// The order in which conditions are looked at.
fn cost(value: &ValueMatcher) -> usize {
    match value {
        ValueMatcher::Equals(_) => 1,
        ValueMatcher::OneOf(values) => values.len().min(NAME),
        ValueMatcher::Present => NAME,
        ValueMatcher::NotEquals(_) => NAME + 1,
        ValueMatcher::NoneOf(values) => NAME + 1 + values.len().min(NAME),
        ValueMatcher::Absent => NAME * 2,
        ValueMatcher::Matches(pattern) => match pattern.literals() {
            Some(literals) if !literals.iter().any(String::is_empty) => literals.len().min(NAME),
            Some(_) => NAME * 3,
            None => RUN - pattern.prefix().len(),
        },
        ValueMatcher::NotMatches(pattern) => match pattern.literals() {
            Some(_) => NAME * 3,
            None => RUN - pattern.prefix().len(),
        },
    }
}
