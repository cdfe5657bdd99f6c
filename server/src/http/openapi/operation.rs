//! What a route tells of an operation: a line about it, its parameters, what goes in and what comes out.
//! Path, method and right stand in the route itself.

use serde_json::{Value, json};

/// One method of one path.
#[derive(Debug)]
pub(crate) struct Operation {
    /// One line.
    pub(crate) summary: &'static str,
    /// Parameters behind the question mark.
    pub(crate) query: &'static [Parameter],
    /// What has to be sent.
    pub(crate) body: Content,
    /// Answers that are no refusals, and refusals that look otherwise than the rest.
    pub(crate) answers: &'static [(u16, Content)],
}

/// What a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// There is none.
    None,
    /// JSON of a schema.
    Json(&'static str),
    /// Something else, of a media type.
    Other(&'static str),
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) about: &'static str,
    /// What its value may be.
    pub(crate) kind: Kind,
    /// Whether a request without it is refused.
    pub(crate) required: bool,
    /// A value that makes sense; empty if only the server can know one.
    pub(crate) example: &'static str,
}

/// Values of a parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A whole number of at least this.
    Number(u32),
    /// ISO 8601; without a zone UTC.
    Time,
    /// One of these.
    OneOf(&'static [&'static str]),
}

impl Operation {
    /// One that takes nothing, and answers so.
    pub(crate) const fn new(
        summary: &'static str,
        answers: &'static [(u16, Content)],
    ) -> Operation {
        Operation { summary, query: &[], body: Content::None, answers }
    }

    /// With parameters.
    pub(crate) const fn query(self, query: &'static [Parameter]) -> Operation {
        Operation { query, ..self }
    }

    /// With a body of JSON.
    pub(crate) const fn takes(self, schema: &'static str) -> Operation {
        Operation { body: Content::Json(schema), ..self }
    }

    /// With a body of something else.
    pub(crate) const fn takes_other(self, body: Content) -> Operation {
        Operation { body, ..self }
    }
}

impl Parameter {
    /// One that can be left out.
    pub(crate) const fn new(
        name: &'static str,
        kind: Kind,
        example: &'static str,
        about: &'static str,
    ) -> Parameter {
        Parameter { name, about, kind, required: false, example }
    }

    /// The same, but it has to be given.
    pub(crate) const fn required(self) -> Parameter {
        Parameter { required: true, ..self }
    }

    /// As the document shows it.
    pub(crate) fn shown(&self) -> Value {
        let mut parameter = json!({
            "name": self.name, "in": "query", "description": self.about,
            "required": self.required, "schema": self.kind.schema(),
        });
        if let (Some(fields), false) = (parameter.as_object_mut(), self.example.is_empty()) {
            fields.insert("example".to_owned(), self.kind.value(self.example));
        }
        parameter
    }
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Kind::Text => json!({"type": "string"}),
            Kind::Number(least) => json!({"type": "integer", "minimum": least}),
            Kind::Time => json!({"type": "string", "pattern": TIME}),
            Kind::OneOf(values) => json!({"type": "string", "enum": values}),
        }
    }

    fn value(self, text: &str) -> Value {
        match self {
            Kind::Number(_) => text.parse::<u32>().map_or_else(|_| json!(text), |n| json!(n)),
            Kind::Text | Kind::Time | Kind::OneOf(_) => json!(text),
        }
    }
}

/// The most usual of the forms that are read.
const TIME: &str = "^[0-9]{4}(-[0-9]{2}(-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?\
                    (Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?)?)?$";

impl Content {
    /// As `content` of a body or an answer.
    pub(crate) fn shown(self) -> Option<Value> {
        match self {
            Content::None => None,
            Content::Json(schema) => {
                let schema = json!({"$ref": format!("#/components/schemas/{schema}")});
                Some(json!({"application/json": {"schema": schema}}))
            }
            Content::Other(media) => Some(json!({media: {"schema": {"type": "string"}}})),
        }
    }
}
