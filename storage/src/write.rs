//! A write: samples of one tenant that are committed together. Series are resolved while samples are
//! collected, on the writer's own thread; ids of new series are given by the committer.

use std::sync::Arc;

use foldhash::HashMap;

use crate::batch::Row;
use crate::error::Error;
use crate::index::Index;
pub use crate::index::cache::Sought;
use crate::index::cache::{Known, NO_DAY, RawHash, SeriesCache};
use crate::limits::{Bounds, LimitKind};
use crate::model::SERIES_KEY_BYTES_MAX;
use crate::model::{Sequence, SeriesId, SeriesKey, TenantId, Timestamp, ValueMeta};
use crate::segment::partition_of;
use crate::threads::Shared;

/// Earliest timestamp that is stored: 1900-01-01.
pub const TIME_MIN: Timestamp = Timestamp::from_millis(-2_208_988_800_000);
/// A timestamp may lie this far ahead of the clock.
pub const AHEAD_MS_MAX: i64 = 24 * 3600 * 1000;
/// Most samples in a request.
pub const REQUEST_SAMPLES_MAX: usize = 1_000_000;

/// Samples of one tenant, being collected. Nothing is stored, and no series exists, until
/// [`Store::submit`](crate::Store::submit) has acknowledged it.
pub struct WriteRequest {
    index: Arc<Index>,
    cache: Arc<SeriesCache>,
    bounds: Arc<Bounds>,
    /// How often series of the tenant had been removed before this was begun.
    pub(crate) removals: u64,
    /// How many series of the tenant there had been then. What it did not find can only be among those
    /// that came since.
    pub(crate) series_seen: u32,
    now: Timestamp,
    /// Before this, samples of the tenant have expired whatever their metric.
    oldest: Timestamp,
    pub(crate) tenant: TenantId,
    pub(crate) rows: Vec<Row>,
    pub(crate) metas: Vec<(u32, ValueMeta)>,
    /// Series that the index did not know; their rows hold no id yet.
    pub(crate) unknown: Vec<UnknownSeries>,
    /// Which rows belong to unknown series: (row, index into `unknown`).
    pub(crate) unknown_rows: Vec<(u32, u32)>,
    /// Days on which known series have samples, where that was not noted before.
    pub(crate) days: Vec<(SeriesId, i32)>,
    /// What the cache learns when the request is committed.
    learned: Vec<(RawHash, Learned)>,
    pending: HashMap<RawHash, Learned>,
    by_hash: HashMap<u128, u32>,
}

/// A series that may have to be created.
pub(crate) struct UnknownSeries {
    pub(crate) key: SeriesKey,
    pub(crate) canonical: Vec<u8>,
    pub(crate) hash: u128,
    /// Series with the same hash and another key: none, as good as ever.
    pub(crate) same_hash: Vec<SeriesId>,
    /// Days on which it has samples.
    pub(crate) days: Vec<i32>,
}

#[derive(Clone, Copy)]
enum Learned {
    Known(Known),
    Unknown { at: u32, day: i32 },
}

impl WriteRequest {
    pub(crate) fn new(shared: &Shared, tenant: TenantId) -> Self {
        let now = shared.clock.now();
        let known = shared.index.tenant_by_id(tenant);
        let removals = known.as_ref().map_or(0, |tenant| tenant.removals());
        let series_seen = known.as_ref().map_or(0, |tenant| tenant.series_count());
        let oldest = known.map_or(Timestamp::MIN, |tenant| {
            shared.retention.rules().oldest_kept(&tenant.name, now)
        });
        WriteRequest {
            index: shared.index.clone(),
            cache: shared.cache.clone(),
            bounds: shared.bounds.clone(),
            removals,
            series_seen,
            now,
            oldest,
            tenant,
            rows: Vec::new(),
            metas: Vec::new(),
            unknown: Vec::new(),
            unknown_rows: Vec::new(),
            days: Vec::new(),
            learned: Vec::new(),
            pending: HashMap::default(),
            by_hash: HashMap::default(),
        }
    }

    /// The tenant it is for.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The time of the store's clock when it was begun.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Makes room for about so many samples.
    pub fn reserve(&mut self, samples: usize) {
        self.rows.reserve(samples.min(REQUEST_SAMPLES_MAX));
    }

    /// Adds a sample. `raw` are bytes that identify the series in the writer's own format (equal
    /// bytes, equal series; the reverse need not hold). `key` parses and checks them; it is called
    /// only when the bytes have not been seen lately.
    ///
    /// # Errors
    /// What `key` returns, and `Invalid` (as `E`) for a timestamp out of range, or older than anything
    /// the tenant's retention policies keep: such a sample would vanish at once. The sample is then
    /// not part of the request; the others still are. One that only its own metric's policy does not
    /// keep is taken and never seen.
    pub fn push<E: From<Error>>(
        &mut self,
        raw: &[u8],
        key: impl FnOnce() -> Result<SeriesKey, E>,
        time: Timestamp,
        value: f64,
        meta: Option<ValueMeta>,
    ) -> Result<(), E> {
        let mut sought = self.seek(raw);
        sought.known = self.cache.get(self.tenant, sought.hash);
        self.push_found(sought, key, time, value, meta)
    }

    /// A series by the bytes that identify it, to be looked up with others by [`find`](Self::find).
    #[must_use]
    pub fn seek(&self, raw: &[u8]) -> Sought {
        Sought { hash: self.cache.hash(raw), known: None }
    }

    /// Looks series up. With a million of them, a thousand at once save 0.3 µs each.
    pub fn find(&self, sought: &mut [Sought]) {
        self.cache.get_many(self.tenant, sought);
    }

    /// [`push`](Self::push) for a series that was looked up.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn push_found<E: From<Error>>(
        &mut self,
        sought: Sought,
        key: impl FnOnce() -> Result<SeriesKey, E>,
        time: Timestamp,
        value: f64,
        meta: Option<ValueMeta>,
    ) -> Result<(), E> {
        self.check(time)?;
        let day = partition_of(time.millis());
        let hash = sought.hash;
        let found = match (self.pending.get(&hash), sought.known) {
            (Some(&learned), _) => learned,
            (None, Some(known)) => Learned::Known(known),
            (None, None) => self.look_up(key()?)?,
        };
        let row = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let series = match found {
            Learned::Known(known) => {
                if known.day != day {
                    self.learn(hash, Learned::Known(Known { series: known.series, day }));
                    self.days.push((known.series, day));
                }
                known.series
            }
            Learned::Unknown { at, day: noted } => {
                self.unknown_rows.push((row, at));
                if noted != day || !self.pending.contains_key(&hash) {
                    self.learn(hash, Learned::Unknown { at, day });
                    if let Some(unknown) =
                        usize::try_from(at).ok().and_then(|at| self.unknown.get_mut(at))
                        && !unknown.days.contains(&day)
                    {
                        unknown.days.push(day);
                    }
                }
                SeriesId::new(u32::MAX)
            }
        };
        if let Some(meta) = meta {
            self.metas.push((row, meta));
        }
        self.rows.push(Row { tenant: self.tenant, series, time: time.millis(), value });
        Ok(())
    }

    fn check(&self, time: Timestamp) -> Result<(), Error> {
        self.check_time(time)?;
        if self.rows.len() >= REQUEST_SAMPLES_MAX {
            return Err(Error::Limit {
                limit: "samples in a request",
                max: REQUEST_SAMPLES_MAX as u64,
            });
        }
        Ok(())
    }

    /// Whether a sample of this time is taken.
    ///
    /// # Errors
    /// `Invalid` for a time out of range, or older than anything the tenant's retention policies keep.
    pub fn check_time(&self, time: Timestamp) -> Result<(), Error> {
        if time < TIME_MIN {
            return Err(Error::Invalid(format!("timestamp {time} lies before the year 1900")));
        }
        if time < self.oldest {
            let oldest = self.oldest;
            return Err(Error::Invalid(format!(
                "timestamp {time} is older than what retention keeps: the oldest instant is {oldest}"
            )));
        }
        if time > self.now.plus_millis(AHEAD_MS_MAX) {
            return Err(Error::Invalid(format!("timestamp {time} lies more than a day ahead")));
        }
        Ok(())
    }

    fn learn(&mut self, hash: RawHash, learned: Learned) {
        self.pending.insert(hash, learned);
        self.learned.push((hash, learned));
    }

    /// Looks a series up by its key. A known one counts as not active on any day, so that its day is
    /// noted: the index may have forgotten it.
    fn look_up(&mut self, key: SeriesKey) -> Result<Learned, Error> {
        let canonical = key.encode();
        if canonical.len() > SERIES_KEY_BYTES_MAX {
            return Err(Error::Limit {
                limit: "bytes of a series' name and dimensions",
                max: SERIES_KEY_BYTES_MAX as u64,
            });
        }
        if key.dimensions.len()
            > usize::try_from(self.bounds.limits.dimensions).unwrap_or(usize::MAX)
        {
            return Err(self.bounds.refuse(LimitKind::Dimensions));
        }
        if key.dimensions.iter().any(|(name, _)| name.is_empty()) {
            return Err(Error::Invalid("a dimension's name is not empty".into()));
        }
        let hash = self.index.hash(&canonical);
        if let Some(at) = self.unknown_with(hash, &canonical) {
            return Ok(Learned::Unknown { at, day: NO_DAY });
        }
        let same_hash = self.index.ids_with_hash(self.tenant, hash)?;
        if let Some(series) = self.index.find_among(self.tenant, &same_hash, &canonical)? {
            return Ok(Learned::Known(Known { series, day: NO_DAY }));
        }
        let at = u32::try_from(self.unknown.len()).unwrap_or(u32::MAX);
        self.by_hash.entry(hash).or_insert(at);
        self.unknown.push(UnknownSeries { key, canonical, hash, same_hash, days: Vec::new() });
        Ok(Learned::Unknown { at, day: NO_DAY })
    }

    fn unknown_with(&self, hash: u128, canonical: &[u8]) -> Option<u32> {
        let &at = self.by_hash.get(&hash)?;
        let same = |at: u32| {
            let unknown = usize::try_from(at).ok().and_then(|at| self.unknown.get(at));
            unknown.is_some_and(|unknown| unknown.canonical == canonical)
        };
        if same(at) {
            return Some(at);
        }
        // Two keys with one hash: it will not happen, but must not mix them up.
        (at..u32::try_from(self.unknown.len()).unwrap_or(u32::MAX)).find(|&at| same(at))
    }

    /// How many samples have been added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no sample has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes it takes while it waits, about.
    pub(crate) fn bytes(&self) -> usize {
        let metas: usize = self.metas.iter().map(|(_, meta)| meta.text().len()).sum();
        let unknown: usize = self.unknown.iter().map(|series| series.canonical.len() * 3).sum();
        // The other collections have an entry for each series that was not known to be active.
        let learned = self.learned.len() * 3 * size_of::<(RawHash, Learned)>();
        size_of::<Self>() + self.rows.len() * size_of::<Row>() + metas + unknown + learned
    }

    /// Teaches the cache what this request has learned. Called when it is committed; `ids` are those
    /// of the series that were unknown.
    pub(crate) fn committed(&self, ids: &[SeriesId]) {
        for &(hash, learned) in &self.learned {
            let known = match learned {
                Learned::Known(known) => Some(known),
                Learned::Unknown { at, day } => usize::try_from(at)
                    .ok()
                    .and_then(|at| ids.get(at))
                    .map(|&series| Known { series, day }),
            };
            if let Some(known) = known {
                self.cache.insert(self.tenant, hash, known);
            }
        }
    }
}

/// Acknowledgement of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Its place in the order of all writes.
    pub sequence: Sequence,
}
