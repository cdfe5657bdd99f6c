//! `/v2.0/alarm-definitions`

use std::cmp::Ordering;
use std::collections::HashSet;

use axum::Json;
use axum::http::StatusCode;
use moneta_alerting::{Definition, DefinitionPatch, DefinitionSpec, Severity, UndeterminedLogic};
use moneta_storage::model::{Dimensions, TenantId};
use serde_json::Value;

use super::alarms::parts;
use super::call::Call;
use super::dimension_filter::DimensionFilter;
use super::fields::Presence::{Optional, Required};
use super::fields::{Fields, Presence, class_of, of_value};
use super::page::{row_offset, rows, sort, sorting};
use crate::http::body::Payload;
use crate::ingest::rules;
use crate::status::Failure;
use crate::wire::alarms::{DefinitionObject, EMPTY_COEFFICIENT_DEFAULT};
use crate::wire::metrics::Listing;
use crate::wire::parameters::Parameters;

const NAME_CHARS_MAX: usize = 255;
const ACTION_CHARS_MAX: usize = 50;
/// More than any expression a person writes; alerting limits what one may watch.
const EXPRESSION_CHARS_MAX: usize = 64 * 1024;

/// `POST`
pub(super) async fn create(
    call: Call,
    payload: Payload,
) -> Result<(StatusCode, Json<DefinitionObject>), Failure> {
    payload.may_be_json()?;
    let body = payload.json()?;
    let spec = spec(&body).map_err(Failure::unprocessable)?;
    let tenant = call.make_tenant().await?;
    call.run(move |call| {
        let definition = call.services.alarms.create_definition(tenant, spec)?;
        Ok((StatusCode::CREATED, Json(DefinitionObject::new(&call.place, definition))))
    })
    .await
}

/// `GET` the list.
pub(super) async fn list(call: Call) -> Result<Json<Listing<DefinitionObject>>, Failure> {
    call.run(|call| {
        let parameters = call.parameters();
        let name = parameters.one("name")?;
        let severities = severities(parameters)?;
        let filter = DimensionFilter::parse(parameters, "dimensions")?;
        let sorting = sorting(parameters, &SORT_FIELDS)?;
        let (offset, limit) = (row_offset(parameters)?, parameters.limit()?);
        let mut all = match call.tenant() {
            Some(tenant) => call.services.alarms.definitions(tenant)?,
            None => Vec::new(),
        };
        all.retain(|definition| {
            name.is_none_or(|name| name == definition.spec.name)
                && severities.as_ref().is_none_or(|some| some.contains(&definition.spec.severity))
                && (filter.is_empty() || watches(definition, &filter))
        });
        sort(&mut all, &sorting, compare);
        let (page, next) = rows(all, offset, limit);
        let elements = page.into_iter().map(|one| DefinitionObject::new(&call.place, one));
        let elements = elements.collect();
        Ok(Json(Listing { links: call.place.page(next.as_deref()), elements }))
    })
    .await
}

/// Whether all of a filter holds for the dimensions written in one part.
fn watches(definition: &Definition, filter: &DimensionFilter) -> bool {
    let holds = |dimensions: &Dimensions| filter.holds(|key| dimensions.get(key));
    definition.metrics.iter().any(|(_, dimensions)| holds(dimensions))
}

/// `GET` one.
pub(super) async fn show(call: Call) -> Result<Json<DefinitionObject>, Failure> {
    call.run(|call| {
        let tenant = known_tenant(call)?;
        let definition = call.services.alarms.definition(tenant, call.id())?;
        Ok(Json(DefinitionObject::new(&call.place, definition)))
    })
    .await
}

/// `PUT`
pub(super) async fn replace(
    call: Call,
    payload: Payload,
) -> Result<Json<DefinitionObject>, Failure> {
    update(call, payload, Required).await
}

/// `PATCH`
pub(super) async fn change(
    call: Call,
    payload: Payload,
) -> Result<Json<DefinitionObject>, Failure> {
    update(call, payload, Optional).await
}

async fn update(
    call: Call,
    payload: Payload,
    presence: Presence,
) -> Result<Json<DefinitionObject>, Failure> {
    payload.may_be_json()?;
    let body = payload.json()?;
    // The one text that differs between PUT and PATCH.
    let severity = body.get("severity").and_then(Value::as_str);
    if presence == Optional && severity.is_some_and(|text| parse_severity(text).is_none()) {
        return Err(Failure::unprocessable("Invalid severity"));
    }
    let patch = patch(&body, presence).map_err(Failure::unprocessable)?;
    call.run(|call| {
        let tenant = known_tenant(call)?;
        let definition = call.services.alarms.update_definition(tenant, call.id(), patch)?;
        Ok(Json(DefinitionObject::new(&call.place, definition)))
    })
    .await
}

/// `DELETE`
pub(super) async fn delete(call: Call) -> Result<StatusCode, Failure> {
    call.run(|call| {
        call.services.alarms.delete_definition(known_tenant(call)?, call.id())?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// A change that does not say of what.
pub(super) async fn without_id() -> Failure {
    Failure::bad_request_capital("Alarm definition ID not provided")
}

fn known_tenant(call: &Call) -> Result<TenantId, Failure> {
    let missing = || Failure::not_found(format!("no alarm definition has the id {}", call.id()));
    call.tenant().ok_or_else(missing)
}

/// The whole definition that a body writes.
fn spec(body: &Value) -> Result<DefinitionSpec, String> {
    // What has no default must be there; the rest comes from the patch.
    let fields = Fields::of(body)?;
    fields.any("name", Required)?;
    fields.any("expression", Required)?;
    let patch = patch(body, Optional)?;
    Ok(DefinitionSpec {
        name: patch.name.unwrap_or_default(),
        description: patch.description.unwrap_or_default(),
        expression: patch.expression.unwrap_or_default(),
        match_by: patch.match_by.unwrap_or_default(),
        severity: patch.severity.unwrap_or_default(),
        // The reference ignores what is asked for here, and no client sends it.
        actions_enabled: true,
        alarm_actions: patch.alarm_actions.unwrap_or_default(),
        ok_actions: patch.ok_actions.unwrap_or_default(),
        undetermined_actions: patch.undetermined_actions.unwrap_or_default(),
        undetermined_logic: patch.undetermined_logic.unwrap_or_default(),
        empty_coefficient: patch.empty_coefficient.unwrap_or(EMPTY_COEFFICIENT_DEFAULT),
    })
}

/// The changes that a body writes.
fn patch(body: &Value, presence: Presence) -> Result<DefinitionPatch, String> {
    let fields = Fields::of(body)?;
    let name = fields.text("name", NAME_CHARS_MAX, presence)?;
    if name.as_ref().is_some_and(String::is_empty) {
        return Err(of_value("name", "length of value must be at least 1"));
    }
    Ok(DefinitionPatch {
        name,
        expression: fields.text("expression", EXPRESSION_CHARS_MAX, presence)?,
        description: fields.text("description", NAME_CHARS_MAX, presence)?,
        severity: severity(&fields, presence)?,
        match_by: match_by(&fields, presence)?,
        alarm_actions: actions(&fields, "alarm_actions", "ALARM", presence)?,
        ok_actions: actions(&fields, "ok_actions", "OK", presence)?,
        undetermined_actions: actions(&fields, "undetermined_actions", "UNDETERMINED", presence)?,
        actions_enabled: fields.switch("actions_enabled", presence)?,
        undetermined_logic: undetermined_logic(&fields)?,
        empty_coefficient: empty_coefficient(&fields)?,
    })
}

fn severity(fields: &Fields<'_>, presence: Presence) -> Result<Option<Severity>, String> {
    let Some(value) = fields.any("severity", presence)? else {
        return Ok(None);
    };
    let severity = value.as_str().and_then(parse_severity);
    let invalid = || of_value("severity", "not a valid value");
    severity.map(Some).ok_or_else(invalid)
}

/// A severity in any case.
pub(super) fn parse_severity(text: &str) -> Option<Severity> {
    match text.to_ascii_uppercase().as_str() {
        "LOW" => Some(Severity::Low),
        "MEDIUM" => Some(Severity::Medium),
        "HIGH" => Some(Severity::High),
        "CRITICAL" => Some(Severity::Critical),
        _ => None,
    }
}

/// How a severity is written.
pub(super) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    }
}

/// The `severity` parameter of lists: one or more, joined by `|`.
pub(super) fn severities(parameters: &Parameters) -> Result<Option<Vec<Severity>>, Failure> {
    let Some(text) = parameters.one("severity")? else {
        return Ok(None);
    };
    let parse = |part: &str| {
        parse_severity(part).ok_or_else(|| {
            let text =
                format!("Severity {part} must be one of ['LOW', 'MEDIUM', 'HIGH', 'CRITICAL']");
            Failure::titled("Invalid Severity", text)
        })
    };
    let severities: Vec<Severity> = parts(text).map(parse).collect::<Result<_, _>>()?;
    Ok((!severities.is_empty()).then_some(severities))
}

fn match_by(fields: &Fields<'_>, presence: Presence) -> Result<Option<Vec<String>>, String> {
    let names = fields.texts("match_by", presence, |_| "expected a list".into())?;
    for name in names.iter().flatten() {
        rules::check_dimension_name(name)?;
    }
    Ok(names)
}

fn actions(
    fields: &Fields<'_>,
    name: &str,
    state: &str,
    presence: Presence,
) -> Result<Option<Vec<String>>, String> {
    let not_a_list = |value: &Value| format!("Not a list: <class '{}'>", class_of(value));
    let ids = fields.texts(name, presence, not_a_list)?;
    let mut earlier = HashSet::new();
    for id in ids.iter().flatten() {
        if id.chars().count() > ACTION_CHARS_MAX {
            let text = format!("length of value must be at most {ACTION_CHARS_MAX}");
            return Err(of_value(name, &text));
        }
        if !earlier.insert(id) {
            return Err(of_value(name, &format!("Duplicate {state} notification method {id}")));
        }
    }
    Ok(ids)
}

fn undetermined_logic(fields: &Fields<'_>) -> Result<Option<UndeterminedLogic>, String> {
    match fields.any("undetermined_logic", Optional)?.map(Value::as_str) {
        None => Ok(None),
        Some(Some("strict")) => Ok(Some(UndeterminedLogic::Strict)),
        Some(Some("kleene")) => Ok(Some(UndeterminedLogic::Kleene)),
        Some(_) => Err(of_value("undetermined_logic", "expected 'strict' or 'kleene'")),
    }
}

fn empty_coefficient(fields: &Fields<'_>) -> Result<Option<u32>, String> {
    let Some(value) = fields.any("empty_coefficient", Optional)? else {
        return Ok(None);
    };
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n >= 1);
    let invalid = || of_value("empty_coefficient", "expected an integer of at least 1");
    number.map(Some).ok_or_else(invalid)
}

/// What the list can be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SortField {
    Id,
    Name,
    Severity,
    Updated,
    Created,
}

const SORT_FIELDS: [(&str, SortField); 5] = [
    ("id", SortField::Id),
    ("name", SortField::Name),
    ("severity", SortField::Severity),
    ("updated_at", SortField::Updated),
    ("created_at", SortField::Created),
];

fn compare(a: &Definition, b: &Definition, field: SortField) -> Ordering {
    match field {
        SortField::Id => a.id.cmp(&b.id),
        SortField::Name => a.spec.name.cmp(&b.spec.name),
        SortField::Severity => a.spec.severity.cmp(&b.spec.severity),
        SortField::Updated => a.updated.cmp(&b.updated),
        SortField::Created => a.created.cmp(&b.created),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_with_the_least_gets_defaults() {
        let spec = spec(&json!({"name": "n", "expression": "a > 1", "else": 1})).unwrap();
        assert_eq!((spec.name.as_str(), spec.expression.as_str()), ("n", "a > 1"));
        assert_eq!((spec.severity, spec.actions_enabled), (Severity::Low, true));
        assert_eq!(
            (spec.empty_coefficient, spec.undetermined_logic),
            (2, UndeterminedLogic::Strict)
        );
        assert!(spec.match_by.is_empty() && spec.alarm_actions.is_empty());
    }

    #[test]
    fn a_body_with_everything_is_taken_over() {
        let spec = spec(&json!({
            "name": "n", "expression": "e", "description": "d", "severity": "high",
            "match_by": ["hostname"], "alarm_actions": ["a"], "ok_actions": ["b"],
            "undetermined_actions": ["c"], "actions_enabled": false,
            "undetermined_logic": "kleene", "empty_coefficient": 5,
        }))
        .unwrap();
        assert_eq!((spec.severity, spec.actions_enabled), (Severity::High, true));
        assert_eq!((spec.description.as_str(), spec.match_by), ("d", vec!["hostname".to_owned()]));
        assert_eq!(
            (spec.empty_coefficient, spec.undetermined_logic),
            (5, UndeterminedLogic::Kleene)
        );
    }

    #[test]
    fn mistakes_have_their_texts() {
        let check = |change: Value, want: &str| {
            let mut body = json!({"name": "n", "expression": "a > 1"});
            for (key, value) in change.as_object().unwrap() {
                body[key] = value.clone();
            }
            assert_eq!(spec(&body).unwrap_err(), want, "{body}");
        };
        let long = "x".repeat(256);
        let at = |key: &str| format!("for dictionary value @ data['{key}']");
        assert_eq!(spec(&json!([])).unwrap_err(), "expected a dictionary");
        assert_eq!(
            spec(&json!({"expression": "e"})).unwrap_err(),
            "required key not provided @ data['name']"
        );
        assert_eq!(
            spec(&json!({"name": "n"})).unwrap_err(),
            "required key not provided @ data['expression']"
        );
        check(
            json!({"name": long}),
            &format!("length of value must be at most 255 {}", at("name")),
        );
        check(json!({"name": ""}), &format!("length of value must be at least 1 {}", at("name")));
        check(json!({"name": 5}), &format!("expected str {}", at("name")));
        check(json!({"description": null}), &format!("expected str {}", at("description")));
        check(json!({"severity": "x"}), &format!("not a valid value {}", at("severity")));
        check(json!({"match_by": "x"}), &format!("expected a list {}", at("match_by")));
        check(json!({"match_by": ["a<b"]}), "invalid characters in dimension key a<b");
        check(
            json!({"alarm_actions": ["X", "X"]}),
            &format!("Duplicate ALARM notification method X {}", at("alarm_actions")),
        );
        check(
            json!({"alarm_actions": "X"}),
            &format!("Not a list: <class 'str'> {}", at("alarm_actions")),
        );
        check(
            json!({"ok_actions": ["x".repeat(51)]}),
            &format!("length of value must be at most 50 {}", at("ok_actions")),
        );
        check(
            json!({"actions_enabled": "false"}),
            &format!("expected bool {}", at("actions_enabled")),
        );
        check(
            json!({"undetermined_logic": "x"}),
            &format!("expected 'strict' or 'kleene' {}", at("undetermined_logic")),
        );
        check(
            json!({"empty_coefficient": 0}),
            &format!("expected an integer of at least 1 {}", at("empty_coefficient")),
        );
    }

    #[test]
    fn a_replacement_needs_every_field() {
        let names = [
            "name",
            "expression",
            "description",
            "severity",
            "match_by",
            "alarm_actions",
            "ok_actions",
            "undetermined_actions",
            "actions_enabled",
        ];
        let mut body = json!({});
        for name in names {
            let want = format!("required key not provided @ data['{name}']");
            assert_eq!(patch(&body, Required).unwrap_err(), want);
            body[name] = match name {
                "severity" => json!("LOW"),
                "actions_enabled" => json!(true),
                "name" | "expression" | "description" => json!("x"),
                _ => json!([]),
            };
        }
        let whole = patch(&body, Required).unwrap();
        assert_eq!(whole.actions_enabled, Some(true));
        assert_eq!(patch(&json!({}), Optional).unwrap(), DefinitionPatch::default());
    }

    #[test]
    fn severities_are_joined_by_bars() {
        let check = |query: &str, want: Result<Option<Vec<Severity>>, &str>| {
            let got = severities(&Parameters::parse(query)).map_err(|f| f.description);
            assert_eq!(got, want.map_err(str::to_owned), "{query}");
        };
        check("", Ok(None));
        check("severity=low%7CHIGH", Ok(Some(vec![Severity::Low, Severity::High])));
        let text = "Severity foo must be one of ['LOW', 'MEDIUM', 'HIGH', 'CRITICAL']";
        check("severity=LOW%7Cfoo", Err(text));
    }
}
