//! Measurements and statistics.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use moneta_query::lang::monasca::{
    self as query, Group, Grouping, PageStart, Question, Statistic, StatisticRow, Warning,
};
use moneta_storage::model::{TimeRange, Timestamp};

use super::call::Call;
use super::dimension_filter::DimensionFilter;
use super::page::{instant, metric_name, span};
use crate::ingest::rules;
use crate::status::Failure;
use crate::wire::metrics::{
    DimensionMap, Figure, Listing, MeasurementRow, MeasurementsElement, StatisticsElement,
    StatisticsRow,
};
use crate::wire::parameters::Parameters;
use crate::wire::time::{self, format_ms, format_short};

/// Seconds of the longest slot that has answered for a window it does not fit into.
const RESOLUTION: HeaderName = HeaderName::from_static("x-moneta-resolution");
/// Window of statistics when none is asked for, seconds.
const PERIOD_DEFAULT: i64 = 300;
/// Statistics that may be asked for at once; each is a number in every row.
const STATISTICS_MAX: usize = 20;
/// Dimensions that series may be grouped by, as for alarms.
const GROUPING_NAMES_MAX: usize = 64;

/// `GET /v2.0/metrics/measurements`
pub(super) async fn measurements(
    call: Call,
) -> Result<Json<Listing<MeasurementsElement>>, Failure> {
    call.run(|call| {
        let asked = Asked::read(call, Timestamp::MAX)?;
        let mut next = None;
        let mut elements = Vec::new();
        if let Some(tenant) = call.acting_tenant()? {
            let page = query::measurements(&call.store, tenant, &asked.question)?;
            next = page.next.map(|start| offset_text(&start, format_ms));
            elements = page
                .groups
                .into_iter()
                .map(|group| MeasurementsElement {
                    dimensions: asked.dimensions_of(&group),
                    id: group.id,
                    name: asked.question.metric.clone(),
                    columns: ["timestamp", "value", "value_meta"],
                    measurements: group.rows.into_iter().map(MeasurementRow).collect(),
                })
                .collect();
        }
        Ok(Json(Listing { links: call.place.page(next.as_deref()), elements }))
    })
    .await
}

/// `GET /v2.0/metrics/statistics`
pub(super) async fn statistics(
    call: Call,
) -> Result<(HeaderMap, Json<Listing<StatisticsElement>>), Failure> {
    call.run(|call| {
        // Without an end, what lies ahead of the clock is not counted.
        let now = call.store.clock().now();
        let asked = Asked::read(call, now.plus_millis(1))?;
        let wanted = statistics_wanted(call.parameters())?;
        let functions: Vec<Statistic> = wanted.iter().map(|(_, function)| *function).collect();
        let period_ms = period(call.parameters())?.saturating_mul(1000);
        let mut next = None;
        let mut elements = Vec::new();
        let mut headers = HeaderMap::new();
        // Everything asked for may lie ahead of the clock.
        let tenant = call.acting_tenant()?.filter(|_| !asked.question.range.is_empty());
        if let Some(tenant) = tenant {
            let store = &call.store;
            let page = query::statistics(store, tenant, &asked.question, period_ms, &functions)?;
            for Warning::Resolution { step_ms } in &page.warnings {
                headers.insert(RESOLUTION, HeaderValue::from(step_ms / 1000));
            }
            next = page.next.map(|start| offset_text(&start, format_short));
            elements = page
                .groups
                .into_iter()
                .map(|group| StatisticsElement {
                    dimensions: asked.dimensions_of(&group),
                    id: group.id,
                    name: asked.question.metric.clone(),
                    columns: columns(&wanted),
                    statistics: group.rows.iter().map(|row| shown(row, &functions)).collect(),
                })
                .collect();
        }
        Ok((headers, Json(Listing { links: call.place.page(next.as_deref()), elements })))
    })
    .await
}

/// What measurements and statistics both are asked for.
struct Asked {
    question: Question,
    filter: DimensionFilter,
}

impl Asked {
    fn read(call: &Call, end_default: Timestamp) -> Result<Self, Failure> {
        let parameters = call.parameters();
        let metric = metric_name(parameters, "name")?;
        let metric = metric.ok_or_else(|| Failure::unprocessable("Missing name"))?;
        let filter = DimensionFilter::parse(parameters, "dimensions")?;
        let range = required_span(parameters, end_default)?;
        let question = Question {
            metric,
            dimensions: filter.matchers(),
            range,
            grouping: grouping(parameters)?,
            page: page_start(parameters)?,
            rows_max: parameters.limit()?,
            samples_max: call.services.samples_max,
        };
        Ok(Asked { question, filter })
    }

    /// What an element shows: of merged series the filter itself.
    fn dimensions_of<Row>(&self, group: &Group<Row>) -> DimensionMap {
        match self.question.grouping {
            Grouping::Merged => self.filter.echo(),
            Grouping::Single | Grouping::By(_) | Grouping::Every => {
                DimensionMap::from(&group.dimensions)
            }
        }
    }
}

fn required_span(parameters: &Parameters, end_default: Timestamp) -> Result<TimeRange, Failure> {
    if instant(parameters, "start_time")?.is_none() {
        return Err(Failure::unprocessable("Missing start time"));
    }
    let span = span(parameters, end_default)?;
    span.ok_or_else(|| Failure::unprocessable("Missing start time"))
}

/// `group_by` wins over `merge_metrics`.
fn grouping(parameters: &Parameters) -> Result<Grouping, Failure> {
    if let Some(text) = parameters.list("group_by") {
        if text == "*" {
            return Ok(Grouping::Every);
        }
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim) {
            rules::check_dimension_name(name).map_err(Failure::unprocessable)?;
            if !names.iter().any(|have| have == name) {
                names.push(name.to_owned());
            }
            if names.len() > GROUPING_NAMES_MAX {
                let text = format!("group_by takes at most {GROUPING_NAMES_MAX} dimension names");
                return Err(Failure::unprocessable(text));
            }
        }
        return Ok(Grouping::By(names));
    }
    let merge = parameters.one("merge_metrics")?;
    // As the reference reads it: `true`, `True`, `t` and whatever else is a part of the word.
    let merge = merge.is_some_and(|text| "true".contains(&text.to_ascii_lowercase()));
    Ok(if merge { Grouping::Merged } else { Grouping::Single })
}

/// `offset`: `<group id>_<time>`, a time, or milliseconds since the epoch.
fn page_start(parameters: &Parameters) -> Result<Option<PageStart>, Failure> {
    let Some(text) = parameters.one("offset")? else {
        return Ok(None);
    };
    let (group, after) = match text.split_once('_') {
        Some((group, after)) => (Some(group.to_owned()), after),
        None => (None, text),
    };
    let digits = !after.is_empty() && after.bytes().all(|b| b.is_ascii_digit());
    let millis = digits.then(|| after.parse().ok().map(Timestamp::from_millis)).flatten();
    let after = millis.or_else(|| time::parse(after).map(|instant| instant.floor));
    let after = after.ok_or_else(|| {
        Failure::unprocessable(format!(
            "Offset value {text} is neither a time nor an id and a time"
        ))
    })?;
    Ok(Some(PageStart { group: group.filter(|group| !group.is_empty()), after }))
}

fn offset_text(start: &PageStart, format: impl Fn(Timestamp) -> String) -> String {
    match &start.group {
        Some(group) => format!("{group}_{}", format(start.after)),
        None => format(start.after),
    }
}

fn statistics_wanted(parameters: &Parameters) -> Result<Vec<(&'static str, Statistic)>, Failure> {
    let text = parameters.one("statistics")?;
    let text = text.ok_or_else(|| Failure::unprocessable("Missing statistics"))?;
    if text.split(',').count() > STATISTICS_MAX {
        let text = format!("statistics takes at most {STATISTICS_MAX} functions");
        return Err(Failure::unprocessable(text));
    }
    text.split(',')
        .map(|name| match name.trim().to_ascii_lowercase().as_str() {
            "avg" => Ok(("avg", Statistic::Avg)),
            // The name that a column has is the one that was asked for.
            "mean" => Ok(("mean", Statistic::Avg)),
            "min" => Ok(("min", Statistic::Min)),
            "max" => Ok(("max", Statistic::Max)),
            "sum" => Ok(("sum", Statistic::Sum)),
            "count" => Ok(("count", Statistic::Count)),
            _ => Err(Failure::unprocessable("Invalid statistic")),
        })
        .collect()
}

/// A row as it is answered.
fn shown((start, numbers): &StatisticRow, functions: &[Statistic]) -> StatisticsRow {
    let figure = |(number, function): (&f64, &Statistic)| match function {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        Statistic::Count => Figure::Count(*number as u64),
        Statistic::Avg | Statistic::Min | Statistic::Max | Statistic::Sum => Figure::Value(*number),
    };
    StatisticsRow { start: *start, figures: numbers.iter().zip(functions).map(figure).collect() }
}

fn columns(wanted: &[(&'static str, Statistic)]) -> Vec<&'static str> {
    std::iter::once("timestamp").chain(wanted.iter().map(|(name, _)| *name)).collect()
}

/// `period`, seconds.
fn period(parameters: &Parameters) -> Result<i64, Failure> {
    let Some(text) = parameters.one("period")? else {
        return Ok(PERIOD_DEFAULT);
    };
    match text.trim().parse::<i64>() {
        Ok(period) if period >= 0 => Ok(period),
        Ok(_) => Err(Failure::unprocessable("Period must be a positive integer")),
        Err(_) => Err(Failure::unprocessable("Period must be a valid integer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Parameters {
        Parameters::parse(query)
    }

    #[test]
    fn parameters_have_their_texts() {
        let text = |failure: Failure| (failure.status.as_u16(), failure.description);
        let check = |got: Option<Failure>, want: &str| {
            assert_eq!(got.map(text), Some((422, want.to_owned())));
        };
        check(required_span(&parse(""), Timestamp::MAX).err(), "Missing start time");
        check(required_span(&parse("end_time=2026"), Timestamp::MAX).err(), "Missing start time");
        check(statistics_wanted(&parse("")).err(), "Missing statistics");
        check(statistics_wanted(&parse("statistics=avg,p99")).err(), "Invalid statistic");
        let many = "avg,".repeat(STATISTICS_MAX) + "avg";
        check(
            statistics_wanted(&parse(&format!("statistics={many}"))).err(),
            "statistics takes at most 20 functions",
        );
        check(period(&parse("period=x")).err(), "Period must be a valid integer");
        check(period(&parse("period=1.5")).err(), "Period must be a valid integer");
        check(period(&parse("period=-60")).err(), "Period must be a positive integer");
        assert_eq!(period(&parse("")).unwrap(), 300);
        assert_eq!(period(&parse("period=0")).unwrap(), 0);
        let wanted = statistics_wanted(&parse("statistics=MAX,avg,mean")).unwrap();
        assert_eq!(columns(&wanted), ["timestamp", "max", "avg", "mean"]);
    }

    #[test]
    fn grouping_is_read() {
        let check = |query: &str, want: Grouping| {
            assert_eq!(grouping(&parse(query)).unwrap(), want, "{query}");
        };
        check("", Grouping::Single);
        check("merge_metrics=True", Grouping::Merged);
        check("merge_metrics=true", Grouping::Merged);
        check("merge_metrics=t", Grouping::Merged);
        check("merge_metrics=false", Grouping::Single);
        check("merge_metrics=1", Grouping::Single);
        check("group_by=*&merge_metrics=true", Grouping::Every);
        check("group_by=a,b,a", Grouping::By(vec!["a".into(), "b".into()]));
        check("group_by=a&group_by=b,a", Grouping::By(vec!["a".into(), "b".into()]));
        check("group_by=my-dim", Grouping::By(vec!["my-dim".into()]));
        assert!(grouping(&parse("group_by=a,")).is_err());
        let many = |n: usize| (0..n).map(|at| format!("d{at},")).collect::<String>() + "d0";
        assert!(grouping(&parse(&format!("group_by={}", many(GROUPING_NAMES_MAX)))).is_ok());
        assert!(grouping(&parse(&format!("group_by={}", many(GROUPING_NAMES_MAX + 1)))).is_err());
    }

    #[test]
    fn offsets_round_trip() {
        let check = |offset: &str, want: Option<(Option<&str>, i64)>| {
            let got = page_start(&parse(&format!("offset={offset}"))).ok().flatten();
            let got = got.as_ref().map(|start| (start.group.as_deref(), start.after.millis()));
            assert_eq!(got, want, "{offset}");
        };
        check("7f_1970-01-01T00:00:01.500Z", Some((Some("7f"), 1500)));
        check("1970-01-01T00:00:01Z", Some((None, 1000)));
        check("1500", Some((None, 1500)));
        check("7f_1500", Some((Some("7f"), 1500)));
        check("abc", None);
        check("7f_", None);
        let start = PageStart { group: Some("7f".into()), after: Timestamp::from_millis(1500) };
        assert_eq!(offset_text(&start, format_ms), "7f_1970-01-01T00:00:01.500Z");
    }
}
