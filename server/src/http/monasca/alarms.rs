//! `/v2.0/alarms`

use std::cmp::Ordering;

use axum::Json;
use axum::http::StatusCode;
use moneta_alerting::{Alarm, AlarmPatch, Severity, State};
use moneta_storage::model::{TenantId, Timestamp};
use serde_json::Value;

use super::call::Call;
use super::definitions::severities;
use super::dimension_filter::DimensionFilter;
use super::fields::of_value;
use super::page::{instant, row_offset, rows, sort, sorting};
use crate::http::body::Payload;
use crate::status::Failure;
use crate::wire::alarms::AlarmObject;
use crate::wire::metrics::Listing;
use crate::wire::parameters::Parameters;
use crate::wire::time::Instant;

const LIFECYCLE_CHARS_MAX: usize = 50;
const LINK_CHARS_MAX: usize = 512;

/// Which alarms a list or a count is about.
pub(super) struct AlarmFilter {
    definition: Option<String>,
    metric: Option<String>,
    dimensions: DimensionFilter,
    states: Option<Vec<State>>,
    severities: Option<Vec<Severity>>,
    lifecycle_state: Option<String>,
    link: Option<String>,
    state_updated_from: Option<Timestamp>,
}

impl AlarmFilter {
    /// Reads the parameters.
    pub(super) fn parse(parameters: &Parameters) -> Result<Self, Failure> {
        let text = |name: &str| Ok::<_, Failure>(parameters.one(name)?.map(str::to_owned));
        Ok(AlarmFilter {
            definition: text("alarm_definition_id")?,
            metric: text("metric_name")?,
            dimensions: DimensionFilter::parse(parameters, "metric_dimensions")?,
            states: states(parameters)?,
            severities: severities(parameters)?,
            lifecycle_state: text("lifecycle_state")?,
            link: text("link")?,
            state_updated_from: instant(parameters, "state_updated_start_time")?.map(Instant::ceil),
        })
    }

    /// Whether `alarm` is one of them.
    pub(super) fn accepts(&self, alarm: &Alarm) -> bool {
        let same = |want: &Option<String>, have: Option<&str>| {
            want.as_ref().is_none_or(|want| have == Some(want.as_str()))
        };
        same(&self.definition, Some(&alarm.definition_id))
            && same(&self.lifecycle_state, alarm.lifecycle_state.as_deref())
            && same(&self.link, alarm.link.as_deref())
            && self.states.as_ref().is_none_or(|some| some.contains(&alarm.state))
            && self.severities.as_ref().is_none_or(|some| some.contains(&alarm.severity))
            && self.state_updated_from.is_none_or(|from| alarm.state_updated >= from)
            && self.metric.as_ref().is_none_or(|want| alarm.metrics.iter().any(|m| m.name == *want))
            && has_metric_with(alarm, &self.dimensions)
    }
}

/// Whether all of a filter holds for one metric of the alarm.
pub(super) fn has_metric_with(alarm: &Alarm, filter: &DimensionFilter) -> bool {
    filter.is_empty()
        || alarm
            .metrics
            .iter()
            .any(|metric| filter.holds(|key| metric.dimensions.get(key).map(String::as_str)))
}

/// `state`, several joined by bars as in `severity`. Front ends join what is chosen, which may be
/// nothing.
fn states(parameters: &Parameters) -> Result<Option<Vec<State>>, Failure> {
    let Some(text) = parameters.one("state")? else {
        return Ok(None);
    };
    let parse = |part: &str| {
        parse_state(&part.to_ascii_uppercase()).ok_or_else(|| {
            let text = format!("State {part} must be one of ['ALARM', 'OK', 'UNDETERMINED']");
            Failure::titled("Invalid State", text)
        })
    };
    let states: Vec<State> = parts(text).map(parse).collect::<Result<_, _>>()?;
    Ok((!states.is_empty()).then_some(states))
}

/// What bars join, but for what is empty.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split('|').filter(|part| !part.is_empty())
}

fn parse_state(text: &str) -> Option<State> {
    match text {
        "OK" => Some(State::Ok),
        "UNDETERMINED" => Some(State::Undetermined),
        "ALARM" => Some(State::Alarm),
        _ => None,
    }
}

/// How a state is written.
pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Ok => "OK",
        State::Undetermined => "UNDETERMINED",
        State::Alarm => "ALARM",
    }
}

/// `GET` the list.
pub(super) async fn list(call: Call) -> Result<Json<Listing<AlarmObject>>, Failure> {
    call.run(|call| {
        let parameters = call.parameters();
        let filter = AlarmFilter::parse(parameters)?;
        let sorting = sorting(parameters, &SORT_FIELDS)?;
        let (offset, limit) = (row_offset(parameters)?, parameters.limit()?);
        let mut all = match call.tenant() {
            Some(tenant) => call.services.alarms.alarms(tenant)?,
            None => Vec::new(),
        };
        all.retain(|alarm| filter.accepts(alarm));
        sort(&mut all, &sorting, compare);
        let (page, next) = rows(all, offset, limit);
        let elements = page.into_iter().map(|alarm| AlarmObject::new(&call.place, alarm)).collect();
        Ok(Json(Listing { links: call.place.page(next.as_deref()), elements }))
    })
    .await
}

/// `GET` one.
pub(super) async fn show(call: Call) -> Result<Json<AlarmObject>, Failure> {
    call.run(|call| {
        let alarm = call.services.alarms.alarm(known_tenant(call)?, call.id())?;
        Ok(Json(AlarmObject::new(&call.place, alarm)))
    })
    .await
}

/// `PUT`
pub(super) async fn replace(call: Call, payload: Payload) -> Result<Json<AlarmObject>, Failure> {
    payload.may_be_json()?;
    let patch = replacement(&payload.json()?).map_err(Failure::unprocessable)?;
    update(call, patch).await
}

/// `PATCH`
pub(super) async fn change(call: Call, payload: Payload) -> Result<Json<AlarmObject>, Failure> {
    payload.may_be_json()?;
    let patch = changes(&payload.json()?).map_err(Failure::unprocessable)?;
    update(call, patch).await
}

async fn update(call: Call, patch: AlarmPatch) -> Result<Json<AlarmObject>, Failure> {
    call.run(|call| {
        let alarm = call.services.alarms.update_alarm(known_tenant(call)?, call.id(), patch)?;
        Ok(Json(AlarmObject::new(&call.place, alarm)))
    })
    .await
}

/// `DELETE`
pub(super) async fn delete(call: Call) -> Result<StatusCode, Failure> {
    call.run(|call| {
        call.services.alarms.delete_alarm(known_tenant(call)?, call.id())?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn known_tenant(call: &Call) -> Result<TenantId, Failure> {
    let missing = || Failure::not_found(format!("no alarm has the id {}", call.id()));
    call.tenant().ok_or_else(missing)
}

/// All three fields; null clears a text.
fn replacement(body: &Value) -> Result<AlarmPatch, String> {
    let object = body.as_object().ok_or("expected a dictionary")?;
    let required = |name: &str| {
        let value = object.get(name).filter(|value| value.as_str() != Some(""));
        value.ok_or_else(|| format!("Field '{name}' is required"))
    };
    let state = required("state")?;
    if state.is_null() {
        return Err("Field 'state' is required".into());
    }
    Ok(AlarmPatch {
        state: Some(checked_state(state)?),
        lifecycle_state: Some(checked_text(
            "lifecycle_state",
            required("lifecycle_state")?,
            LIFECYCLE_CHARS_MAX,
        )?),
        link: Some(checked_text("link", required("link")?, LINK_CHARS_MAX)?),
    })
}

/// Any of the three fields; what is absent or null stays as it is.
fn changes(body: &Value) -> Result<AlarmPatch, String> {
    let object = body.as_object().ok_or("expected a dictionary")?;
    let given = |name: &str| object.get(name).filter(|value| !value.is_null());
    let text = |name: &str, chars_max: usize| {
        let text = given(name).map(|value| checked_text(name, value, chars_max));
        text.transpose()
    };
    let state = given("state").filter(|value| value.as_str() != Some(""));
    Ok(AlarmPatch {
        state: state.map(checked_state).transpose()?,
        lifecycle_state: text("lifecycle_state", LIFECYCLE_CHARS_MAX)?,
        link: text("link", LINK_CHARS_MAX)?,
    })
}

fn checked_state(value: &Value) -> Result<State, String> {
    let state = value.as_str().and_then(parse_state);
    state.ok_or_else(|| of_value("state", "not one of ['ALARM', 'OK', 'UNDETERMINED']"))
}

fn checked_text(name: &str, value: &Value, chars_max: usize) -> Result<Option<String>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value.as_str().ok_or_else(|| of_value(name, "expected str"))?;
    if text.chars().count() > chars_max {
        return Err(of_value(name, &format!("length of value must be at most {chars_max}")));
    }
    Ok(Some(text.to_owned()))
}

/// What the list can be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SortField {
    Id,
    DefinitionId,
    DefinitionName,
    State,
    Severity,
    LifecycleState,
    Link,
    StateUpdated,
    Updated,
    Created,
}

const SORT_FIELDS: [(&str, SortField); 10] = [
    ("alarm_id", SortField::Id),
    ("alarm_definition_id", SortField::DefinitionId),
    ("alarm_definition_name", SortField::DefinitionName),
    ("state", SortField::State),
    ("severity", SortField::Severity),
    ("lifecycle_state", SortField::LifecycleState),
    ("link", SortField::Link),
    ("state_updated_timestamp", SortField::StateUpdated),
    ("updated_timestamp", SortField::Updated),
    ("created_timestamp", SortField::Created),
];

fn compare(a: &Alarm, b: &Alarm, field: SortField) -> Ordering {
    match field {
        SortField::Id => a.id.cmp(&b.id),
        SortField::DefinitionId => a.definition_id.cmp(&b.definition_id),
        SortField::DefinitionName => a.definition_name.cmp(&b.definition_name),
        SortField::State => a.state.cmp(&b.state),
        SortField::Severity => a.severity.cmp(&b.severity),
        SortField::LifecycleState => a.lifecycle_state.cmp(&b.lifecycle_state),
        SortField::Link => a.link.cmp(&b.link),
        SortField::StateUpdated => a.state_updated.cmp(&b.state_updated),
        SortField::Updated => a.updated.cmp(&b.updated),
        SortField::Created => a.created.cmp(&b.created),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use moneta_alerting::AlarmedMetric;
    use moneta_storage::model::Dimensions;
    use serde_json::json;

    use super::*;

    /// An alarm with one metric per name, each with these dimensions.
    pub(in crate::http::monasca) fn alarm(
        id: &str,
        state: State,
        severity: Severity,
        metrics: &[(&str, &[(&str, &str)])],
    ) -> Alarm {
        let metric = |(name, dimensions): &(&str, &[(&str, &str)])| AlarmedMetric {
            name: (*name).to_owned(),
            dimensions: dimensions.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        };
        Alarm {
            id: id.into(),
            definition_id: "d".into(),
            definition_name: "def".into(),
            severity,
            key: Dimensions::none(),
            metrics: metrics.iter().map(metric).collect(),
            state,
            parts: vec![state],
            lifecycle_state: None,
            link: Some("http://l".into()),
            state_updated: Timestamp::from_millis(5000),
            updated: Timestamp::from_millis(6000),
            created: Timestamp::from_millis(4000),
        }
    }

    #[test]
    fn filters_hold_together() {
        let alarm = alarm(
            "1",
            State::Ok,
            Severity::High,
            &[("cpu", &[("h", "1"), ("z", "x")]), ("mem", &[("h", "2")])],
        );
        let check = |query: &str, want: bool| {
            let filter = AlarmFilter::parse(&Parameters::parse(query)).unwrap();
            assert_eq!(filter.accepts(&alarm), want, "{query}");
        };
        check("", true);
        check("alarm_definition_id=d&state=ok&severity=LOW%7Chigh", true);
        check("alarm_definition_id=e", false);
        check("state=ALARM", false);
        check("state=ALARM|OK", true);
        check("state=ALARM|undetermined", false);
        check("state=", true);
        check("state=|&severity=|", true);
        check("state=ALARM|", false);
        check("severity=low", false);
        check("metric_name=mem", true);
        check("metric_name=me", false);
        check("metric_dimensions=h:1,z", true);
        check("metric_dimensions=h:2,z", false);
        check("metric_dimensions=h:3%7C2", true);
        check("metric_name=mem&metric_dimensions=z:x", true);
        check("link=http%3A//l", true);
        check("lifecycle_state=OPEN", false);
        check("state_updated_start_time=1970-01-01T00:00:05Z", true);
        check("state_updated_start_time=1970-01-01T00:00:05.000001Z", false);
        let bad = AlarmFilter::parse(&Parameters::parse("state=foo")).err().unwrap();
        assert_eq!(bad.title, "Invalid State");
        assert_eq!(bad.description, "State foo must be one of ['ALARM', 'OK', 'UNDETERMINED']");
        assert!(AlarmFilter::parse(&Parameters::parse("link=a&link=b")).is_err());
    }

    #[test]
    fn a_replacement_needs_all_three() {
        let check = |body: Value, want: Result<AlarmPatch, &str>| {
            assert_eq!(replacement(&body), want.map_err(str::to_owned), "{body}");
        };
        check(json!({}), Err("Field 'state' is required"));
        check(json!({"state": ""}), Err("Field 'state' is required"));
        check(json!({"state": null}), Err("Field 'state' is required"));
        check(json!({"state": "OK"}), Err("Field 'lifecycle_state' is required"));
        check(json!({"state": "OK", "lifecycle_state": "x"}), Err("Field 'link' is required"));
        check(
            json!({"state": "ALARM", "lifecycle_state": null, "link": "l"}),
            Ok(AlarmPatch {
                state: Some(State::Alarm),
                lifecycle_state: Some(None),
                link: Some(Some("l".into())),
            }),
        );
    }

    #[test]
    fn changes_are_optional() {
        let check = |body: Value, want: Result<AlarmPatch, &str>| {
            assert_eq!(changes(&body), want.map_err(str::to_owned), "{body}");
        };
        let none = AlarmPatch::default();
        check(json!({}), Ok(none.clone()));
        check(json!({"state": "", "link": null, "x": 1}), Ok(none.clone()));
        check(json!({"link": ""}), Ok(AlarmPatch { link: Some(Some(String::new())), ..none }));
        let at = "for dictionary value @ data";
        check(
            json!({"state": "ok"}),
            Err(&format!("not one of ['ALARM', 'OK', 'UNDETERMINED'] {at}['state']")),
        );
        check(
            json!({"lifecycle_state": "x".repeat(51)}),
            Err(&format!("length of value must be at most 50 {at}['lifecycle_state']")),
        );
        check(json!({"link": 5}), Err(&format!("expected str {at}['link']")));
        check(json!([]), Err("expected a dictionary"));
    }
}
