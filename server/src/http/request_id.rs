//! Ids of requests: ours, and the one that a client or a proxy has given, to find both in logs.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Longest id that is taken over.
const GIVEN_BYTES_MAX: usize = 128;

static OPENSTACK: HeaderName = HeaderName::from_static("x-openstack-request-id");
static GIVEN: HeaderName = HeaderName::from_static("x-request-id");

/// The ids of one request.
pub(crate) struct RequestId {
    own: String,
    given: Option<String>,
}

impl RequestId {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let own = format!("req-{}", uuid::Uuid::new_v4());
        RequestId { own, given: headers.get(&GIVEN).and_then(given) }
    }

    /// The one to look for: the client's, if it gave one.
    pub(crate) fn text(&self) -> &str {
        self.given.as_deref().unwrap_or(&self.own)
    }

    /// Tells both.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        for (name, text) in [(&OPENSTACK, self.own.as_str()), (&GIVEN, self.text())] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name.clone(), value);
            }
        }
    }
}

/// An id that may stand in a log as it is.
fn given(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    let fits = (1..=GIVEN_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ids_are_taken_over() {
        let check = |sent: &str, taken: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(&GIVEN, sent.parse().unwrap());
            let id = RequestId::of(&headers);
            assert_eq!(id.text() == sent, taken, "{sent}");
            let mut answer = HeaderMap::new();
            id.show(&mut answer);
            assert_eq!(answer[&GIVEN], id.text());
            assert!(answer[&OPENSTACK].to_str().unwrap().starts_with("req-"));
        };
        check("abc-1.2:3/4_5", true);
        check("a b", false);
        check("", false);
        check("é", false);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
    }
}
