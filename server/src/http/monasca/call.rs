//! What every resource wants to know of a request: for which tenant, with which parameters, under
//! which address.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use moneta_query::Asker;
use moneta_storage::model::TenantId;

use crate::auth::Caller;
use crate::http::{OverTls, Services};
use crate::ingest::rules;
use crate::pool::Pool;
use crate::security;
use crate::status::Failure;
use crate::wire::links::Place;
use crate::wire::parameters::Parameters;

/// The tenant of a request that names none.
const TENANT_DEFAULT: &str = "default";

/// A request as resources see it.
pub(crate) struct Call {
    /// What to work with.
    pub(crate) services: Arc<Services>,
    /// Where it was sent, and its parameters.
    pub(crate) place: Place,
    /// The client, for as long as it waits.
    pub(crate) asker: Asker,
    tenant: String,
    /// Whether it may act for another tenant.
    delegates: bool,
}

impl Call {
    /// The parameters.
    pub(crate) fn parameters(&self) -> &Parameters {
        &self.place.parameters
    }

    /// The id in the path: `/v2.0/<resource>/<id>…`
    pub(crate) fn id(&self) -> &str {
        self.place.path.split('/').nth(3).unwrap_or_default()
    }

    /// The name of the caller's tenant.
    pub(crate) fn caller(&self) -> &str {
        &self.tenant
    }

    /// The caller's tenant, if it has stored anything yet.
    pub(crate) fn tenant(&self) -> Option<TenantId> {
        self.services.store.find_tenant(&self.tenant)
    }

    /// The tenant that a call on metrics acts on, if it has stored anything yet.
    pub(crate) fn acting_tenant(&self) -> Result<Option<TenantId>, Failure> {
        Ok(self.services.store.find_tenant(self.acting_name()?))
    }

    /// The name of that tenant: `tenant_id` for those who may act for others. For those who may not it is
    /// as if it was not there, as clients of Monasca expect.
    pub(crate) fn acting_name(&self) -> Result<&str, Failure> {
        let Some(name) = self.parameters().one("tenant_id")? else {
            return Ok(&self.tenant);
        };
        if !self.delegates {
            tracing::debug!(caller = %self.tenant, "tenant_id of a caller that is no delegate");
            return Ok(&self.tenant);
        }
        check_tenant(name)?;
        Ok(name)
    }

    /// Whether the caller may act for another tenant.
    pub(crate) fn delegates(&self) -> bool {
        self.delegates
    }

    /// The caller's tenant, created if it is new. Only for calls that store something.
    pub(crate) async fn make_tenant(&self) -> Result<TenantId, Failure> {
        self.services.tenant(&self.tenant).await
    }

    /// Runs a blocking call on the pool.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        call: impl FnOnce(&Call) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (pool, asker) = (self.services.pool.clone(), self.asker.clone());
        run_for(asker, &pool, move || call(&self)).await
    }
}

/// Runs a call on a pool. When the client goes away this is dropped, and what runs on the pool can know.
async fn run_for<T: Send + 'static>(
    asker: Asker,
    pool: &Pool,
    call: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let _waiting = Waiting(asker);
    pool.run(call).await
}

/// Held for as long as the client waits.
struct Waiting(Asker);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Services {
    /// The tenant called `name`, created if it is new.
    pub(crate) async fn tenant(&self, name: &str) -> Result<TenantId, Failure> {
        if let Some(tenant) = self.store.find_tenant(name) {
            return Ok(tenant);
        }
        // A new tenant is synced to disk; as it is needed for writes, not behind slow queries.
        let (store, name) = (self.store.clone(), name.to_owned());
        self.decoders.run(move || Ok(store.tenant(&name)?)).await
    }
}

impl FromRequestParts<Arc<Services>> for Call {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        services: &Arc<Services>,
    ) -> Result<Self, Failure> {
        let place = place(parts)?;
        // Without authentication callers are trusted.
        let (tenant, delegates) = match parts.extensions.get::<Caller>() {
            Some(caller) => (caller.tenant.to_string(), caller.granted.delegates()),
            None => (tenant_name(&parts.headers)?, true),
        };
        let asker = Asker::default();
        Ok(Call { services: Arc::clone(services), place, asker, tenant, delegates })
    }
}

/// Where a request was sent.
pub(crate) fn place(parts: &Parts) -> Result<Place, Failure> {
    let host = security::host(&parts.uri, &parts.headers)?.unwrap_or("localhost");
    let scheme = if parts.extensions.get::<OverTls>().is_some() { "https" } else { "http" };
    Ok(Place {
        origin: format!("{scheme}://{host}"),
        path: parts.uri.path().to_owned(),
        parameters: Parameters::parse(parts.uri.query().unwrap_or_default()),
    })
}

/// The tenant that the caller names.
fn tenant_name(headers: &HeaderMap) -> Result<String, Failure> {
    let has_project = headers.contains_key("x-project-id");
    let name = if has_project { "x-project-id" } else { "x-tenant-id" };
    let mut named = headers.get_all(name).iter();
    let first = named.next().filter(|value| !value.is_empty());
    // A proxy in front of this server may have meant the other one.
    if named.next().is_some() {
        return Err(Failure::bad_request(format!("{name} must be given only once")));
    }
    let Some(named) = first else {
        return Ok(TENANT_DEFAULT.to_owned());
    };
    let name = std::str::from_utf8(named.as_bytes())
        .map_err(|_| Failure::bad_request(format!("{name} is not UTF-8")))?;
    check_tenant(name)?;
    Ok(name.to_owned())
}

/// Makes sure that a tenant may be called so.
pub(crate) fn check_tenant(name: &str) -> Result<(), Failure> {
    rules::check_tenant(name).map_err(Failure::unprocessable)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_goes_away_is_known_to_what_runs() {
        let asker = Asker::default();
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let seen = asker.clone();
        let work = move || {
            begin.send(()).unwrap();
            // Ends also if the test fails.
            let left = (0..100_000_000).any(|_| {
                std::thread::yield_now();
                seen.has_left()
            });
            end.send(left).unwrap();
            Ok(())
        };
        let pool = Pool::for_reading();
        let mut running = Box::pin(run_for(asker.clone(), &pool, work));
        tokio::select! {
            _ = &mut running => panic!("it ended by itself"),
            begun = begun => begun.unwrap(),
        }
        assert!(!asker.has_left());
        drop(running);
        assert!(ended.await.unwrap());
    }

    #[test]
    fn tenants_are_named_by_header() {
        let check = |headers: &[(&'static str, &str)], want: Result<&str, u16>| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let got = tenant_name(&map);
            assert_eq!(got.as_deref().map_err(|f| f.status.as_u16()), want);
        };
        check(&[], Ok("default"));
        check(&[("x-project-id", "")], Ok("default"));
        check(&[("x-project-id", "p"), ("x-tenant-id", "t")], Ok("p"));
        check(&[("x-tenant-id", "t")], Ok("t"));
        check(&[("x-project-id", "a\tb")], Err(422));
        check(&[("x-project-id", "a"), ("x-project-id", "b")], Err(400));
        check(&[("x-tenant-id", "a"), ("x-tenant-id", "a")], Err(400));
        check(&[("x-project-id", &"x".repeat(256))], Err(422));
        check(&[("x-project-id", &"é".repeat(255))], Ok(&"é".repeat(255)));
    }
}
