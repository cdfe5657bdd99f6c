//! What is told of the operations of the Monasca API.

use super::Content::{Json, None};
use super::Kind::{Number, OneOf, Text, Time};
use super::{Operation, Parameter};

const DIMENSIONS: &str =
    "Dimensions that must hold: `key`, `key:value`, `key:one|other`, joined by commas";

const NAME: Parameter = Parameter::new("name", Text, "cpu.idle_perc", "Exact metric name");
const FILTER: Parameter = Parameter::new("dimensions", Text, "hostname:web1", DIMENSIONS);
const START: Parameter =
    Parameter::new("start_time", Time, "2026-11-20T09:00:00Z", "First instant, ISO 8601");
const END: Parameter =
    Parameter::new("end_time", Time, "2026-11-20T10:00:00Z", "The instant after the last");
const LIMIT: Parameter =
    Parameter::new("limit", Number(1), "100", "Size of a page, 10000 at most and by default");
const OFFSET: Parameter = Parameter::new(
    "offset",
    Text,
    "",
    "Where a page begins, as the link `next` of the one before says",
);
const ROWS: Parameter = Parameter::new("offset", Number(0), "0", "Rows to skip");
const TENANT: Parameter =
    Parameter::new("tenant_id", Text, "", "Tenant to act on, for those who may act for others");
const MERGE: Parameter = Parameter::new(
    "merge_metrics",
    OneOf(&["true", "false"]),
    "true",
    "Whether several series become one; without it they are a conflict (409)",
);
const GROUP_BY: Parameter = Parameter::new(
    "group_by",
    Text,
    "hostname",
    "Dimension names, joined by commas, or `*`: an element for each combination of values",
);
const SEVERITY: Parameter = Parameter::new(
    "severity",
    Text,
    "HIGH|CRITICAL",
    "`LOW`, `MEDIUM`, `HIGH`, `CRITICAL` or several of them, joined by `|`",
);
const METRIC_NAME: Parameter =
    Parameter::new("metric_name", Text, "cpu.idle_perc", "Exact metric name");

pub(crate) const METRICS_CREATE: Operation = Operation::new(
    "Writes measurements: one or a list, of which all are stored or none",
    &[(204, None)],
)
.query(&[TENANT])
.takes("NewMetrics");
pub(crate) const METRICS_LIST: Operation =
    Operation::new("Lists series", &[(200, Json("Metrics"))])
        .query(&[NAME, FILTER, START, END, OFFSET, LIMIT, TENANT]);
pub(crate) const MEASUREMENTS: Operation =
    Operation::new("Measurements of one series, or of several", &[(200, Json("Measurements"))])
        .query(&[
            NAME.required(),
            START.required(),
            END,
            FILTER,
            MERGE,
            GROUP_BY,
            OFFSET,
            LIMIT,
            TENANT,
        ]);
pub(crate) const STATISTICS: Operation =
    Operation::new("Statistics of measurements by period", &[(200, Json("Statistics"))]).query(&[
        NAME.required(),
        START.required(),
        Parameter::new(
            "statistics",
            Text,
            "avg,max",
            "Of `avg` (or `mean`), `min`, `max`, `count`, `sum`, joined by commas",
        )
        .required(),
        Parameter::new("period", Number(0), "300", "Seconds, 300 by default; 0: all in one"),
        END,
        FILTER,
        MERGE,
        GROUP_BY,
        OFFSET,
        LIMIT,
        TENANT,
    ]);
pub(crate) const NAMES: Operation = Operation::new("Lists metric names", &[(200, Json("Names"))])
    .query(&[FILTER, OFFSET, LIMIT, TENANT]);
pub(crate) const DIMENSION_NAMES: Operation =
    Operation::new("Lists dimension names", &[(200, Json("DimensionNames"))]).query(&[
        METRIC_NAME,
        START,
        END,
        OFFSET,
        LIMIT,
        TENANT,
    ]);
pub(crate) const DIMENSION_VALUES: Operation =
    Operation::new("Lists values of a dimension", &[(200, Json("DimensionValues"))]).query(&[
        Parameter::new("dimension_name", Text, "hostname", "Which dimension").required(),
        METRIC_NAME,
        START,
        END,
        OFFSET,
        LIMIT,
        TENANT,
    ]);

pub(crate) const DEFINITION_CREATE: Operation =
    Operation::new("Creates an alarm definition", &[(201, Json("Definition"))])
        .takes("NewDefinition");
pub(crate) const DEFINITIONS: Operation =
    Operation::new("Lists alarm definitions", &[(200, Json("Definitions"))]).query(&[
        Parameter::new("name", Text, "CPU is busy", "Exact name"),
        FILTER,
        SEVERITY,
        Parameter::new(
            "sort_by",
            Text,
            "name desc",
            "Of `id`, `name`, `severity`, `updated_at`, `created_at`, joined by commas, each with ` asc` or ` desc`",
        ),
        ROWS,
        LIMIT,
    ]);
pub(crate) const DEFINITION_WITHOUT_ID: Operation =
    Operation::new("Always refused: the id is missing", &[(400, Json("Refusal"))]);
pub(crate) const DEFINITION: Operation =
    Operation::new("An alarm definition", &[(200, Json("Definition"))]);
pub(crate) const DEFINITION_REPLACE: Operation =
    Operation::new("Replaces all fields of an alarm definition", &[(200, Json("Definition"))])
        .takes("WholeDefinition");
pub(crate) const DEFINITION_CHANGE: Operation =
    Operation::new("Changes some fields of an alarm definition", &[(200, Json("Definition"))])
        .takes("DefinitionChange");
pub(crate) const DEFINITION_DELETE: Operation =
    Operation::new("Deletes an alarm definition and its alarms", &[(204, None)]);

const ALARM_DEFINITION: Parameter =
    Parameter::new("alarm_definition_id", Text, "", "Only alarms of this definition");
const ALARM_DIMENSIONS: Parameter =
    Parameter::new("metric_dimensions", Text, "hostname:web1", DIMENSIONS);
const STATE: Parameter =
    Parameter::new("state", Text, "ALARM", "`OK`, `ALARM`, `UNDETERMINED`; several joined by `|`");
const LIFECYCLE: Parameter =
    Parameter::new("lifecycle_state", Text, "OPEN", "Exact lifecycle state");
const LINK: Parameter = Parameter::new("link", Text, "", "Exact link");
const STATE_UPDATED: Parameter = Parameter::new(
    "state_updated_start_time",
    Time,
    "2026-11-20T09:00:00Z",
    "Only those whose state has changed since",
);

pub(crate) const ALARMS: Operation = Operation::new("Lists alarms", &[(200, Json("Alarms"))])
    .query(&[
        ALARM_DEFINITION,
        METRIC_NAME,
        ALARM_DIMENSIONS,
        STATE,
        SEVERITY,
        LIFECYCLE,
        LINK,
        STATE_UPDATED,
        Parameter::new(
            "sort_by",
            Text,
            "state desc",
            "Of `alarm_id`, `alarm_definition_id`, `alarm_definition_name`, `state`, `severity`, \
             `lifecycle_state`, `link`, `state_updated_timestamp`, `updated_timestamp`, \
             `created_timestamp`, joined by commas, each with ` asc` or ` desc`",
        ),
        ROWS,
        LIMIT,
    ]);
pub(crate) const ALARM_COUNT: Operation = Operation::new("Counts alarms", &[(200, Json("Counts"))])
    .query(&[
        ALARM_DEFINITION,
        METRIC_NAME,
        ALARM_DIMENSIONS,
        STATE,
        SEVERITY,
        LIFECYCLE,
        LINK,
        STATE_UPDATED,
        Parameter::new(
            "group_by",
            Text,
            "state,severity",
            "Of `alarm_definition_id`, `name`, `state`, `severity`, `link`, `lifecycle_state`, \
             `metric_name`, `dimension_name`, `dimension_value`, joined by commas",
        ),
        ROWS,
        LIMIT,
    ]);
pub(crate) const ALARM: Operation = Operation::new("An alarm", &[(200, Json("Alarm"))]);
pub(crate) const ALARM_REPLACE: Operation =
    Operation::new("Sets state, lifecycle state and link of an alarm", &[(200, Json("Alarm"))])
        .takes("WholeAlarm");
pub(crate) const ALARM_CHANGE: Operation =
    Operation::new("Sets some of them", &[(200, Json("Alarm"))]).takes("AlarmChange");
pub(crate) const ALARM_DELETE: Operation =
    Operation::new("Deletes an alarm until its metrics bring it back", &[(204, None)]);
pub(crate) const HISTORY: Operation =
    Operation::new("Changes of state of the alarms there are", &[(200, Json("History"))]).query(&[
        FILTER,
        START,
        Parameter::new("end_time", Time, "2026-11-20T10:00:00Z", "The last instant, included"),
        OFFSET,
        LIMIT,
    ]);
pub(crate) const HISTORY_OF_ONE: Operation =
    Operation::new("Changes of state of one alarm", &[(200, Json("History"))])
        .query(&[OFFSET, LIMIT]);

pub(crate) const METHOD_CREATE: Operation =
    Operation::new("Creates a notification method", &[(201, Json("Method"))]).takes("NewMethod");
pub(crate) const METHODS: Operation =
    Operation::new("Lists notification methods", &[(200, Json("Methods"))]).query(&[
        Parameter::new(
            "sort_by",
            Text,
            "name desc",
            "Of `id`, `name`, `type`, `address`, `updated_at`, `created_at`, joined by commas, each with ` asc` or ` desc`",
        ),
        ROWS,
        LIMIT,
    ]);
pub(crate) const METHOD_TYPES: Operation =
    Operation::new("Lists kinds of notification methods", &[(200, Json("MethodTypes"))]);
pub(crate) const METHOD: Operation =
    Operation::new("A notification method", &[(200, Json("Method"))]);
pub(crate) const METHOD_REPLACE: Operation =
    Operation::new("Replaces a notification method", &[(200, Json("Method"))]).takes("WholeMethod");
pub(crate) const METHOD_CHANGE: Operation =
    Operation::new("Changes some fields of a notification method", &[(200, Json("Method"))])
        .takes("MethodChange");
pub(crate) const METHOD_DELETE: Operation = Operation::new(
    "Deletes a notification method; it disappears from every definition",
    &[(204, None)],
);

pub(crate) const LOGS: Operation =
    Operation::new("Logs are not available yet", &[(501, Json("Refusal"))]);

pub(crate) const ALIVE: Operation = Operation::new("Whether the process lives", &[(204, None)]);
pub(crate) const HEALTHCHECK: Operation = Operation::new(
    "Whether it can work, in the words of the reference",
    &[(200, Json("Healthcheck")), (503, Json("Healthcheck"))],
);
pub(crate) const VERSIONS: Operation =
    Operation::new("Versions of the Monasca API", &[(200, Json("Versions"))]);
pub(crate) const VERSION: Operation =
    Operation::new("The version there is", &[(200, Json("Version"))]);
