//! The rules a definition has to keep, on creation and on change.

use moneta_storage::model::Timestamp;
use uuid::Uuid;

use crate::error::Error;
use crate::expression::{Expression, Part};
use crate::model::{Definition, DefinitionPatch, DefinitionSpec};
use crate::rule::pair;

/// Most periods that a comparison looks at, two weeks of minutes: an alarm keeps a slot for each.
const PERIODS_MAX: u32 = 20_160;

const TEXT_CHARS_MAX: usize = 255;
const ACTION_CHARS_MAX: usize = 50;
/// Bounds the work of finding keys that contain each other.
const MATCH_BY_MAX: usize = 64;
const ACTIONS_MAX: usize = 1000;

/// The action lists of a definition with the state they are for and their field's name.
pub(crate) fn actions(spec: &DefinitionSpec) -> [(&'static str, &'static str, &[String]); 3] {
    [
        ("ALARM", "alarm_actions", &spec.alarm_actions),
        ("OK", "ok_actions", &spec.ok_actions),
        ("UNDETERMINED", "undetermined_actions", &spec.undetermined_actions),
    ]
}

/// Checks what does not depend on anything else, and reads the expression.
pub(crate) fn check(spec: &DefinitionSpec, window_seconds_max: u32) -> Result<Expression, Error> {
    let field = |text: &str, name: &str| match text.chars().count() {
        0..=TEXT_CHARS_MAX => Ok(()),
        _ => Err(invalid(format!(
            "length of value must be at most {TEXT_CHARS_MAX} for dictionary value @ data['{name}']"
        ))),
    };
    field(&spec.name, "name")?;
    if spec.name.is_empty() {
        return Err(invalid(
            "length of value must be at least 1 for dictionary value @ data['name']",
        ));
    }
    field(&spec.description, "description")?;
    check_match_by(&spec.match_by)?;
    for (state, name, list) in actions(spec) {
        check_actions(state, name, list)?;
    }
    if spec.empty_coefficient == 0 {
        return Err(invalid(
            "value must be at least 1 for dictionary value @ data['empty_coefficient']",
        ));
    }
    let expression = Expression::parse(&spec.expression)?;
    let longest = expression.parts.iter().map(span).max().unwrap_or(0);
    if longest > u64::from(window_seconds_max) {
        return Err(invalid(format!(
            "period times periods is {longest} seconds, at most {window_seconds_max} are allowed"
        )));
    }
    if expression.parts.iter().any(|part| part.periods > PERIODS_MAX) {
        return Err(invalid(format!("times is at most {PERIODS_MAX}")));
    }
    Ok(expression)
}

fn span(part: &Part) -> u64 {
    u64::from(part.period) * u64::from(part.periods)
}

fn invalid(text: impl Into<String>) -> Error {
    Error::Invalid(text.into())
}

fn check_match_by(names: &[String]) -> Result<(), Error> {
    if names.len() > MATCH_BY_MAX {
        return Err(Error::Limit { limit: "match_by", max: MATCH_BY_MAX as u64 });
    }
    for (at, name) in names.iter().enumerate() {
        let length = name.chars().count();
        if length == 0 || length > TEXT_CHARS_MAX {
            return Err(invalid(format!("invalid length ({length}) for dimension key {name}")));
        }
        if name.starts_with('_')
            || name.contains(['<', '>', '=', '{', '}', ',', '"', '\\', ';', '&'])
        {
            return Err(invalid(format!("invalid characters in dimension key {name}")));
        }
        if names.iter().take(at).any(|earlier| earlier == name) {
            return Err(invalid(format!(
                "Duplicate {name} for dictionary value @ data['match_by']"
            )));
        }
    }
    Ok(())
}

fn check_actions(state: &str, field: &str, list: &[String]) -> Result<(), Error> {
    if list.len() > ACTIONS_MAX {
        return Err(Error::Limit { limit: "actions of a definition", max: ACTIONS_MAX as u64 });
    }
    for (at, id) in list.iter().enumerate() {
        if id.chars().count() > ACTION_CHARS_MAX {
            return Err(invalid(format!(
                "length of value must be at most {ACTION_CHARS_MAX} for dictionary value @ data['{field}']"
            )));
        }
        if list.iter().take(at).any(|earlier| earlier == id) {
            return Err(invalid(format!(
                "Duplicate {state} notification method {id} for dictionary value @ data['{field}']"
            )));
        }
    }
    Ok(())
}

/// The text for an action that does not exist.
pub(crate) fn unknown_action(state: &str, id: &str) -> String {
    format!("Non-existent notification id {id} submitted for {state} notification action")
}

/// What `spec` becomes by `patch`.
pub(crate) fn patched(spec: &DefinitionSpec, patch: DefinitionPatch) -> DefinitionSpec {
    DefinitionSpec {
        name: patch.name.unwrap_or_else(|| spec.name.clone()),
        description: patch.description.unwrap_or_else(|| spec.description.clone()),
        expression: patch.expression.unwrap_or_else(|| spec.expression.clone()),
        match_by: patch.match_by.unwrap_or_else(|| spec.match_by.clone()),
        severity: patch.severity.unwrap_or(spec.severity),
        actions_enabled: patch.actions_enabled.unwrap_or(spec.actions_enabled),
        alarm_actions: patch.alarm_actions.unwrap_or_else(|| spec.alarm_actions.clone()),
        ok_actions: patch.ok_actions.unwrap_or_else(|| spec.ok_actions.clone()),
        undetermined_actions: patch
            .undetermined_actions
            .unwrap_or_else(|| spec.undetermined_actions.clone()),
        undetermined_logic: patch.undetermined_logic.unwrap_or(spec.undetermined_logic),
        empty_coefficient: patch.empty_coefficient.unwrap_or(spec.empty_coefficient),
    }
}

/// Refuses a change that existing alarms could not follow.
pub(crate) fn check_update(
    old: &DefinitionSpec,
    old_expression: &Expression,
    new: &DefinitionSpec,
    new_expression: &Expression,
) -> Result<(), Error> {
    let refused = |text: &str| Err(Error::InvalidUpdate(text.to_owned()));
    if old.match_by != new.match_by {
        return refused("match_by must not change");
    }
    if old_expression.parts.len() != new_expression.parts.len() {
        return refused("number of subexpressions must not change");
    }
    if pair(&old_expression.parts, &new_expression.parts).contains(&None) {
        return refused("metrics in subexpression must not change");
    }
    Ok(())
}

/// A definition as it stands after `spec` was checked.
pub(crate) fn build(
    id: Uuid,
    spec: DefinitionSpec,
    expression: &Expression,
    created: Timestamp,
    updated: Timestamp,
) -> Definition {
    let metric = |part: &Part| (part.metric.clone(), part.dimensions.clone());
    Definition {
        id: id.to_string(),
        deterministic: expression.deterministic(),
        metrics: expression.parts.iter().map(metric).collect(),
        spec,
        created,
        updated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Severity, UndeterminedLogic};

    fn spec() -> DefinitionSpec {
        DefinitionSpec {
            name: "n".into(),
            description: String::new(),
            expression: "avg(a{x=y}) > 1".into(),
            match_by: vec!["hostname".into()],
            severity: Severity::Low,
            actions_enabled: true,
            alarm_actions: Vec::new(),
            ok_actions: Vec::new(),
            undetermined_actions: Vec::new(),
            undetermined_logic: UndeterminedLogic::Strict,
            empty_coefficient: 2,
        }
    }

    fn check_spec(change: impl FnOnce(&mut DefinitionSpec), want: &str) {
        let mut spec = spec();
        change(&mut spec);
        let have =
            check(&spec, 1_209_600).map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(have, want);
    }

    #[test]
    fn fields() {
        check_spec(|_| {}, "");
        check_spec(|spec| spec.name = "n".repeat(255), "");
        let too_long = "length of value must be at most 255 for dictionary value @ data['name']";
        check_spec(|spec| spec.name = "n".repeat(256), too_long);
        let empty = "length of value must be at least 1 for dictionary value @ data['name']";
        check_spec(|spec| spec.name.clear(), empty);
        let bad = "invalid characters in dimension key a<b";
        check_spec(|spec| spec.match_by = vec!["a<b".into()], bad);
        let twice =
            "Duplicate ALARM notification method m for dictionary value @ data['alarm_actions']";
        check_spec(|spec| spec.alarm_actions = vec!["m".into(), "m".into()], twice);
        let column = "parser failed on expression 'a' at column 2: expected <, <=, >, >=, lt, lte, gt or gte";
        check_spec(|spec| spec.expression = "a".into(), column);
        let long = "period times periods is 1209610 seconds, at most 1209600 are allowed";
        check_spec(|spec| spec.expression = "avg(a, 10) > 1 times 120961".into(), long);
    }

    fn check_change(expression: &str, match_by: &[&str], want: &str) {
        let (old, mut new) = (spec(), spec());
        new.expression = expression.into();
        new.match_by = match_by.iter().map(|name| (*name).to_owned()).collect();
        let parse = |spec: &DefinitionSpec| Expression::parse(&spec.expression).unwrap();
        let have = check_update(&old, &parse(&old), &new, &parse(&new));
        assert_eq!(have.map_or_else(|error| error.to_string(), |()| String::new()), want);
    }

    #[test]
    fn updates() {
        check_change("max(a{x=y}, deterministic, 5) < 2 times 3", &["hostname"], "");
        check_change("avg(a{x=y}) > 1", &[], "match_by must not change");
        check_change("avg(b) > 1", &["hostname"], "metrics in subexpression must not change");
        let number = "number of subexpressions must not change";
        check_change("avg(a{x=y}) > 1 or b > 1", &["hostname"], number);
    }
}
