//! Where clients put their tokens.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest token. Keystone's have a few hundred bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The token that a request shows: `X-Auth-Token`, or `Authorization` in one of the ways of HTTP clients:
/// `Bearer`, InfluxDB's `Token`, or the password of `Basic`; else the password in its target.
pub(crate) fn shown(headers: &HeaderMap, password: Option<&str>) -> Option<String> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let token = match (headers.get("x-auth-token"), headers.get(header::AUTHORIZATION)) {
        (Some(token), _) => text(token)?,
        (None, Some(value)) => authorization(&text(value)?)?,
        (None, None) => password?.to_owned(),
    };
    (1..=TOKEN_BYTES_MAX).contains(&token.len()).then_some(token)
}

fn authorization(value: &str) -> Option<String> {
    let (scheme, credentials) = value.split_once(' ')?;
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
        return Some(credentials.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") || credentials.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_where_clients_put_them() {
        let check = |headers: &[(&'static str, &str)], want: Option<&str>| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            assert_eq!(shown(&map, None).as_deref(), want, "{headers:?}");
            // A header goes before a password in the target.
            let either = if headers.is_empty() { Some("p") } else { want };
            assert_eq!(shown(&map, Some("p")).as_deref(), either, "{headers:?}");
        };
        check(&[], None);
        check(&[("x-auth-token", "t")], Some("t"));
        check(&[("x-auth-token", "")], None);
        check(&[("x-auth-token", "t"), ("authorization", "Bearer u")], Some("t"));
        check(&[("authorization", "Bearer u")], Some("u"));
        check(&[("authorization", "bearer  u ")], Some("u"));
        check(&[("authorization", "Token u")], Some("u"));
        check(&[("authorization", "Basic dXNlcjpwYTpzcw==")], Some("pa:ss"));
        check(&[("authorization", "Basic dXNlcg==")], None);
        check(&[("authorization", "Basic !")], None);
        check(&[("authorization", "Digest x")], None);
        check(&[("authorization", "u")], None);
        check(&[("x-auth-token", &"x".repeat(TOKEN_BYTES_MAX + 1))], None);
    }
}
