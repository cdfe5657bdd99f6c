//! Which requests are sent: those of a file, or such as an API's own lists suggest.

use anyhow::{Context, bail};
use reqwest::Url;
use serde_json::Value;

use crate::client::Client;

/// Dimensions whose values are compared.
const DIMENSIONS_MAX: usize = 20;

/// A request to send to both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query {
    /// Path and query.
    pub(crate) target: String,
}

impl Query {
    /// The resource.
    pub(crate) fn path(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        path.strip_suffix('/').unwrap_or(path)
    }

    /// Whether it asks for a page, not for all.
    pub(crate) fn is_page(&self) -> bool {
        self.has("offset") || self.has("limit")
    }

    /// Whether it has this parameter.
    pub(crate) fn has(&self, name: &str) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|part| part.split('=').next() == Some(name))
    }

    /// The same from an offset on.
    pub(crate) fn at(&self, offset: &str) -> String {
        target(&self.target, &[("offset", offset)])
    }
}

/// The GET requests of a file's lines.
pub(crate) fn of_lines(text: &str) -> Vec<Query> {
    text.lines().filter_map(of_line).collect()
}

/// `/v2.0/metrics?name=a`, `http://h/v2.0/metrics`, `GET /v2.0/metrics`, or an access log's line with the
/// last in quotes.
fn of_line(line: &str) -> Option<Query> {
    let line = line.trim();
    let word = match line.split_once("GET ") {
        Some((_, rest)) => rest.split_whitespace().next()?,
        None if line.starts_with('/') || line.starts_with("http") => {
            line.split_whitespace().next()?
        }
        None => return None,
    };
    let word = word.trim_end_matches('"');
    let target = match word.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
        None => word,
    };
    target.starts_with('/').then(|| Query { target: target.to_owned() })
}

/// Requests about what an API has: its lists, and the values of some metrics from `start` to `end`.
pub(crate) async fn of_lists(
    api: &Client,
    sample: usize,
    start: &str,
    end: &str,
) -> anyhow::Result<Vec<Query>> {
    let mut targets: Vec<String> = [
        "/v2.0",
        "/v2.0/metrics/names",
        "/v2.0/metrics/dimensions/names",
        "/v2.0/alarm-definitions",
        "/v2.0/alarms",
        "/v2.0/alarms/count?group_by=name,state,severity",
        "/v2.0/notification-methods",
        "/v2.0/notification-methods/types",
    ]
    .map(str::to_owned)
    .to_vec();
    let dimensions = texts(api, "/v2.0/metrics/dimensions/names", "dimension_name").await?;
    for name in evenly(&dimensions, DIMENSIONS_MAX) {
        targets.push(target(
            "/v2.0/metrics/dimensions/names/values",
            &[("dimension_name", name.as_str())],
        ));
    }
    let names = texts(api, "/v2.0/metrics/names", "name").await?;
    let span = [("start_time", start), ("end_time", end)];
    for name in evenly(&names, sample) {
        let name = [("name", name.as_str())];
        targets.push(target("/v2.0/metrics", &name));
        let of_metric = [name.as_slice(), &span].concat();
        let grouped = [of_metric.as_slice(), &[("group_by", "*")]].concat();
        targets.push(target("/v2.0/metrics/measurements", &grouped));
        for how in [("group_by", "*"), ("merge_metrics", "true")] {
            let statistics = [("statistics", "avg,min,max,count,sum"), ("period", "300"), how];
            let asked = [of_metric.as_slice(), &statistics].concat();
            targets.push(target("/v2.0/metrics/statistics", &asked));
        }
    }
    Ok(targets.into_iter().map(|target| Query { target }).collect())
}

/// What the elements of a list are called, its first page.
async fn texts(api: &Client, list: &str, field: &str) -> anyhow::Result<Vec<String>> {
    let answer = api.ask(list).await?;
    if answer.status != 200 {
        bail!("{}{list} answers {}: {}", api.base(), answer.status, answer.body);
    }
    let elements = answer.body.get("elements").and_then(Value::as_array);
    let elements = elements.with_context(|| format!("{}{list} has no elements", api.base()))?;
    let text = |element: &Value| element.get(field)?.as_str().map(str::to_owned);
    Ok(elements.iter().filter_map(text).collect())
}

/// At most `wanted` of `all`, as far apart as can be.
fn evenly(all: &[String], wanted: usize) -> impl Iterator<Item = &String> {
    all.iter().step_by(all.len().div_ceil(wanted.max(1)).max(1)).take(wanted)
}

/// A path and its query with more parameters.
fn target(path: &str, parameters: &[(&str, &str)]) -> String {
    // The host stands for any: only what is behind it is used.
    let url = Url::parse("http://api").and_then(|base| base.join(path));
    let Ok(mut url) = url else { return path.to_owned() };
    url.query_pairs_mut().extend_pairs(parameters);
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_kinds_are_requests() {
        let check = |line: &str, want: Option<&str>| {
            let got = of_line(line);
            assert_eq!(got.as_ref().map(|query| query.target.as_str()), want, "{line}");
        };
        check("/v2.0/metrics?name=a", Some("/v2.0/metrics?name=a"));
        check("  GET /v2.0/alarms HTTP/1.1", Some("/v2.0/alarms"));
        check("https://h:8070/v2.0/alarms?limit=1", Some("/v2.0/alarms?limit=1"));
        check(
            r#"10.0.0.1 - - [20/Nov/2026] "GET /v2.0/metrics/names?offset=a HTTP/1.1" 200 51"#,
            Some("/v2.0/metrics/names?offset=a"),
        );
        check(r#"10.0.0.1 - - "POST /v2.0/metrics HTTP/1.1" 204"#, None);
        check("# a comment", None);
        check("", None);
    }

    #[test]
    fn samples_are_spread() {
        let all: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let check = |wanted: usize, want: &[&str]| {
            assert_eq!(evenly(&all, wanted).collect::<Vec<_>>(), want);
        };
        check(0, &[]);
        check(1, &["0"]);
        check(3, &["0", "4", "8"]);
        check(99, &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(evenly(&[], 3).count(), 0);
    }

    #[test]
    fn parameters_are_encoded() {
        let query = Query { target: target("/v2.0/metrics", &[("name", "a b&c")]) };
        assert_eq!(query.target, "/v2.0/metrics?name=a+b%26c");
        assert_eq!(query.at("7_x"), "/v2.0/metrics?name=a+b%26c&offset=7_x");
        assert!(!query.is_page() && query.has("name"));
        assert_eq!(Query { target: "/v2.0/alarms/?limit=1".into() }.path(), "/v2.0/alarms");
        assert!(Query { target: "/v2.0/alarms/?limit=1".into() }.is_page());
    }
}
