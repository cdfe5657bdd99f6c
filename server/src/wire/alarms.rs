//! Answers of the resources about alarms.

use moneta_alerting::{
    Alarm, AlarmedMetric, Definition, NotificationMethod, PartState, Severity, State, Transition,
    UndeterminedLogic,
};
use moneta_storage::model::Timestamp;
use serde::Serialize;

use super::links::{Link, Place};
use super::time::{format_ms, format_short};

/// Path of alarm definitions.
pub(crate) const DEFINITIONS: &str = "/v2.0/alarm-definitions";
/// Path of alarms.
pub(crate) const ALARMS: &str = "/v2.0/alarms";
/// Path of notification methods.
pub(crate) const METHODS: &str = "/v2.0/notification-methods";

/// Periods without data until a part is undetermined, when nothing else is asked for.
pub(crate) const EMPTY_COEFFICIENT_DEFAULT: u32 = 2;

/// An alarm definition.
#[derive(Debug, Serialize)]
pub(crate) struct DefinitionObject {
    id: String,
    links: Vec<Link>,
    name: String,
    description: String,
    expression: String,
    deterministic: bool,
    match_by: Vec<String>,
    severity: Severity,
    actions_enabled: bool,
    alarm_actions: Vec<String>,
    ok_actions: Vec<String>,
    undetermined_actions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undetermined_logic: Option<UndeterminedLogic>,
    #[serde(skip_serializing_if = "Option::is_none")]
    empty_coefficient: Option<u32>,
}

impl DefinitionObject {
    /// As a client of `place` sees it.
    pub(crate) fn new(place: &Place, definition: Definition) -> Self {
        let spec = definition.spec;
        let logic = Some(spec.undetermined_logic);
        let coefficient = Some(spec.empty_coefficient);
        DefinitionObject {
            links: place.object(&format!("{DEFINITIONS}/{}", definition.id)),
            id: definition.id,
            name: spec.name,
            description: spec.description,
            expression: spec.expression,
            deterministic: definition.deterministic,
            match_by: spec.match_by,
            severity: spec.severity,
            actions_enabled: spec.actions_enabled,
            alarm_actions: spec.alarm_actions,
            ok_actions: spec.ok_actions,
            undetermined_actions: spec.undetermined_actions,
            undetermined_logic: logic.filter(|logic| *logic != UndeterminedLogic::default()),
            empty_coefficient: coefficient.filter(|n| *n != EMPTY_COEFFICIENT_DEFAULT),
        }
    }
}

/// An alarm.
#[derive(Debug, Serialize)]
pub(crate) struct AlarmObject {
    id: String,
    links: Vec<Link>,
    alarm_definition: AlarmsDefinition,
    metrics: Vec<AlarmedMetric>,
    state: State,
    lifecycle_state: Option<String>,
    link: Option<String>,
    state_updated_timestamp: String,
    updated_timestamp: String,
    created_timestamp: String,
}

/// What an alarm shows of its definition.
#[derive(Debug, Serialize)]
struct AlarmsDefinition {
    id: String,
    name: String,
    severity: Severity,
    links: Vec<Link>,
}

impl AlarmObject {
    /// As a client of `place` sees it.
    pub(crate) fn new(place: &Place, alarm: Alarm) -> Self {
        AlarmObject {
            links: place.object(&format!("{ALARMS}/{}", alarm.id)),
            id: alarm.id,
            alarm_definition: AlarmsDefinition {
                links: place.object(&format!("{DEFINITIONS}/{}", alarm.definition_id)),
                id: alarm.definition_id,
                name: alarm.definition_name,
                severity: alarm.severity,
            },
            metrics: alarm.metrics,
            state: alarm.state,
            lifecycle_state: alarm.lifecycle_state,
            link: alarm.link,
            state_updated_timestamp: format_short(alarm.state_updated),
            updated_timestamp: format_short(alarm.updated),
            created_timestamp: format_short(alarm.created),
        }
    }
}

/// Numbers of alarms.
#[derive(Debug, Serialize)]
pub(crate) struct CountsAnswer {
    /// `self`, and `next` if there are more groups.
    pub(crate) links: Vec<Link>,
    /// `count`, then the grouping fields.
    pub(crate) columns: Vec<String>,
    /// A row per group.
    pub(crate) counts: Vec<Vec<serde_json::Value>>,
}

/// A change of an alarm's state.
#[derive(Debug, Serialize)]
pub(crate) struct TransitionElement {
    id: String,
    timestamp: String,
    alarm_id: String,
    metrics: Vec<TransitionMetric>,
    old_state: State,
    new_state: State,
    reason: String,
    reason_data: &'static str,
    sub_alarms: Vec<SubAlarm>,
}

/// A metric of the alarm at the moment of the change.
#[derive(Debug, Serialize)]
struct TransitionMetric {
    /// Null where the change came of measurements, absent where a client made it: as the reference writes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<()>,
    #[serde(flatten)]
    metric: AlarmedMetric,
}

/// A part at the moment of the change.
#[derive(Debug, Serialize)]
struct SubAlarm {
    sub_alarm_expression: moneta_alerting::PartExpression,
    sub_alarm_state: State,
    current_values: Vec<f64>,
}

impl From<PartState> for SubAlarm {
    fn from(part: PartState) -> Self {
        SubAlarm {
            sub_alarm_expression: part.expression,
            sub_alarm_state: part.state,
            current_values: part.values,
        }
    }
}

impl From<Transition> for TransitionElement {
    fn from(transition: Transition) -> Self {
        let id = (!transition.parts.is_empty()).then_some(());
        let metrics = transition.metrics.into_iter();
        TransitionElement {
            timestamp: format_ms(Timestamp::from_millis(transition.time)),
            id: transition.id,
            alarm_id: transition.alarm_id,
            metrics: metrics.map(|metric| TransitionMetric { id, metric }).collect(),
            old_state: transition.old_state,
            new_state: transition.new_state,
            reason: transition.reason,
            reason_data: "{}",
            sub_alarms: transition.parts.into_iter().map(SubAlarm::from).collect(),
        }
    }
}

/// A notification method.
#[derive(Debug, Serialize)]
pub(crate) struct MethodObject {
    id: String,
    links: Vec<Link>,
    name: String,
    #[serde(rename = "type")]
    kind: moneta_alerting::MethodKind,
    address: String,
    period: u32,
}

impl MethodObject {
    /// As a client of `place` sees it.
    pub(crate) fn new(place: &Place, method: NotificationMethod) -> Self {
        MethodObject {
            links: place.object(&format!("{METHODS}/{}", method.id)),
            id: method.id,
            name: method.name,
            kind: method.kind,
            address: method.address,
            period: method.period,
        }
    }
}

/// A kind of notification method that can be used.
#[derive(Debug, Serialize)]
pub(crate) struct MethodTypeElement {
    /// The kind.
    #[serde(rename = "type")]
    pub(crate) kind: moneta_alerting::MethodKind,
}
