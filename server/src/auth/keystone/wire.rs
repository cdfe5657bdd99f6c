//! What is said to Keystone, and what it says.

use moneta_storage::model::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Known, Reason};
use crate::auth::Identity;
use crate::config::KeystoneConfig;
use crate::wire::time;

#[derive(Deserialize)]
struct Answer {
    token: Token,
}

#[derive(Deserialize)]
struct Token {
    expires_at: String,
    #[serde(default)]
    project: Option<Project>,
    #[serde(default)]
    roles: Vec<Role>,
}

#[derive(Deserialize)]
struct Project {
    id: String,
}

#[derive(Deserialize)]
struct Role {
    name: String,
}

/// The login of our own user.
pub(super) fn login(config: &KeystoneConfig) -> Value {
    json!({"auth": {
        "identity": {
            "methods": ["password"],
            "password": {"user": {
                "name": config.username,
                "domain": {"name": config.user_domain_name},
                "password": config.password.reveal(),
            }},
        },
        "scope": {"project": {
            "name": config.project_name,
            "domain": {"name": config.project_domain_name},
        }},
    }})
}

/// Who a token stands for. One without a project stands for an empty tenant, which nobody has.
pub(super) fn known(body: &[u8]) -> Result<Known, Reason> {
    let token = parse(body)?;
    let tenant = token.project.as_ref().map_or("", |project| &project.id).into();
    let expires = time_of(&token)?;
    let roles = if token.project.is_some() { token.roles } else { Vec::new() };
    let roles = roles.into_iter().map(|role| role.name).collect();
    Ok(Known { identity: Identity { tenant, roles }, expires })
}

/// When a token ends.
pub(super) fn expires(body: &[u8]) -> Result<Timestamp, Reason> {
    time_of(&parse(body)?)
}

fn parse(body: &[u8]) -> Result<Token, Reason> {
    // The error's own words may quote what is secret.
    let answer: Result<Answer, _> = serde_json::from_slice(body);
    answer.map(|answer| answer.token).map_err(|_| "its answer is no token".into())
}

fn time_of(token: &Token) -> Result<Timestamp, Reason> {
    let instant = time::parse(&token.expires_at);
    instant.map(|instant| instant.floor).ok_or_else(|| "its answer has no end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let check = |body: &str, want: Result<(&str, &[&str], i64), &str>| {
            let got = known(body.as_bytes());
            let got = got.as_ref().map(|known| {
                let roles = known.identity.roles.iter().map(String::as_str).collect::<Vec<_>>();
                (known.identity.tenant.to_string(), roles, known.expires.millis())
            });
            let want = want.map(|(tenant, roles, at)| (tenant.to_owned(), roles.to_vec(), at));
            assert_eq!(got.map_err(|why| why.as_str()), want, "{body}");
        };
        let end = r#""expires_at": "1970-01-01T00:00:05.250000Z""#;
        check(
            &format!(
                r#"{{"token": {{{end}, "project": {{"id": "p", "name": "x"}}, "roles": [{{"id": "1", "name": "r"}}]}}}}"#
            ),
            Ok(("p", &["r"], 5250)),
        );
        check(
            &format!(r#"{{"token": {{{end}, "roles": [{{"name": "r"}}]}}}}"#),
            Ok(("", &[], 5250)),
        );
        check(r#"{"token": {"expires_at": "soon"}}"#, Err("its answer has no end"));
        check(r#"{"error": {}}"#, Err("its answer is no token"));
        check("", Err("its answer is no token"));
    }
}
