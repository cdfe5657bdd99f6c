//! Made-up samples, the same in every run: each value follows from shape, host, class and step.
//!
//! The shape `cpu` is the one of TSBS' devops set with cpu alone: ten integers of a host each
//! interval. The shape `mixed` has thirteen classes of series, one of each class a host:
//!
//! | Metric | Class | Values |
//! |---|---|---|
//! | `net.in_bytes` | integer counter | grows by up to 200 000 a step |
//! | `cpu.seconds_total` | float counter | grows by up to 10 a step, in hundredths |
//! | `load.avg_1_min` | gauge | wanders between 0 and 100 with 1 decimal, on odd hosts with 2 |
//! | `disk.space_used_perc` | percentage | keeps its value with 98 steps in 100 |
//! | `mem.total_mb` | constant | |
//! | `http_status` | on and off | 0; 1 with one step in 100 |
//! | `mem.used_bytes` | bytes of memory | around 8 GiB in whole pages of 4096 |
//! | `sensor.temp_celsius` | temperature | walks by -0.1, 0 or 0.1 around 45 |
//! | `http.latency_ms` | latency | log-normal with median 8, 3 decimals |
//! | `disk.io_ratio` | full precision | every bit of the double is used |
//! | `ntp.offset` | sparse | one step in ten |
//! | `net.errors` | bursts | about 50 zeros, then about 10 integers up to 1000 |
//! | `process.cpu_perc` | short-lived | 1 decimal; after 500 steps another series takes its place |

use std::sync::Arc;

use clap::ValueEnum;

use super::protocol::{Identity, Names, Protocol};

/// What the data look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Shape {
    /// TSBS devops, cpu only: ten integer metrics of a host that walk between 0 and 100.
    Cpu,
    /// Thirteen classes, one series of each a host: integer and float counters, gauges with one or
    /// two decimals, repeated percentages, constants, on/off, memory in whole pages, temperatures,
    /// log-normal latencies, full doubles, one sample in ten, bursts between zeros, short-lived.
    Mixed,
}

/// One sample of one series.
pub(super) struct Sample {
    pub(super) series: Arc<Series>,
    /// The number of the host that it is of.
    pub(super) host: u32,
    pub(super) time: i64,
    pub(super) value: f64,
}

pub(super) struct Series {
    pub(super) identity: Identity,
}

#[cfg(test)]
impl Series {
    fn is(&self, metric: &str) -> bool {
        self.identity.metric() == metric.as_bytes()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Walk,
    IntegerCounter,
    FloatCounter,
    Gauge,
    Percentage,
    Constant,
    OnOff,
    Pages,
    Temperature,
    Latency,
    FullPrecision,
    Sparse,
    Bursts,
    ShortLived,
}

const CPU: [&str; 10] = [
    "cpu.usage_user",
    "cpu.usage_system",
    "cpu.usage_idle",
    "cpu.usage_nice",
    "cpu.usage_iowait",
    "cpu.usage_irq",
    "cpu.usage_softirq",
    "cpu.usage_steal",
    "cpu.usage_guest",
    "cpu.usage_guest_nice",
];

// The series that is named apart from its host's others stands last, so that theirs share a line.
const MIXED: [(&str, Class); 13] = [
    ("net.in_bytes", Class::IntegerCounter),
    ("cpu.seconds_total", Class::FloatCounter),
    ("load.avg_1_min", Class::Gauge),
    ("disk.space_used_perc", Class::Percentage),
    ("mem.total_mb", Class::Constant),
    ("http_status", Class::OnOff),
    ("mem.used_bytes", Class::Pages),
    ("sensor.temp_celsius", Class::Temperature),
    ("http.latency_ms", Class::Latency),
    ("disk.io_ratio", Class::FullPrecision),
    ("ntp.offset", Class::Sparse),
    ("net.errors", Class::Bursts),
    ("process.cpu_perc", Class::ShortLived),
];

/// Steps for which a short-lived series lives.
const LIFE_STEPS: u64 = 500;
/// Bytes of a page of memory.
const PAGE: f64 = 4096.0;
/// Pages that are in use, in the middle: 8 GiB.
const PAGES: f64 = 2_097_152.0;

/// Samples in order of time, host, metric; without end.
pub(super) fn samples(
    shape: Shape,
    protocol: Protocol,
    hosts: u32,
    start: i64,
    interval: u32,
) -> impl Iterator<Item = Sample> {
    let classes: Vec<(&str, Class)> = match shape {
        Shape::Cpu => CPU.iter().map(|name| (*name, Class::Walk)).collect(),
        Shape::Mixed => MIXED.to_vec(),
    };
    let mut states: Vec<State> = (0..hosts)
        .flat_map(|host| {
            classes.iter().map(move |(name, class)| State::new(protocol, host, name, *class))
        })
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
    protocol: Protocol,
    series: Arc<Series>,
    class: Class,
    host: u32,
    name: &'static str,
    random: u64,
    value: f64,
    /// Whether a burst is under way.
    busy: bool,
}

impl State {
    fn new(protocol: Protocol, host: u32, name: &'static str, class: Class) -> Self {
        let seed = name.bytes().fold(u64::from(host) + 1, |seed, byte| {
            seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
        });
        let series = series(protocol, name, class, host, 0);
        let mut state =
            State { protocol, series, class, host, name, random: seed, value: 0.0, busy: false };
        let first = (state.fraction() * 100.0).floor();
        state.value = match class {
            Class::Pages => PAGES,
            Class::Temperature => 45.0,
            Class::Walk
            | Class::IntegerCounter
            | Class::FloatCounter
            | Class::Gauge
            | Class::Percentage
            | Class::Constant
            | Class::OnOff
            | Class::Latency
            | Class::FullPrecision
            | Class::Sparse
            | Class::Bursts
            | Class::ShortLived => first,
        };
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

    /// A number around 0 with variance 1: twelve fractions come near enough to the bell.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.fraction()).sum::<f64>() - 6.0
    }

    fn step(&mut self, step: u64, time: i64) -> Option<Sample> {
        let (class, host) = (self.class, self.host);
        if class == Class::Sparse && step % 10 != u64::from(host % 10) {
            return None;
        }
        if class == Class::ShortLived
            && step > 0
            && (step + u64::from(host)).is_multiple_of(LIFE_STEPS)
        {
            self.series = series(self.protocol, self.name, class, host, step);
        }
        let random = self.fraction();
        let third = (random * 3.0).floor() - 1.0;
        self.value = match class {
            Class::Walk => (self.value + third).clamp(0.0, 100.0),
            Class::IntegerCounter => self.value + (random * 200_000.0).floor(),
            Class::FloatCounter => decimals(self.value + random * 10.0, 2),
            Class::Gauge => {
                let moved = (self.value + random * 2.0 - 1.0).clamp(0.0, 100.0);
                decimals(moved, if host.is_multiple_of(2) { 1 } else { 2 })
            }
            Class::Percentage if random > 0.02 => self.value,
            Class::Constant => 64_223.0,
            Class::OnOff => f64::from(u8::from(random > 0.99)),
            Class::Pages => (self.value + (random * 513.0).floor() - 256.0).max(0.0),
            Class::Temperature => decimals(self.value + third * 0.1, 1),
            Class::Latency => decimals((8_f64.ln() + 0.8 * self.normal()).exp(), 3),
            Class::FullPrecision => (self.value * 0.9 + random).clamp(0.0, 100.0),
            Class::Bursts => {
                self.busy = random > if self.busy { 0.1 } else { 0.98 };
                if self.busy { (self.fraction() * 1000.0).ceil() } else { 0.0 }
            }
            Class::Percentage | Class::Sparse | Class::ShortLived => decimals(random * 100.0, 1),
        };
        let value = if class == Class::Pages { self.value * PAGE } else { self.value };
        Some(Sample { series: self.series.clone(), host, time, value })
    }
}

fn decimals(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

fn series(
    protocol: Protocol,
    metric: &'static str,
    class: Class,
    host: u32,
    born: u64,
) -> Arc<Series> {
    let mut dimensions =
        vec![("datacenter", format!("dc-{}", host % 4)), ("hostname", format!("host-{host:05}"))];
    if class == Class::ShortLived {
        dimensions.push(("process_id", (1000 + born).to_string()));
    }
    dimensions.push(("service", "compute".to_owned()));
    let names = Names {
        group: if class == Class::Walk { "cpu" } else { "host" },
        metric,
        dimensions: &dimensions,
        integers: matches!(
            class,
            Class::Walk
                | Class::IntegerCounter
                | Class::Constant
                | Class::OnOff
                | Class::Pages
                | Class::Bursts
        ),
    };
    Arc::new(Series { identity: protocol.identity(&names) })
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde_json::Value;

    use super::*;
    use crate::load::protocol::Body;

    fn first(shape: Shape, count: usize) -> Vec<Value> {
        let mut body = Body::new(Protocol::Monasca, count);
        for sample in samples(shape, Protocol::Monasca, 3, 1_000_000, 10).take(count) {
            body.push(&sample);
        }
        let all: Value = serde_json::from_slice(&body.finish()).unwrap();
        all.as_array().unwrap().clone()
    }

    #[test]
    fn samples_are_valid_and_the_same_in_every_run() {
        for shape in [Shape::Cpu, Shape::Mixed] {
            let all = first(shape, 500);
            assert_eq!(all.len(), 500);
            assert_eq!(all, first(shape, 500));
            assert!(all.iter().all(|sample| sample["value"].is_number()));
        }
    }

    #[test]
    fn a_host_reports_ten_cpu_metrics_each_interval() {
        let all = first(Shape::Cpu, 31);
        assert_eq!(all[0]["name"], "cpu.usage_user");
        assert_eq!(all[29]["timestamp"], 1_000_000);
        assert_eq!(all[30]["timestamp"], 1_010_000);
    }

    #[test]
    fn mixed_classes_are_what_they_are_called() {
        // One host, 1000 steps: 11 classes report each time, one every tenth, one is replaced.
        let mut values: HashMap<&str, Vec<f64>> = HashMap::new();
        let all = samples(Shape::Mixed, Protocol::Monasca, 1, 0, 10);
        let mut short_lived = HashSet::new();
        for sample in all.take_while(|sample| sample.time < 10_000_000) {
            let name = MIXED.iter().map(|(name, _)| *name).find(|name| sample.series.is(name));
            let name = name.unwrap();
            values.entry(name).or_default().push(sample.value);
            if name == "process.cpu_perc" {
                short_lived.insert(Arc::as_ptr(&sample.series));
            }
        }
        let of = |name: &str| values.get(name).unwrap().as_slice();
        let decimals_at_most = |name: &str, places: i32| {
            of(name).iter().all(|value| decimals(*value, places).to_bits() == value.to_bits())
        };
        let changes = |name: &str| {
            of(name).windows(2).filter(|pair| pair[0].to_bits() != pair[1].to_bits()).count()
        };
        assert_eq!(of("ntp.offset").len(), 100);
        assert_eq!(short_lived.len(), 2);
        assert_eq!(changes("mem.total_mb"), 0);
        assert!((5..50).contains(&changes("disk.space_used_perc")));
        assert!((2..50).contains(&changes("http_status")));
        assert!(of("net.in_bytes").is_sorted() && decimals_at_most("net.in_bytes", 0));
        assert!(of("cpu.seconds_total").is_sorted() && decimals_at_most("cpu.seconds_total", 2));
        assert!(of("mem.used_bytes").iter().all(|value| value % PAGE == 0.0));
        assert!(decimals_at_most("load.avg_1_min", 1));
        assert!(decimals_at_most("sensor.temp_celsius", 1));
        assert!(decimals_at_most("http.latency_ms", 3));
        assert!(!decimals_at_most("http.latency_ms", 2));
        assert!(!decimals_at_most("disk.io_ratio", 9));
        let zeros = of("net.errors").iter().filter(|value| **value == 0.0).count();
        assert!((600..990).contains(&zeros), "{zeros}");
    }
}
