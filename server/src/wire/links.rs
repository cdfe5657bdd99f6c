//! Links: where an answer says it came from, and where it goes on.

use serde::Serialize;

use super::parameters::{Parameters, encode};

/// One link.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Link {
    /// `self` or `next`.
    pub(crate) rel: &'static str,
    /// Where to.
    pub(crate) href: String,
}

/// What a request asked for, as links repeat it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `http://host:port`, as the client calls this server.
    pub(crate) origin: String,
    /// The path, without a slash at its end.
    pub(crate) path: String,
    /// The parameters.
    pub(crate) parameters: Parameters,
}

impl Place {
    /// The link to this answer.
    pub(crate) fn this(&self) -> Link {
        Link { rel: "self", href: self.href(self.parameters.iter()) }
    }

    /// The links of a page; `next` is the offset where the next one begins.
    pub(crate) fn page(&self, next: Option<&str>) -> Vec<Link> {
        let mut links = vec![self.this()];
        if let Some(offset) = next {
            let others = self.parameters.iter().filter(|(name, _)| *name != "offset");
            let href = self.href([("offset", offset)].into_iter().chain(others));
            links.push(Link { rel: "next", href });
        }
        links
    }

    /// The links of an object at `path`.
    pub(crate) fn object(&self, path: &str) -> Vec<Link> {
        vec![Link { rel: "self", href: format!("{}{path}", self.origin) }]
    }

    fn href<'a>(&self, parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let mut href = format!("{}{}", self.origin, self.path);
        let mut separator = '?';
        for (name, value) in parameters {
            href.push(separator);
            separator = '&';
            encode(name, &mut href);
            href.push('=');
            encode(value, &mut href);
        }
        href
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_encoded_once() {
        let check = |query: &str, next: Option<&str>, want: &[&str]| {
            let place = Place {
                origin: "http://h:8070".into(),
                path: "/v2.0/metrics".into(),
                parameters: Parameters::parse(query),
            };
            let hrefs: Vec<String> = place.page(next).into_iter().map(|link| link.href).collect();
            assert_eq!(hrefs, want);
        };
        check("", None, &["http://h:8070/v2.0/metrics"]);
        check(
            "start_time=2026-11-20T09%3A00%3A00Z&offset=3&name=a+b&foo",
            Some("7_2026-11-20T09:07:59.123Z"),
            &[
                "http://h:8070/v2.0/metrics?start_time=2026-11-20T09%3A00%3A00Z&offset=3&name=a%20b\
                 &foo=",
                "http://h:8070/v2.0/metrics?offset=7_2026-11-20T09%3A07%3A59.123Z\
                 &start_time=2026-11-20T09%3A00%3A00Z&name=a%20b&foo=",
            ],
        );
    }

    #[test]
    fn a_followed_link_says_the_same() {
        let query = "dimensions=h%3Aa%7Cb%2Cpath%3A%2Fx%3D1&name=é";
        let place = Place {
            origin: "http://h".into(),
            path: "/p".into(),
            parameters: Parameters::parse(query),
        };
        let href = place.this().href;
        let again = Parameters::parse(href.split_once('?').unwrap().1);
        assert_eq!(again, place.parameters);
    }
}
