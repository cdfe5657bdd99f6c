//! What is told of the resources about the server itself.

use super::Content::{Json, Other};
use super::Operation;

pub(crate) const HEALTH: Operation =
    Operation::new("Whether the process lives", &[(200, Json("Alive"))]);
pub(crate) const READY: Operation = Operation::new(
    "Whether it can do its work, and what an operator must know",
    &[(200, Json("Readiness")), (503, Json("Readiness"))],
);
pub(crate) const METRICS: Operation = Operation::new(
    "Figures, in the text format of Prometheus or as OpenMetrics",
    &[(200, Other("text/plain"))],
);
