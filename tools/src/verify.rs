//! `moneta verify` and `moneta repair`: what is wrong in a data directory, and mending it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use moneta_storage::repair::{self, Mode};
use moneta_storage::verify::{self, Problem};
use serde_json::{Value, json};

use crate::meter::Meter;
use crate::output::{Format, Table};

/// What is damaged is told by this exit code.
const DAMAGED: u8 = 3;

/// Reads everything and changes nothing.
#[derive(Args)]
#[command(
    after_help = "Changes nothing.\nExit codes: 0 all is whole; 1 it could not be read; 2 wrong arguments; \
3 something is damaged."
)]
pub(crate) struct Verify {
    /// Folder that holds all data; no server may have it open
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Form of the output
    #[arg(short, long, alias = "format", value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Mends what is damaged.
#[derive(Args)]
#[command(
    after_help = "What is replaced is kept in DATA/quarantine.\nExit codes: 0 nothing is damaged any more; \
1 it could not be done; 2 wrong arguments; 3 something is damaged still, or would be mended by --yes."
)]
pub(crate) struct Repair {
    /// Folder that holds all data; no server may have it open
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Only say what would be done and what is lost. This is the default
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Form of the output
    #[arg(short, long, alias = "format", value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Verify {
    /// Exit codes: 0 all whole, 3 something is not as it must be, 1 it could not be read.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let meter = Meter::new();
        let outcome = verify::verify(&self.data, &|done, total| meter.show(done, total));
        meter.end();
        let outcome = outcome?;
        let read = outcome.verified;
        if self.output == Format::Json {
            let unlisted: Vec<String> =
                outcome.unlisted.iter().map(|path| path.display().to_string()).collect();
            let answer = json!({
                "whole": outcome.is_whole(),
                "segments": read.segments,
                "segment_bytes": read.bytes,
                "blocks": read.blocks,
                "samples": read.samples,
                "series_keys": read.table_entries,
                "definitions": read.definitions,
                "posting_lists": read.postings,
                "log_records": read.log_records,
                "log_rows": read.log_rows,
                "journal_entries": read.journal_entries,
                "journal_rows": read.journal_rows,
                "database_bytes": read.database_bytes,
                "problems": outcome.problems.iter().map(object).collect::<Vec<_>>(),
                "more_problems": outcome.more,
                "unlisted_files": unlisted,
            });
            println!("{answer:#}");
        } else {
            print_problems(&outcome.problems, self.output)?;
            if outcome.more > 0 {
                println!("and {} more", outcome.more);
            }
            for path in &outcome.unlisted {
                println!("{}: never committed, the next start removes it", path.display());
            }
            println!(
                "{} segments ({} blocks, {} samples, {} series keys), {} definitions, {} posting \
                 lists, {} log records, {} journal entries: {}",
                read.segments,
                read.blocks,
                read.samples,
                read.table_entries,
                read.definitions,
                read.postings,
                read.log_records,
                read.journal_entries,
                if outcome.is_whole() { "all whole" } else { "damaged, see `moneta repair`" }
            );
        }
        Ok(exit(outcome.is_whole()))
    }
}

impl Repair {
    /// Exit codes: 0 nothing is wrong any more, 3 something is or would be, 1 it could not be done.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let meter = Meter::new();
        let mode = if self.yes { Mode::Apply } else { Mode::DryRun };
        let outcome = repair::repair(&self.data, mode, &|done, total| meter.show(done, total));
        meter.end();
        let outcome = outcome?;
        let whole = if self.yes { outcome.left.is_empty() } else { outcome.found.is_empty() };
        if self.output == Format::Json {
            let objects = |problems: &[Problem]| problems.iter().map(object).collect::<Vec<_>>();
            let answer = json!({
                "applied": self.yes,
                "found": objects(&outcome.found),
                "steps": outcome.steps,
                "lost": objects(&outcome.lost),
                "lost_samples": outcome.lost_samples,
                "left": objects(&outcome.left),
            });
            println!("{answer:#}");
            return Ok(exit(whole));
        }
        println!("{} problems found", outcome.found.len());
        if outcome.found.is_empty() {
            return Ok(exit(whole));
        }
        print_problems(&outcome.found, self.output)?;
        println!("{}", if self.yes { "What was done:" } else { "What would be done:" });
        for step in &outcome.steps {
            println!("  {step}");
        }
        println!("What is lost: {} samples of segments", outcome.lost_samples);
        print_problems(&outcome.lost, self.output)?;
        if self.yes {
            println!("{} problems are left", outcome.left.len());
            print_problems(&outcome.left, self.output)?;
        } else if !whole {
            println!("Nothing was changed; `--yes` does it.");
        }
        Ok(exit(whole))
    }
}

fn exit(whole: bool) -> ExitCode {
    if whole { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) }
}

fn print_problems(problems: &[Problem], format: Format) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let columns = ["part", "place", "problem", "tenant", "series", "samples", "from", "to"];
    let mut table = Table::new(columns.map(str::to_owned).to_vec());
    table.rows = problems.iter().map(row).collect();
    table.print(format)?;
    Ok(())
}

fn row(problem: &Problem) -> Vec<Value> {
    let affects = &problem.affects;
    let tenant = affects.tenant_name.clone();
    let tenant = tenant.or_else(|| affects.tenant.map(|tenant| format!("number {tenant}")));
    let series = match (affects.series, affects.series_count) {
        (Some((first, last)), _) if first == last => json!(first.to_string()),
        (Some((first, last)), Some(count)) => json!(format!("{count} of {first} to {last}")),
        (Some((first, last)), None) => json!(format!("{first} to {last}")),
        (None, count) => json!(count),
    };
    let time = |millis: i64| {
        let time = jiff::Timestamp::from_millisecond(millis);
        time.map_or_else(|_| json!(millis), |time| json!(time.to_string()))
    };
    vec![
        json!(problem.part.name()),
        json!(problem.place),
        json!(problem.what),
        json!(tenant),
        series,
        json!(affects.samples),
        affects.times.map_or(Value::Null, |times| time(times.start.millis())),
        affects.times.map_or(Value::Null, |times| time(times.end.millis())),
    ]
}

fn object(problem: &Problem) -> Value {
    let affects = &problem.affects;
    json!({
        "part": problem.part.name(),
        "place": problem.place,
        "problem": problem.what,
        "tenant": affects.tenant_name,
        "tenant_number": affects.tenant.map(|tenant| tenant.number()),
        "first_series": affects.series.map(|(first, _)| first),
        "last_series": affects.series.map(|(_, last)| last),
        "series": affects.series_count,
        "samples": affects.samples,
        "from_ms": affects.times.map(|times| times.start.millis()),
        "to_ms": affects.times.map(|times| times.end.millis()),
    })
}
