//! `/v2.0/notification-methods`

use std::cmp::Ordering;

use axum::Json;
use axum::http::StatusCode;
use moneta_alerting::{MethodKind, NotificationMethod};
use moneta_storage::model::TenantId;
use serde_json::Value;

use super::call::Call;
use super::fields::Presence::{Optional, Required};
use super::fields::{Fields, Presence};
use super::page::{row_offset, rows, sort, sorting};
use crate::http::body::Payload;
use crate::status::{Failure, of_method_error};
use crate::wire::alarms::{MethodObject, MethodTypeElement};
use crate::wire::metrics::Listing;

const NAME_CHARS_MAX: usize = 250;
const ADDRESS_CHARS_MAX: usize = 512;
const FIELDS: [&str; 4] = ["name", "type", "address", "period"];

/// What a body says about a method.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Written {
    name: String,
    kind: MethodKind,
    address: String,
    period: u32,
}

/// `POST`
pub(super) async fn create(
    call: Call,
    payload: Payload,
) -> Result<(StatusCode, Json<MethodObject>), Failure> {
    payload.must_be_json()?;
    let body = payload.json()?;
    let written = written(&body, None, Optional, &call.services.periods);
    let written = written.map_err(Failure::bad_request_capital)?;
    let tenant = call.make_tenant().await?;
    call.run(move |call| {
        let Written { name, kind, address, period } = written;
        let method = call.services.alarms.create_method(tenant, &name, kind, &address, period);
        let method = method.map_err(of_method_error)?;
        Ok((StatusCode::CREATED, Json(MethodObject::new(&call.place, method))))
    })
    .await
}

/// `GET` the list.
pub(super) async fn list(call: Call) -> Result<Json<Listing<MethodObject>>, Failure> {
    call.run(|call| {
        let parameters = call.parameters();
        let sorting = sorting(parameters, &SORT_FIELDS)?;
        let (offset, limit) = (row_offset(parameters)?, parameters.limit()?);
        let mut all = match call.tenant() {
            Some(tenant) => call.services.alarms.methods(tenant).map_err(of_method_error)?,
            None => Vec::new(),
        };
        sort(&mut all, &sorting, compare);
        let (page, next) = rows(all, offset, limit);
        let elements = page.into_iter().map(|one| MethodObject::new(&call.place, one)).collect();
        Ok(Json(Listing { links: call.place.page(next.as_deref()), elements }))
    })
    .await
}

/// `GET` the kinds that can be used.
pub(super) async fn types(call: Call) -> Json<Listing<MethodTypeElement>> {
    let elements = vec![MethodTypeElement { kind: MethodKind::Webhook }];
    Json(Listing { links: call.place.page(None), elements })
}

/// `GET` one.
pub(super) async fn show(call: Call) -> Result<Json<MethodObject>, Failure> {
    call.run(|call| {
        let (_, method) = find(call)?;
        Ok(Json(MethodObject::new(&call.place, method)))
    })
    .await
}

/// `PUT`
pub(super) async fn replace(call: Call, payload: Payload) -> Result<Json<MethodObject>, Failure> {
    payload.must_be_json()?;
    let body = payload.json()?;
    // A body that is wrong in itself is told so whether the method exists or not.
    let written = written(&body, None, Required, &call.services.periods);
    let written = written.map_err(Failure::bad_request_capital)?;
    call.run(move |call| {
        let (tenant, method) = find(call)?;
        update(call, tenant, method, written)
    })
    .await
}

/// `PATCH`
pub(super) async fn change(call: Call, payload: Payload) -> Result<Json<MethodObject>, Failure> {
    payload.must_be_json()?;
    let body = payload.json()?;
    call.run(move |call| {
        let (tenant, method) = find(call)?;
        let written = written(&body, Some(&method), Optional, &call.services.periods);
        let written = written.map_err(Failure::bad_request_capital)?;
        update(call, tenant, method, written)
    })
    .await
}

fn update(
    call: &Call,
    tenant: TenantId,
    stored: NotificationMethod,
    written: Written,
) -> Result<Json<MethodObject>, Failure> {
    let Written { name, kind, address, period } = written;
    let method = NotificationMethod { name, kind, address, period, ..stored };
    let method = call.services.alarms.update_method(tenant, method).map_err(of_method_error)?;
    Ok(Json(MethodObject::new(&call.place, method)))
}

/// `DELETE`
pub(super) async fn delete(call: Call) -> Result<StatusCode, Failure> {
    call.run(|call| {
        let (tenant, method) = find(call)?;
        call.services.alarms.delete_method(tenant, &method.id).map_err(of_method_error)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// The method in the path.
fn find(call: &Call) -> Result<(TenantId, NotificationMethod), Failure> {
    let missing = || Failure::not_found(format!("no notification method has the id {}", call.id()));
    let tenant = call.tenant().ok_or_else(missing)?;
    let all = call.services.alarms.methods(tenant).map_err(of_method_error)?;
    let method = all.into_iter().find(|method| method.id == call.id()).ok_or_else(missing)?;
    Ok((tenant, method))
}

/// Reads a body; what is absent is taken from `stored`, if that is given. `period` is as `period_is`
/// says when there is none stored.
fn written(
    body: &Value,
    stored: Option<&NotificationMethod>,
    period_is: Presence,
    periods: &[u32],
) -> Result<Written, String> {
    let fields = Fields::of(body)?;
    let presence = if stored.is_some() { Optional } else { Required };
    let name = fields.text("name", NAME_CHARS_MAX, presence)?;
    let kind = fields.text("type", usize::MAX, presence)?;
    let address = fields.text("address", ADDRESS_CHARS_MAX, presence)?;
    fields.only(&FIELDS)?;
    if name.as_ref().is_some_and(String::is_empty) {
        return Err("length of value must be at least 1 for dictionary value @ data['name']".into());
    }
    let kind = kind.map(|kind| parse_kind(&kind)).transpose()?;
    let stored_kind = stored.map_or(MethodKind::Webhook, |stored| stored.kind);
    let kind = kind.unwrap_or(stored_kind);
    let stored_text = |text: fn(&NotificationMethod) -> &String| stored.map(text).cloned();
    let address = address.or_else(|| stored_text(|m| &m.address)).unwrap_or_default();
    match kind {
        MethodKind::Webhook => check_url(&address)?,
    }
    let period = match fields.any("period", Optional)? {
        Some(value) => parse_period(value, periods)?,
        None if period_is == Required => return Err("Period is required".into()),
        None => stored.map_or(0, |stored| stored.period),
    };
    let name = name.or_else(|| stored_text(|m| &m.name)).unwrap_or_default();
    Ok(Written { name, kind, address, period })
}

fn parse_kind(text: &str) -> Result<MethodKind, String> {
    match text.to_uppercase().as_str() {
        "WEBHOOK" => Ok(MethodKind::Webhook),
        kind @ ("EMAIL" | "PAGERDUTY" | "SLACK" | "HIPCHAT" | "JIRA") => {
            Err(format!("Notification method type {kind} is not available yet"))
        }
        // The space at the end is part of the text.
        kind => Err(format!("Not a valid notification method type {kind} ")),
    }
}

fn check_url(address: &str) -> Result<(), String> {
    let (scheme, rest) = address.split_once(':').unwrap_or(("", address));
    let mut chars = scheme.chars();
    let is_scheme = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if !is_scheme {
        return Err(format!("Address {address} does not have URL scheme"));
    }
    let location = rest.strip_prefix("//").unwrap_or_default();
    if location.split(['/', '?', '#']).next().unwrap_or_default().is_empty() {
        return Err(format!("Address {address} does not have network location"));
    }
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(format!("Address {address} scheme is not in ['http', 'https']"));
    }
    Ok(())
}

/// A number, or a text that is one.
fn parse_period(value: &Value, periods: &[u32]) -> Result<u32, String> {
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let period: i64 =
        shown.trim().parse().map_err(|_| format!("Period {shown} must be a valid integer"))?;
    let valid =
        u32::try_from(period).ok().filter(|period| *period == 0 || periods.contains(period));
    valid.ok_or_else(|| {
        let all = periods.iter().map(ToString::to_string);
        let all: Vec<String> = std::iter::once("0".to_owned()).chain(all).collect();
        format!("{period} is not in the configured list of valid periods: [{}]", all.join(", "))
    })
}

/// What the list can be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum SortField {
    Id,
    Name,
    Kind,
    Address,
    Updated,
    Created,
}

const SORT_FIELDS: [(&str, SortField); 6] = [
    ("id", SortField::Id),
    ("name", SortField::Name),
    ("type", SortField::Kind),
    ("address", SortField::Address),
    ("updated_at", SortField::Updated),
    ("created_at", SortField::Created),
];

fn compare(a: &NotificationMethod, b: &NotificationMethod, field: SortField) -> Ordering {
    match field {
        SortField::Id => a.id.cmp(&b.id),
        SortField::Name => a.name.cmp(&b.name),
        SortField::Kind => a.kind.cmp(&b.kind),
        SortField::Address => a.address.cmp(&b.address),
        SortField::Updated => a.updated_ms.cmp(&b.updated_ms),
        SortField::Created => a.created_ms.cmp(&b.created_ms),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_read() {
        let check = |body: Value, period: u32| {
            let got = written(&body, None, Optional, &[60]).unwrap();
            let kind = MethodKind::Webhook;
            let address = "http://h/p".to_owned();
            assert_eq!(got, Written { name: "n".into(), kind, address, period });
        };
        check(json!({"name": "n", "type": "webhook", "address": "http://h/p"}), 0);
        check(json!({"name": "n", "type": "WEBHOOK", "address": "http://h/p", "period": 60}), 60);
        check(json!({"name": "n", "type": "Webhook", "address": "http://h/p", "period": "60"}), 60);
    }

    #[test]
    fn mistakes_have_their_texts() {
        let check = |change: Value, want: &str| {
            let mut body =
                json!({"name": "n", "type": "WEBHOOK", "address": "http://h", "period": 0});
            for (key, value) in change.as_object().unwrap() {
                body[key] = value.clone();
            }
            assert_eq!(written(&body, None, Required, &[60]).unwrap_err(), want, "{body}");
        };
        let no_address = json!({"name": "n", "type": "WEBHOOK"});
        assert_eq!(
            written(&no_address, None, Optional, &[60]).unwrap_err(),
            "required key not provided @ data['address']"
        );
        assert_eq!(written(&json!(5), None, Optional, &[]).unwrap_err(), "expected a dictionary");
        let no_period = json!({"name": "n", "type": "WEBHOOK", "address": "http://h"});
        assert_eq!(written(&no_period, None, Required, &[60]).unwrap_err(), "Period is required");
        check(json!({"name": 5}), "expected str for dictionary value @ data['name']");
        check(
            json!({"name": "x".repeat(251)}),
            "length of value must be at most 250 for dictionary value @ data['name']",
        );
        check(json!({"x": 1}), "extra keys not allowed @ data['x']");
        check(json!({"type": "EMAIL"}), "Notification method type EMAIL is not available yet");
        check(json!({"type": "pigeon"}), "Not a valid notification method type PIGEON ");
        check(json!({"period": "x"}), "Period x must be a valid integer");
        check(json!({"period": 1.5}), "Period 1.5 must be a valid integer");
        check(json!({"period": 30}), "30 is not in the configured list of valid periods: [0, 60]");
        check(json!({"address": "h/p"}), "Address h/p does not have URL scheme");
        check(json!({"address": "http:/p"}), "Address http:/p does not have network location");
        check(json!({"address": "ftp://h"}), "Address ftp://h scheme is not in ['http', 'https']");
    }

    #[test]
    fn absent_fields_stay_as_they_are() {
        let stored = NotificationMethod {
            id: "i".into(),
            name: "n".into(),
            kind: MethodKind::Webhook,
            address: "http://h".into(),
            period: 60,
            created_ms: 0,
            updated_ms: 0,
        };
        let got = written(&json!({"name": "m"}), Some(&stored), Optional, &[60]).unwrap();
        assert_eq!((got.name.as_str(), got.address.as_str(), got.period), ("m", "http://h", 60));
    }
}
