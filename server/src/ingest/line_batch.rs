//! A body of Influx lines on its way into write requests, one for each tenant that its lines name.
//!
//! A line counts as a whole or not at all where it cannot be read; where a rule forbids one of its fields
//! the others count.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use moneta_storage::Store;
use moneta_storage::model::{Timestamp, ValueMeta};
use moneta_storage::write::WriteRequest;

use super::complaints::{Complaints, shown};
use super::gather::{Allowance, Fault, Gather};
use super::json::Json;
use super::line::{Field, FieldValue, Found, Line, each_line};
use super::line_series::{VALUE, VALUE_META, key, unescaped, unescaped_text};
use super::rules;

/// What the persister writes of its alarms: texts alone, which have no place here. Its lines are taken and
/// left out, as it stops for good when one is refused.
const PERSISTED_HISTORY: &str = "alarm_state_history,tenant_id=";
/// Tenants that the lines of one body may name: as many as a batch of the persister has lines.
const TENANTS_MAX: usize = 10_000;
/// Fields that are read before those of all tenants are looked up.
const WAITING_MAX: usize = 64 * 1024;
/// Bytes of a field in a body with its part of the line, more or less: room is made for so many at once.
const FIELD_BYTES: usize = 24;
/// What an empty `value_meta` looks like.
const EMPTY_META: &str = "{}";
/// Stands between the parts of what a series is looked up by, and in no UTF-8 text. Each dialect has its
/// own: what bytes mean is remembered for all of them together.
const SEPARATOR: u8 = 0xfe;

/// The unit of the times of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Precision {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

impl Precision {
    /// What clients write; nanoseconds if they say nothing.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        Some(match text {
            None | Some("n" | "ns") => Precision::Nanoseconds,
            Some("u" | "us" | "µ" | "µs") => Precision::Microseconds,
            Some("ms") => Precision::Milliseconds,
            Some("s") => Precision::Seconds,
            Some("m") => Precision::Minutes,
            Some("h") => Precision::Hours,
            Some(_) => return None,
        })
    }

    /// A time, cut toward zero. One that milliseconds cannot say becomes the nearest they can, which is out
    /// of the range of times.
    fn time(self, number: i64) -> Timestamp {
        Timestamp::from_millis(match self {
            Precision::Nanoseconds => number / 1_000_000,
            Precision::Microseconds => number / 1000,
            Precision::Milliseconds => number,
            Precision::Seconds => number.saturating_mul(1000),
            Precision::Minutes => number.saturating_mul(60_000),
            Precision::Hours => number.saturating_mul(3_600_000),
        })
    }
}

/// Whom lines may name with `_tenant_id` and `_region`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Naming {
    /// Everybody, as the persister does.
    Anybody,
    /// The caller's tenant and this server's region alone.
    Oneself,
}

/// What a body is read with.
pub(crate) struct Terms<'a> {
    pub(crate) store: &'a Store,
    /// The caller's tenant.
    pub(crate) tenant: &'a str,
    /// The server's region.
    pub(crate) region: &'a str,
    pub(crate) naming: Naming,
    pub(crate) precision: Precision,
    /// Bytes that the names of new series may take.
    pub(crate) new_bytes: usize,
}

/// What a body says, ready to be committed.
#[derive(Default)]
pub(crate) struct Batch {
    /// For a tenant each.
    pub(crate) requests: Vec<WriteRequest>,
    /// Lines that cannot be read.
    pub(crate) unreadable: Complaints,
    /// Lines of which something breaks a rule.
    pub(crate) refused: Complaints,
    /// Lines whose time is out of range, or older than anything that is kept.
    pub(crate) expired: Complaints,
    /// Lines that are taken and not stored.
    pub(crate) left_out: usize,
}

impl Batch {
    fn complain(&mut self, line: &str, fault: &Fault) {
        let complaints = match fault {
            Fault::Unreadable(why) => {
                let text = || format!("unable to parse '{}': {why}", shown(line.as_bytes()));
                return self.unreadable.add(text);
            }
            Fault::Time(_) => &mut self.expired,
            Fault::Rule(_) | Fault::TooMuch | Fault::Store(_) => &mut self.refused,
        };
        let fault = fault.text();
        complaints.add(|| format!("{}: {}", shown(line.as_bytes()), shown(fault.as_bytes())));
    }
}

/// How reading a body ended.
pub(crate) enum Decoded {
    Whole(Batch),
    /// Tenants that have to be created before it can be read.
    Strangers(BTreeSet<String>),
}

/// A field of a line, which names a series.
struct Named<'a> {
    series: &'a str,
    field: &'a str,
    region: Option<&'a str>,
    /// Which line it is, counted among those that can be read.
    line: usize,
}

/// What is collected for a tenant.
struct Part<'a> {
    gather: Gather<Named<'a>>,
    now: Timestamp,
    /// The line that was complained of last: one complaint for a line is enough.
    complained: Option<usize>,
}

/// Lines that are being sorted by tenant.
struct Sorting<'t, 'a> {
    terms: &'t Terms<'t>,
    batch: Batch,
    parts: Vec<Part<'a>>,
    /// Which part is for which tenant, as lines name them.
    places: HashMap<Option<&'a str>, usize>,
    /// What the line before named, and its part.
    before: Option<(Option<&'a str>, usize)>,
    strangers: BTreeSet<String>,
    allowance: Allowance,
    body_bytes: usize,
    /// Lines so far.
    lines: usize,
    /// Samples that wait in all parts together.
    waiting: usize,
    raw: Vec<u8>,
}

/// Reads a body into write requests. Fails if it says more than a request may hold.
pub(crate) fn decode(terms: &Terms<'_>, body: &[u8]) -> Result<Decoded, Fault> {
    let mut sorting = Sorting {
        terms,
        batch: Batch::default(),
        parts: Vec::new(),
        places: HashMap::new(),
        before: None,
        strangers: BTreeSet::new(),
        allowance: Allowance::new(terms.new_bytes),
        body_bytes: body.len(),
        lines: 0,
        waiting: 0,
        raw: Vec::new(),
    };
    each_line(body, |found| match found {
        Found::Line(line, fields) => sorting.line(&line, fields),
        Found::Unreadable(line, why) => {
            let text = || format!("unable to parse '{}': {why}", shown(line));
            sorting.batch.unreadable.add(text);
            Ok(())
        }
    })?;
    sorting.finish()
}

impl<'a> Sorting<'_, 'a> {
    fn line(&mut self, line: &Line<'a>, fields: &[Field<'a>]) -> Result<(), Fault> {
        self.lines += 1;
        let numbers = fields.iter().any(|field| matches!(field.value, FieldValue::Number(_)));
        if !numbers {
            if line.series.starts_with(PERSISTED_HISTORY) {
                self.batch.left_out += 1;
            } else {
                let why = "no field is a number, and texts are not stored".to_owned();
                self.batch.complain(line.series, &Fault::Rule(why));
            }
            return Ok(());
        }
        let meta = match meta(fields) {
            Ok(meta) => meta,
            Err(fault) => {
                self.batch.complain(line.series, &fault);
                return Ok(());
            }
        };
        if let Err(fault) = self.may_name(line) {
            self.batch.complain(line.series, &fault);
            return Ok(());
        }
        let Some(place) = self.place(line, fields)? else { return Ok(()) };
        let Some(part) = self.parts.get_mut(place) else { return Ok(()) };
        let time = line.time.map_or(part.now, |time| self.terms.precision.time(time));
        self.raw.clear();
        self.raw.extend_from_slice(line.series.as_bytes());
        self.raw.push(SEPARATOR);
        let series_bytes = self.raw.len();
        for field in fields {
            let FieldValue::Number(value) = field.value else { continue };
            self.raw.truncate(series_bytes);
            self.raw.extend_from_slice(field.key.as_bytes());
            self.allowance.sample(self.raw.len())?;
            let (series, line, region) = (line.series, self.lines, line.region);
            let named = Named { series, field: field.key, region, line };
            let meta = meta.clone().filter(|_| field.key == VALUE);
            part.gather.add(part.gather.seek(&self.raw), named, time, value, meta);
        }
        self.waiting += fields.len();
        if part.gather.is_full() {
            part.settle(self.terms, &mut self.allowance, &mut self.batch)?;
        }
        // Parts that are never full alone take memory all the same.
        if self.waiting >= WAITING_MAX {
            self.waiting = 0;
            for part in &mut self.parts {
                part.settle(self.terms, &mut self.allowance, &mut self.batch)?;
            }
        }
        Ok(())
    }

    /// Whether the caller may say whose this line is.
    fn may_name(&self, line: &Line<'_>) -> Result<(), Fault> {
        if self.terms.naming == Naming::Anybody {
            return Ok(());
        }
        let is = |named: Option<&str>, own: &str| named.is_none_or(|named| unescaped(named) == own);
        if is(line.tenant, self.terms.tenant) && is(line.region, self.terms.region) {
            return Ok(());
        }
        let why = "the tags _tenant_id and _region may name others only for a caller with a delegate role";
        Err(Fault::Rule(why.to_owned()))
    }

    /// The part for the tenant of `line`. Nothing if it has to be created first, which is done only for a
    /// line that is in order.
    fn place(&mut self, line: &Line<'a>, fields: &[Field<'a>]) -> Result<Option<usize>, Fault> {
        if let Some((tenant, place)) = self.before
            && tenant == line.tenant
        {
            return Ok(Some(place));
        }
        if let Some(&place) = self.places.get(&line.tenant) {
            self.before = Some((line.tenant, place));
            return Ok(Some(place));
        }
        let name = line.tenant.map_or(Cow::Borrowed(self.terms.tenant), unescaped);
        let Some(tenant) = self.terms.store.find_tenant(&name) else {
            let first = fields.iter().find(|f| matches!(f.value, FieldValue::Number(_)));
            let checked = rules::check_tenant(&name)
                .map_err(|text| Fault::Rule(text.to_owned()))
                .and_then(|()| key(line.series, first.map_or(VALUE, |field| field.key), ""));
            match checked {
                Err(fault) => self.batch.complain(line.series, &fault),
                Ok(_) if self.strangers.contains(&*name) => {}
                Ok(_) if self.parts.len() + self.strangers.len() >= TENANTS_MAX => {
                    return Err(Fault::TooMuch);
                }
                Ok(_) => {
                    self.strangers.insert(name.into_owned());
                }
            }
            return Ok(None);
        };
        if self.parts.len() >= TENANTS_MAX {
            return Err(Fault::TooMuch);
        }
        let request = self.terms.store.request(tenant);
        let now = request.now();
        let place = self.parts.len();
        // Most bodies are of one tenant.
        let samples = if place == 0 { self.body_bytes / FIELD_BYTES } else { 0 };
        self.parts.push(Part { gather: Gather::new(request, samples), now, complained: None });
        self.places.insert(line.tenant, place);
        self.before = Some((line.tenant, place));
        Ok(Some(place))
    }

    fn finish(mut self) -> Result<Decoded, Fault> {
        if !self.strangers.is_empty() {
            return Ok(Decoded::Strangers(self.strangers));
        }
        for mut part in self.parts {
            part.settle(self.terms, &mut self.allowance, &mut self.batch)?;
            self.batch.requests.push(part.gather.into_request());
        }
        self.batch.requests.retain(|request| !request.is_empty());
        Ok(Decoded::Whole(self.batch))
    }
}

impl Part<'_> {
    /// Finds the series of what was added, and takes it in.
    fn settle(
        &mut self,
        terms: &Terms<'_>,
        allowance: &mut Allowance,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let complained = &mut self.complained;
        self.gather.settle(
            allowance,
            |named| {
                let region = named.region.map_or(Cow::Borrowed(terms.region), unescaped);
                key(named.series, named.field, &region)
            },
            |named, fault| {
                if *complained != Some(named.line) {
                    *complained = Some(named.line);
                    batch.complain(named.series, &fault);
                }
            },
        )
    }
}

/// What goes with the field `value`: a text with an object of JSON in it.
fn meta(fields: &[Field<'_>]) -> Result<Option<ValueMeta>, Fault> {
    let mut fields = fields.iter().filter(|field| field.key == VALUE_META);
    let text = fields.find_map(|field| match field.value {
        FieldValue::Text(text) => Some(text),
        FieldValue::Number(_) => None,
    });
    let Some(text) = text.filter(|text| *text != EMPTY_META) else { return Ok(None) };
    let text = unescaped_text(text);
    let json = Json::parse(&text)
        .map_err(|_| Fault::Rule("value_meta is not an object of JSON".to_owned()))?;
    let checked = rules::check_value_meta(&json).map_err(Fault::Rule)?;
    Ok(checked.as_deref().and_then(ValueMeta::new))
}

#[cfg(test)]
#[path = "line_batch_tests.rs"]
mod tests;
