//! Progress of a long reading on a terminal: how far, how fast, how long still.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Shortest time between two lines.
const PAUSE: Duration = Duration::from_millis(200);

/// Writes over one line of standard error. Silent where that is no terminal.
pub(crate) struct Meter {
    terminal: bool,
    started: Instant,
    last: Mutex<Option<Instant>>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Meter { terminal, started: Instant::now(), last: Mutex::new(None) }
    }

    /// Shows bytes done, and in all. Called from any thread.
    pub(crate) fn show(&self, done: u64, total: u64) {
        if !self.terminal {
            return;
        }
        let now = Instant::now();
        // Another thread is writing: it shows nearly the same.
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.is_some_and(|last| now.duration_since(last) < PAUSE) {
            return;
        }
        *last = Some(now);
        let line = line(done, total, now.duration_since(self.started));
        // A progress that cannot be shown keeps nothing from being done.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }

    /// Clears the line.
    pub(crate) fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(done: u64, total: u64, spent: Duration) -> String {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let seconds = spent.as_secs_f64().max(0.001);
    let rate = megabytes(done) / seconds;
    let left = megabytes(total.saturating_sub(done)) / rate.max(0.001);
    let percent = done.saturating_mul(100) / total.max(1);
    format!(
        "{percent:3} %  {:.0} of {:.0} MB  {rate:.0} MB/s  {left:.0} s left",
        megabytes(done),
        megabytes(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_rate_and_rest() {
        let shown = line(50_000_000, 200_000_000, Duration::from_secs(2));
        assert_eq!(shown, " 25 %  50 of 200 MB  25 MB/s  6 s left");
        assert_eq!(line(0, 0, Duration::ZERO), "  0 %  0 of 0 MB  0 MB/s  0 s left");
    }
}
