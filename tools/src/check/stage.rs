//! The stages of a check, in their order.

use std::time::Duration;

/// One step of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The server answers; leftovers of crashed checks are removed.
    Api,
    /// Our own receiver listens.
    Receiver,
    /// A notification method points at the receiver.
    Notification,
    /// An alarm definition with that method exists.
    Definition,
    /// A sample that breaches is taken.
    Write,
    /// It can be read back.
    Read,
    /// The alarm says ALARM.
    Alarm,
    /// The notification has arrived.
    Notify,
    /// The same again, many times, for the latency.
    Latency,
    /// A healthy sample brings the alarm back to OK, with a notification.
    Recover,
    /// The history holds both changes.
    History,
    /// What the check made is removed.
    Cleanup,
}

impl Stage {
    /// All stages but the last, which is always tried.
    pub(super) const UP_TO_CLEANUP: [Stage; 11] = [
        Stage::Api,
        Stage::Receiver,
        Stage::Notification,
        Stage::Definition,
        Stage::Write,
        Stage::Read,
        Stage::Alarm,
        Stage::Notify,
        Stage::Latency,
        Stage::Recover,
        Stage::History,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Stage::Api => "api",
            Stage::Receiver => "receiver",
            Stage::Notification => "notification",
            Stage::Definition => "definition",
            Stage::Write => "write",
            Stage::Read => "read",
            Stage::Alarm => "alarm",
            Stage::Notify => "notify",
            Stage::Latency => "latency",
            Stage::Recover => "recover",
            Stage::History => "history",
            Stage::Cleanup => "cleanup",
        }
    }

    /// The stages without which this one cannot be tried.
    pub(super) fn needs(self) -> &'static [Stage] {
        match self {
            Stage::Api | Stage::Receiver | Stage::Cleanup => &[],
            Stage::Notification => &[Stage::Api, Stage::Receiver],
            Stage::Definition => &[Stage::Notification],
            Stage::Write => &[Stage::Definition],
            Stage::Read | Stage::Alarm | Stage::Notify => &[Stage::Write],
            Stage::Latency => &[Stage::Notify],
            Stage::Recover => &[Stage::Alarm, Stage::Notify],
            Stage::History => &[Stage::Recover],
        }
    }

    /// Whether its failure means that the check could not even start.
    pub(super) fn is_start(self) -> bool {
        match self {
            Stage::Api | Stage::Receiver => true,
            Stage::Notification
            | Stage::Definition
            | Stage::Write
            | Stage::Read
            | Stage::Alarm
            | Stage::Notify
            | Stage::Latency
            | Stage::Recover
            | Stage::History
            | Stage::Cleanup => false,
        }
    }

    /// How long it may take. `None`: as long as the whole check.
    pub(super) fn limit(self, period: Duration) -> Option<Duration> {
        /// A period is judged so long after its end, by default, and as much again in reserve.
        const JUDGED_AFTER: Duration = Duration::from_secs(60);
        match self {
            Stage::Api
            | Stage::Receiver
            | Stage::Notification
            | Stage::Definition
            | Stage::Write => Some(Duration::from_secs(2)),
            Stage::Read | Stage::Notify => Some(Duration::from_secs(10)),
            Stage::Alarm | Stage::Recover => Some(JUDGED_AFTER + period * 2),
            Stage::History | Stage::Cleanup => Some(Duration::from_secs(5)),
            Stage::Latency => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_needs_only_earlier_ones() {
        for (at, stage) in Stage::UP_TO_CLEANUP.iter().enumerate() {
            assert!(
                stage.needs().iter().all(|need| Stage::UP_TO_CLEANUP[..at].contains(need)),
                "{stage:?}"
            );
        }
    }
}
