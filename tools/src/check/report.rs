//! What came of each stage, printed as it happens or as JSON at the end.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::Output;
use super::latency::{Latencies, milliseconds};
use super::stage::Stage;

/// How a stage ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Ok,
    Fail,
    /// Not tried, because a stage it needs failed or it was not asked for.
    Skip,
}

impl Outcome {
    fn text(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Fail => "fail",
            Outcome::Skip => "skip",
        }
    }
}

/// How the run as a whole was ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// Every stage was reached.
    Complete,
    /// The time for the whole check was over.
    Timeout,
    /// The user stopped it.
    Interrupted,
}

struct Line {
    stage: Stage,
    outcome: Outcome,
    took: Duration,
    detail: String,
}

/// The stages so far.
pub(super) struct Report {
    output: Output,
    lines: Vec<Line>,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Report { output, lines: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        stage: Stage,
        outcome: Outcome,
        took: Duration,
        detail: String,
    ) -> io::Result<()> {
        if self.output == Output::Table {
            let (stage, outcome) = (stage.name(), outcome.text());
            let mut out = io::stdout().lock();
            writeln!(out, "{stage:<13} {outcome:<5} {:>12}  {detail}", milliseconds(took))?;
            out.flush()?;
        }
        self.lines.push(Line { stage, outcome, took, detail });
        Ok(())
    }

    /// How a stage ended, if it has been reached.
    pub(super) fn outcome(&self, stage: Stage) -> Option<Outcome> {
        self.lines.iter().find(|line| line.stage == stage).map(|line| line.outcome)
    }

    /// Prints what is left to print and gives the exit code of the whole.
    pub(super) fn finish(&self, end: End, latencies: &Latencies) -> io::Result<ExitCode> {
        let code = self.code(end);
        let mut out = io::stdout().lock();
        match self.output {
            Output::Json => writeln!(out, "{:#}", self.json(code, latencies))?,
            Output::Table if latencies.len() > 0 => writeln!(out, "{latencies}")?,
            Output::Table => {}
        }
        out.flush()?;
        Ok(ExitCode::from(code))
    }

    fn code(&self, end: End) -> u8 {
        let failed: Vec<Stage> = self
            .lines
            .iter()
            .filter(|line| line.outcome == Outcome::Fail)
            .map(|line| line.stage)
            .collect();
        match (end, failed.as_slice()) {
            (End::Timeout, _) => 3,
            (_, failed) if failed.iter().any(|stage| stage.is_start()) => 2,
            (End::Complete, []) => 0,
            (End::Complete, [Stage::Cleanup]) => 4,
            (End::Complete | End::Interrupted, _) => 1,
        }
    }

    fn json(&self, code: u8, latencies: &Latencies) -> Value {
        let line = |line: &Line| {
            json!({
                "stage": line.stage.name(),
                "result": line.outcome.text(),
                "seconds": line.took.as_secs_f64(),
                "detail": line.detail,
            })
        };
        let stages: Vec<Value> = self.lines.iter().map(line).collect();
        json!({"exit_code": code, "stages": stages, "latency": latencies.to_json()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(end: End, lines: &[(Stage, Outcome)], want: u8) {
        let mut report = Report::new(Output::Json);
        for &(stage, outcome) in lines {
            report.add(stage, outcome, Duration::ZERO, String::new()).unwrap();
        }
        assert_eq!(report.code(end), want);
        assert_eq!(report.json(want, &Latencies::default())["exit_code"], json!(want));
    }

    #[test]
    fn exit_codes() {
        let (ok, fail) = (Outcome::Ok, Outcome::Fail);
        check(End::Complete, &[(Stage::Api, ok), (Stage::Cleanup, ok)], 0);
        check(End::Complete, &[(Stage::Write, fail), (Stage::Read, Outcome::Skip)], 1);
        check(End::Complete, &[(Stage::Api, fail)], 2);
        check(End::Complete, &[(Stage::Receiver, fail)], 2);
        check(End::Timeout, &[(Stage::Recover, fail), (Stage::Cleanup, fail)], 3);
        check(End::Complete, &[(Stage::Api, ok), (Stage::Cleanup, fail)], 4);
        check(End::Complete, &[(Stage::Write, fail), (Stage::Cleanup, fail)], 1);
        check(End::Interrupted, &[(Stage::Api, ok), (Stage::Cleanup, ok)], 1);
    }
}
