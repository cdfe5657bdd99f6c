//! `moneta delete` and `moneta deletions`: samples that shall go.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::client::{Client, Connection};
use crate::output::{Format, Table};
use crate::{pair, time, user};

/// How often a deletion that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    connection: Connection,
    /// Name of the metric
    metric: Option<String>,
    /// Condition on a dimension: NAME:VALUE, NAME:ONE|OTHER, or NAME for any value. May be repeated
    #[arg(short, long = "dimension", value_name = "CONDITION", value_parser = pair::parse_condition)]
    dimensions: Vec<String>,
    /// First instant: now, -1h, -30d, or ISO 8601; without it from the beginning
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    start: Option<String>,
    /// First instant after the span; without it to the end
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    end: Option<String>,
    /// Of all series of the tenant
    #[arg(long)]
    all_series: bool,
    /// Do it; without this only what would go is told
    #[arg(long)]
    yes: bool,
    /// Wait until the space has come back
    #[arg(long, requires = "yes")]
    wait: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Args)]
pub(crate) struct Deletions {
    #[command(flatten)]
    connection: Connection,
    /// Only this one
    id: Option<u64>,
    /// Stop giving back its space; what it hides stays hidden
    #[arg(long, requires = "id")]
    cancel: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Delete {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let client = self.connection.client()?.patient();
        let Some(tenant) = client.tenant() else {
            bail!("name the tenant with --tenant");
        };
        if self.metric.is_none() && self.dimensions.is_empty() && !self.all_series {
            bail!("name a metric or, with -d, dimensions; or say --all-series");
        }
        let now = time::now();
        let instant = |text: &Option<String>| -> anyhow::Result<Option<String>> {
            text.as_ref().map(|text| time::iso(time::parse(text, now)?)).transpose()
        };
        let body = json!({
            "tenant": tenant, "metric": self.metric, "dimensions": self.conditions(),
            "start": instant(&self.start)?, "end": instant(&self.end)?,
            "all_series": self.all_series, "dry_run": !self.yes, "by": user::name(),
        });
        let answer = client.post(&["admin", "deletions"], &body).await?;
        if !self.yes {
            let columns = ["series", "samples", "bytes"];
            Table::of(std::slice::from_ref(&answer), &columns).print(self.output)?;
            match answer.get("series").and_then(Value::as_u64) {
                Some(0) => eprintln!("moneta: no series with samples there is selected"),
                Some(_) | None => eprintln!("moneta: nothing was deleted; repeat it with --yes"),
            }
            return Ok(ExitCode::SUCCESS);
        }
        let answer = if self.wait { wait(&client, answer).await? } else { answer };
        print_deletions(&[answer], self.output)?;
        Ok(ExitCode::SUCCESS)
    }

    fn conditions(&self) -> Map<String, Value> {
        let condition = |text: &String| {
            let (name, value) = text.split_once(':').unwrap_or((text, ""));
            let value = match value {
                "" => Value::Null,
                value if value.contains('|') => json!(value.split('|').collect::<Vec<_>>()),
                value => json!(value),
            };
            (name.to_owned(), value)
        };
        self.dimensions.iter().map(condition).collect()
    }
}

async fn wait(client: &Client, mut deletion: Value) -> anyhow::Result<Value> {
    let id = deletion.get("id").and_then(Value::as_u64).unwrap_or_default().to_string();
    while deletion.get("state").and_then(Value::as_str) == Some("hidden") {
        let left = deletion.get("segments_left").and_then(Value::as_u64).unwrap_or_default();
        eprintln!("moneta: hidden; {left} segments are still to be written again");
        tokio::time::sleep(LOOK).await;
        deletion = client.get(&["admin", "deletions", &id], &[]).await?;
    }
    Ok(deletion)
}

impl Deletions {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let client = self.connection.client()?;
        let all = match self.id.map(|id| id.to_string()) {
            None => client.get(&["admin", "deletions"], &[]).await?,
            Some(id) if self.cancel => {
                client.delete(&["admin", "deletions", &id]).await?;
                client.get(&["admin", "deletions", &id], &[]).await?
            }
            Some(id) => client.get(&["admin", "deletions", &id], &[]).await?,
        };
        match all.get("deletions").and_then(Value::as_array) {
            Some(list) => print_deletions(list, self.output)?,
            None => print_deletions(&[all], self.output)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_deletions(deletions: &[Value], output: Format) -> anyhow::Result<()> {
    let flat = |deletion: &Value| {
        let mut row = deletion.as_object().cloned().unwrap_or_default();
        let removes = deletion.get("removes").and_then(Value::as_object).cloned();
        row.extend(removes.unwrap_or_default());
        Value::Object(row)
    };
    let flat: Vec<Value> = deletions.iter().map(flat).collect();
    let columns =
        ["id", "state", "tenant", "requested", "by", "series", "samples", "bytes", "segments_left"];
    Table::of(&flat, &columns).print(output)?;
    Ok(())
}
