//! What the kernel says of this process.

use std::fs::{read_dir, read_to_string};

/// One look at `/proc/self`. What cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessReading {
    /// User and system time, seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// Resident memory, bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Open files.
    pub(crate) open_fds: Option<u64>,
    /// Limit of open files.
    pub(crate) max_fds: Option<u64>,
    /// Start, seconds since the epoch.
    pub(crate) start_seconds: Option<f64>,
}

/// Ticks per second of the times in `/proc`: a constant of Linux's interface to programs.
const TICKS: f64 = 100.0;

impl ProcessReading {
    /// Reads it.
    pub(crate) fn take() -> Self {
        let stat = read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is a name in parentheses that may hold anything.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let limits = read_to_string("/proc/self/limits").unwrap_or_default();
        let system = read_to_string("/proc/stat").unwrap_or_default();
        let boot = number_after::<f64>(&system, "btime ");
        ProcessReading {
            cpu_seconds: ticks(11).zip(ticks(12)).map(|(user, kernel)| (user + kernel) / TICKS),
            resident_bytes: number_after::<u64>(&status, "VmRSS:")
                .map(|kilobytes| kilobytes * 1024),
            open_fds: read_dir("/proc/self/fd")
                .ok()
                .and_then(|files| files.count().try_into().ok()),
            max_fds: number_after(&limits, "Max open files"),
            start_seconds: boot.zip(ticks(19)).map(|(boot, start)| boot + start / TICKS),
        }
    }
}

/// The first number after `label` on its line.
fn number_after<T: std::str::FromStr>(text: &str, label: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let reading = ProcessReading::take();
        assert!(reading.cpu_seconds.is_some_and(|cpu| cpu >= 0.0));
        assert!(reading.resident_bytes.is_some_and(|bytes| bytes > 1 << 16));
        assert!(reading.open_fds.is_some_and(|files| files > 0));
        assert!(reading.max_fds > reading.open_fds);
        assert!(reading.start_seconds.is_some_and(|start| start > 1.7e9));
    }
}
