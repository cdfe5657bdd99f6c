//! Delivery by webhook: one HTTP POST, its answer judged.

use std::time::Duration;

use moneta_storage::model::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::address::{FilteredDns, Reach};
use super::backoff::retry_after;
use crate::error::Error;

/// Redirects followed in one attempt.
const REDIRECTS_MAX: usize = 5;
/// Bytes of an answer that are read, so that its connection can be used again. The content does not
/// matter; a longer answer is cut off with its connection.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Sends webhooks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Webhook {
    client: Client,
    reach: Reach,
    timeout: Duration,
}

/// How an attempt failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// The answer's status, if there was an answer.
    pub(crate) status: Option<u16>,
    /// What happened, without anything of the address that may be secret.
    pub(crate) detail: String,
    /// Whether to try again.
    pub(crate) again: Again,
}

/// Whether a failed attempt is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Again {
    /// Never: the receiver will not change its mind.
    Never,
    /// Later, when the backoff says so.
    Later,
    /// Later, but not before this time has passed, by wish of the receiver.
    NotBefore(Duration),
}

impl Webhook {
    /// A client whose attempts take at most `timeout`, redirects included.
    pub(crate) fn new(reach: Reach, timeout: Duration) -> Result<Self, Error> {
        // Ours or that of whoever was first in this process: both will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Redirects are followed here, because the client would turn the POST into a GET and a
        // receiver that has moved would count as served.
        let builder = || {
            Client::builder()
                .no_proxy()
                .redirect(redirect::Policy::none())
                .dns_resolver(FilteredDns(reach))
                .user_agent(concat!("moneta/", env!("CARGO_PKG_VERSION")))
        };
        let client = builder().build().or_else(|error| {
            tracing::warn!(%error, "no certificate store: webhooks to https addresses will fail");
            builder().tls_certs_only([]).build()
        });
        let client =
            client.map_err(|error| Error::Invalid(format!("webhook client: {}", chain(&error))))?;
        Ok(Webhook { client, reach, timeout })
    }

    /// Posts `body` to `address` and returns the status of success.
    pub(crate) async fn send(
        &self,
        address: &str,
        body: &str,
        now: Timestamp,
    ) -> Result<u16, Failure> {
        match tokio::time::timeout(self.timeout, self.follow(address, body, now)).await {
            Ok(result) => result,
            Err(_) => Err(Failure {
                status: None,
                detail: format!("no answer within {} ms", self.timeout.as_millis()),
                again: Again::Later,
            }),
        }
    }

    async fn follow(&self, address: &str, body: &str, now: Timestamp) -> Result<u16, Failure> {
        let refused = |detail| Failure { status: None, detail, again: Again::Never };
        let mut url = Url::parse(address)
            .map_err(|error| refused(format!("the address is not a URL: {error}")))?;
        let mut request = Request::Post;
        for _ in 0..=REDIRECTS_MAX {
            self.reach.check(&url).map_err(refused)?;
            let mut response = self.ask(url.clone(), request, body).await?;
            let Some(next) = location(&response) else {
                return judge(&mut response, now).await;
            };
            if response.status() == StatusCode::SEE_OTHER {
                request = Request::Get;
            }
            url = next;
        }
        Err(refused(format!("more than {REDIRECTS_MAX} redirects")))
    }

    async fn ask(&self, url: Url, request: Request, body: &str) -> Result<Response, Failure> {
        let request = match request {
            Request::Post => self
                .client
                .post(url)
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.to_owned()),
            Request::Get => self.client.get(url),
        };
        request.send().await.map_err(|error| Failure {
            status: None,
            detail: chain(&error.without_url()),
            again: Again::Later,
        })
    }
}

#[derive(Clone, Copy)]
enum Request {
    Post,
    Get,
}

/// Where a redirect leads.
fn location(response: &Response) -> Option<Url> {
    if ![301, 302, 303, 307, 308].contains(&response.status().as_u16()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    response.url().join(location).ok()
}

/// How long the body of an answer is read, so that the connection can be used again.
const DRAIN_TIME: Duration = Duration::from_millis(500);

async fn judge(response: &mut Response, now: Timestamp) -> Result<u16, Failure> {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let again = again(status, after, now);
    // The status counts, however slowly the body comes.
    let _ = tokio::time::timeout(DRAIN_TIME, drain(response)).await;
    if status.is_success() {
        return Ok(status.as_u16());
    }
    Err(Failure {
        status: Some(status.as_u16()),
        detail: format!("the receiver answered {status}"),
        again,
    })
}

/// What a status other than success means for further attempts.
fn again(status: StatusCode, after: Option<&str>, now: Timestamp) -> Again {
    let permanent = status.is_client_error() && ![408, 425, 429].contains(&status.as_u16());
    if permanent {
        return Again::Never;
    }
    after.and_then(|after| retry_after(after, now)).map_or(Again::Later, Again::NotBefore)
}

/// A failure here does not matter: the status has been given.
async fn drain(response: &mut Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
}

/// An error with its causes: the outermost alone says only that sending failed.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::receiver::Receiver;

    async fn send(address: &str) -> Result<u16, Failure> {
        let webhook = Webhook::new(Reach::Private, Duration::from_secs(5)).unwrap();
        webhook.send(address, "{}", Timestamp::from_millis(0)).await
    }

    #[track_caller]
    fn check(status: u16, after: Option<&str>, want: Again) {
        let got = again(StatusCode::from_u16(status).unwrap(), after, Timestamp::from_millis(0));
        assert_eq!(got, want, "{status}");
    }

    #[test]
    fn permanent_answers_are_not_tried_again() {
        for status in [400, 401, 403, 404, 410, 422, 451] {
            check(status, Some("5"), Again::Never);
        }
        for status in [304, 408, 425, 429, 500, 502, 503, 504] {
            check(status, None, Again::Later);
            check(status, Some("5"), Again::NotBefore(Duration::from_secs(5)));
        }
    }

    #[tokio::test]
    async fn posts_json_and_takes_any_2xx() {
        let receiver = Receiver::start(["204 No Content"]).await;
        assert_eq!(send(&receiver.url("/hook?token=t")).await, Ok(204));
        let request = receiver.requests().pop().unwrap();
        assert!(request.head.starts_with("POST /hook?token=t HTTP/1.1\r\n"), "{}", request.head);
        assert!(request.head.contains("content-type: application/json\r\n"), "{}", request.head);
        assert_eq!(request.body, "{}");
    }

    #[tokio::test]
    async fn repeats_the_post_where_a_redirect_leads() {
        let receiver = Receiver::start(["308 Moved\r\nlocation: /new", "200 OK"]).await;
        assert_eq!(send(&receiver.url("/old")).await, Ok(200));
        let heads: Vec<String> =
            receiver.requests().into_iter().map(|request| request.head).collect();
        assert!(heads[1].starts_with("POST /new "), "{heads:?}");
    }

    #[tokio::test]
    async fn redirects_end_after_five_and_do_not_reach_refused_addresses() {
        let around = Receiver::start(["302 Found\r\nlocation: /again"; 9]).await;
        let failure = send(&around.url("/")).await.unwrap_err();
        assert_eq!(
            (failure.detail.as_str(), around.requests().len()),
            ("more than 5 redirects", 6)
        );
        let away = Receiver::start(["302 Found\r\nlocation: http://169.254.169.254/"]).await;
        let failure = send(&away.url("/")).await.unwrap_err();
        assert_eq!(failure.detail, "address 169.254.169.254 is refused");
        assert_eq!(failure.again, Again::Never);
    }

    #[tokio::test]
    async fn failures_name_no_secret() {
        let receiver = Receiver::start([]).await;
        let address = receiver.url("/p?token=secret").replace("http://", "http://user:secret@");
        let port_closed = send("http://secret:secret@127.0.0.1:1/?secret").await.unwrap_err();
        let no_answer = send(&address).await.unwrap_err();
        for failure in [port_closed, no_answer] {
            assert!(!failure.detail.contains("secret"), "{}", failure.detail);
            assert_eq!(failure.again, Again::Later);
        }
    }

    #[tokio::test]
    async fn names_are_resolved_and_their_addresses_checked() {
        let receiver = Receiver::start(["200 OK"]).await;
        let named = receiver.url("/").replace("127.0.0.1", "localhost");
        let webhook = Webhook::new(Reach::Public, Duration::from_secs(5)).unwrap();
        let failure = webhook.send(&named, "{}", Timestamp::from_millis(0)).await.unwrap_err();
        assert!(
            failure.detail.ends_with("localhost has no address that is allowed"),
            "{failure:?}"
        );
        assert_eq!(send(&named).await, Ok(200));
    }

    #[tokio::test]
    async fn waits_no_longer_than_the_timeout() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", silent.local_addr().unwrap());
        let webhook = Webhook::new(Reach::Private, Duration::from_millis(20)).unwrap();
        let failure = webhook.send(&address, "{}", Timestamp::from_millis(0)).await.unwrap_err();
        assert_eq!(failure.detail, "no answer within 20 ms");
    }
}
