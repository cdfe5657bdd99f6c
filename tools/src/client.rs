//! Speaks HTTP to a server.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

/// An answer is waited for this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// One to a request that reads or writes many files, on a slow disk for hours.
const PATIENT_TIMEOUT: Duration = Duration::from_secs(6 * 3600);

/// Which server, and as whom.
#[derive(Args, Clone)]
pub(crate) struct Connection {
    /// The server
    #[arg(long, env = "MONETA_URL", default_value = "http://127.0.0.1:8070", value_name = "URL")]
    url: String,
    /// Tenant to act for (header X-Project-Id); the server's default tenant without it
    #[arg(long, env = "MONETA_TENANT", value_name = "TENANT")]
    tenant: Option<String>,
    /// Token to show (header X-Auth-Token)
    #[arg(long, env = "MONETA_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
}

/// Why a request was not answered as wanted.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// No answer.
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// An answer with an error status.
    Refused {
        /// The status.
        status: StatusCode,
        /// What the server says about it.
        text: String,
    },
    /// An answer that is not what the API promises.
    Unreadable {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Unreachable { url, reason } => {
                write!(f, "no answer from {url}: {reason}")
            }
            RequestError::Refused { status, text } if text.is_empty() => {
                write!(f, "the server refused: {status}")
            }
            RequestError::Refused { status, text } => {
                write!(f, "the server refused: {status}: {text}")
            }
            RequestError::Unreadable { url, reason } => {
                write!(f, "the answer from {url} cannot be read: {reason}")
            }
        }
    }
}

impl std::error::Error for RequestError {}

/// A server as one caller sees it.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    tenant: Option<String>,
    token: Option<String>,
    timeout: Duration,
}

/// What a server says, whatever it is.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// JSON; a text if it is none.
    pub(crate) body: Value,
}

impl Connection {
    /// A server that is not the usual one.
    pub(crate) fn to(url: String, tenant: Option<String>, token: Option<String>) -> Self {
        Connection { url, tenant, token }
    }

    /// The server; nothing is sent yet.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let base = base_url(&self.url)?;
        let mut http =
            reqwest::Client::builder().user_agent(concat!("moneta/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            // A proxy would reach its own loopback, not ours.
            http = http.no_proxy();
        }
        let http = http.build().context("the HTTP client cannot start")?;
        // A variable that is set to nothing is as good as none.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (tenant, token) = (given(&self.tenant), given(&self.token));
        Ok(Client { http, base, tenant, token, timeout: ANSWER_TIMEOUT })
    }
}

impl Client {
    /// The same, waiting for answers as long as reading or writing many files may take.
    pub(crate) fn patient(self) -> Self {
        Client { timeout: PATIENT_TIMEOUT, ..self }
    }

    /// The tenant to act for, if one was named.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The address of the server.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// GET of a resource that answers JSON.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        parameters: &[(&str, String)],
    ) -> Result<Value, RequestError> {
        let mut url = self.url(path);
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let text = self.send(Method::GET, url.clone(), None).await?;
        read_json(&url, &text)
    }

    /// GET of a path with its query as they stand; a refusal is an answer, too.
    pub(crate) async fn ask(&self, target: &str) -> Result<Answer, RequestError> {
        let address = format!("{}{target}", self.base.as_str().trim_end_matches('/'));
        let url = Url::parse(&address).map_err(|error| RequestError::Unreachable {
            url: address.clone(),
            reason: error.to_string(),
        })?;
        let (status, text) = self.answer(Method::GET, url, &[], None).await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status: status.as_u16(), body })
    }

    /// Every element of a list, all pages together.
    pub(crate) async fn list(&self, path: &[&str]) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut offset) = (Vec::new(), None);
        loop {
            let parameters: Vec<(&str, String)> =
                offset.clone().map(|offset| ("offset", offset)).into_iter().collect();
            let page = self.get(path, &parameters).await?;
            all.extend(elements(&page)?.iter().cloned());
            match next_offset(&page, &self.base)? {
                Some(next) if offset.as_ref() != Some(&next) => offset = Some(next),
                Some(_) | None => return Ok(all),
            }
        }
    }

    /// POST of JSON; the answer's JSON, null if it is empty.
    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, RequestError> {
        let url = self.url(path);
        let body = body.to_string().into_bytes();
        let text = self.send(Method::POST, url.clone(), Some(body)).await?;
        if text.is_empty() { Ok(Value::Null) } else { read_json(&url, &text) }
    }

    /// PUT of JSON; the answer is not looked at.
    pub(crate) async fn put(&self, path: &[&str], body: &Value) -> Result<(), RequestError> {
        let body = body.to_string().into_bytes();
        self.send(Method::PUT, self.url(path), Some(body)).await.map(drop)
    }

    /// POST of bytes as they are to an address of any server; the answer is not looked at.
    pub(crate) async fn post_bytes(
        &self,
        url: Url,
        headers: &[(&'static str, &'static str)],
        body: Vec<u8>,
    ) -> Result<(), RequestError> {
        self.exchange(Method::POST, url, headers, Some(body)).await.map(drop)
    }

    /// DELETE of a resource.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), RequestError> {
        self.send(Method::DELETE, self.url(path), None).await.map(drop)
    }

    /// DELETE of a resource with parameters.
    pub(crate) async fn delete_with(
        &self,
        path: &[&str],
        parameters: &[(&str, &str)],
    ) -> Result<(), RequestError> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(parameters);
        self.send(Method::DELETE, url, None).await.map(drop)
    }

    /// The address of a resource.
    pub(crate) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<String, RequestError> {
        let json = [("Content-Type", "application/json")];
        let headers = if body.is_some() { json.as_slice() } else { &[] };
        self.exchange(method, url, headers, body).await
    }

    async fn exchange(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, &'static str)],
        body: Option<Vec<u8>>,
    ) -> Result<String, RequestError> {
        let (status, text) = self.answer(method, url, headers, body).await?;
        if status.is_success() {
            Ok(text)
        } else {
            Err(RequestError::Refused { status, text: refusal(status, &text) })
        }
    }

    async fn answer(
        &self,
        method: Method,
        url: Url,
        headers: &[(&'static str, &'static str)],
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, String), RequestError> {
        let mut request = self.http.request(method, url.clone()).timeout(self.timeout);
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Project-Id", tenant);
        }
        if let Some(token) = &self.token {
            request = request.header("X-Auth-Token", token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let unreachable = |error: reqwest::Error| RequestError::Unreachable {
            url: url.to_string(),
            reason: causes(&error),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        Ok((status, text))
    }
}

/// The elements of a page of a list.
pub(crate) fn elements(page: &Value) -> anyhow::Result<&Vec<Value>> {
    page.get("elements").and_then(Value::as_array).context("the answer has no elements")
}

/// The offset that the page's `next` link carries. Following the link itself would go wrong behind
/// a proxy that the server does not know of.
pub(crate) fn next_offset(page: &Value, base: &Url) -> anyhow::Result<Option<String>> {
    let links = page.get("links").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let next = links.iter().find(|link| link.get("rel").and_then(Value::as_str) == Some("next"));
    let Some(next) = next else { return Ok(None) };
    let href = next.get("href").and_then(Value::as_str).unwrap_or_default();
    let url = base.join(href).with_context(|| format!("the next link {href:?} is no URL"))?;
    let offset = url.query_pairs().find(|(name, _)| name == "offset");
    let offset = offset.with_context(|| format!("the next link {href:?} has no offset"))?;
    Ok(Some(offset.1.into_owned()))
}

fn base_url(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).with_context(|| format!("{text:?} is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        bail!("{text:?} is no http:// or https:// URL");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read_json(url: &Url, text: &str) -> Result<Value, RequestError> {
    serde_json::from_str(text).map_err(|error| RequestError::Unreadable {
        url: url.to_string(),
        reason: error.to_string(),
    })
}

/// What an error body says: title and description, or the nested message of older servers, or the
/// beginning of whatever it is.
fn refusal(status: StatusCode, body: &str) -> String {
    const TEXT_CHARS_MAX: usize = 1000;
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let field = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
    let nested = || json.as_object()?.values().find_map(|value| field(value, "message"));
    match (field(&json, "title"), field(&json, "description")) {
        (Some(title), Some(description)) if says_no_more(status, &title) => description,
        (Some(title), Some(description)) => format!("{title}: {description}"),
        (Some(title), None) if says_no_more(status, &title) => String::new(),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => {
            nested().unwrap_or_else(|| body.trim().chars().take(TEXT_CHARS_MAX).collect())
        }
    }
}

/// Whether a title is nothing but the status in words.
fn says_no_more(status: StatusCode, title: &str) -> bool {
    status.canonical_reason() == Some(title) || status.to_string() == title
}

/// An error and what caused it: the outermost text alone says only that a request failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(cause.to_string());
        source = cause.source();
    }
    texts.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_told_in_the_servers_words() {
        let check = |body: &str, want: &str| {
            assert_eq!(refusal(StatusCode::UNPROCESSABLE_ENTITY, body), want);
        };
        check(r#"{"title": "Unprocessable Entity", "description": "no"}"#, "no");
        check(r#"{"title": "Bad request", "description": "no"}"#, "Bad request: no");
        check(r#"{"title": "422 Unprocessable Entity"}"#, "");
        check(r#"{"title": "422 Unprocessable Entity", "description": "no"}"#, "no");
        check(r#"{"title": "Unprocessable Entity"}"#, "");
        check(r#"{"title": "404 Not Found"}"#, "404 Not Found");
        check(r#"{"error": {"code": 401, "message": "who?"}}"#, "who?");
        check(" it broke\n", "it broke");
        check("", "");
    }

    #[test]
    fn paths_are_appended_and_escaped() {
        let connection = Connection { url: "http://h:1/sub/".into(), tenant: None, token: None };
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = connection.client().unwrap();
        assert_eq!(client.url(&["v2.0", "a/b c"]).as_str(), "http://h:1/sub/v2.0/a%2Fb%20c");
    }

    #[test]
    fn urls() {
        assert!(base_url("127.0.0.1:8070").is_err());
        assert!(base_url("ftp://x").is_err());
        let loopback = |text: &str| is_loopback(&base_url(text).unwrap());
        assert!(
            loopback("http://127.0.0.1:1")
                && loopback("http://localhost")
                && loopback("http://[::1]")
        );
        assert!(!loopback("http://example.com"));
    }

    #[test]
    fn the_offset_of_the_next_page_is_decoded_once() {
        let base = Url::parse("http://h:1").unwrap();
        let page = |href: &str| json!({"links": [{"rel": "self"}, {"rel": "next", "href": href}]});
        let offset = |href: &str| next_offset(&page(href), &base);
        let want = Some("ab_2026-11-20T09:07:59.123Z".to_owned());
        let href = "http://other/x?offset=ab_2026-11-20T09%3A07%3A59.123Z&name=a";
        assert_eq!(offset(href).unwrap(), want);
        assert_eq!(offset("?offset=7").unwrap(), Some("7".to_owned()));
        assert!(offset("?name=7").is_err());
        assert_eq!(next_offset(&json!({"links": [{"rel": "self"}]}), &base).unwrap(), None);
    }
}
