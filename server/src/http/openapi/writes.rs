//! What is told of the ways of others to write samples.

use super::Content::{Json, None, Other};
use super::Kind::{OneOf, Text};
use super::{Content, Operation, Parameter};

const TENANT: Parameter = Parameter::new(
    "tenant_id",
    Text,
    "",
    "Tenant to act for; counts only for callers with a delegate role",
);
/// Refusals in the words of InfluxDB.
const REFUSED: Content = Json("Anything");
const LINES: Content = Other("text/plain");

pub(crate) const WRITE: Operation =
    Operation::new("Writes samples as InfluxDB's lines, version 1", &[(204, None), (400, REFUSED)])
        .query(&[
            Parameter::new("db", Text, "mon", "Means nothing here"),
            Parameter::new(
                "precision",
                OneOf(&["n", "ns", "u", "us", "ms", "s", "m", "h"]),
                "ms",
                "Unit of the times; nanoseconds without it",
            ),
            TENANT,
        ])
        .takes_other(LINES);
pub(crate) const WRITE_TO_BUCKET: Operation =
    Operation::new("Writes samples as InfluxDB's lines, version 2", &[(204, None), (400, REFUSED)])
        .query(&[
            Parameter::new("bucket", Text, "mon", "Means nothing here"),
            Parameter::new("org", Text, "acme", "Means nothing here"),
            Parameter::new(
                "precision",
                OneOf(&["ns", "us", "ms", "s"]),
                "ms",
                "Unit of the times; nanoseconds without it",
            ),
            TENANT,
        ])
        .takes_other(LINES);
pub(crate) const PING: Operation = Operation::new(
    "Says which version of InfluxDB's protocol is spoken",
    &[(204, None), (200, Json("Anything"))],
)
.query(&[Parameter::new("verbose", OneOf(&["true", "false"]), "false", "Say it in a body")]);
pub(crate) const REMOTE_WRITE: Operation = Operation::new(
    "Writes samples as Prometheus' remote write 1.0 or 2.0, snappy inside",
    &[(200, None), (204, None), (400, Other("text/plain"))],
)
.query(&[TENANT])
.takes_other(Other("application/x-protobuf"));
