//! Who may talk to a server without authentication: only programs of this machine, and no web page
//! in one of its browsers. A page cannot forge `Host` (so a name that an attacker has pointed at
//! 127.0.0.1 is noticed) nor leave out `Origin` on a change.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use crate::status::Failure;

/// Which hosts are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    /// Loopback names only.
    ThisMachine,
    /// Every name: the operator has allowed it.
    Everyone,
}

/// Checks one request. Where callers show tokens (not `trusting`) no page has anything to gain: what it
/// sends has no token.
pub(crate) fn check(
    reach: Reach,
    trusting: bool,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    let host = host(uri, headers)?;
    if reach == Reach::ThisMachine && !is_loopback(host.unwrap_or_default()) {
        return Err(Failure::new(
            StatusCode::MISDIRECTED_REQUEST,
            "Misdirected Request",
            "without authentication only loopback host names are answered; see \
             server.allow_remote_without_auth",
        ));
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if trusting && changes && headers.get_all(header::ORIGIN).iter().any(|o| !same_origin(o, host))
    {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "Forbidden",
            "changes asked for by a web page of another origin are refused",
        ));
    }
    Ok(())
}

/// The host and port asked for.
pub(crate) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, Failure> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let header = first.map(HeaderValue::to_str).transpose().ok().filter(|_| second.is_none());
    let header = header.ok_or_else(|| Failure::bad_request("the Host header is not readable"))?;
    // The host of an absolute target counts, as HTTP says.
    Ok(uri.authority().map(|authority| authority.as_str()).or(header))
}

/// Whether `host`, with or without a port, names this machine's loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || is_port(port) => name,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether an origin is this server as the client calls it.
fn same_origin(origin: &HeaderValue, host: Option<&str>) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    match (authority, host) {
        (Some(authority), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(reach: Reach, method: &str, headers: &[(&'static str, &'static str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let uri = Uri::from_static("/v2.0/metrics");
        check(reach, true, &method, &uri, &map).err().map_or(200, |failure| failure.status.as_u16())
    }

    #[test]
    fn only_loopback_hosts_are_answered() {
        let check = |host: &'static str, want: u16| {
            assert_eq!(status(Reach::ThisMachine, "GET", &[("host", host)]), want, "{host}");
            assert_eq!(status(Reach::Everyone, "GET", &[("host", host)]), 200, "{host}");
        };
        for host in ["localhost", "LocalHost:8070", "127.0.0.1:1", "127.9.9.9", "[::1]", "[::1]:80"]
        {
            check(host, 200);
        }
        for host in [
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "10.0.0.1:8070",
            "",
            "[::2]",
            "[::1]x",
            "localhost:80x",
            "0.0.0.0",
            "user@localhost",
        ] {
            check(host, 421);
        }
        assert_eq!(status(Reach::ThisMachine, "GET", &[]), 421);
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(status(Reach::ThisMachine, "GET", &two), 400);
    }

    #[test]
    fn an_absolute_target_counts_more_than_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        let uri = Uri::from_static("http://example.com/");
        assert!(check(Reach::ThisMachine, true, &Method::GET, &uri, &headers).is_err());
    }

    #[test]
    fn changes_come_from_no_foreign_page() {
        let check = |method: &str, origin: &'static str, want: u16| {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("localhost"));
            headers.insert("origin", HeaderValue::from_static(origin));
            let (method_known, uri) =
                (Method::from_bytes(method.as_bytes()), Uri::from_static("/"));
            let with_tokens =
                super::check(Reach::Everyone, false, &method_known.unwrap(), &uri, &headers);
            assert!(with_tokens.is_ok(), "{method} {origin}");
            for reach in [Reach::ThisMachine, Reach::Everyone] {
                let headers = [("host", "localhost:8070"), ("origin", origin)];
                assert_eq!(status(reach, method, &headers), want, "{method} {origin}");
            }
        };
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            check(method, "http://localhost:8070", 200);
            check(method, "http://localhost:3000", 403);
            check(method, "http://example.com", 403);
            check(method, "null", 403);
        }
        check("GET", "http://example.com", 200);
        assert_eq!(status(Reach::ThisMachine, "POST", &[("host", "localhost")]), 200);
    }
}
