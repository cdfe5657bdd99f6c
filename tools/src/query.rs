//! `moneta query`: asks a server and prints the answer.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::{Client, Connection, elements, next_offset};
use crate::output::{Format, Table};
use crate::{pair, time};

/// The server answers at most so many rows at once.
const PAGE_ROWS_MAX: usize = 10_000;

#[derive(Subcommand)]
pub(crate) enum Query {
    /// The measurements of a metric
    Measurements(Measurements),
    /// Statistics of a metric in windows of time
    Statistics(Statistics),
    /// The series (metric name and dimensions)
    Metrics(Metrics),
    /// The names of metrics
    Names(Names),
    /// The names of dimensions, or the values of one
    Dimensions(Dimensions),
    /// The alarms and their states
    Alarms(Alarms),
}

/// Where to ask and how to print.
#[derive(Args)]
struct Asking {
    #[command(flatten)]
    connection: Connection,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Print at most so many rows
    #[arg(long, default_value_t = 10_000, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
}

/// A span of time.
#[derive(Args)]
struct Span {
    /// First instant: now, -1h, -30m, or ISO 8601
    #[arg(long, default_value = "-1h", allow_hyphen_values = true, value_name = "TIME")]
    start: String,
    /// First instant after the span; without it, everything since the start
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    end: Option<String>,
}

/// The series of one metric and how they are put together.
#[derive(Args)]
struct Selection {
    /// Name of the metric
    name: String,
    /// Condition on a dimension: NAME:VALUE, NAME:ONE|OTHER, or NAME for any value. May be repeated
    #[arg(short, long = "dimension", value_name = "CONDITION", value_parser = pair::parse_condition)]
    dimensions: Vec<String>,
    #[command(flatten)]
    span: Span,
    /// Put all matching series together
    #[arg(long, conflicts_with = "group_by")]
    merge: bool,
    /// Put series together that agree in these dimensions (comma-separated); * keeps every series
    #[arg(long, value_name = "NAMES")]
    group_by: Option<String>,
}

#[derive(Args)]
pub(crate) struct Measurements {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Statistics {
    #[command(flatten)]
    selection: Selection,
    /// Length of a window in seconds; 0 is one window for the whole span
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    period: u32,
    /// Comma-separated: avg, min, max, sum, count
    #[arg(long, default_value = "avg", value_name = "NAMES")]
    statistics: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Metrics {
    /// Only this metric
    name: Option<String>,
    /// Condition on a dimension: NAME:VALUE, NAME:ONE|OTHER, or NAME for any value. May be repeated
    #[arg(short, long = "dimension", value_name = "CONDITION", value_parser = pair::parse_condition)]
    dimensions: Vec<String>,
    /// Only series with measurements since then
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    start: Option<String>,
    /// Only series with measurements before then
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", requires = "start")]
    end: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Names {
    /// Condition on a dimension: NAME:VALUE, NAME:ONE|OTHER, or NAME for any value. May be repeated
    #[arg(short, long = "dimension", value_name = "CONDITION", value_parser = pair::parse_condition)]
    dimensions: Vec<String>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Dimensions {
    /// The dimension whose values are wanted; without it, the names of dimensions
    name: Option<String>,
    /// Only of this metric
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Alarms {
    /// Only alarms with this metric
    name: Option<String>,
    /// Condition on a dimension of the metric: NAME:VALUE, NAME:ONE|OTHER, or NAME. May be repeated
    #[arg(short, long = "dimension", value_name = "CONDITION", value_parser = pair::parse_condition)]
    dimensions: Vec<String>,
    /// Only in this state: OK, ALARM or UNDETERMINED
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

impl Query {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let now = time::now();
        let (asking, question) = match self {
            Query::Measurements(query) => (query.asking, measurements(&query.selection, now)?),
            Query::Statistics(query) => {
                let question = statistics(&query.selection, query.period, &query.statistics, now)?;
                (query.asking, question)
            }
            Query::Metrics(query) => {
                let question = metrics(&query, now)?;
                (query.asking, question)
            }
            Query::Names(query) => {
                let parameters = conditions("dimensions", &query.dimensions);
                let path = &["v2.0", "metrics", "names"];
                (query.asking, Question::new(path, parameters, &["name"], listed))
            }
            Query::Dimensions(query) => {
                let question = dimensions(query.name, query.metric);
                (query.asking, question)
            }
            Query::Alarms(query) => {
                let question = alarms(query.name, &query.dimensions, query.state);
                (query.asking, question)
            }
        };
        let client = asking.connection.client()?;
        let answer = question.ask(&client, asking.limit).await?;
        answer.table.print(asking.output)?;
        if answer.more {
            eprintln!("moneta: there is more; --limit {} ended the list", asking.limit);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A resource that answers in pages, and how its elements become rows.
struct Question {
    path: Vec<&'static str>,
    parameters: Vec<(&'static str, String)>,
    columns: Vec<String>,
    rows_of: RowsOf,
}

/// Turns an element of an answer into rows with the given columns.
type RowsOf = fn(&Value, &[String]) -> anyhow::Result<Vec<Vec<Value>>>;

struct Answer {
    table: Table,
    /// Whether the limit cut something off.
    more: bool,
}

impl Question {
    fn new(
        path: &[&'static str],
        parameters: Vec<(&'static str, String)>,
        columns: &[&str],
        rows_of: RowsOf,
    ) -> Self {
        let columns = columns.iter().map(ToString::to_string).collect();
        Question { path: path.to_vec(), parameters, columns, rows_of }
    }

    /// Follows the pages up to `limit` rows.
    async fn ask(&self, client: &Client, limit: usize) -> anyhow::Result<Answer> {
        let mut table = Table::new(self.columns.clone());
        let mut offset: Option<String> = None;
        loop {
            let wanted = limit.saturating_sub(table.rows.len()).min(PAGE_ROWS_MAX);
            let mut parameters = self.parameters.clone();
            parameters.push(("limit", wanted.to_string()));
            parameters.extend(offset.clone().map(|offset| ("offset", offset)));
            let page = client.get(&self.path, &parameters).await?;
            for element in elements(&page)? {
                table.rows.extend((self.rows_of)(element, &self.columns)?);
            }
            let next = next_offset(&page, client.base())?;
            if table.rows.len() >= limit || next.is_none() {
                let more = next.is_some() || table.rows.len() > limit;
                table.rows.truncate(limit);
                return Ok(Answer { table, more });
            }
            if next == offset {
                bail!("the server's pages go round in a circle at offset {offset:?}");
            }
            offset = next;
        }
    }
}

fn measurements(selection: &Selection, now: i64) -> anyhow::Result<Question> {
    let columns = ["timestamp", "dimensions", "value", "value_meta"];
    let path = &["v2.0", "metrics", "measurements"];
    Ok(Question::new(path, selection.parameters(now)?, &columns, measurement_rows))
}

fn statistics(
    selection: &Selection,
    period: u32,
    names: &str,
    now: i64,
) -> anyhow::Result<Question> {
    let mut parameters = selection.parameters(now)?;
    parameters.push(("period", period.to_string()));
    parameters.push(("statistics", names.to_owned()));
    let names = names.split(',').map(|name| name.trim().to_lowercase());
    let columns: Vec<String> =
        ["timestamp", "dimensions"].into_iter().map(str::to_owned).chain(names).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let path = &["v2.0", "metrics", "statistics"];
    Ok(Question::new(path, parameters, &columns, statistic_rows))
}

fn metrics(query: &Metrics, now: i64) -> anyhow::Result<Question> {
    let mut parameters = conditions("dimensions", &query.dimensions);
    parameters.extend(query.name.clone().map(|name| ("name", name)));
    for (parameter, text) in [("start_time", &query.start), ("end_time", &query.end)] {
        if let Some(text) = text {
            parameters.push((parameter, time::iso(time::parse(text, now)?)?));
        }
    }
    Ok(Question::new(&["v2.0", "metrics"], parameters, &["name", "dimensions"], listed))
}

fn dimensions(name: Option<String>, metric: Option<String>) -> Question {
    let mut parameters = Vec::new();
    parameters.extend(metric.map(|metric| ("metric_name", metric)));
    let Some(name) = name else {
        let path = &["v2.0", "metrics", "dimensions", "names"];
        return Question::new(path, parameters, &["dimension_name"], listed);
    };
    parameters.push(("dimension_name", name));
    let path = &["v2.0", "metrics", "dimensions", "names", "values"];
    Question::new(path, parameters, &["dimension_value"], listed)
}

fn alarms(metric: Option<String>, dimensions: &[String], state: Option<String>) -> Question {
    let mut parameters = conditions("metric_dimensions", dimensions);
    parameters.extend(metric.map(|metric| ("metric_name", metric)));
    parameters.extend(state.map(|state| ("state", state)));
    let columns = ["state", "state_updated_timestamp", "definition", "severity", "metrics", "id"];
    Question::new(&["v2.0", "alarms"], parameters, &columns, alarm_row)
}

impl Selection {
    fn parameters(&self, now: i64) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut parameters = conditions("dimensions", &self.dimensions);
        parameters.push(("name", self.name.clone()));
        parameters.push(("start_time", time::iso(time::parse(&self.span.start, now)?)?));
        if let Some(end) = &self.span.end {
            parameters.push(("end_time", time::iso(time::parse(end, now)?)?));
        }
        if self.merge {
            parameters.push(("merge_metrics", "true".to_owned()));
        }
        parameters.extend(self.group_by.clone().map(|names| ("group_by", names)));
        Ok(parameters)
    }
}

fn conditions(parameter: &'static str, conditions: &[String]) -> Vec<(&'static str, String)> {
    if conditions.is_empty() { Vec::new() } else { vec![(parameter, conditions.join(","))] }
}

/// One row: the fields of the element that are called like the columns.
fn listed(element: &Value, columns: &[String]) -> anyhow::Result<Vec<Vec<Value>>> {
    let field = |name: &String| element.get(name).cloned().unwrap_or_default();
    Ok(vec![columns.iter().map(field).collect()])
}

/// `[timestamp, value, value_meta]` of each measurement, with the dimensions of the element.
fn measurement_rows(element: &Value, _columns: &[String]) -> anyhow::Result<Vec<Vec<Value>>> {
    rows_of(element, "measurements")
}

/// `[timestamp, number, …]` of each window, with the dimensions of the element. The numbers are put
/// under the columns asked for, in whichever order the server sends them.
fn statistic_rows(element: &Value, columns: &[String]) -> anyhow::Result<Vec<Vec<Value>>> {
    let sent =
        element.get("columns").and_then(Value::as_array).context("the answer has no columns")?;
    let rows = rows_of(element, "statistics")?;
    // In the rows, the dimensions stand between the timestamp and the numbers.
    let place = |column: &String| match column.as_str() {
        "timestamp" => Some(0),
        "dimensions" => Some(1),
        name => sent.iter().position(|sent| sent.as_str() == Some(name)).map(|at| at + 1),
    };
    let places: Vec<Option<usize>> = columns.iter().map(place).collect();
    let ordered = |row: &Vec<Value>| -> Vec<Value> {
        let cell = |at: &Option<usize>| at.and_then(|at| row.get(at)).cloned().unwrap_or_default();
        places.iter().map(cell).collect()
    };
    Ok(rows.iter().map(ordered).collect())
}

fn rows_of(element: &Value, field: &str) -> anyhow::Result<Vec<Vec<Value>>> {
    let dimensions = element.get("dimensions").cloned().unwrap_or_default();
    let rows = element.get(field).and_then(Value::as_array);
    let rows = rows.with_context(|| format!("the answer has no {field}"))?;
    let row = |row: &Value| {
        let cells = row.as_array().with_context(|| format!("{row} is no row"))?;
        let (time, rest) = cells.split_first().with_context(|| format!("{row} is no row"))?;
        let front = [time.clone(), dimensions.clone()];
        Ok(front.into_iter().chain(rest.iter().cloned()).collect())
    };
    rows.iter().map(row).collect()
}

fn alarm_row(alarm: &Value, _columns: &[String]) -> anyhow::Result<Vec<Vec<Value>>> {
    let field = |name: &str| alarm.get(name).cloned().unwrap_or_default();
    let definition = |name: &str| alarm.pointer(&format!("/alarm_definition/{name}")).cloned();
    let metrics = alarm.get("metrics").and_then(Value::as_array).map(Vec::as_slice);
    let metrics: Vec<String> = metrics.unwrap_or_default().iter().map(metric_text).collect();
    Ok(vec![vec![
        field("state"),
        field("state_updated_timestamp"),
        definition("name").unwrap_or_default(),
        definition("severity").unwrap_or_default(),
        Value::String(metrics.join(" ")),
        field("id"),
    ]])
}

/// `cpu{host=a}`
fn metric_text(metric: &Value) -> String {
    let name = metric.get("name").and_then(Value::as_str).unwrap_or_default();
    let pair =
        |(name, value): (&String, &Value)| format!("{name}={}", value.as_str().unwrap_or_default());
    let pairs: Option<Vec<String>> = metric
        .get("dimensions")
        .and_then(Value::as_object)
        .map(|dimensions| dimensions.iter().map(pair).collect());
    format!("{name}{{{}}}", pairs.unwrap_or_default().join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selection() -> Selection {
        Selection {
            name: "cpu".into(),
            dimensions: vec!["host:a".into(), "zone".into()],
            span: Span { start: "-1m".into(), end: None },
            merge: true,
            group_by: None,
        }
    }

    #[test]
    fn a_selection_becomes_parameters() {
        let parameters = selection().parameters(60_000).unwrap();
        let shown: Vec<String> = parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let want = [
            "dimensions=host:a,zone",
            "name=cpu",
            "start_time=1970-01-01T00:00:00.000Z",
            "merge_metrics=true",
        ];
        assert_eq!(shown, want);
    }

    #[test]
    fn statistics_stand_under_their_names_whatever_their_order() {
        let question = statistics(&selection(), 60, "Max, avg", 60_000).unwrap();
        assert_eq!(question.columns, ["timestamp", "dimensions", "max", "avg"]);
        let element = json!({
            "dimensions": {"host": "a"},
            "columns": ["timestamp", "avg", "max"],
            "statistics": [["t", 1, 2]],
        });
        let rows = (question.rows_of)(&element, &question.columns).unwrap();
        assert_eq!(rows, [[json!("t"), json!({"host": "a"}), json!(2), json!(1)]]);
        assert!((question.rows_of)(&json!({"columns": []}), &question.columns).is_err());
    }

    #[test]
    fn measurements_carry_the_dimensions_of_their_element() {
        let element = json!({
            "dimensions": {"host": "a"},
            "measurements": [["t1", 0.5, {}], ["t2", 1, {"k": "v"}]],
        });
        let rows = measurement_rows(&element, &[]).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1], [json!("t2"), json!({"host": "a"}), json!(1), json!({"k": "v"})]);
    }

    #[test]
    fn an_alarm_is_one_row() {
        let alarm = json!({
            "id": "i", "state": "OK", "state_updated_timestamp": "t",
            "alarm_definition": {"name": "d", "severity": "LOW"},
            "metrics": [{"name": "cpu", "dimensions": {"host": "a", "zone": "1"}}],
        });
        let rows = alarm_row(&alarm, &[]).unwrap();
        assert_eq!(rows, [["OK", "t", "d", "LOW", "cpu{host=a,zone=1}", "i"].map(|t| json!(t))]);
    }
}
