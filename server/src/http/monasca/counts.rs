//! `/v2.0/alarms/count`

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use moneta_alerting::{Alarm, AlarmedMetric};
use serde_json::Value;

use super::alarms::{AlarmFilter, state_name};
use super::call::Call;
use super::definitions::severity_name;
use super::page::rows;
use crate::status::Failure;
use crate::wire::alarms::CountsAnswer;
use crate::wire::parameters::Parameters;

/// What alarms can be grouped by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GroupField {
    DefinitionId,
    Name,
    State,
    Severity,
    Link,
    LifecycleState,
    MetricName,
    DimensionName,
    DimensionValue,
}

const GROUP_FIELDS: [(&str, GroupField); 9] = [
    ("alarm_definition_id", GroupField::DefinitionId),
    ("name", GroupField::Name),
    ("state", GroupField::State),
    ("severity", GroupField::Severity),
    ("link", GroupField::Link),
    ("lifecycle_state", GroupField::LifecycleState),
    ("metric_name", GroupField::MetricName),
    ("dimension_name", GroupField::DimensionName),
    ("dimension_value", GroupField::DimensionValue),
];

/// `GET`
pub(super) async fn count(call: Call) -> Result<Json<CountsAnswer>, Failure> {
    call.run(|call| {
        let parameters = call.parameters();
        let filter = AlarmFilter::parse(parameters)?;
        let fields = group_fields(parameters)?;
        let offset = offset(parameters)?;
        let limit = parameters.limit()?;
        let mut all = match call.tenant() {
            Some(tenant) => call.services.alarms.alarms(tenant)?,
            None => Vec::new(),
        };
        all.retain(|alarm| filter.accepts(alarm));
        let fields_only: Vec<GroupField> = fields.iter().map(|(_, field)| *field).collect();
        let (counts, next) = rows(count_rows(&all, &fields_only), offset, limit);
        let names = fields.iter().map(|(name, _)| (*name).to_owned());
        Ok(Json(CountsAnswer {
            links: call.place.page(next.as_deref()),
            columns: std::iter::once("count".to_owned()).chain(names).collect(),
            counts,
        }))
    })
    .await
}

fn group_fields(parameters: &Parameters) -> Result<Vec<(&'static str, GroupField)>, Failure> {
    let Some(text) = parameters.list("group_by") else {
        return Ok(Vec::new());
    };
    // More than there are must repeat some, and every one is a column of every row.
    if text.split(',').count() > GROUP_FIELDS.len() {
        let text = format!("group_by takes at most {} fields", GROUP_FIELDS.len());
        return Err(Failure::unprocessable(text));
    }
    let find = |name: &str| GROUP_FIELDS.iter().find(|(known, _)| *known == name).copied();
    let fields: Option<Vec<_>> = text.split(',').map(str::trim).map(find).collect();
    fields.ok_or_else(|| {
        let given: Vec<String> = text.split(',').map(|name| format!("'{}'", name.trim())).collect();
        let known: Vec<String> = GROUP_FIELDS.iter().map(|(name, _)| format!("'{name}'")).collect();
        Failure::unprocessable(format!(
            "One or more group-by values from [{}] are not in {{{}}}",
            given.join(", "),
            known.join(", ")
        ))
    })
}

fn offset(parameters: &Parameters) -> Result<usize, Failure> {
    let Some(text) = parameters.one("offset")? else {
        return Ok(0);
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let offset = digits.then(|| text.parse().ok()).flatten();
    let text = format!("Offset must be a valid integer, was {text}");
    offset.ok_or_else(|| Failure::unprocessable(text))
}

/// A row per group, ascending, nulls first.
fn count_rows(alarms: &[Alarm], fields: &[GroupField]) -> Vec<Vec<Value>> {
    let mut groups: BTreeMap<Vec<Option<&str>>, u64> = BTreeMap::new();
    for alarm in alarms {
        for group in groups_of(alarm, fields) {
            *groups.entry(group).or_default() += 1;
        }
    }
    if groups.is_empty() {
        groups.insert(vec![None; fields.len()], 0);
    }
    let row = |(group, count): (Vec<Option<&str>>, u64)| {
        let values = group.into_iter().map(|text| text.map_or(Value::Null, Value::from));
        std::iter::once(Value::from(count)).chain(values).collect()
    };
    groups.into_iter().map(row).collect()
}

/// The groups an alarm counts in: one for each distinct combination of the fields.
fn groups_of<'a>(alarm: &'a Alarm, fields: &[GroupField]) -> BTreeSet<Vec<Option<&'a str>>> {
    let by_dimension = fields
        .iter()
        .any(|field| matches!(field, GroupField::DimensionName | GroupField::DimensionValue));
    let by_metric = by_dimension || fields.contains(&GroupField::MetricName);
    let group = |metric: Option<&'a AlarmedMetric>, dimension: Option<(&'a str, &'a str)>| {
        let value = |field: &GroupField| match field {
            GroupField::DefinitionId => Some(alarm.definition_id.as_str()),
            GroupField::Name => Some(alarm.definition_name.as_str()),
            GroupField::State => Some(state_name(alarm.state)),
            GroupField::Severity => Some(severity_name(alarm.severity)),
            GroupField::Link => alarm.link.as_deref(),
            GroupField::LifecycleState => alarm.lifecycle_state.as_deref(),
            GroupField::MetricName => metric.map(|metric| metric.name.as_str()),
            GroupField::DimensionName => dimension.map(|(name, _)| name),
            GroupField::DimensionValue => dimension.map(|(_, value)| value),
        };
        fields.iter().map(value).collect::<Vec<_>>()
    };
    let mut groups = BTreeSet::new();
    if !by_metric || alarm.metrics.is_empty() {
        groups.insert(group(None, None));
        return groups;
    }
    for metric in &alarm.metrics {
        if !by_dimension || metric.dimensions.is_empty() {
            groups.insert(group(Some(metric), None));
            continue;
        }
        for (name, value) in &metric.dimensions {
            groups.insert(group(Some(metric), Some((name, value))));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use moneta_alerting::{Severity, State};
    use serde_json::json;

    use super::super::alarms::tests::alarm;
    use super::*;

    #[test]
    fn alarms_are_counted_by_group() {
        let alarms = [
            alarm("1", State::Alarm, Severity::Low, &[("cpu", &[("h", "1"), ("z", "x")])]),
            alarm("2", State::Ok, Severity::Critical, &[("cpu", &[("h", "2")]), ("mem", &[])]),
            alarm("3", State::Ok, Severity::Critical, &[]),
        ];
        let check = |query: &str, want: Value| {
            let fields = group_fields(&Parameters::parse(query)).unwrap();
            let fields: Vec<GroupField> = fields.into_iter().map(|(_, field)| field).collect();
            assert_eq!(json!(count_rows(&alarms, &fields)), want, "{query}");
        };
        check("", json!([[3]]));
        check("group_by=state,severity", json!([[1, "ALARM", "LOW"], [2, "OK", "CRITICAL"]]));
        check(
            "group_by=state&group_by=severity",
            json!([[1, "ALARM", "LOW"], [2, "OK", "CRITICAL"]]),
        );
        check("group_by=metric_name", json!([[1, null], [2, "cpu"], [1, "mem"]]));
        check(
            "group_by=dimension_name,metric_name",
            json!([[1, null, null], [1, null, "mem"], [2, "h", "cpu"], [1, "z", "cpu"]]),
        );
        check("group_by=lifecycle_state", json!([[3, null]]));
        check("group_by=link,name", json!([[3, "http://l", "def"]]));
    }

    #[test]
    fn nothing_is_one_row_of_zero() {
        let fields = [GroupField::State, GroupField::Link];
        assert_eq!(json!(count_rows(&[], &fields)), json!([[0, null, null]]));
        assert_eq!(json!(count_rows(&[], &[])), json!([[0]]));
    }

    #[test]
    fn mistakes_are_named() {
        let failure = group_fields(&Parameters::parse("group_by=state,foo")).unwrap_err();
        let start =
            "One or more group-by values from ['state', 'foo'] are not in {'alarm_definition_id'";
        assert!(failure.description.starts_with(start), "{}", failure.description);
        let failure = offset(&Parameters::parse("offset=x")).unwrap_err();
        assert_eq!(failure.description, "Offset must be a valid integer, was x");
    }
}
