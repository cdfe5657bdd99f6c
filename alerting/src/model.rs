//! The nouns of alerting, as the layers above see them.

use moneta_storage::model::{Dimensions, Timestamp};
use serde::{Deserialize, Serialize};

/// State of an alarm or of one of its parts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// The comparison does not hold.
    Ok,
    /// Not enough data to decide.
    Undetermined,
    /// The comparison holds.
    Alarm,
}

/// How much an alarm matters.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// The default.
    #[default]
    Low,
    /// Above low.
    Medium,
    /// Above medium.
    High,
    /// The highest.
    Critical,
}

/// What an alarm is while some of its parts have no data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UndeterminedLogic {
    /// Undetermined as soon as one part is.
    #[default]
    Strict,
    /// Three-valued logic.
    Kleene,
}

/// What a user writes to create a definition, or to replace one. Checked by [`crate::Alarms`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DefinitionSpec {
    /// 1 to 255 characters, unique in the tenant.
    pub name: String,
    /// At most 255 characters.
    pub description: String,
    /// The expression, kept as written.
    pub expression: String,
    /// Dimension names; one alarm per distinct combination of their values.
    pub match_by: Vec<String>,
    /// Severity.
    pub severity: Severity,
    /// Whether transitions send notifications.
    pub actions_enabled: bool,
    /// Notification methods for a change to `ALARM`.
    pub alarm_actions: Vec<String>,
    /// Notification methods for a change to `OK`.
    pub ok_actions: Vec<String>,
    /// Notification methods for a change to `UNDETERMINED`.
    pub undetermined_actions: Vec<String>,
    /// How missing data combine.
    pub undetermined_logic: UndeterminedLogic,
    /// Periods without data, times this, until a part is undetermined. At least 1.
    pub empty_coefficient: u32,
}

/// Changes to a definition; `None` keeps what is there.
#[derive(Clone, PartialEq, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of DefinitionSpec")]
pub struct DefinitionPatch {
    pub name: Option<String>,
    pub description: Option<String>,
    pub expression: Option<String>,
    pub match_by: Option<Vec<String>>,
    pub severity: Option<Severity>,
    pub actions_enabled: Option<bool>,
    pub alarm_actions: Option<Vec<String>>,
    pub ok_actions: Option<Vec<String>>,
    pub undetermined_actions: Option<Vec<String>>,
    pub undetermined_logic: Option<UndeterminedLogic>,
    pub empty_coefficient: Option<u32>,
}

/// A stored definition.
#[derive(Clone, PartialEq, Debug)]
pub struct Definition {
    /// Random UUID.
    pub id: String,
    /// What the user wrote.
    pub spec: DefinitionSpec,
    /// Whether every part is deterministic.
    pub deterministic: bool,
    /// The (metric name, dimensions) of each part, in expression order.
    pub metrics: Vec<(String, Dimensions)>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was last changed.
    pub updated: Timestamp,
}

/// A metric attached to an alarm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct AlarmedMetric {
    /// Metric name.
    pub name: String,
    /// All its dimensions.
    pub dimensions: std::collections::BTreeMap<String, String>,
}

/// One alarm as it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Alarm {
    /// Random UUID.
    pub id: String,
    /// Its definition.
    pub definition_id: String,
    /// The definition's name.
    pub definition_name: String,
    /// The definition's severity.
    pub severity: Severity,
    /// Its match key.
    pub key: Dimensions,
    /// The attached series, ascending.
    pub metrics: Vec<AlarmedMetric>,
    /// State.
    pub state: State,
    /// State of each part, in expression order.
    pub parts: Vec<State>,
    /// Free text of the user, at most 50 characters.
    pub lifecycle_state: Option<String>,
    /// Free text of the user, at most 512 characters.
    pub link: Option<String>,
    /// When the state last changed.
    pub state_updated: Timestamp,
    /// When anything the user can set last changed.
    pub updated: Timestamp,
    /// When the alarm came into existence.
    pub created: Timestamp,
}

/// Changes to an alarm by a user; `None` keeps what is there, an inner `None` clears.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of Alarm")]
pub struct AlarmPatch {
    pub state: Option<State>,
    pub lifecycle_state: Option<Option<String>>,
    pub link: Option<Option<String>>,
}

/// One comparison of an expression, as messages and history show it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PartExpression {
    /// `AVG`, `MIN`, `MAX`, `SUM`, `COUNT`, `LAST`.
    pub function: String,
    /// Metric name.
    pub metric_name: String,
    /// Dimensions written in the part.
    pub dimensions: std::collections::BTreeMap<String, String>,
    /// `LT`, `LTE`, `GT`, `GTE`.
    pub operator: String,
    /// Threshold.
    pub threshold: f64,
    /// Period, seconds.
    pub period: u32,
    /// Number of periods.
    pub periods: u32,
    /// Whether missing data count as `OK`.
    pub deterministic: bool,
}

/// A part of an alarm at the moment of a transition.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PartState {
    /// The comparison.
    pub expression: PartExpression,
    /// Its state.
    pub state: State,
    /// The values of its latest judgement.
    pub values: Vec<f64>,
}

/// A change of an alarm's state. Immutable once stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transition {
    /// Unique, sorts by time: `<milliseconds>` when first in its millisecond, else
    /// `<milliseconds>-<n>`.
    pub id: String,
    /// The alarm.
    pub alarm_id: String,
    /// Its definition.
    pub definition_id: String,
    /// The definition's name at that moment.
    pub alarm_name: String,
    /// The definition's description at that moment.
    pub alarm_description: String,
    /// Attached series at that moment.
    pub metrics: Vec<AlarmedMetric>,
    /// State before.
    pub old_state: State,
    /// State after.
    pub new_state: State,
    /// Why, in words.
    pub reason: String,
    /// The parts; empty when set through the API.
    pub parts: Vec<PartState>,
    /// Severity at that moment.
    pub severity: Severity,
    /// Whether the definition's actions were enabled.
    pub actions_enabled: bool,
    /// Link of the alarm.
    pub link: Option<String>,
    /// Lifecycle state of the alarm.
    pub lifecycle_state: Option<String>,
    /// Milliseconds since the epoch.
    pub time: i64,
}

/// Some transitions, ascending by id.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HistoryPage {
    /// The transitions.
    pub transitions: Vec<Transition>,
    /// The id after which to go on, if not everything was looked at. A page with fewer transitions than
    /// asked for has it when too much of others' history lay between.
    pub next: Option<String>,
}

/// Kind of a notification method.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MethodKind {
    /// HTTP POST of a JSON body.
    Webhook,
}

/// Where notifications go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotificationMethod {
    /// Random UUID.
    pub id: String,
    /// 1 to 250 characters, unique in the tenant.
    pub name: String,
    /// Kind.
    pub kind: MethodKind,
    /// At most 512 characters; of a webhook an http or https URL.
    pub address: String,
    /// Seconds between repeats; 0: none.
    pub period: u32,
    /// When it was created, milliseconds since the epoch; 0 if that was before times were kept.
    #[serde(default)]
    pub created_ms: i64,
    /// When it was last changed, likewise.
    #[serde(default)]
    pub updated_ms: i64,
}
