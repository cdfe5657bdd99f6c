//! How far a long command is, on standard error: one line that is drawn again and again on a terminal,
//! a JSON object per line otherwise.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use moneta_storage::backup::Progress;
use serde_json::{Value, json};

/// Between two lines on a terminal.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two lines of JSON.
const TELL: Duration = Duration::from_secs(1);

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) step: &'a str,
    pub(crate) files: u64,
    pub(crate) files_total: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_total: u64,
}

/// Shows stages as they come, not each of them.
pub(crate) struct ProgressLine {
    terminal: bool,
    step: String,
    began: Instant,
    shown: Option<Instant>,
}

impl ProgressLine {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        ProgressLine { terminal, step: String::new(), began: Instant::now(), shown: None }
    }

    /// For storage: shows it and goes on.
    pub(crate) fn watch(&mut self, now: Progress) -> ControlFlow<()> {
        let Progress { step, files, files_total, bytes, bytes_total } = now;
        self.show(Stage { step: step.name(), files, files_total, bytes, bytes_total });
        ControlFlow::Continue(())
    }

    /// Shows a stage if it is a new step or the last line is old enough.
    pub(crate) fn show(&mut self, stage: Stage<'_>) {
        let now = Instant::now();
        let pause = if self.terminal { REDRAW } else { TELL };
        if self.step == stage.step && self.shown.is_some_and(|shown| now - shown < pause) {
            return;
        }
        if self.step != stage.step {
            stage.step.clone_into(&mut self.step);
            self.began = now;
        }
        self.shown = Some(now);
        let seconds = (now - self.began).as_secs_f64();
        let line = if self.terminal {
            // Back to the start, and nothing left of a longer line.
            format!("\r{}\u{1b}[K", stage.line(seconds))
        } else {
            format!("{}\n", stage.json(seconds))
        };
        // Nobody may be there to see it; the work goes on.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.terminal && self.shown.is_some() {
            // What follows is not about progress.
            let _ = std::io::stderr().write_all(b"\r\x1b[K");
        }
    }
}

impl Stage<'_> {
    /// Bytes per second, and seconds until the end, after so many seconds of this step.
    fn rate(&self, seconds: f64) -> Option<(f64, f64)> {
        if seconds <= 0.0 || self.bytes == 0 || self.bytes_total == 0 {
            return None;
        }
        let rate = self.bytes as f64 / seconds;
        Some((rate, self.bytes_total.saturating_sub(self.bytes) as f64 / rate))
    }

    fn line(&self, seconds: f64) -> String {
        let mut line = self.step.to_owned();
        if self.files_total > 0 {
            let (done, all) = (size(self.bytes as f64), size(self.bytes_total as f64));
            line += &format!(": {} of {} files, {done} of {all}", self.files, self.files_total);
        }
        if let Some((rate, left)) = self.rate(seconds) {
            let left = left.ceil();
            let (minutes, seconds) = ((left / 60.0).floor(), left % 60.0);
            line += &format!(", {}/s, {minutes:.0}:{seconds:02.0} left", size(rate));
        }
        line
    }

    fn json(&self, seconds: f64) -> Value {
        let rate = self.rate(seconds);
        json!({
            "step": self.step, "files": self.files, "files_total": self.files_total,
            "bytes": self.bytes, "bytes_total": self.bytes_total,
            "seconds": (seconds * 10.0).round() / 10.0,
            "bytes_per_second": rate.map(|(rate, _)| rate.round()),
            "seconds_left": rate.map(|(_, left)| left.ceil()),
        })
    }
}

/// Bytes for people.
pub(crate) fn size(bytes: f64) -> String {
    let mut size = bytes;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 1000.0 {
            return if unit == "B" { format!("{size:.0} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Stage<'_> = Stage {
        step: "copy",
        files: 3,
        files_total: 10,
        bytes: 500_000_000,
        bytes_total: 2_000_000_000,
    };

    #[test]
    fn lines_tell_rate_and_time_left() {
        let check = |stage: Stage<'_>, seconds: f64, want: &str| {
            assert_eq!(stage.line(seconds), want);
        };
        check(HALF, 5.0, "copy: 3 of 10 files, 500.0 MB of 2.0 GB, 100.0 MB/s, 0:15 left");
        check(HALF, 50.0, "copy: 3 of 10 files, 500.0 MB of 2.0 GB, 10.0 MB/s, 2:30 left");
        check(HALF, 0.0, "copy: 3 of 10 files, 500.0 MB of 2.0 GB");
        let unknown = Stage { step: "flush", files: 0, files_total: 0, bytes: 0, bytes_total: 0 };
        check(unknown, 3.0, "flush");
        let done = Stage { bytes: 2_000_000_000, ..HALF };
        check(done, 20.0, "copy: 3 of 10 files, 2.0 GB of 2.0 GB, 100.0 MB/s, 0:00 left");
    }

    #[test]
    fn objects_tell_the_same() {
        let object = HALF.json(5.0);
        assert_eq!(object["bytes_per_second"], 100_000_000.0);
        assert_eq!(object["seconds_left"], 15.0);
        assert_eq!(HALF.json(0.0)["seconds_left"], Value::Null);
    }

    #[test]
    fn sizes_have_units() {
        let sizes = [0.0, 999.0, 1000.0, 1.5e6, 2e12].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "1.5 MB", "2.0 TB"]);
    }
}
