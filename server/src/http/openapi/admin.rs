//! What is told of the resources for the operator of the server.

use super::Content::{Json, None};
use super::Kind::{Number, Text};
use super::{Operation, Parameter};

const TENANT: Parameter = Parameter::new("tenant", Text, "default", "Name of a tenant");
const BY: Parameter = Parameter::new("by", Text, "alice", "Who asks, for the record");

pub(crate) const CARDINALITY: Operation =
    Operation::new("Where a tenant's series come from", &[(200, Json("Cardinality"))]).query(&[
        TENANT,
        Parameter::new("top", Number(1), "10", "Entries of each list, 10 by default, 1000 at most"),
    ]);

pub(crate) const RETENTION: Operation =
    Operation::new("How long samples are kept", &[(200, Json("Retention"))]);
pub(crate) const RETENTION_REPLACE: Operation =
    Operation::new("Replaces all policies", &[(200, Json("Retention"))]).takes("Retention");
pub(crate) const RETENTION_PLAN: Operation =
    Operation::new("What these policies would remove", &[(200, Json("RetentionPlan"))])
        .takes("Retention");
pub(crate) const RETENTION_APPLY: Operation = Operation::new(
    "Gives back the space of what has expired or was deleted, now",
    &[(200, Json("Swept"))],
);
pub(crate) const RETENTION_EXPLAIN: Operation =
    Operation::new("Which policy decides about a metric", &[(200, Json("RetentionReason"))]).query(
        &[Parameter::new("metric", Text, "cpu.idle_perc", "Metric name").required(), TENANT],
    );

pub(crate) const DELETE: Operation = Operation::new(
    "Deletes samples, or with `dry_run` tells how many",
    &[(200, Json("DeletionPlan")), (202, Json("Deletion"))],
)
.takes("NewDeletion");
pub(crate) const DELETIONS: Operation =
    Operation::new("Deletions, and how far they have come", &[(200, Json("Deletions"))]);
pub(crate) const DELETION: Operation = Operation::new("One of them", &[(200, Json("Deletion"))]);
pub(crate) const DELETION_CANCEL: Operation = Operation::new(
    "Stops giving back its space; what it hides stays hidden",
    &[(200, Json("Deletion"))],
);

pub(crate) const TENANTS: Operation =
    Operation::new("Who stores something", &[(200, Json("Tenants"))]);
pub(crate) const TENANT_SHOW: Operation =
    Operation::new("What a tenant has", &[(200, Json("Tenant"))]);
pub(crate) const TENANT_REMOVE: Operation =
    Operation::new("Removes a tenant with all it has", &[(200, Json("TenantRemoval"))]).query(&[
        Parameter::new("confirm", Text, "", "The tenant's name once more").required(),
        BY,
    ]);

pub(crate) const BACKUP: Operation =
    Operation::new("Begins a backup", &[(202, Json("Backup"))]).takes("Folder");
pub(crate) const BACKUP_SHOW: Operation =
    Operation::new("The backup that runs, or the last one", &[(200, Json("Backup"))]);
pub(crate) const BACKUP_CANCEL: Operation =
    Operation::new("Ends the backup that runs", &[(202, None)]);
pub(crate) const SNAPSHOT: Operation = Operation::new(
    "Makes a data directory that shares its files with this one",
    &[(201, Json("Snapshot"))],
)
.takes("Folder");
