//! The server's own figures, as `/metrics` shows them. No label takes a value that users control.

mod health;
mod storage;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use moneta_alerting::{NotifyStats, State};
use moneta_storage::journal::JournalKind;
use moneta_storage::{JournalStats, LimitKind, Store};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::http::process::ProcessReading;

/// Seconds; the bounds of every request histogram.
const REQUEST_BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IngestLabels {
    dialect: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectedLabels {
    dialect: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DialectLabels {
    dialect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Not in the form of its dialect.
    Malformed,
    /// A sample breaks a rule.
    Invalid,
    /// Too much is waiting.
    Busy,
    /// A limit was reached.
    Limit,
    /// The store cannot write.
    Failed,
}

impl Reason {
    fn label(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Invalid => "invalid",
            Reason::Busy => "busy",
            Reason::Limit => "limit",
            Reason::Failed => "failed",
        }
    }
}

type RequestFamily = Family<RequestLabels, Histogram, fn() -> Histogram>;
type BatchFamily = Family<DialectLabels, Histogram, fn() -> Histogram>;

/// All figures.
pub(crate) struct Telemetry {
    registry: Registry,
    requests: RequestFamily,
    in_flight: Gauge,
    samples: Family<IngestLabels, Counter>,
    rejected: Family<RejectedLabels, Counter>,
    bytes: Family<DialectLabels, Counter>,
    batches: BatchFamily,
    alarms: Family<StateLabels, Gauge>,
    definitions: Gauge,
    notifications: Family<ResultLabels, Counter>,
    notification_retries: Counter,
    notification_queue: Gauge,
    limits: Family<LimitLabels, Counter>,
    storage: storage::Storage,
    store_health: health::StoreHealth,
    process: Process,
}

/// What the kernel says of this process, refreshed when asked for.
struct Process {
    cpu_seconds: Counter<f64, AtomicU64>,
    cpu_seen: Mutex<f64>,
    resident_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    start_seconds: Gauge<f64, AtomicU64>,
}

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_BUCKETS)
}

impl Telemetry {
    /// Everything at zero.
    pub(crate) fn new() -> Self {
        let telemetry = Telemetry {
            registry: Registry::default(),
            requests: RequestFamily::new_with_constructor(request_histogram),
            in_flight: Gauge::default(),
            samples: Family::default(),
            rejected: Family::default(),
            bytes: Family::default(),
            batches: BatchFamily::new_with_constructor(request_histogram),
            alarms: Family::default(),
            definitions: Gauge::default(),
            notifications: Family::default(),
            notification_retries: Counter::default(),
            notification_queue: Gauge::default(),
            limits: Family::default(),
            storage: storage::Storage::default(),
            store_health: health::StoreHealth::default(),
            process: Process {
                cpu_seconds: Counter::default(),
                cpu_seen: Mutex::new(0.0),
                resident_bytes: Gauge::default(),
                open_fds: Gauge::default(),
                max_fds: Gauge::default(),
                start_seconds: Gauge::default(),
            },
        };
        telemetry.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION")), ("revision", "")]);
        registry.register("build", "The program that runs", build);
        registry.register(
            "http_request_duration_seconds",
            "From the head of a request to its answer",
            self.requests.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests being handled",
            self.in_flight.clone(),
        );
        registry.register("ingest_samples", "Samples taken in or refused", self.samples.clone());
        registry.register("ingest_rejected", "Refused writes by reason", self.rejected.clone());
        registry.register("ingest_bytes", "Bytes of write requests", self.bytes.clone());
        registry.register(
            "ingest_batch_seconds",
            "Decoding, checking and durable commit of one write request",
            self.batches.clone(),
        );
        registry.register("alarms", "Alarms by state", self.alarms.clone());
        registry.register("alarm_definitions", "Alarm definitions", self.definitions.clone());
        registry.register(
            "notifications_sent",
            "Notifications that are finished, by what became of them",
            self.notifications.clone(),
        );
        registry.register(
            "notification_retries",
            "Attempts to be repeated",
            self.notification_retries.clone(),
        );
        registry.register(
            "notification_queue_length",
            "Notifications that are not finished",
            self.notification_queue.clone(),
        );
        let limits = self.limits.clone();
        registry.register("limit_refusals", "Writes refused by a limit of their tenant", limits);
        self.storage.register(registry);
        self.store_health.register(registry);
        let process = &self.process;
        registry.register(
            "process_cpu_seconds",
            "User and system time spent",
            process.cpu_seconds.clone(),
        );
        registry.register(
            "process_resident_memory_bytes",
            "Memory in use",
            process.resident_bytes.clone(),
        );
        registry.register("process_open_fds", "Open files", process.open_fds.clone());
        registry.register("process_max_fds", "Limit of open files", process.max_fds.clone());
        registry.register(
            "process_start_time_seconds",
            "When the process began, since the epoch",
            process.start_seconds.clone(),
        );
        self
    }

    /// A request has begun; [`request_ended`](Self::request_ended) follows.
    pub(crate) fn request_began(&self) {
        self.in_flight.inc();
    }

    /// A request has been answered or given up.
    pub(crate) fn request_ended(
        &self,
        method: &axum::http::Method,
        route: &'static str,
        status: Option<u16>,
        took: Duration,
    ) {
        self.in_flight.dec();
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            _ => "other",
        };
        let code = match status.map(|status| status / 100) {
            Some(1) => "1xx",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(_) => "5xx",
            None => "gone",
        };
        let labels = RequestLabels { method, route, code };
        self.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A write was acknowledged.
    pub(crate) fn accepted(
        &self,
        dialect: &'static str,
        samples: usize,
        bytes: usize,
        took: Duration,
    ) {
        let labels = IngestLabels { dialect, result: "accepted" };
        self.samples.get_or_create(&labels).inc_by(u64::try_from(samples).unwrap_or(u64::MAX));
        self.count_bytes(dialect, bytes);
        self.batches.get_or_create(&DialectLabels { dialect }).observe(took.as_secs_f64());
    }

    /// A write was refused after `samples` of it had been read.
    pub(crate) fn refused(
        &self,
        dialect: &'static str,
        samples: usize,
        bytes: usize,
        reason: Reason,
    ) {
        let labels = IngestLabels { dialect, result: "rejected" };
        self.samples.get_or_create(&labels).inc_by(u64::try_from(samples).unwrap_or(u64::MAX));
        self.count_bytes(dialect, bytes);
        let labels = RejectedLabels { dialect, reason: reason.label() };
        self.rejected.get_or_create(&labels).inc();
    }

    fn count_bytes(&self, dialect: &'static str, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes.get_or_create(&DialectLabels { dialect }).inc_by(bytes);
    }

    /// Takes over how many alarms and definitions there are.
    pub(crate) fn set_alarms(&self, by_state: [(State, usize); 3], definitions: usize) {
        for (state, count) in by_state {
            let state = match state {
                State::Ok => "OK",
                State::Undetermined => "UNDETERMINED",
                State::Alarm => "ALARM",
            };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.alarms.get_or_create(&StateLabels { state }).set(count);
        }
        self.definitions.set(i64::try_from(definitions).unwrap_or(i64::MAX));
    }

    /// Takes over what the notifier tells.
    pub(crate) fn set_notifications(&self, stats: &NotifyStats) {
        for (result, count) in [
            ("delivered", stats.delivered),
            ("refused", stats.refused),
            ("gave_up", stats.gave_up),
            ("too_old", stats.too_old),
            ("method_deleted", stats.method_deleted),
            ("unreadable", stats.unreadable),
        ] {
            let counter = self.notifications.get_or_create(&ResultLabels { result });
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.notification_retries.inner().store(stats.retried, Ordering::Relaxed);
        self.notification_queue.set(i64::try_from(stats.queued).unwrap_or(i64::MAX));
    }

    /// Takes over what the store tells.
    pub(crate) fn set_storage(&self, store: &Store) {
        self.storage.set(&store.stats());
        self.storage.set_rollups(store.rollup_stats());
        self.store_health.set(&store.health(), store.clock_doubt());
    }

    /// Takes over what journals of a kind hold.
    pub(crate) fn set_journal(&self, kind: JournalKind, stats: JournalStats) {
        self.storage.set_journal(kind, stats);
    }

    /// Takes over how often limits of tenants have refused a write.
    pub(crate) fn set_limits(&self, refused: impl IntoIterator<Item = (LimitKind, u64)>) {
        for (limit, count) in refused {
            let counter = self.limits.get_or_create(&LimitLabels { limit: limit.name() });
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    /// All figures as text.
    pub(crate) fn render(&self, format: Format) -> String {
        self.refresh(&ProcessReading::take());
        let mut out = String::new();
        // Writing to a string does not fail.
        if text::encode(&mut out, &self.registry).is_err() {
            tracing::error!("the figures cannot be written");
        }
        match format {
            Format::OpenMetrics => out,
            Format::Text => as_text_format(&out),
        }
    }

    fn refresh(&self, reading: &ProcessReading) {
        let process = &self.process;
        if let Some(cpu) = reading.cpu_seconds {
            let mut seen = process.cpu_seen.lock().unwrap_or_else(PoisonError::into_inner);
            if cpu > *seen {
                process.cpu_seconds.inc_by(cpu - *seen);
                *seen = cpu;
            }
        }
        let set = |gauge: &Gauge, value: Option<u64>| {
            if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
                gauge.set(value);
            }
        };
        set(&process.resident_bytes, reading.resident_bytes);
        set(&process.open_fds, reading.open_fds);
        set(&process.max_fds, reading.max_fds);
        if let Some(start) = reading.start_seconds {
            process.start_seconds.set(start);
        }
    }
}

/// How figures are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The form that an `Accept` header asks for.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }

    /// Its `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// OpenMetrics in the older format: families of counters and infos bear the name of their samples,
/// there is no unit and no end mark.
fn as_text_format(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_hold_the_same_samples() {
        let telemetry = Telemetry::new();
        telemetry.request_began();
        let took = Duration::from_millis(3);
        telemetry.request_ended(&axum::http::Method::GET, "/v2.0/metrics", Some(200), took);
        telemetry.accepted("monasca", 5, 100, took);
        telemetry.refused("monasca", 0, 10, Reason::Malformed);
        let alarms = [(State::Ok, 3), (State::Undetermined, 0), (State::Alarm, 1)];
        telemetry.set_alarms(alarms, 2);
        let open = telemetry.render(Format::OpenMetrics);
        let text = telemetry.render(Format::Text);
        assert!(open.ends_with("# EOF\n"));
        for sample in [
            "ingest_samples_total{dialect=\"monasca\",result=\"accepted\"} 5\n",
            "ingest_rejected_total{dialect=\"monasca\",reason=\"malformed\"} 1\n",
            "alarms{state=\"ALARM\"} 1\n",
            "alarm_definitions 2\n",
            "http_requests_in_flight 0\n",
            "http_request_duration_seconds_bucket{le=\"0.005\",method=\"GET\",\
             route=\"/v2.0/metrics\",code=\"2xx\"} 1\n",
        ] {
            assert!(open.contains(sample), "{sample}{open}");
            assert!(text.contains(sample), "{sample}{text}");
        }
        assert!(text.contains("# TYPE ingest_samples_total counter\n"), "{text}");
        assert!(text.contains("# TYPE build_info gauge\nbuild_info{"), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        assert!(!text.contains("EOF"));
    }

    #[test]
    fn the_format_follows_accept() {
        assert_eq!(Format::accepted(None), Format::Text);
        assert_eq!(Format::accepted(Some("text/html, */*")), Format::Text);
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
    }
}
