//! Fields of JSON bodies, with the error texts that clients of the reference know.

use serde_json::{Map, Value};

/// Whether a field has to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Presence {
    /// A missing one is refused.
    Required,
    /// A missing one is `None`.
    Optional,
}

/// A body that is an object.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The object's fields.
    pub(super) fn of(body: &'a Value) -> Result<Self, String> {
        let object = body.as_object().ok_or("expected a dictionary")?;
        Ok(Fields { object })
    }

    /// Refuses fields other than `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(format!("extra keys not allowed @ data['{key}']")),
            None => Ok(()),
        }
    }

    /// A field of any type.
    pub(super) fn any(&self, name: &str, presence: Presence) -> Result<Option<&'a Value>, String> {
        match (self.object.get(name), presence) {
            (None, Presence::Required) => {
                Err(format!("required key not provided @ data['{name}']"))
            }
            (value, _) => Ok(value),
        }
    }

    /// A text of at most `chars_max` characters.
    pub(super) fn text(
        &self,
        name: &str,
        chars_max: usize,
        presence: Presence,
    ) -> Result<Option<String>, String> {
        let Some(value) = self.any(name, presence)? else {
            return Ok(None);
        };
        let text = value.as_str().ok_or_else(|| of_value(name, "expected str"))?;
        if text.chars().count() > chars_max {
            return Err(of_value(name, &format!("length of value must be at most {chars_max}")));
        }
        Ok(Some(text.to_owned()))
    }

    /// `true` or `false`.
    pub(super) fn switch(&self, name: &str, presence: Presence) -> Result<Option<bool>, String> {
        let value = self.any(name, presence)?;
        let switch = |value: &Value| value.as_bool().ok_or_else(|| of_value(name, "expected bool"));
        value.map(switch).transpose()
    }

    /// A list of texts; `not_a_list` is what a value of another type is told.
    pub(super) fn texts(
        &self,
        name: &str,
        presence: Presence,
        not_a_list: impl Fn(&Value) -> String,
    ) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.any(name, presence)? else {
            return Ok(None);
        };
        let items = value.as_array().ok_or_else(|| of_value(name, &not_a_list(value)))?;
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        let texts = texts.collect::<Option<Vec<String>>>();
        texts.map(Some).ok_or_else(|| of_value(name, "expected a list of str"))
    }
}

/// A complaint about the value of a field.
pub(super) fn of_value(name: &str, complaint: &str) -> String {
    format!("{complaint} for dictionary value @ data['{name}']")
}

/// What the reference calls the type of a value.
pub(super) fn class_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}
