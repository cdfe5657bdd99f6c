//! `moneta retention`: how long a server keeps samples.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::{Client, Connection};
use crate::output::{Format, Table};

#[derive(Subcommand)]
pub(crate) enum Retention {
    /// The policies, in the order in which they are asked
    Get(Get),
    /// Set the policy for a metric or pattern, or all policies from a file
    Set(Set),
    /// Remove the policy for a metric or pattern
    Unset(Unset),
    /// What a change would remove; nothing is changed
    Plan(Plan),
    /// Flush the head and give back the space of what has expired or was deleted, now; believes the clock
    Apply(Asking),
    /// Which policy decides about a metric
    Explain(Explain),
}

#[derive(Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    connection: Connection,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Args)]
pub(crate) struct Get {
    #[command(flatten)]
    asking: Asking,
}

/// A policy, or a file with all of them.
#[derive(Args)]
struct Change {
    /// Metric name; * stands for any characters
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    metric: Option<String>,
    /// How long samples are kept: 30d, 12h, 2w, 1y, or forever
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    keep: Option<String>,
    /// Only for this tenant; without it for every one
    #[arg(long, value_name = "TENANT", conflicts_with = "file")]
    for_tenant: Option<String>,
    /// A rollup of the samples and how long it is kept: 5m=90d, 1h=2y; once for each step. A policy that
    /// is set anew has those only that are given
    #[arg(long, value_name = "STEP=KEEP", conflicts_with = "file")]
    rollup: Vec<String>,
    /// All policies, as `moneta retention get -o json` prints them; - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Set {
    #[command(flatten)]
    change: Change,
    /// Also if it removes samples
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Unset {
    /// Metric name or pattern, as in the policy
    metric: String,
    /// The policy of this tenant; without it the one of all
    #[arg(long, value_name = "TENANT")]
    for_tenant: Option<String>,
    /// Also if the policy that decides then removes samples
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Args)]
pub(crate) struct Explain {
    /// Name of the metric
    metric: String,
    #[command(flatten)]
    asking: Asking,
}

const PATH: [&str; 2] = ["admin", "retention"];
const PLAN: [&str; 3] = ["admin", "retention", "plan"];
const POLICY_COLUMNS: [&str; 4] = ["tenant", "metric", "keep", "rollups"];

impl Retention {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Retention::Get(get) => {
                let policies = policies(&get.asking.client()?).await?;
                get.asking.print_policies(&policies)?;
            }
            Retention::Set(set) => {
                let client = set.asking.client()?.patient();
                let changed = set.change.apply(policies(&client).await?)?;
                return replace(&client, &set.asking, changed, set.yes).await;
            }
            Retention::Unset(unset) => {
                let client = unset.asking.client()?.patient();
                let mut all = policies(&client).await?;
                let before = all.len();
                all.retain(|policy| !is_about(policy, &unset.metric, unset.for_tenant.as_deref()));
                if all.len() == before {
                    bail!("there is no such policy");
                }
                return replace(&client, &unset.asking, all, unset.yes).await;
            }
            Retention::Plan(plan) => {
                let client = plan.asking.client()?.patient();
                let changed = plan.change.apply(policies(&client).await?)?;
                let losses = client.post(&PLAN, &json!({ "policies": changed })).await?;
                plan.asking.show_losses(&losses)?;
            }
            Retention::Apply(asking) => {
                let path = ["admin", "retention", "apply"];
                let done = asking.client()?.patient().post(&path, &Value::Null).await?;
                if done.get("flushed") == Some(&Value::Bool(false)) {
                    eprintln!(
                        "moneta: what is in memory could not be written first; see the server's log"
                    );
                }
                let columns = [
                    "segments_removed",
                    "segments_rewritten",
                    "bytes",
                    "deletions_finished",
                    "series_removed",
                    "rollups_made",
                ];
                asking.print(&[done], &columns)?;
            }
            Retention::Explain(explain) => {
                let path = ["admin", "retention", "explain"];
                let asked = [("metric", explain.metric.clone())];
                let answer = explain.asking.client()?.get(&path, &asked).await?;
                explain.asking.explain(&answer)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn policies(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut answer = client.get(&PATH, &[]).await?;
    let policies = answer.get_mut("policies").map(Value::take);
    match policies {
        Some(Value::Array(policies)) => Ok(policies),
        _ => bail!("the answer has no policies"),
    }
}

/// Replaces all policies; where that removes samples only if it was meant.
async fn replace(
    client: &Client,
    asking: &Asking,
    policies: Vec<Value>,
    yes: bool,
) -> anyhow::Result<ExitCode> {
    let body = json!({ "policies": policies });
    let losses = client.post(&PLAN, &body).await?;
    let count = |what: &str| losses.get(what).and_then(Value::as_u64).unwrap_or(0);
    let (samples, days) = (count("samples"), count("rollup_days"));
    if samples + days > 0 && !yes {
        asking.show_losses(&losses)?;
        eprintln!(
            "moneta: this removes {samples} samples and {days} days of rollups for good; nothing was \
             changed; repeat it with --yes"
        );
        return Ok(ExitCode::FAILURE);
    }
    client.put(&PATH, &body).await?;
    asking.print_policies(&self::policies(client).await?)?;
    Ok(ExitCode::SUCCESS)
}

fn is_about(policy: &Value, metric: &str, tenant: Option<&str>) -> bool {
    let text = |name: &str| policy.get(name).and_then(Value::as_str);
    text("metric") == Some(metric) && text("tenant") == tenant
}

impl Change {
    /// The policies after the change.
    fn apply(&self, mut policies: Vec<Value>) -> anyhow::Result<Vec<Value>> {
        if let Some(file) = &self.file {
            return read_policies(file);
        }
        let (Some(metric), Some(keep)) = (&self.metric, &self.keep) else {
            bail!("a metric and how long to keep it, or --file");
        };
        let tenant = self.for_tenant.as_deref();
        policies.retain(|policy| !is_about(policy, metric, tenant));
        let rollups: Vec<Value> =
            self.rollup.iter().map(|text| rollup(text)).collect::<anyhow::Result<_>>()?;
        let policy =
            json!({ "tenant": tenant, "metric": metric, "keep": keep, "rollups": rollups });
        policies.push(policy);
        Ok(policies)
    }
}

fn rollup(text: &str) -> anyhow::Result<Value> {
    match text.split_once('=') {
        Some((step, keep)) => Ok(json!({ "step": step, "keep": keep })),
        None => bail!("a rollup is a step and how long it is kept, as 1h=1y, not {text:?}"),
    }
}

/// Shows rollups as they are written on the command line.
fn with_rollups_as_text(policies: &[Value]) -> Vec<Value> {
    let text = |rollup: &Value| {
        let field = |name: &str| rollup.get(name).and_then(Value::as_str).unwrap_or_default();
        format!("{}={}", field("step"), field("keep"))
    };
    let shown = policies.iter().cloned().map(|mut policy| {
        if let Some(Value::Array(rollups)) = policy.get_mut("rollups").map(Value::take)
            && let Some(fields) = policy.as_object_mut()
        {
            let all: Vec<String> = rollups.iter().map(text).collect();
            fields.insert("rollups".to_owned(), json!(all.join(" ")));
        }
        policy
    });
    shown.collect()
}

fn read_policies(file: &Path) -> anyhow::Result<Vec<Value>> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    }
    serde_json::from_str(&text).with_context(|| format!("{}: no JSON list", file.display()))
}

impl Asking {
    fn client(&self) -> anyhow::Result<Client> {
        self.connection.client()
    }

    fn print(&self, rows: &[Value], columns: &[&str]) -> anyhow::Result<()> {
        Table::of(rows, columns).print(self.output)?;
        Ok(())
    }

    fn print_policies(&self, policies: &[Value]) -> anyhow::Result<()> {
        match self.output {
            Format::Json => self.print(policies, &POLICY_COLUMNS),
            Format::Table | Format::Csv => {
                self.print(&with_rollups_as_text(policies), &POLICY_COLUMNS)
            }
        }
    }

    fn show_losses(&self, losses: &Value) -> anyhow::Result<()> {
        let none = Vec::new();
        let metrics = losses.get("metrics").and_then(Value::as_array).unwrap_or(&none);
        self.print(
            metrics,
            &["tenant", "metric", "keep", "series", "samples", "bytes", "rollup_days"],
        )
    }

    fn explain(&self, answer: &Value) -> anyhow::Result<()> {
        let decides = answer.get("policy").filter(|policy| !policy.is_null());
        let none = Vec::new();
        let others = answer.get("overruled").and_then(Value::as_array).unwrap_or(&none);
        let with_role = |(policy, role): (&Value, &str)| {
            let mut row = policy.as_object().cloned().unwrap_or_default();
            row.insert("role".to_owned(), json!(role));
            Value::Object(row)
        };
        let decides = decides.map(|policy| (policy, "decides"));
        let overruled = others.iter().map(|policy| (policy, "overruled"));
        let rows: Vec<Value> = decides.into_iter().chain(overruled).map(with_role).collect();
        let rows = match self.output {
            Format::Json => rows,
            Format::Table | Format::Csv => with_rollups_as_text(&rows),
        };
        self.print(&rows, &["role", "tenant", "metric", "keep", "rollups"])?;
        if self.output == Format::Table {
            let keep = answer.get("keep").and_then(Value::as_str).unwrap_or_default();
            eprintln!("kept {keep}");
        }
        Ok(())
    }
}
