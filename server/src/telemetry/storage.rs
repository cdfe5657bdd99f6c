//! Figures on what the store holds.

use moneta_storage::Stats;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}
