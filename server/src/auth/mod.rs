//! Who calls, and what they may do.
//!
//! ```text
//! request ─▶ route ─▶ what it asks of its caller ─▶ Gate: token ─▶ identity ─▶ roles ─▶ Caller ─▶ resource
//! ```
//! A resource knows its caller's tenant from [`Caller`] alone. With authentication, headers by which a
//! client names a tenant or roles mean nothing.

mod digest;
mod keystone;
mod roles;
mod secret;
mod tokens;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use moneta_storage::clock::Clock;

pub use roles::RoleNames;
pub use tokens::{NewToken, TokenEntry, TokenError, TokenFile};

pub(crate) use digest::Digest;
pub(crate) use keystone::Keystone;
pub(crate) use roles::Granted;
pub(crate) use tokens::Tokens;

use crate::status::Failure;

/// What an operation asks of its caller. Which roles grant what is the operator's to say, in the words of
/// Monasca; see the matrix in `API.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Right {
    /// Nothing: whoever watches the server has no token.
    Open,
    /// Any identity.
    Known,
    /// Reading what a tenant has.
    Read,
    /// Writing measurements.
    WriteMetrics,
    /// Writing logs.
    WriteLogs,
    /// Changing definitions, alarms, notification methods.
    Change,
    /// Administration of the server, for all tenants.
    Administer,
}

/// Who calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    /// Its tenant.
    pub(crate) tenant: Arc<str>,
    /// What its roles grant.
    pub(crate) granted: Granted,
}

/// What a token stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) tenant: Arc<str>,
    /// Names of roles.
    pub(crate) roles: Vec<String>,
}

/// Decides who is let in.
pub(crate) struct Gate {
    mode: Mode,
    names: RoleNames,
    clock: Arc<dyn Clock>,
}

/// How callers are known.
pub(crate) enum Mode {
    /// Not at all: everyone is trusted and names a tenant by a header.
    None,
    /// By tokens of a file.
    Tokens(Tokens),
    /// By tokens that Keystone has issued.
    Keystone(Box<Keystone>),
}

impl Gate {
    pub(crate) fn new(mode: Mode, names: RoleNames, clock: Arc<dyn Clock>) -> Self {
        Gate { mode, names, clock }
    }

    /// One that asks nobody.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        use moneta_storage::clock::SystemClock;
        let none = Vec::new;
        let names = RoleNames {
            default: none(),
            read_only: none(),
            agent: none(),
            delegate: none(),
            admin: none(),
        };
        Gate::new(Mode::None, names, Arc::new(SystemClock))
    }

    /// Whether callers must show a token.
    pub(crate) fn asks(&self) -> bool {
        !matches!(self.mode, Mode::None)
    }

    /// Who sends a request with these headers and the password in its target, if any; `None` where nobody is asked. Refused if the roles do not
    /// grant `right`.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        password: Option<&str>,
        right: Right,
    ) -> Result<Option<Caller>, Failure> {
        if right == Right::Open || !self.asks() {
            return Ok(None);
        }
        let token = secret::shown(headers, password).ok_or_else(|| self.unauthenticated())?;
        let digest = Digest::of(token.as_bytes());
        let now = self.clock.now();
        let identity = match &self.mode {
            Mode::None => return Ok(None),
            Mode::Tokens(tokens) => tokens.identity(&digest, now),
            Mode::Keystone(keystone) => keystone.identity(&token, digest, now).await?,
        };
        let identity = identity.ok_or_else(|| self.unauthenticated())?;
        let granted = self.names.granted(&identity.roles);
        if !granted.allows(right) {
            let text = "The request does not have access to this service";
            return Err(Failure::new(StatusCode::UNAUTHORIZED, "Forbidden", text)
                .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token")));
        }
        Ok(Some(Caller { tenant: identity.tenant, granted }))
    }

    /// No token, or one that is not known or has expired: which, nobody is told.
    fn unauthenticated(&self) -> Failure {
        let challenge = match &self.mode {
            Mode::Keystone(keystone) => format!("Keystone uri=\"{}\"", keystone.url()),
            Mode::None | Mode::Tokens(_) => "Bearer realm=\"moneta\"".to_owned(),
        };
        let challenge = HeaderValue::try_from(challenge);
        let challenge = challenge.unwrap_or(HeaderValue::from_static("Bearer"));
        Failure::unauthenticated().with(header::WWW_AUTHENTICATE, challenge)
    }
}
