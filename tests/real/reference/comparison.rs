//! Two servers that are asked the same, and what differs in their answers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use moneta_server::Running;
use moneta_storage::clock::ManualClock;
use moneta_tests::server;
use moneta_tests::wait::until;
use reqwest::{Client, Method, Url};
use serde_json::{Map, Value};
use tempfile::TempDir;

use super::stack::Reference;

/// What users read about differences.
const DOCUMENT: &str = include_str!("../../../server/API.md");
const TENANT: &str = "t1";

/// Fields whose times each side takes from its own clock.
const OWN_TIMES: [&str; 4] =
    ["created_timestamp", "updated_timestamp", "state_updated_timestamp", "timestamp"];

/// The reference and a server of ours.
pub(crate) struct Pair {
    pub(crate) reference: Reference,
    running: Running,
    /// Stands still, so that no alarm changes by itself.
    now: i64,
    _folder: TempDir,
    client: Client,
    /// Ids that each side gave, by the names that stand for them.
    ids: [BTreeMap<String, String>; 2],
    requests: usize,
    wrong: usize,
}

/// A request, in whose texts `{name}` stands for an id that was given before.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: Method,
    target: String,
    body: Option<String>,
    keep: Option<&'static str>,
    differs: Option<&'static str>,
}

impl Request {
    /// GET of what comes after `/v2.0`.
    pub(crate) fn get(target: impl AsRef<str>) -> Request {
        let target = format!("/v2.0{}", target.as_ref());
        Request { method: Method::GET, target, body: None, keep: None, differs: None }
    }

    /// Another method, without a body.
    pub(crate) fn of(method: &str, target: impl AsRef<str>) -> Request {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Request { method, ..Request::get(target) }
    }

    /// With a body of JSON.
    pub(crate) fn send(method: &str, target: impl AsRef<str>, body: Value) -> Request {
        Request { body: Some(body.to_string()), ..Request::of(method, target) }
    }

    /// With a body that may be anything.
    pub(crate) fn text(method: &str, target: impl AsRef<str>, body: &str) -> Request {
        Request { body: Some(body.to_owned()), ..Request::of(method, target) }
    }

    /// The id in the answer is called so from here on.
    pub(crate) fn keep(self, name: &'static str) -> Request {
        Request { keep: Some(name), ..self }
    }

    /// The answers differ, and this part of `server/API.md` says so.
    pub(crate) fn differs(self, line: &'static str) -> Request {
        Request { differs: Some(line), ..self }
    }
}

/// Status and body.
pub(crate) type Answer = (u16, Value);

impl Pair {
    pub(crate) async fn start() -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now().as_millisecond();
        let clock = ManualClock::at(moneta_storage::model::Timestamp::from_millis(now));
        let region = [("server.region", "RegionOne")];
        let running = server::start(&folder.path().join("data"), clock, &region).await.unwrap();
        Pair {
            reference: Reference::start().await,
            running,
            now,
            _folder: folder,
            client: Client::new(),
            ids: Default::default(),
            requests: 0,
            wrong: 0,
        }
    }

    /// Ends both; nothing may have differed without a line that says so.
    pub(crate) async fn finish(self) {
        self.running.shutdown().await.unwrap();
        assert_eq!(self.wrong, 0, "of {} requests", self.requests);
        println!("{} requests", self.requests);
    }

    /// The time at ours, milliseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// Remembers what one side calls a thing.
    pub(crate) fn know(&mut self, name: &str, ids: [&str; 2]) {
        for (known, id) in self.ids.iter_mut().zip(ids) {
            known.insert(name.to_owned(), id.to_owned());
        }
    }

    /// What one side calls a thing: 0 the reference, 1 ours.
    pub(crate) fn id(&self, side: usize, name: &str) -> &str {
        &self.ids[side][name]
    }

    /// Asks both and notes what differs.
    pub(crate) async fn compare(&mut self, request: Request) -> [Answer; 2] {
        self.requests += 1;
        let [old, new] = [self.ask(0, &request).await, self.ask(1, &request).await];
        if let Some(name) = request.keep {
            let given = [&old, &new].map(|(_, body)| body["id"].as_str().unwrap_or_default());
            if given.contains(&"") {
                self.complain(format!("{request:?} gives no id:\n  {old:?}\n  {new:?}"));
            } else {
                self.know(name, given);
            }
        }
        let [was, is] = [self.normal(0, &request, &old), self.normal(1, &request, &new)];
        match request.differs {
            None if was != is => {
                let [was, is] = from_difference(&was, &is);
                self.complain(format!("{request:?}\n  reference {was}\n  ours      {is}"));
            }
            Some(line) if was == is => {
                self.complain(format!("{request:?}\n  does not differ: {line}"));
            }
            Some(line) if !DOCUMENT.contains(line) => {
                self.complain(format!("{request:?}\n  API.md does not say: {line}"));
            }
            None | Some(_) => {}
        }
        [old, new]
    }

    /// Told at once, in case nothing more comes.
    fn complain(&mut self, text: String) {
        eprintln!("{text}");
        self.wrong += 1;
    }

    pub(crate) async fn compare_all(&mut self, requests: impl IntoIterator<Item = Request>) {
        for request in requests {
            self.compare(request).await;
        }
    }

    /// Asks the reference until its answer is as wanted: the persister takes its time.
    pub(crate) async fn await_reference(&self, request: &Request, wanted: impl Fn(&Value) -> bool) {
        until("the reference", async || {
            let (status, body) = self.ask(0, request).await;
            let there = status == 200 && wanted(&body);
            let seen = || format!("{request:?}: {status} {body}\n{}", self.reference.logs());
            if there { Ok(()) } else { Err(seen()) }
        })
        .await;
    }

    /// Asks one side.
    pub(crate) async fn ask(&self, side: usize, request: &Request) -> Answer {
        let filled = |text: &str| {
            let fill = |text: String, (name, id): (&String, &String)| {
                text.replace(&format!("{{{name}}}"), id)
            };
            self.ids[side].iter().fold(text.to_owned(), fill)
        };
        let url = format!("{}{}", self.url(side), filled(&request.target));
        let mut call = self
            .client
            .request(request.method.clone(), url)
            .header("x-project-id", TENANT)
            .header("x-roles", "monasca-user")
            .header("content-type", "application/json");
        if let Some(body) = &request.body {
            call = call.body(filled(body));
        }
        let answer = call.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn url(&self, side: usize) -> String {
        match side {
            0 => self.reference.url().to_owned(),
            _ => format!("http://{}", self.running.address()),
        }
    }

    /// An answer without what is each side's own.
    fn normal(&self, side: usize, request: &Request, (status, body): &Answer) -> String {
        let own = Own {
            base: self.url(side),
            ids: &self.ids[side],
            of_series: request.target.starts_with("/v2.0/metrics"),
            of_history: request.target.contains("/state-history"),
            in_order: request.target.contains("sort_by="),
        };
        format!("{status} {}", own.normal(body))
    }
}

/// What is one side's own.
struct Own<'a> {
    base: String,
    ids: &'a BTreeMap<String, String>,
    /// Ids of elements are those of series.
    of_series: bool,
    /// Ids of elements are made of times.
    of_history: bool,
    /// The order of elements was asked for.
    in_order: bool,
}

impl Own<'_> {
    fn normal(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => self.object(fields),
            Value::Array(values) => values.iter().map(|value| self.normal(value)).collect(),
            Value::String(text) => self.text(text).into(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn object(&self, fields: &Map<String, Value>) -> Value {
        let mut normal = Map::new();
        let is_error = fields.contains_key("title");
        for (name, value) in fields {
            let value = match (name.as_str(), value) {
                // Ours repeats the description, for clients that look for it there.
                ("message", _) if is_error => continue,
                ("description", Value::String(text)) if is_error => self.told(fields, text).into(),
                ("href", Value::String(text)) => self.link(text).into(),
                ("id", Value::String(_)) if self.of_series || self.of_history => "id".into(),
                (name, Value::String(_)) if OWN_TIMES.contains(&name) => "time".into(),
                ("elements", Value::Array(elements)) if !self.of_series && !self.in_order => {
                    self.sorted(elements)
                }
                ("metrics", Value::Array(metrics)) => self.sorted(metrics),
                (_, value) => self.normal(value),
            };
            normal.insert(name.clone(), value);
        }
        if is_error && normal.get("description").is_some_and(|text| text == "") {
            normal.remove("description");
        }
        Value::Object(normal)
    }

    /// Values whose order means nothing.
    fn sorted(&self, values: &[Value]) -> Value {
        let mut values: Vec<Value> = values.iter().map(|value| self.normal(value)).collect();
        values.sort_by_key(Value::to_string);
        values.into()
    }

    /// Texts of bytes lose their wrapping, enumerations their order.
    fn told(&self, fields: &Map<String, Value>, text: &str) -> String {
        // The reference says nothing more than its title there.
        let title = fields["title"].as_str().unwrap_or_default();
        if title.starts_with("404 ") || title.starts_with("405 ") {
            return String::new();
        }
        let mut text = self.text(text);
        while let Some((before, rest)) = text.split_once("b'") {
            let Some((inner, after)) = rest.split_once('\'') else { break };
            text = format!("{before}{inner}{after}");
        }
        for verb in [" be one of ", " are not in "] {
            let Some((before, choices)) = text.split_once(verb) else { continue };
            let choices: BTreeSet<&str> = choices
                .split(['[', ']', '{', '}', ',', '\'', ' '])
                .filter(|choice| !choice.is_empty())
                .collect();
            return format!("{before}{verb}{choices:?}");
        }
        text
    }

    /// A link decoded; where it goes on is each side's own.
    fn link(&self, text: &str) -> String {
        let decoded = |text: &str| -> BTreeMap<String, String> {
            Url::parse(text).unwrap().query_pairs().into_owned().collect()
        };
        let mut parameters = decoded(text);
        for value in parameters.values_mut() {
            // The reference encodes twice.
            let again = decoded(&format!("http://host/?value={}", value.replace('&', "%26")));
            *value = self.text(&again["value"]);
        }
        if let Some(offset) = parameters.get_mut("offset") {
            offset.clear();
        }
        let path = text.split('?').next().unwrap_or_default();
        // The reference writes the id behind a path that ends in it.
        format!("{} {parameters:?}", self.text(path))
    }

    /// Known ids by their names, others as what they are.
    fn text(&self, text: &str) -> String {
        let named = |text: String, (name, id): (&String, &String)| {
            text.replace(id.as_str(), &format!("{{{name}}}"))
        };
        let text = self.ids.iter().fold(text.replace(&self.base, ""), named);
        text.split_inclusive(['/', '?', ' '])
            .map(|part| {
                let (word, end) = match part.strip_suffix(['/', '?', ' ']) {
                    Some(word) => (word, &part[word.len()..]),
                    None => (part, ""),
                };
                let is_id = word.len() == 36
                    && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
                format!("{}{end}", if is_id { "uuid" } else { word })
            })
            .collect()
    }
}

/// A little of two texts, from just before where they part.
fn from_difference(one: &str, other: &str) -> [String; 2] {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.chars().skip(same.saturating_sub(60)).take(300).collect();
    [part(one), part(other)]
}
