//! Identifiers. Each is its own type, so that one cannot be passed for another.

use std::fmt;

/// A tenant (an OpenStack project) inside this store. Dense, assigned on first use, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TenantId(u32);

impl TenantId {
    /// Owner of records that belong to the whole store. It never owns series.
    pub const SYSTEM: TenantId = TenantId(0);

    /// The tenant with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        TenantId(number)
    }

    /// The number, as it stands in keys.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// A series of one tenant. Dense from 0 per tenant, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SeriesId(u32);

impl SeriesId {
    /// The series with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        SeriesId(number)
    }

    /// The number, as it stands in keys, rows and posting lists.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// A metric name of one tenant. Dense from 0 per tenant, never reused. Rows sort by it, so that the
/// series of one metric lie together on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MetricNo(u32);

impl MetricNo {
    /// The metric with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        MetricNo(number)
    }

    /// The number, as it stands in keys and blocks.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Place of a write in the one order of all writes: commit order, replay order, and the order that
/// decides which of two values for the same series and time counts. The first write is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(u64);

impl Sequence {
    /// Before every write.
    pub const ZERO: Sequence = Sequence(0);
    /// After every write.
    pub const MAX: Sequence = Sequence(u64::MAX);

    /// The sequence with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Sequence(number)
    }

    /// The number, as it stands in keys and blocks.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The sequence that follows this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Sequence(self.0.saturating_add(1))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
