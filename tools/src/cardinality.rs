//! `moneta cardinality`: where a tenant's series come from.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::client::Connection;
use crate::output::{Format, Table};

/// Which list of the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum By {
    /// Series of each metric
    Metric,
    /// Series and distinct values of each dimension
    Dimension,
    /// Series of each value of a dimension
    Value,
    /// Series created in each of the last 24 hours
    Hour,
}

#[derive(Args)]
pub(crate) struct Cardinality {
    #[command(flatten)]
    connection: Connection,
    /// What to count by
    #[arg(long, value_enum, default_value_t = By::Metric)]
    by: By,
    /// Print at most so many rows, those with most series
    #[arg(long, default_value_t = 10, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    top: u16,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Cardinality {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let client = self.connection.client()?;
        let parameters = [("top", self.top.to_string())];
        let report = client.get(&["admin", "cardinality"], &parameters).await?;
        self.table(&report)?.print(self.output)?;
        if self.output == Format::Table {
            let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
            eprintln!(
                "{} series, {} of them active, of {} metrics with {} dimensions",
                number("series"),
                number("active_series"),
                number("metric_names"),
                number("dimension_names"),
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn table(&self, report: &Value) -> anyhow::Result<Table> {
        let (list, columns): (&str, &[&str]) = match self.by {
            By::Metric => ("by_metric", &["name", "series"]),
            By::Dimension => ("by_dimension", &["name", "series", "values"]),
            By::Value => ("by_value", &["name", "value", "series"]),
            By::Hour => ("new_per_hour", &["start", "series"]),
        };
        let rows = report.get(list).and_then(Value::as_array);
        let rows = rows.with_context(|| format!("the answer has no list {list}"))?;
        Ok(Table::of(rows, columns))
    }
}
