//! Tokens that Keystone has issued, checked with its API v3 and remembered for a while.
//!
//! ```text
//! digest ─▶ remembered, not too long ago ─▶ identity, or nobody
//!        └▶ one at a time for a token: GET /v3/auth/tokens with our own token
//!             200 ─▶ remember the identity        404 ─▶ remember that there is none
//!             no answer ─▶ who was known goes on until the token's own end; others are told to come again
//! ```
//! Nobody waits longer than an answer may take. After a failure nothing is asked for a moment, so a dead
//! Keystone costs each request nothing but a look into memory.

mod memory;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use moneta_storage::model::Timestamp;
use reqwest::{Client, StatusCode};

use self::memory::Memory;
use super::{Digest, Identity};
use crate::config::KeystoneConfig;
use crate::error::Error;
use crate::status::Failure;

/// Tokens, known and unknown ones apart, that are remembered.
const REMEMBERED_MAX: usize = 20_000;
/// How long it is remembered that a token is not known. It may become known: tokens are copied by hand.
const UNKNOWN_MS: i64 = 30_000;
/// After a failure nothing is asked for so long.
const PAUSE_MS: i64 = 2000;
/// Tokens asked for at once.
const ASKED_AT_ONCE: usize = 64;
/// Longest answer that is read. One with a large catalogue has some hundred kilobytes; ours are without.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Our side of Keystone.
pub(crate) struct Keystone {
    client: Client,
    config: KeystoneConfig,
    /// `…/v3`
    url: String,
    timeout: Duration,
    memory: Mutex<Memory>,
    /// Whoever asks holds one of these, chosen by the token: nobody asks twice for the same.
    asking: Vec<tokio::sync::Mutex<()>>,
    /// Our own token, with which we ask.
    own: tokio::sync::Mutex<Option<OwnToken>>,
    paused_until: Mutex<Timestamp>,
}

#[derive(Clone)]
struct OwnToken {
    secret: Arc<str>,
    expires: Timestamp,
}

/// What Keystone says of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    identity: Identity,
    expires: Timestamp,
}

/// Why there is no answer: for the log, and without secrets.
type Reason = String;

/// Before our own token ends, another one is fetched.
const OWN_EARLY_MS: i64 = 60_000;

impl Keystone {
    pub(crate) fn new(config: KeystoneConfig) -> Result<Self, Error> {
        let timeout = Duration::from_secs(u64::from(config.timeout_seconds));
        let mut client = Client::builder()
            .user_agent(concat!("moneta/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &config.ca_file {
            let failed = |why: String| Error::Keystone(format!("{}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem);
            client = client.tls_certs_only(roots.map_err(|error| failed(error.to_string()))?);
        }
        let client = client.build().map_err(|error| Error::Keystone(error.to_string()))?;
        let url = config.url.trim_end_matches('/');
        let url = if url.ends_with("/v3") { url.to_owned() } else { format!("{url}/v3") };
        Ok(Keystone {
            client,
            config,
            url,
            timeout,
            memory: Mutex::new(Memory::new(REMEMBERED_MAX)),
            asking: (0..ASKED_AT_ONCE).map(|_| tokio::sync::Mutex::default()).collect(),
            own: tokio::sync::Mutex::default(),
            paused_until: Mutex::new(Timestamp::MIN),
        })
    }

    /// Where clients get their tokens.
    pub(crate) fn url(&self) -> &str {
        &self.config.url
    }

    /// What a token stands for; `None` if it is not known, has ended, or belongs to no project.
    ///
    /// # Errors
    /// 503 if Keystone must be asked and does not answer.
    pub(crate) async fn identity(
        &self,
        token: &str,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Option<Identity>, Failure> {
        if let Some(remembered) = self.remembered(&digest, now) {
            return Ok(remembered);
        }
        // Bounds the wait for others that ask as well.
        let asked = tokio::time::timeout(self.timeout * 2, async {
            let _one_at_a_time = self.turn(&digest).lock().await;
            match self.remembered(&digest, now) {
                Some(remembered) => Ok(remembered),
                None => self.asked(token, digest, now).await,
            }
        });
        let reason = match asked.await {
            Ok(Ok(identity)) => return Ok(identity),
            Ok(Err(reason)) => reason,
            Err(_) => "too many tokens are being checked".to_owned(),
        };
        let known = self.memory().last(&digest).filter(|known| known.expires > now);
        match known {
            Some(known) => Ok(Some(known.identity)),
            None => Err(Failure::busy(format!("the token cannot be checked now: {reason}"))),
        }
    }

    fn remembered(&self, digest: &Digest, now: Timestamp) -> Option<Option<Identity>> {
        let fresh_ms = i64::from(self.config.cache_seconds) * 1000;
        self.memory().look(digest, now, fresh_ms, UNKNOWN_MS)
    }

    async fn asked(
        &self,
        token: &str,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Option<Identity>, Reason> {
        if now < *self.paused_until.lock().expect("no code panics while it holds the pause") {
            return Err("Keystone does not answer".to_owned());
        }
        match self.ask(token, now).await {
            Ok(known) => {
                let known = known.filter(|known| known.expires > now);
                self.memory().remember(digest, known.clone(), now);
                Ok(known.map(|known| known.identity))
            }
            Err(reason) => {
                tracing::warn!(reason, url = self.url, "Keystone does not answer");
                *self.paused_until.lock().expect("no code panics while it holds the pause") =
                    now.plus_millis(PAUSE_MS);
                // Where it is and why, only the operator learns.
                Err("Keystone does not answer".to_owned())
            }
        }
    }

    /// Asks Keystone; once more with a new token of our own if it does not take the one we have.
    async fn ask(&self, token: &str, now: Timestamp) -> Result<Option<Known>, Reason> {
        for own_is_new in [false, true] {
            let own = self.own(own_is_new, now).await?;
            let request = self
                .client
                .get(format!("{}/auth/tokens?nocatalog", self.url))
                .header("X-Auth-Token", &*own)
                .header("X-Subject-Token", token);
            let answer = request.send().await.map_err(reason)?;
            match answer.status() {
                StatusCode::OK => return wire::known(&body(answer).await?).map(Some),
                StatusCode::NOT_FOUND => return Ok(None),
                // What is no token at all is refused as a request.
                StatusCode::BAD_REQUEST => return Ok(None),
                StatusCode::UNAUTHORIZED if !own_is_new => {}
                StatusCode::FORBIDDEN => {
                    return Err("our user may not check tokens: it needs the role service".into());
                }
                status => return Err(format!("it answers {status} to the check of a token")),
            }
        }
        Err("it takes no token of ours".into())
    }

    /// Our own token.
    async fn own(&self, renew: bool, now: Timestamp) -> Result<Arc<str>, Reason> {
        let mut own = self.own.lock().await;
        if let Some(own) = own.as_ref().filter(|own| !renew && own.expires > now) {
            return Ok(own.secret.clone());
        }
        *own = None;
        let request = self.client.post(format!("{}/auth/tokens?nocatalog", self.url));
        let answer = request.json(&wire::login(&self.config)).send().await.map_err(reason)?;
        let status = answer.status();
        if status != StatusCode::CREATED {
            let user = &self.config.username;
            return Err(format!("it answers {status} to the login of {user}"));
        }
        let secret = answer.headers().get("x-subject-token").and_then(|text| text.to_str().ok());
        let secret: Arc<str> = secret.ok_or("it gives no token")?.into();
        let expires = wire::expires(&body(answer).await?)?.plus_millis(-OWN_EARLY_MS);
        *own = Some(OwnToken { secret: secret.clone(), expires });
        Ok(secret)
    }

    fn turn(&self, digest: &Digest) -> &tokio::sync::Mutex<()> {
        let at = digest.number() % ASKED_AT_ONCE;
        self.asking.get(at).expect("there are ASKED_AT_ONCE turns")
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().expect("no code panics while it holds what is remembered")
    }
}

async fn body(mut answer: reqwest::Response) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reason)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// An error of the client in words: those of its innermost cause, and never of a header.
fn reason(error: reqwest::Error) -> Reason {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text = deeper.to_string();
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests;
