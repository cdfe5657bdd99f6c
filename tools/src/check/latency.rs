//! How long things took, as percentiles.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

/// Measured latencies.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        let at = self.0.partition_point(|have| *have <= latency);
        self.0.insert(at, latency);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest latency that at least `percent` of all do not exceed.
    fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.max(1) - 1).copied()
    }

    pub(super) fn to_json(&self) -> Value {
        let ms = |percent| self.percentile(percent).map(|latency| latency.as_secs_f64() * 1e3);
        json!({
            "count": self.len(), "p50_ms": ms(50), "p90_ms": ms(90), "p99_ms": ms(99), "max_ms": ms(100),
        })
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sample to webhook, {} times:", self.len())?;
        for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)] {
            let latency = self.percentile(percent).unwrap_or_default();
            write!(f, " {name} {}", milliseconds(latency))?;
        }
        Ok(())
    }
}

/// `1.23 ms`
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ms: &[u64], want: &str) {
        let mut latencies = Latencies::default();
        ms.iter().for_each(|&ms| latencies.add(Duration::from_millis(ms)));
        assert_eq!(latencies.to_string(), format!("sample to webhook, {} times: {want}", ms.len()));
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        check(&[7], "p50 7.00 ms p90 7.00 ms p99 7.00 ms max 7.00 ms");
        check(&[3, 1, 2], "p50 2.00 ms p90 3.00 ms p99 3.00 ms max 3.00 ms");
        let hundred: Vec<u64> = (1..=100).rev().collect();
        check(&hundred, "p50 50.00 ms p90 90.00 ms p99 99.00 ms max 100.00 ms");
        assert_eq!(Latencies::default().to_json()["p50_ms"], Value::Null);
    }
}
