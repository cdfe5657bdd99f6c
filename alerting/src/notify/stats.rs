//! What the notifier has done since it was started.

use std::time::Duration;

use super::delivery::DeliveryResult;

/// Upper bounds of the latency buckets, in milliseconds; the last bucket has none.
pub const LATENCY_BOUNDS_MS: [u64; 10] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500];

/// Counts since the start, and what is waiting now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NotifyStats {
    /// Notifications that their receiver has.
    pub delivered: u64,
    /// Notifications refused for good.
    pub refused: u64,
    /// Notifications that failed until they were too old.
    pub gave_up: u64,
    /// Notifications too old before their first attempt.
    pub too_old: u64,
    /// Notifications whose method had been deleted.
    pub method_deleted: u64,
    /// Entries of the outbox that could not be read.
    pub unreadable: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that will be repeated.
    pub retried: u64,
    /// Notifications in memory that are not finished. The outbox may hold more.
    pub queued: usize,
    /// Requests under way.
    pub sending: usize,
    /// Requests by how long they took, per bucket of [`LATENCY_BOUNDS_MS`] and one for longer ones.
    pub latency_buckets: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// Time taken by all requests.
    pub latency_sum: Duration,
}

impl NotifyStats {
    /// Counts a finished notification.
    pub(crate) fn count(&mut self, result: DeliveryResult) {
        let counter = match result {
            DeliveryResult::Delivered => &mut self.delivered,
            DeliveryResult::Refused => &mut self.refused,
            DeliveryResult::GaveUp => &mut self.gave_up,
            DeliveryResult::TooOld => &mut self.too_old,
            DeliveryResult::MethodDeleted => &mut self.method_deleted,
            DeliveryResult::Unreadable => &mut self.unreadable,
        };
        *counter += 1;
    }

    /// Counts a request that took this long.
    pub(crate) fn time(&mut self, took: Duration) {
        let fits = |bound: &u64| took <= Duration::from_millis(*bound);
        let at = LATENCY_BOUNDS_MS.iter().position(fits).unwrap_or(LATENCY_BOUNDS_MS.len());
        if let Some(bucket) = self.latency_buckets.get_mut(at) {
            *bucket += 1;
        }
        self.latency_sum += took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut stats = NotifyStats::default();
        for ms in [0, 1, 2, 5, 2500, 2501] {
            stats.time(Duration::from_millis(ms));
        }
        assert_eq!(stats.latency_buckets, [2, 2, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(stats.latency_sum, Duration::from_millis(5009));
    }
}
