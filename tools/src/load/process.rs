//! What another process on this machine has used, from /proc.

use std::time::Duration;

use anyhow::{Context, Result};

/// Clock ticks per second in /proc; fixed in Linux's interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;
/// A server that uses less than this in a second has settled.
const QUIET_CPU_SECONDS: f64 = 0.05;
/// Settling is waited for this long.
const SETTLE_SECONDS_MAX: u32 = 300;

#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Seconds of CPU, user and system.
    pub(super) cpu: f64,
    pub(super) resident_mb: u64,
    pub(super) peak_mb: u64,
}

impl Usage {
    pub(super) fn read(pid: u32) -> Result<Self> {
        let file = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (stat, status) = (file("stat")?, file("status")?);
        parse(&stat, &status).with_context(|| format!("/proc/{pid} is not as expected"))
    }

    /// CPU since `before`, memory as it is.
    pub(super) fn since(&self, before: &Usage) -> Usage {
        Usage { cpu: self.cpu - before.cpu, ..*self }
    }
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The command in parentheses may hold anything; the numbers begin after it.
    let numbers: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| numbers.get(at)?.parse::<f64>().ok();
    let kilobytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some(Usage {
        cpu: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
        resident_mb: kilobytes("VmRSS:")? / 1024,
        peak_mb: kilobytes("VmHWM:")? / 1024,
    })
}

/// Waits until the process has had nothing to do for `quiet_seconds`, then reads what it has used.
pub(super) async fn settled(pid: u32, quiet_seconds: u32) -> Result<Usage> {
    let mut last = Usage::read(pid)?;
    let mut quiet = 0;
    for _ in 0..SETTLE_SECONDS_MAX {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = Usage::read(pid)?;
        quiet = if now.cpu - last.cpu < QUIET_CPU_SECONDS { quiet + 1 } else { 0 };
        last = now;
        if quiet >= quiet_seconds {
            break;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4 9 0 0 0 250 50 0 0 20 0 9 0 5 1 2";
        let status = "Name:\ta\nVmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\n";
        let usage = parse(stat, status).unwrap();
        assert!((usage.cpu - 3.0).abs() < 1e-9);
        assert_eq!((usage.resident_mb, usage.peak_mb), (2, 4));
        assert!(parse("7 (a", status).is_none());
    }
}
