//! `moneta compare`: asks two Monasca APIs the same and tells where their answers differ, for the time
//! in which both run side by side. Only GET is sent.

mod difference;
mod plan;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::client::{Answer, Client, Connection, next_offset};
use crate::time;
use difference::differences;
use plan::Query;

/// Pages that are read of one list at most.
const PAGES_MAX: usize = 1000;
/// Differences of one answer that are printed.
const SHOWN_MAX: usize = 20;

#[derive(Args)]
#[command(
    after_help = "Only GET is sent. Left out: ids, links, times that each system gives by itself, order where none \
                  was asked for.\nExit codes: 0 the answers are the same; 1 they differ; 2 they could not be compared."
)]
pub(crate) struct Compare {
    /// The API that is being left, with or without /v2.0
    #[arg(long, value_name = "URL")]
    old: String,
    /// The API that takes its place
    #[arg(long, value_name = "URL")]
    new: String,
    /// Tenant to act for at both (header X-Project-Id)
    #[arg(long, env = "MONETA_TENANT", value_name = "TENANT")]
    tenant: Option<String>,
    /// Token to show to both (header X-Auth-Token)
    #[arg(long, env = "MONETA_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Token to show to the new one instead
    #[arg(long, env = "MONETA_NEW_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    new_token: Option<String>,
    /// Requests to send, one a line: a path with its query, a URL, or a line of an access log (of which GET
    /// counts); without it they are made of what the old API lists
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Metrics whose measurements and statistics are compared, taken evenly from all names
    #[arg(long, default_value_t = 20, value_name = "N")]
    sample: usize,
    /// First instant of these
    #[arg(long, default_value = "-1h", allow_hyphen_values = true, value_name = "TIME")]
    start: String,
    /// The instant after the last: late enough ago for both to have everything
    #[arg(long, default_value = "-2m", allow_hyphen_values = true, value_name = "TIME")]
    end: String,
    /// Tell of every request, not only of those that differ
    #[arg(short, long)]
    verbose: bool,
}

/// What came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Outcome {
    queries: usize,
    differing: usize,
}

impl Compare {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        match self.compare(&mut |line| println!("{line}")).await {
            Ok(Outcome { queries, differing: 0 }) => {
                println!("{queries} requests, the same answers");
                Ok(ExitCode::SUCCESS)
            }
            Ok(Outcome { queries, differing }) => {
                println!("{queries} requests, {differing} answered differently");
                Ok(ExitCode::from(1))
            }
            Err(error) => {
                eprintln!("moneta: {error:#}");
                Ok(ExitCode::from(2))
            }
        }
    }

    /// Sends everything; what differs goes to `tell`, line by line.
    async fn compare(&self, tell: &mut impl FnMut(String)) -> anyhow::Result<Outcome> {
        let token = |token: &Option<String>| token.clone().filter(|token| !token.is_empty());
        let (first, second) = (token(&self.token), token(&self.new_token));
        let second = second.or_else(|| first.clone());
        let old = Connection::to(root(&self.old), self.tenant.clone(), first).client()?;
        let new = Connection::to(root(&self.new), self.tenant.clone(), second).client()?;
        let queries = match &self.from {
            Some(file) => {
                let text = fs::read_to_string(file);
                plan::of_lines(&text.with_context(|| format!("cannot read {}", file.display()))?)
            }
            None => {
                let now = time::now();
                let start = time::iso(time::parse(&self.start, now)?)?;
                let end = time::iso(time::parse(&self.end, now)?)?;
                plan::of_lists(&old, self.sample, &start, &end).await?
            }
        };
        if queries.is_empty() {
            bail!("there is nothing to ask");
        }
        let mut outcome = Outcome::default();
        for query in queries {
            let before = whole(&old, &query).await?;
            let after = whole(&new, &query).await?;
            let found = differences(&query, &before, &after);
            outcome.queries += 1;
            if found.is_empty() {
                if self.verbose {
                    tell(format!("GET {}: the same", query.target));
                }
                continue;
            }
            outcome.differing += 1;
            tell(format!("GET {}", query.target));
            for text in found.iter().take(SHOWN_MAX) {
                tell(format!("  {text}"));
            }
            if found.len() > SHOWN_MAX {
                tell(format!("  and {} more", found.len() - SHOWN_MAX));
            }
        }
        Ok(outcome)
    }
}

/// Catalogues of OpenStack name the version as well; requests do so by themselves.
fn root(url: &str) -> String {
    let url = url.trim_end_matches('/');
    url.strip_suffix("/v2.0").unwrap_or(url).to_owned()
}

/// The answer with all its pages in one, if the query does not ask for a page itself.
async fn whole(client: &Client, query: &Query) -> anyhow::Result<Answer> {
    let mut answer = client.ask(&query.target).await?;
    if query.is_page() {
        return Ok(answer);
    }
    let mut at = next_offset(&answer.body, client.base())?;
    for _ in 0..PAGES_MAX {
        let Some(offset) = at else { return Ok(answer) };
        let page = client.ask(&query.at(&offset)).await?;
        if page.status != 200 {
            return Ok(page);
        }
        at = next_offset(&page.body, client.base())?.filter(|next| *next != offset);
        append(&mut answer.body, page.body);
    }
    bail!("GET {} goes on after {PAGES_MAX} pages", query.target)
}

/// Adds the rows of a page to those before it.
fn append(answer: &mut Value, page: Value) {
    for name in ["elements", "counts"] {
        let rows = page.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(all) = answer.get_mut(name).and_then(Value::as_array_mut) {
            all.extend(rows);
        }
    }
}

#[cfg(test)]
mod tests;
