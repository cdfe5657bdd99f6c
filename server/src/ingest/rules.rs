//! The rules for metric names, dimensions and `value_meta`, with the error texts clients know. The
//! same rules guard bodies and query parameters. Lengths are in code points.

use std::borrow::Cow;

use moneta_storage::model::Dimensions;

use super::json::Json;
use super::python;

const NAME_CHARS_MAX: usize = 255;
const META_ENTRIES_MAX: usize = 16;
const META_CHARS_MAX: usize = 2048;

fn restricted(c: char) -> bool {
    matches!(c, '<' | '>' | '=' | '{' | '}' | ',' | '"' | '\\' | ';' | '&')
}

/// Code points, as the reference counts them.
fn length(text: &str) -> usize {
    text.chars().count()
}

/// The name of a tenant.
pub(crate) fn check_tenant(name: &str) -> Result<(), &'static str> {
    if !(1..=NAME_CHARS_MAX).contains(&length(name)) || name.chars().any(char::is_control) {
        return Err("a tenant name has 1 to 255 characters and no control characters");
    }
    Ok(())
}

/// A metric name.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if !(1..=NAME_CHARS_MAX).contains(&length(name)) {
        return Err(format!("invalid length for metric name: {name}"));
    }
    if name.chars().any(|c| restricted(c) || matches!(c, '(' | ')' | ' ')) {
        return Err(format!("invalid characters in metric name: {name}"));
    }
    Ok(())
}

/// A dimension name.
pub(crate) fn check_dimension_name(name: &str) -> Result<(), String> {
    let length = length(name);
    if !(1..=NAME_CHARS_MAX).contains(&length) {
        return Err(format!("invalid length ({length}) for dimension key {name}"));
    }
    if name.starts_with('_') || name.chars().any(restricted) {
        return Err(format!("invalid characters in dimension key {name}"));
    }
    Ok(())
}

/// The value of the dimension called `name`.
pub(crate) fn check_dimension_value(name: &str, value: &str) -> Result<(), String> {
    let length = length(value);
    if !(1..=NAME_CHARS_MAX).contains(&length) {
        return Err(format!(
            "invalid length ({length}) for dimension value {value} from key {name}"
        ));
    }
    if value.chars().any(restricted) {
        return Err(format!("invalid characters in dimension value {value} from key {name}"));
    }
    Ok(())
}

/// Dimensions as they stand in a body.
pub(crate) fn check_dimensions(json: &Json<'_>) -> Result<Dimensions, String> {
    let Json::Object(pairs) = json else {
        return Err(format!("invalid dimensions type: {} is not an object", python::display(json)));
    };
    let mut checked = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        check_dimension_name(name)?;
        let Json::Text(value) = value else {
            return Err(format!(
                "invalid dimension value type: {} must be a string (from key {name})",
                python::display(value)
            ));
        };
        check_dimension_value(name, value)?;
        checked.push((name.to_string(), value.to_string()));
    }
    Ok(Dimensions::from_pairs(checked))
}

/// `value_meta` as it stands in a body; the compact text to store, if there is anything in it.
pub(crate) fn check_value_meta(json: &Json<'_>) -> Result<Option<String>, String> {
    let pairs: &[(Cow<'_, str>, Json<'_>)] = match json {
        Json::Null => return Ok(None),
        Json::Object(pairs) => pairs,
        Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            return Err(format!(
                "invalid valueMeta type: {} is not an object",
                python::display(json)
            ));
        }
    };
    if pairs.len() > META_ENTRIES_MAX {
        return Err(format!(
            "Too many valueMeta entries {}, limit is {META_ENTRIES_MAX}: valueMeta {}",
            pairs.len(),
            python::display(json)
        ));
    }
    for (key, value) in pairs {
        if key.is_empty() {
            let value = python::display(value);
            return Err(format!("valueMeta name cannot be empty: key={key}, value={value}"));
        }
        if length(key) > NAME_CHARS_MAX {
            return Err(format!(
                "valueMeta name too long: {key} must be {NAME_CHARS_MAX} characters or less"
            ));
        }
    }
    if python::dumped_length(json) > META_CHARS_MAX {
        return Err(format!(
            "valueMeta name value combinations must be {META_CHARS_MAX} characters or less: \
             valueMeta {}",
            python::display(json)
        ));
    }
    if pairs.is_empty() {
        return Ok(None);
    }
    let mut text = String::new();
    json.write_compact(&mut text);
    Ok(Some(text))
}
