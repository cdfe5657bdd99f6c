//! `name=value` and `name:value` arguments.

/// A name and its value, split at the first `=` or, if there is none, the first `:`. Neither names
/// nor values may contain `=`; values may well contain `:`.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    match split {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        Some(_) | None => Err("write NAME=VALUE, such as hostname=web1".to_owned()),
    }
}

/// A condition as the API writes it: `name:value`, `name:one|other`, or `name` for any value.
pub(crate) fn parse_condition(text: &str) -> Result<String, String> {
    if text.contains(',') {
        return Err("give -d once per condition instead of a comma".to_owned());
    }
    let (name, value) = text.split_once('=').or_else(|| text.split_once(':')).unwrap_or((text, ""));
    match (name, value) {
        ("", _) => Err("write NAME:VALUE, NAME:ONE|OTHER, or NAME for any value".to_owned()),
        (name, "") => Ok(name.to_owned()),
        (name, value) => Ok(format!("{name}:{value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let check = |text: &str, want: Option<(&str, &str)>| {
            let got = parse(text).ok();
            let got = got.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
            assert_eq!(got, want, "{text}");
        };
        check("host=a", Some(("host", "a")));
        check("host:a", Some(("host", "a")));
        check("url=http://a:1", Some(("url", "http://a:1")));
        check("url:http://a:1", Some(("url", "http://a:1")));
        check("host", None);
        check("host=", None);
        check("=a", None);
    }

    #[test]
    fn conditions() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(parse_condition(text).ok().as_deref(), want, "{text}");
        };
        check("host", Some("host"));
        check("host:", Some("host"));
        check("host:a", Some("host:a"));
        check("host=a|b", Some("host:a|b"));
        check("url:http://a", Some("url:http://a"));
        check(":a", None);
        check("a:b,c:d", None);
    }
}
