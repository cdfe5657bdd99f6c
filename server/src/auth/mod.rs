//! Who calls, and what they may do.

/// What an operation asks of its caller. Which roles grant what is the operator's to say, in the words of
/// Monasca; see the matrix in `API.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Right {
    /// Nothing: whoever watches the server has no token.
    Open,
    /// Any identity.
    Known,
    /// Reading what a tenant has.
    Read,
    /// Writing measurements.
    WriteMetrics,
    /// Writing logs.
    WriteLogs,
    /// Changing definitions, alarms, notification methods.
    Change,
    /// Administration of the server, for all tenants.
    Administer,
}
