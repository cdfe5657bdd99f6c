//! Figures on whether the store takes writes.

use moneta_storage::{ClockDoubt, Health};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the store says of its disk.
#[derive(Default)]
pub(super) struct StoreHealth {
    free_bytes: Gauge,
    free_bytes_min: Gauge,
    low_space: Gauge,
    read_only: Gauge,
    stopped: Gauge,
    losses: Gauge,
    clock_doubted: Gauge,
}

impl StoreHealth {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            ("storage_disk_free_bytes", "Bytes free on the disk", &self.free_bytes),
            ("storage_disk_free_bytes_min", "Samples are refused below", &self.free_bytes_min),
            ("storage_low_space", "Whether samples are refused for want of space", &self.low_space),
            (
                "storage_read_only",
                "Whether writes are refused, for now or for good",
                &self.read_only,
            ),
            ("storage_stopped", "Whether writes need a restart", &self.stopped),
            ("storage_losses", "Losses found when the directory was opened", &self.losses),
            (
                "storage_clock_doubted",
                "Whether the clock is in doubt, so that nothing more is removed as expired",
                &self.clock_doubted,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
    }

    pub(super) fn set(&self, health: &Health, doubt: Option<ClockDoubt>) {
        let refuses = health.stopped.is_some() || health.read_only.is_some();
        for (gauge, value) in [
            (&self.free_bytes, health.free_bytes.unwrap_or(0)),
            (&self.free_bytes_min, health.free_bytes_min),
            (&self.low_space, u64::from(health.low_space)),
            (&self.read_only, u64::from(refuses)),
            (&self.stopped, u64::from(health.stopped.is_some())),
            (&self.clock_doubted, u64::from(doubt.is_some())),
            (&self.losses, u64::try_from(health.losses.len()).unwrap_or(u64::MAX)),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}
