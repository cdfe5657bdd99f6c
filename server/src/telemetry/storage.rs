//! Figures on what the store holds.

use moneta_storage::journal::JournalKind;
use moneta_storage::retention::RollupStep;
use moneta_storage::{JournalStats, RollupStats, Stats};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::wire::span;

/// What the store tells of itself.
#[derive(Default)]
pub(super) struct Storage {
    series: Gauge,
    head_rows: Gauge,
    log_bytes: Gauge,
    segments: Gauge,
    segment_samples: Gauge,
    segment_bytes: Gauge,
    flushed_bytes: Gauge,
    merged_bytes: Gauge,
    quarantined: Gauge,
    rollup_segments: Family<StepLabels, Gauge>,
    rollup_bytes: Family<StepLabels, Gauge>,
    journal_entries: Family<JournalLabels, Gauge>,
    journal_bytes: Family<JournalLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JournalLabels {
    journal: &'static str,
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

impl Storage {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("storage_series", "Series known", &self.series),
            ("storage_head_rows", "Samples in memory", &self.head_rows),
            ("storage_wal_bytes", "Bytes of the live log", &self.log_bytes),
            ("storage_segments", "Segment files", &self.segments),
            ("storage_segment_samples", "Samples in segment files", &self.segment_samples),
            ("storage_segment_bytes", "Bytes of segment files", &self.segment_bytes),
            (
                "storage_flushed_bytes",
                "Bytes of segments that flushes have written since the start",
                &self.flushed_bytes,
            ),
            (
                "storage_merged_bytes",
                "Bytes of segments that merges have written since the start",
                &self.merged_bytes,
            ),
            ("storage_segments_quarantined", "Segments that cannot be read", &self.quarantined),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, gauges) in [
            ("storage_rollup_segments", "Segment files of rollups", &self.rollup_segments),
            ("storage_rollup_bytes", "Bytes of segment files of rollups", &self.rollup_bytes),
        ] {
            registry.register(name, help, gauges.clone());
        }
        for (name, help, gauges) in [
            (
                "storage_journal_entries",
                "Events and state changes of alarms stored, beyond ten thousand about",
                &self.journal_entries,
            ),
            (
                "storage_journal_bytes",
                "Bytes of table files that they take, about",
                &self.journal_bytes,
            ),
        ] {
            registry.register(name, help, gauges.clone());
        }
    }

    pub(super) fn set(&self, stats: &Stats) {
        for (gauge, value) in [
            (&self.series, stats.series),
            (&self.head_rows, stats.head_rows),
            (&self.log_bytes, stats.log_bytes),
            (&self.segments, stats.segments),
            (&self.segment_samples, stats.segment_samples),
            (&self.segment_bytes, stats.segment_bytes),
            (&self.flushed_bytes, stats.flushed_bytes),
            (&self.merged_bytes, stats.merged_bytes),
            (&self.quarantined, stats.quarantined),
        ] {
            set(gauge, value);
        }
    }

    pub(super) fn set_rollups(&self, all: impl IntoIterator<Item = (RollupStep, RollupStats)>) {
        for (step, stats) in all {
            let labels = StepLabels { step: span::step_text(step) };
            set(&self.rollup_segments.get_or_create(&labels), stats.segments);
            set(&self.rollup_bytes.get_or_create(&labels), stats.bytes);
        }
    }

    pub(super) fn set_journal(&self, kind: JournalKind, stats: JournalStats) {
        let journal = match kind {
            JournalKind::Event => "events",
            JournalKind::Transition => "alarm_history",
        };
        let labels = JournalLabels { journal };
        set(&self.journal_entries.get_or_create(&labels), stats.entries);
        set(&self.journal_bytes.get_or_create(&labels), stats.bytes);
    }
}
