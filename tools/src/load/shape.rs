//! Made-up samples, the same in every run: each value follows from shape, host, kind and step.

use std::io::Write as _;

use clap::ValueEnum;

/// What the data look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Shape {
    /// Ten integer metrics of a host that walk between 0 and 100.
    Cpu,
    /// Counters, gauges of several precisions, repeated values, sparse and short-lived series.
    Mixed,
}

/// One sample of one series.
pub(super) struct Sample {
    series: std::sync::Arc<Series>,
    time: i64,
    value: f64,
}

struct Series {
    /// `"name":…,"dimensions":{…}` as it stands in a body.
    identity: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Walks between 0 and 100 by at most 1 a step, an integer.
    Walk,
    /// Grows by up to so much a step, an integer.
    Counter(u32),
    /// Grows by hundredths.
    CounterDecimals,
    /// Wanders, with so many decimals.
    Gauge(i32),
    /// A double with all its digits.
    Noise,
    /// Always the same.
    Constant,
    /// Mostly 0, sometimes 1.
    Flag,
    /// Keeps a value for a while.
    Repeated,
    /// Reports only every tenth step.
    Sparse,
    /// A series that lives for 500 steps, then another takes its place.
    ShortLived,
}

const CPU: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

const MIXED: [(&str, Kind); 13] = [
    ("cpu.idle_perc", Kind::Gauge(1)),
    ("cpu.user_perc", Kind::Gauge(2)),
    ("mem.free_mb", Kind::Gauge(3)),
    ("load.avg_1_min", Kind::Gauge(2)),
    ("net.in_bytes", Kind::Counter(200_000)),
    ("net.in_packets", Kind::Counter(900)),
    ("cpu.seconds", Kind::CounterDecimals),
    ("disk.latency", Kind::Noise),
    ("mem.total_mb", Kind::Constant),
    ("http_status", Kind::Flag),
    ("disk.space_used_perc", Kind::Repeated),
    ("ntp.offset", Kind::Sparse),
    ("process.cpu_perc", Kind::ShortLived),
];

/// Steps for which a short-lived series lives.
const LIFE_STEPS: u64 = 500;

/// Samples in order of time, host, metric; without end.
pub(super) fn samples(
    shape: Shape,
    hosts: u32,
    start: i64,
    interval: u32,
) -> impl Iterator<Item = Sample> {
    let kinds: Vec<(String, Kind)> = match shape {
        Shape::Cpu => CPU.iter().map(|name| (format!("cpu.{name}"), Kind::Walk)).collect(),
        Shape::Mixed => MIXED.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(),
    };
    let mut states: Vec<State> = (0..hosts)
        .flat_map(|host| kinds.iter().map(move |(name, kind)| State::new(host, name, *kind)))
        .collect();
    (0_u64..).flat_map(move |step| {
        let elapsed =
            i64::try_from(step).unwrap_or(i64::MAX).saturating_mul(i64::from(interval) * 1000);
        let time = start.saturating_add(elapsed);
        // One step at a time is held; the borrow of `states` ends with it.
        states.iter_mut().filter_map(|state| state.step(step, time)).collect::<Vec<_>>()
    })
}

struct State {
    series: std::sync::Arc<Series>,
    host: u32,
    name: String,
    random: u64,
    value: f64,
}

impl State {
    fn new(host: u32, name: &str, kind: Kind) -> Self {
        let seed = name.bytes().fold(u64::from(host) + 1, |seed, byte| {
            seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
        });
        let identity = identity(name, host, (kind == Kind::ShortLived).then_some(0));
        let mut state = State {
            series: std::sync::Arc::new(Series { identity, kind }),
            host,
            name: name.to_owned(),
            random: seed,
            value: 0.0,
        };
        state.value = (state.fraction() * 100.0).floor();
        state
    }

    /// A number in [0, 1): splitmix64.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn step(&mut self, step: u64, time: i64) -> Option<Sample> {
        let kind = self.series.kind;
        if kind == Kind::Sparse && step % 10 != u64::from(self.host % 10) {
            return None;
        }
        if kind == Kind::ShortLived
            && step > 0
            && (step + u64::from(self.host)).is_multiple_of(LIFE_STEPS)
        {
            let identity = identity(&self.name, self.host, Some(step));
            self.series = std::sync::Arc::new(Series { identity, kind });
        }
        let random = self.fraction();
        self.value = match kind {
            Kind::Walk => (self.value + (random * 3.0).floor() - 1.0).clamp(0.0, 100.0),
            Kind::Counter(most) => self.value + (random * f64::from(most)).floor(),
            Kind::CounterDecimals => ((self.value + random * 0.2) * 100.0).round() / 100.0,
            Kind::Gauge(decimals) => {
                let scale = 10_f64.powi(decimals);
                ((self.value + random * 2.0 - 1.0).clamp(0.0, 100.0) * scale).round() / scale
            }
            Kind::Noise => (self.value * 0.9 + random).clamp(0.0, 100.0),
            Kind::Constant => 64_223.0,
            Kind::Flag => f64::from(u8::from(random > 0.99)),
            Kind::Repeated if random > 0.02 => self.value,
            Kind::Repeated | Kind::Sparse | Kind::ShortLived => (random * 1000.0).round() / 10.0,
        };
        Some(Sample { series: self.series.clone(), time, value: self.value })
    }
}

fn identity(name: &str, host: u32, process: Option<u64>) -> String {
    let process =
        process.map_or(String::new(), |step| format!(r#","process_id":"{}""#, 1000 + step));
    format!(
        r#""name":"{name}","dimensions":{{"hostname":"host-{host:05}","datacenter":"dc-{}","service":"compute"{process}}}"#,
        host % 4
    )
}

impl Sample {
    /// The sample as the Monasca API takes it.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        let (identity, time) = (&self.series.identity, self.time);
        write!(out, r#"{{{identity},"timestamp":{time},"value":{}}}"#, self.value)
            .expect("writing to memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn first(shape: Shape, count: usize) -> Vec<String> {
        samples(shape, 3, 1_000_000, 10)
            .take(count)
            .map(|sample| {
                let mut out = Vec::new();
                sample.write_json(&mut out);
                String::from_utf8(out).unwrap()
            })
            .collect()
    }

    #[test]
    fn samples_are_valid_and_the_same_in_every_run() {
        for shape in [Shape::Cpu, Shape::Mixed] {
            let texts = first(shape, 500);
            assert_eq!(texts, first(shape, 500));
            for text in texts {
                let sample: Value = serde_json::from_str(&text).unwrap();
                assert!(sample["value"].is_number(), "{text}");
            }
        }
    }

    #[test]
    fn a_host_reports_ten_cpu_metrics_each_interval() {
        let texts = first(Shape::Cpu, 31);
        let time =
            |text: &String| serde_json::from_str::<Value>(text).unwrap()["timestamp"].as_i64();
        assert_eq!(time(&texts[29]), Some(1_000_000));
        assert_eq!(time(&texts[30]), Some(1_010_000));
    }
}
