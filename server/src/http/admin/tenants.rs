//! `/admin/tenants`: who stores something here, and removing one with everything it has.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use moneta_storage::model::{Selector, TenantId};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Named, asker};
use crate::auth::Right;
use crate::http::monasca::call::Call;
use crate::http::openapi::admin as told;
use crate::http::{Route, Services};
use crate::status::Failure;

/// The routes.
pub(super) fn routes() -> Vec<Route<Arc<Services>>> {
    vec![
        Route::at("/admin/tenants").get(Right::Administer, list).told(&told::TENANTS),
        Route::at("/admin/tenants/{name}")
            .get(Right::Administer, show)
            .told(&told::TENANT_SHOW)
            .delete(Right::Administer, remove)
            .told(&told::TENANT_REMOVE),
    ]
}

#[derive(Serialize)]
struct Tenant {
    name: String,
    series: u64,
}

#[derive(Serialize)]
struct Contents {
    name: String,
    series: u64,
    samples: u64,
    bytes: u64,
    alarm_definitions: usize,
    notification_methods: usize,
}

async fn list(State(services): State<Arc<Services>>) -> Result<Json<Value>, Failure> {
    let store = services.store.clone();
    let all = move || {
        let mut tenants = Vec::new();
        for tenant in store.tenants() {
            if let Some(name) = store.tenant_name(tenant) {
                let series = store.select(tenant, &Selector::default())?.len();
                let series = u64::try_from(series).unwrap_or(u64::MAX);
                tenants.push(Tenant { name: name.to_string(), series });
            }
        }
        Ok(Json(json!({ "tenants": tenants })))
    };
    services.pool.run(all).await
}

fn find(services: &Services, name: &str) -> Result<TenantId, Failure> {
    let missing = || Failure::not_found(format!("no tenant is called {name}"));
    services.store.find_tenant(name).ok_or_else(missing)
}

async fn show(
    State(services): State<Arc<Services>>,
    Named(name): Named,
) -> Result<Json<Contents>, Failure> {
    let own = Arc::clone(&services);
    let one = move || {
        let tenant = find(&own, &name)?;
        let plan = own.store.plan_tenant_removal(tenant)?;
        Ok(Json(Contents {
            name,
            series: plan.series,
            samples: plan.samples,
            bytes: plan.bytes,
            alarm_definitions: own.alarms.definitions(tenant)?.len(),
            notification_methods: own.alarms.methods(tenant)?.len(),
        }))
    };
    services.pool.run(one).await
}

/// Removes a tenant. The parameter `confirm` has to say its name as well: this cannot be undone.
async fn remove(Named(name): Named, call: Call) -> Result<Json<Value>, Failure> {
    if call.parameters().one("confirm")? != Some(name.as_str()) {
        let text = format!("to remove the tenant and all it has, repeat with ?confirm={name}");
        return Err(Failure::unprocessable(text));
    }
    call.run(move |call| {
        let services = &call.services;
        let tenant = find(services, &name)?;
        // First what would go on working in memory.
        for definition in services.alarms.definitions(tenant)? {
            services.alarms.delete_definition(tenant, &definition.id)?;
        }
        for method in services.alarms.methods(tenant)? {
            services.alarms.delete_method(tenant, &method.id)?;
        }
        let by = call.parameters().one("by")?.unwrap_or_default();
        let deletion = services.store.remove_tenant(tenant, &asker(by))?;
        Ok(Json(json!({
            "deletion": deletion.number, "tenant": deletion.tenant,
            "series": deletion.plan.series, "samples": deletion.plan.samples,
        })))
    })
    .await
}
