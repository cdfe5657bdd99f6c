//! Logs: not served yet.

use crate::status::Failure;

/// Says so.
pub(super) async fn not_here() -> Failure {
    Failure::not_implemented("logs are not available yet")
}
