//! What RocksDB remembers of retention and deletion: every entry decodes; one that does not is a
//! problem of its own. Tenants that were removed are known from here.

use std::collections::BTreeSet;
use std::path::Path;

use super::problem::{Affected, Findings, Part};
use crate::deletion::{self, Tombstone};
use crate::error::Error;
use crate::key::{self, Fact, Family, Key};
use crate::kv::Kv;
use crate::model::TenantId;
use crate::offline::Offline;
use crate::retention;
use crate::roster;

/// An entry that does not decode.
pub(crate) struct BadEntry {
    pub(crate) part: Part,
    pub(crate) key: Vec<u8>,
    /// Which one.
    pub(crate) place: String,
    /// What is lost with it; empty if nothing is.
    pub(crate) lost: &'static str,
}

/// Tenants that were removed. Rows of theirs are left until their segments have been written again.
#[derive(Clone, Default)]
pub(crate) struct Removed {
    known: BTreeSet<TenantId>,
    named: BTreeSet<TenantId>,
    /// Those of which something may be left besides rows.
    leaving: BTreeSet<TenantId>,
    upto: u64,
}

impl Removed {
    /// From what RocksDB says, if it can be read, and the list of tenants beside it.
    pub(crate) fn read(kv: Option<&Kv>, directory: &Path) -> Result<Self, Error> {
        let mut removed = Removed::default();
        for (tenant, name) in roster::read(directory) {
            let list = if name.is_some() { &mut removed.named } else { &mut removed.known };
            list.insert(tenant);
        }
        let Some(kv) = kv else { return Ok(removed) };
        // A number that is not one is reported where the facts are.
        removed.upto = Offline::fact(kv, Fact::RemovedTenant).unwrap_or(0);
        kv.scan(Family::Meta, &key::TENANT_PREFIX, &key::TENANT_PREFIX, |key, _| {
            removed.named.extend(key::decode_tenant(key));
            Ok::<_, Error>(true)
        })?;
        let whole = |tombstone: &Tombstone| tombstone.series.is_empty();
        let tombstones = tombstones(kv)?;
        removed.leaving = tombstones.iter().filter(|t| whole(t)).map(|t| t.tenant).collect();
        removed.known.extend(&removed.leaving);
        Ok(removed)
    }

    pub(crate) fn leaving(&self) -> &BTreeSet<TenantId> {
        &self.leaving
    }

    pub(crate) fn contains(&self, tenant: TenantId) -> bool {
        // Numbers are dense, so one without a name was removed.
        let nameless = u64::from(tenant.number()) <= self.upto && !self.named.contains(&tenant);
        self.known.contains(&tenant) || nameless && tenant != TenantId::SYSTEM
    }

    /// Those that are known by their numbers, not by the lack of a name.
    pub(crate) fn known(&self) -> impl Iterator<Item = TenantId> {
        self.known.iter().copied()
    }
}

/// The tombstones that decode.
pub(crate) fn tombstones(kv: &Kv) -> Result<Vec<Tombstone>, Error> {
    let mut found = Vec::new();
    let prefix = key::TOMBSTONE_PREFIX;
    kv.scan(Family::Meta, &prefix, &prefix, |key, value| {
        let number = key::decode_numbered(key);
        found.extend(number.and_then(|number| Tombstone::decode(number, value)));
        Ok::<_, Error>(true)
    })?;
    Ok(found)
}

/// Reads every entry.
pub(super) fn check(kv: &Kv, findings: &Findings) -> Result<Vec<BadEntry>, Error> {
    let mut bad = Vec::new();
    let mut note = |part, key: &[u8], place: String, lost| {
        findings.add(part, place.clone(), "does not decode", Affected::default());
        bad.push(BadEntry { part, key: key.to_vec(), place, lost });
    };
    if let Some(value) = kv.get(&Key::Policies)?
        && !retention::are_policies(&value)
    {
        let lost = "all policies: samples are kept for ever until policies are set again";
        note(Part::Retention, &Key::Policies.encode(), "retention policies".to_owned(), lost);
    }
    let prefix = key::FLOORS_PREFIX;
    kv.scan(Family::Meta, &prefix, &prefix, |key, value| {
        let tenant = key::decode_floors(key);
        if tenant.is_none() || !retention::are_floors(value) {
            let tenant = tenant.map_or("?".to_owned(), |tenant| tenant.to_string());
            let lost = "what had expired by earlier policies may be seen again";
            note(Part::Retention, key, format!("retention floors of tenant {tenant}"), lost);
        }
        Ok::<_, Error>(true)
    })?;
    let number =
        |key: &[u8]| key::decode_numbered(key).map_or("?".to_owned(), |number| number.to_string());
    let prefix = key::TOMBSTONE_PREFIX;
    kv.scan(Family::Meta, &prefix, &prefix, |key, value| {
        let decoded = key::decode_numbered(key).and_then(|number| Tombstone::decode(number, value));
        if decoded.is_none() {
            let lost = "samples that it hid and that are still in segments are seen again";
            note(Part::Deletion, key, format!("tombstone {}", number(key)), lost);
        }
        Ok::<_, Error>(true)
    })?;
    let prefix = key::DELETION_PREFIX;
    kv.scan(Family::Meta, &prefix, &prefix, |key, value| {
        if !key::decode_numbered(key).is_some_and(|number| deletion::is_record(number, value)) {
            let lost = "the record of what was deleted";
            note(Part::Deletion, key, format!("deletion {}", number(key)), lost);
        }
        Ok::<_, Error>(true)
    })?;
    for (fact, name) in [
        (Fact::LastArrival, "last arrival"),
        (Fact::RemovedTenant, "removed tenant"),
        (Fact::TrimmedTo, "trimmed to"),
        (Fact::NextSegment, "next segment"),
    ] {
        if Offline::fact(kv, fact).is_err() {
            note(Part::Facts, &Key::Fact(fact).encode(), name.to_owned(), "");
        }
    }
    Ok(bad)
}
