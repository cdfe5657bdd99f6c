//! Notification methods: where notifications go, as users keep them.
//!
//! A method is one record under its id: a version byte and the method as JSON. There is no cache:
//! whoever sends looks the method up again, so that a change counts with the next attempt.

use std::sync::{Arc, Mutex, PoisonError};

use moneta_storage::clock::Clock;
use moneta_storage::model::TenantId;
use moneta_storage::record::{RecordKind, Records};
use reqwest::Url;

use crate::error::Error;
use crate::model::{MethodKind, NotificationMethod};
use crate::notify::shelf::{Change, Shelf};

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 250;
/// Longest address, in characters.
const ADDRESS_CHARS_MAX: usize = 512;
/// Methods a tenant may have.
const METHODS_MAX: usize = 10_000;
/// Records read at a time.
const PAGE: usize = 1000;
/// Version of the encoding of a method.
const VERSION: u8 = 1;

const KIND: RecordKind = RecordKind::NotificationMethod;

/// The notification methods of all tenants. Cheap to clone; every call may block for the disk.
#[derive(Clone)]
pub struct Methods {
    shelf: Arc<dyn Shelf>,
    /// Held from the check of a name to the commit that takes it, so that two requests cannot both
    /// take it. Changes are rare and readers do not need it.
    changing: Arc<Mutex<()>>,
    clock: Arc<dyn Clock>,
}

#[expect(clippy::missing_errors_doc, reason = "every method fails as crate::Error says")]
impl Methods {
    /// The methods kept in `records`; changes are stamped with the time of `clock`.
    pub fn open(records: Records, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Ok(Methods::on(Arc::new(records), clock))
    }

    /// The methods kept on a shelf.
    pub(crate) fn on(shelf: Arc<dyn Shelf>, clock: Arc<dyn Clock>) -> Self {
        Methods { shelf, changing: Arc::default(), clock }
    }

    /// Creates a method under a random id. `valid_periods` are the periods allowed besides 0.
    pub fn create(
        &self,
        tenant: TenantId,
        name: &str,
        kind: MethodKind,
        address: &str,
        period: u32,
        valid_periods: &[u32],
    ) -> Result<NotificationMethod, Error> {
        let now = self.clock.now().millis();
        let method = NotificationMethod {
            id: uuid::Uuid::new_v4().to_string(),
            name: name.to_owned(),
            kind,
            address: address.to_owned(),
            period,
            created_ms: now,
            updated_ms: now,
        };
        check(&method, valid_periods)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.list(tenant)?;
        if others.iter().any(|other| other.name == method.name) {
            let name = &method.name;
            return Err(Error::Exists(format!(
                "A notification method with the name {name} already exists"
            )));
        }
        if others.len() >= METHODS_MAX {
            return Err(Error::Limit {
                limit: "notification methods per tenant",
                max: METHODS_MAX as u64,
            });
        }
        self.put(tenant, &method)?;
        Ok(method)
    }

    /// Replaces name, kind, address and period of the method with this id; what `method` says of times is
    /// not looked at.
    pub fn update(
        &self,
        tenant: TenantId,
        method: NotificationMethod,
        valid_periods: &[u32],
    ) -> Result<NotificationMethod, Error> {
        check(&method, valid_periods)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stored) = self.get(tenant, &method.id)? else {
            return Err(not_found(&method.id));
        };
        let others = self.list(tenant)?;
        let taken = others.iter().find(|other| other.name == method.name && other.id != method.id);
        if let Some(NotificationMethod { id, name, .. }) = taken {
            return Err(Error::Exists(format!(
                "A notification method with name {name} already exists with id {id}"
            )));
        }
        let method = NotificationMethod {
            created_ms: stored.created_ms,
            updated_ms: self.clock.now().millis(),
            ..method
        };
        self.put(tenant, &method)?;
        Ok(method)
    }

    /// All methods of a tenant, ascending by id.
    pub fn list(&self, tenant: TenantId) -> Result<Vec<NotificationMethod>, Error> {
        let mut methods = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.shelf.scan(tenant, KIND, after.as_deref(), PAGE)?;
            let full = page.len() == PAGE;
            for (id, value) in &page {
                methods.push(decode(id, value)?);
            }
            match page.into_iter().next_back() {
                Some((last, _)) if full => after = Some(last),
                Some(_) | None => return Ok(methods),
            }
        }
    }

    /// The method with this id, if there is one.
    pub fn get(&self, tenant: TenantId, id: &str) -> Result<Option<NotificationMethod>, Error> {
        let value = self.shelf.get(tenant, KIND, id.as_bytes())?;
        value.map(|value| decode(id.as_bytes(), &value)).transpose()
    }

    /// Deletes a method. Notifications still to be sent to it are dropped at their next attempt.
    pub fn delete(&self, tenant: TenantId, id: &str) -> Result<(), Error> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(tenant, id)?.is_none() {
            return Err(not_found(id));
        }
        self.shelf.commit(vec![Change {
            tenant,
            kind: KIND,
            id: id.as_bytes().to_vec(),
            value: None,
        }])
    }

    fn put(&self, tenant: TenantId, method: &NotificationMethod) -> Result<(), Error> {
        let id = method.id.as_bytes().to_vec();
        self.shelf.commit(vec![Change { tenant, kind: KIND, id, value: Some(encode(method)) }])
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound { what: "notification method", id: id.to_owned() }
}

fn encode(method: &NotificationMethod) -> Vec<u8> {
    let mut value = vec![VERSION];
    serde_json::to_writer(&mut value, method).expect("strings and numbers always serialise");
    value
}

fn decode(id: &[u8], value: &[u8]) -> Result<NotificationMethod, Error> {
    value.strip_prefix(&[VERSION]).and_then(|json| serde_json::from_slice(json).ok()).ok_or_else(
        || {
            let place = format!("notification method {}", String::from_utf8_lossy(id));
            moneta_storage::Error::corrupt("record", place).into()
        },
    )
}

/// The rules for what a user writes.
fn check(method: &NotificationMethod, valid_periods: &[u32]) -> Result<(), Error> {
    check_length("name", &method.name, NAME_CHARS_MAX)?;
    check_length("address", &method.address, ADDRESS_CHARS_MAX)?;
    match method.kind {
        MethodKind::Webhook => check_url(&method.address)?,
    }
    check_period(method.period, valid_periods)
}

fn check_length(field: &str, text: &str, chars_max: usize) -> Result<(), Error> {
    let bound = match text.chars().count() {
        0 => "at least 1".to_owned(),
        n if n > chars_max => format!("at most {chars_max}"),
        _ => return Ok(()),
    };
    Err(Error::Invalid(format!(
        "length of value must be {bound} for dictionary value @ data['{field}']"
    )))
}

/// The API asks for scheme, then host, then which scheme, each with its own text. A URL parser
/// alone would lump them together.
fn check_url(address: &str) -> Result<(), Error> {
    let invalid = |what: &str| Err(Error::Invalid(format!("Address {address} {what}")));
    let Some((scheme, rest)) = address.split_once(':').filter(|(scheme, _)| is_scheme(scheme))
    else {
        return invalid("does not have URL scheme");
    };
    let host = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
    if host.is_none_or(str::is_empty) {
        return invalid("does not have network location");
    }
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return invalid("scheme is not in ['http', 'https']");
    }
    match Url::parse(address) {
        Ok(url) if url.has_host() => Ok(()),
        Ok(_) => invalid("does not have network location"),
        Err(error) => invalid(&format!("is not a URL: {error}")),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn check_period(period: u32, valid_periods: &[u32]) -> Result<(), Error> {
    if period == 0 {
        return Ok(());
    }
    if !valid_periods.contains(&period) {
        let mut valid = vec![0];
        valid.extend(valid_periods.iter().filter(|&&valid| valid != 0));
        return Err(Error::Invalid(format!(
            "{period} is not in the configured list of valid periods: {valid:?}"
        )));
    }
    Err(Error::Invalid("periodic repeats are not available yet, period must be 0".to_owned()))
}

#[cfg(test)]
mod tests {
    use moneta_storage::clock::ManualClock;
    use moneta_storage::model::Timestamp;

    use super::*;
    use crate::notify::shelf::MapShelf;

    const TENANT: TenantId = TenantId::new(1);

    fn clock() -> Arc<ManualClock> {
        ManualClock::at(Timestamp::from_millis(5000))
    }

    fn methods() -> Methods {
        Methods::on(Arc::new(MapShelf::default()), clock())
    }

    fn create(methods: &Methods, name: &str, address: &str, period: u32) -> Result<String, String> {
        methods
            .create(TENANT, name, MethodKind::Webhook, address, period, &[60])
            .map(|method| method.id)
            .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_refusal(name: &str, address: &str, period: u32, want: &str) {
        assert_eq!(create(&methods(), name, address, period), Err(want.to_owned()));
    }

    #[test]
    fn refuses_what_breaks_a_rule_in_the_words_of_the_api() {
        let ok = "http://h/x";
        check_refusal(
            "",
            ok,
            0,
            "length of value must be at least 1 for dictionary value @ data['name']",
        );
        let long = "é".repeat(251);
        check_refusal(
            &long,
            ok,
            0,
            "length of value must be at most 250 for dictionary value @ data['name']",
        );
        let long = format!("http://{}", "a".repeat(506));
        check_refusal(
            "n",
            &long,
            0,
            "length of value must be at most 512 for dictionary value @ data['address']",
        );
        check_refusal("n", "//h/x", 0, "Address //h/x does not have URL scheme");
        check_refusal("n", "plain", 0, "Address plain does not have URL scheme");
        check_refusal("n", "h:80/x", 0, "Address h:80/x does not have network location");
        check_refusal("n", "http:///x", 0, "Address http:///x does not have network location");
        check_refusal("n", "ftp://h/x", 0, "Address ftp://h/x scheme is not in ['http', 'https']");
        check_refusal(
            "n",
            "http://h:port/",
            0,
            "Address http://h:port/ is not a URL: invalid port number",
        );
        check_refusal("n", ok, 30, "30 is not in the configured list of valid periods: [0, 60]");
        check_refusal("n", ok, 60, "periodic repeats are not available yet, period must be 0");
    }

    #[test]
    fn accepts_the_longest_name_and_upper_case_schemes() {
        let methods = methods();
        assert!(create(&methods, &"é".repeat(250), "HTTPS://h.example/x?y=z", 0).is_ok());
        assert!(create(&methods, "v6", "http://[::1]:8080", 0).is_ok());
    }

    #[test]
    fn a_name_is_unique_in_its_tenant() {
        let methods = methods();
        let first = create(&methods, "n", "http://h", 0).unwrap();
        let again = create(&methods, "n", "http://h", 0);
        assert_eq!(again, Err("A notification method with the name n already exists".to_owned()));
        let other = methods.create(TenantId::new(2), "n", MethodKind::Webhook, "http://h", 0, &[]);
        assert!(other.is_ok());

        let second = create(&methods, "m", "http://h", 0).unwrap();
        let mut method = methods.get(TENANT, &second).unwrap().unwrap();
        method.address = "http://other".to_owned();
        assert_eq!(methods.update(TENANT, method.clone(), &[60]).unwrap(), method);
        method.name = "n".to_owned();
        let refused = methods.update(TENANT, method, &[60]).unwrap_err();
        let want = format!("A notification method with name n already exists with id {first}");
        assert_eq!(refused.to_string(), want);
        assert_eq!(methods.get(TENANT, &second).unwrap().unwrap().address, "http://other");
    }

    #[test]
    fn deleted_is_gone_and_unknown_is_said() {
        let methods = methods();
        let id = create(&methods, "n", "http://h", 0).unwrap();
        let method = methods.get(TENANT, &id).unwrap().unwrap();
        assert!(methods.get(TenantId::new(2), &id).unwrap().is_none());
        methods.delete(TENANT, &id).unwrap();
        assert!(methods.list(TENANT).unwrap().is_empty());
        let want = format!("no notification method has the id {id}");
        assert_eq!(methods.delete(TENANT, &id).unwrap_err().to_string(), want);
        assert_eq!(methods.update(TENANT, method, &[]).unwrap_err().to_string(), want);
    }

    #[test]
    fn lists_across_pages_by_id_up_to_the_limit() {
        let shelf = Arc::new(MapShelf::default());
        let methods = Methods::on(shelf, clock());
        for n in 0..METHODS_MAX {
            let id = format!("{n:05}");
            let method = NotificationMethod {
                id: id.clone(),
                name: id,
                kind: MethodKind::Webhook,
                address: "http://h".to_owned(),
                period: 0,
                created_ms: 0,
                updated_ms: 0,
            };
            methods.put(TENANT, &method).unwrap();
        }
        let ids: Vec<String> = methods.list(TENANT).unwrap().into_iter().map(|m| m.id).collect();
        assert_eq!(ids.len(), METHODS_MAX);
        assert!(ids.is_sorted());
        let refused = create(&methods, "one more", "http://h", 0);
        assert_eq!(refused, Err("notification methods per tenant is limited to 10000".to_owned()));
    }

    #[test]
    fn changes_are_stamped_and_creation_is_kept() {
        let clock = clock();
        let methods = Methods::on(Arc::new(MapShelf::default()), clock.clone());
        let made = methods.create(TENANT, "n", MethodKind::Webhook, "http://h", 0, &[]).unwrap();
        assert_eq!((made.created_ms, made.updated_ms), (5000, 5000));
        clock.set(Timestamp::from_millis(7000));
        let mut claimed = made.clone();
        (claimed.created_ms, claimed.updated_ms) = (1, 2);
        let changed = methods.update(TENANT, claimed, &[]).unwrap();
        assert_eq!((changed.created_ms, changed.updated_ms), (5000, 7000));
        assert_eq!(methods.get(TENANT, &made.id).unwrap(), Some(changed));
        let old = br#"{"id":"i","name":"n","kind":"WEBHOOK","address":"http://h","period":0}"#;
        let old = decode(b"i", &[&[VERSION], old.as_slice()].concat()).unwrap();
        assert_eq!((old.created_ms, old.updated_ms), (0, 0));
    }

    #[test]
    fn a_record_of_another_version_is_corrupt() {
        let method = NotificationMethod {
            id: "i".to_owned(),
            name: "n".to_owned(),
            kind: MethodKind::Webhook,
            address: "http://h".to_owned(),
            period: 60,
            created_ms: 1000,
            updated_ms: 2000,
        };
        let mut value = encode(&method);
        assert_eq!(decode(b"i", &value).unwrap(), method);
        value[0] = 2;
        assert_eq!(
            decode(b"i", &value).unwrap_err().to_string(),
            "notification method i has a bad record"
        );
    }
}
