//! Parameters that lists share: spans of time, sorting, offsets.

use std::cmp::Ordering;

use moneta_storage::model::{TimeRange, Timestamp};

use crate::ingest::{python, rules};
use crate::status::Failure;
use crate::wire::parameters::Parameters;
use crate::wire::time::{self, Instant};

/// The instant that a parameter names.
pub(super) fn instant(parameters: &Parameters, name: &str) -> Result<Option<Instant>, Failure> {
    let parse = |text: &str| {
        let unreadable = || format!("Unable to parse date string '{text}'");
        time::parse(text).ok_or_else(|| Failure::unprocessable(unreadable()))
    };
    parameters.one(name)?.map(parse).transpose()
}

/// `start_time` and `end_time` as a half-open span; `None` if neither is given. A missing end is
/// `end_default`.
pub(super) fn span(
    parameters: &Parameters,
    end_default: Timestamp,
) -> Result<Option<TimeRange>, Failure> {
    let start = instant(parameters, "start_time")?;
    let end = instant(parameters, "end_time")?;
    if start.is_none() && end.is_none() {
        return Ok(None);
    }
    if let (Some(start), Some(end)) = (start, end)
        && start >= end
    {
        return Err(Failure::bad_request("start_time must be before end_time"));
    }
    Ok(Some(TimeRange::new(
        start.map_or(Timestamp::MIN, Instant::ceil),
        end.map_or(end_default, Instant::ceil),
    )))
}

/// A metric name that a parameter gives.
pub(super) fn metric_name(parameters: &Parameters, name: &str) -> Result<Option<String>, Failure> {
    if parameters.all(name).nth(1).is_some() {
        let list = parameters.printed_list(name);
        let text = format!("invalid metric name type: {list} is not a string type ");
        return Err(Failure::unprocessable(text));
    }
    let Some(metric) = parameters.one(name)? else {
        return Ok(None);
    };
    rules::check_name(metric).map_err(Failure::unprocessable)?;
    Ok(Some(metric.to_owned()))
}

/// `offset` as a number of rows to skip.
pub(super) fn row_offset(parameters: &Parameters) -> Result<usize, Failure> {
    let Some(text) = parameters.one("offset")? else {
        return Ok(0);
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let offset = digits.then(|| text.parse().ok()).flatten();
    offset.ok_or_else(|| Failure::unprocessable(format!("Offset value {text} must be an integer")))
}

/// Which way a field is sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    /// Smallest first.
    Ascending,
    /// Greatest first.
    Descending,
}

impl Direction {
    /// An order of values as seen in this direction.
    fn of(self, order: Ordering) -> Ordering {
        match self {
            Direction::Ascending => order,
            Direction::Descending => order.reverse(),
        }
    }
}

/// Fields to sort by, the first one first.
pub(super) type Sorting<F> = Vec<(F, Direction)>;

/// Reads `sort_by`.
pub(super) fn sorting<F: Copy + PartialEq>(
    parameters: &Parameters,
    fields: &[(&str, F)],
) -> Result<Sorting<F>, Failure> {
    let Some(text) = parameters.list("sort_by") else {
        return Ok(Vec::new());
    };
    let mut sorting = Vec::new();
    for item in text.split(',').map(str::trim) {
        let words: Vec<&str> = item.split_whitespace().collect();
        let (name, direction) = match *words.as_slice() {
            [name] => (name, Direction::Ascending),
            [name, "asc"] => (name, Direction::Ascending),
            [name, "desc"] => (name, Direction::Descending),
            [_, other] => {
                let text = format!("sort_by value {other} must be 'asc' or 'desc'");
                return Err(Failure::unprocessable(text));
            }
            _ => return Err(Failure::unprocessable(format!("Invalid sort_by {item}"))),
        };
        let Some((_, field)) = fields.iter().find(|(known, _)| *known == name) else {
            let known: Vec<String> = fields.iter().map(|(name, _)| python::quoted(name)).collect();
            let text = format!("sort_by field {name} must be one of [{}]", known.join(", "));
            return Err(Failure::unprocessable(text));
        };
        // A field decides where it stands first; behind that it could only cost time.
        if !sorting.iter().any(|(have, _)| have == field) {
            sorting.push((*field, direction));
        }
    }
    Ok(sorting)
}

/// Sorts `items`, which come in the order that breaks ties.
pub(super) fn sort<T, F: Copy>(
    items: &mut [T],
    sorting: &Sorting<F>,
    compare: impl Fn(&T, &T, F) -> Ordering,
) {
    if sorting.is_empty() {
        return;
    }
    items.sort_by(|a, b| {
        let mut orders = sorting.iter().map(|(field, way)| way.of(compare(a, b, *field)));
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
}

/// The rows of a page, and the offset of the next one if there is more.
pub(super) fn rows<T>(items: Vec<T>, offset: usize, limit: usize) -> (Vec<T>, Option<String>) {
    let end = offset.saturating_add(limit);
    let next = (items.len() > end).then(|| end.to_string());
    (items.into_iter().skip(offset).take(limit).collect(), next)
}

/// Drops what lies beyond `limit`; `last` gives the offset of the last row kept, if any was dropped.
pub(super) fn cut<T>(
    items: &mut Vec<T>,
    limit: usize,
    last: impl Fn(&T) -> String,
) -> Option<String> {
    let more = items.len() > limit;
    items.truncate(limit);
    if more { items.last().map(last) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_checked() {
        let check = |query: &str, want: Result<Option<(i64, i64)>, (u16, &str)>| {
            let got = span(&Parameters::parse(query), Timestamp::from_millis(9));
            let got = got.map(|s| s.map(|s| (s.start.millis(), s.end.millis())));
            let got = got.map_err(|f| (f.status.as_u16(), f.description));
            assert_eq!(got, want.map_err(|(status, text)| (status, text.to_owned())), "{query}");
        };
        check("", Ok(None));
        check("start_time=1970-01-01T00:00:01Z", Ok(Some((1000, 9))));
        check("end_time=1970-01-01T00:00:01Z", Ok(Some((i64::MIN, 1000))));
        check(
            "start_time=1970-01-01T00:00:00.0001Z&end_time=1970-01-01T00:00:00.0002Z",
            Ok(Some((1, 1))),
        );
        let wrong_order = Err((400, "start_time must be before end_time"));
        check("start_time=1970-01-02&end_time=1970-01-02", wrong_order);
        check("start_time=1970-01-03&end_time=1970-01-02", wrong_order);
        check("start_time=1795166599", Err((422, "Unable to parse date string '1795166599'")));
        check("end_time=x", Err((422, "Unable to parse date string 'x'")));
    }

    #[test]
    fn names_and_offsets_are_checked() {
        let name =
            |query: &str| metric_name(&Parameters::parse(query), "name").map_err(|f| f.description);
        assert_eq!(name("name=a").unwrap().as_deref(), Some("a"));
        assert_eq!(name("name=").unwrap(), None);
        let list = "invalid metric name type: ['a', 'b'] is not a string type ";
        assert_eq!(name("name=a&name=b").unwrap_err(), list);
        assert_eq!(name("name=a%20b").unwrap_err(), "invalid characters in metric name: a b");
        let offset = |query: &str| row_offset(&Parameters::parse(query)).map_err(|f| f.description);
        assert_eq!(offset("offset=7"), Ok(7));
        assert_eq!(offset("offset=-7"), Err("Offset value -7 must be an integer".into()));
    }

    #[test]
    fn sorting_is_read_and_done() {
        let fields = [("name", 'n'), ("age", 'a')];
        let check = |text: &str, want: Result<Vec<(char, Direction)>, &str>| {
            let mut query = String::from("sort_by=");
            crate::wire::parameters::encode(text, &mut query);
            let got = sorting(&Parameters::parse(&query), &fields).map_err(|f| f.description);
            assert_eq!(got, want.map_err(str::to_owned), "{text}");
        };
        use Direction::{Ascending, Descending};
        check("name", Ok(vec![('n', Ascending)]));
        check("age desc, name asc", Ok(vec![('a', Descending), ('n', Ascending)]));
        check("age desc,name,age", Ok(vec![('a', Descending), ('n', Ascending)]));
        check("x", Err("sort_by field x must be one of ['name', 'age']"));
        check("name DESC", Err("sort_by value DESC must be 'asc' or 'desc'"));
        check("name asc desc", Err("Invalid sort_by name asc desc"));
        check("name,", Err("Invalid sort_by "));
        let mut people = vec![("a", 2), ("b", 1), ("c", 2)];
        let by = vec![('a', Descending), ('n', Ascending)];
        sort(&mut people, &by, |x, y, field| match field {
            'a' => x.1.cmp(&y.1),
            _ => x.0.cmp(y.0),
        });
        assert_eq!(people, [("a", 2), ("c", 2), ("b", 1)]);
    }

    #[test]
    fn pages_tell_whether_there_is_more() {
        assert_eq!(rows(vec![1, 2, 3], 0, 2), (vec![1, 2], Some("2".into())));
        assert_eq!(rows(vec![1, 2, 3], 2, 2), (vec![3], None));
        assert_eq!(rows(vec![1, 2, 3], 9, 2), (vec![], None));
        let mut items = vec![1, 2, 3];
        assert_eq!(cut(&mut items, 2, ToString::to_string), Some("2".into()));
        assert_eq!(cut(&mut items, 2, ToString::to_string), None);
    }
}
