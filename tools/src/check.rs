//! `moneta check`: the heartbeat probe. It proves, through the public API alone, that a sample
//! becomes an alarm and the alarm a notification, and measures how long that takes.
//!
//! ```text
//! receiver ◀── webhook ── server          one stage after the other; a stage whose
//!    check ── definition, samples ──▶     prerequisite failed is skipped; cleaning up
//!    check ◀── measurements, alarms ──    is always tried
//! ```

mod latency;
mod leftover;
mod probe;
mod receiver;
mod report;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time::{Instant, timeout};

use crate::client::Connection;
use probe::{Probe, Wishes};
use report::{End, Outcome, Report};
use stage::Stage;

#[derive(Args)]
#[command(after_help = "\
Stages: api, receiver, notification, definition, write, read, alarm, notify, latency (with --count),
recover, history, cleanup. A breach is judged as soon as it arrives; recovering takes until the period
has ended and the server's delay (30 s by default) has passed.

Exit codes: 0 all stages passed; 1 a stage failed; 2 the check could not start (settings, server not
reached, access denied); 3 the time was over; 4 only cleaning up failed.

What is made is called selfcheck-…; leftovers of crashed checks older than an hour are removed.")]
pub(crate) struct Check {
    #[command(flatten)]
    connection: Connection,
    /// Raise so many alarms and measure each
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Period of the alarm definition, in seconds
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    period: u32,
    /// For the whole check, in seconds
    #[arg(long, default_value_t = 180, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
    /// Address under which the server reaches our receiver, if it is not on this machine
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// Address our receiver listens on
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR:PORT")]
    receiver_listen: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Keep what was made
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line per stage, as it ends
    Table,
    /// One JSON document at the end
    Json,
}

impl Check {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = match self.connection.client() {
            Ok(client) => client,
            Err(error) => {
                eprintln!("moneta: {error:#}");
                return Ok(ExitCode::from(2));
            }
        };
        let wishes = Wishes {
            rounds: self.count,
            period: Duration::from_secs(self.period.into()),
            callback_url: self.callback_url,
            listen: self.receiver_listen,
        };
        let mut probe = Probe::new(client, wishes);
        let mut report = Report::new(self.output);
        let whole = Duration::from_secs(self.timeout.into());
        let mut running = None;
        let end = tokio::select! {
            stages = timeout(whole, stages(&mut probe, &mut report, &mut running)) => match stages {
                Ok(done) => done.map(|()| End::Complete)?,
                Err(_) => End::Timeout,
            },
            _ = tokio::signal::ctrl_c() => End::Interrupted,
        };
        if let Some((stage, begun)) = running {
            let why = match end {
                End::Complete => "",
                End::Timeout => "the time for the whole check was over",
                End::Interrupted => "interrupted",
            };
            report.add(stage, Outcome::Fail, begun.elapsed(), why.to_owned())?;
        }
        if self.keep {
            report.add(Stage::Cleanup, Outcome::Skip, Duration::ZERO, "--keep".to_owned())?;
        } else {
            try_stage(Stage::Cleanup, &mut probe, &mut report).await?;
        }
        Ok(report.finish(end, &probe.latencies)?)
    }
}

/// Carries out the stages. `running` names the one under way, so that the caller can tell what a
/// timeout has cut off.
async fn stages(
    probe: &mut Probe,
    report: &mut Report,
    running: &mut Option<(Stage, Instant)>,
) -> std::io::Result<()> {
    for stage in Stage::UP_TO_CLEANUP {
        if !probe.wants(stage) {
            continue;
        }
        let missing = stage.needs().iter().find(|need| report.outcome(**need) != Some(Outcome::Ok));
        if let Some(missing) = missing {
            let why = format!("needs {}", missing.name());
            report.add(stage, Outcome::Skip, Duration::ZERO, why)?;
            continue;
        }
        *running = Some((stage, Instant::now()));
        try_stage(stage, probe, report).await?;
        *running = None;
    }
    Ok(())
}

async fn try_stage(stage: Stage, probe: &mut Probe, report: &mut Report) -> std::io::Result<()> {
    let begun = Instant::now();
    let limit = stage.limit(probe.period());
    let result = match limit {
        None => probe.carry_out(stage).await,
        Some(limit) => match timeout(limit, probe.carry_out(stage)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("not within {} s", limit.as_secs())),
        },
    };
    let (outcome, detail) = match result {
        Ok(detail) => (Outcome::Ok, detail),
        Err(error) => (Outcome::Fail, format!("{error:#}")),
    };
    report.add(stage, outcome, begun.elapsed(), detail)
}
