//! Going on after a restart: definitions, groups and held-back samples are read, windows are built
//! from storage as of each group's place in the log, and the log after the checkpoint is replayed.

use std::collections::HashMap;

use crossbeam_channel::Receiver;
use moneta_storage::Store;
use moneta_storage::model::{Sequence, SeriesId, TenantId, Timestamp};
use moneta_storage::record::{RecordBatch, RecordKind, Records};
use uuid::Uuid;

use super::{Command, OutboxWaker, Service};
use crate::alarms::Settings;
use crate::definition;
use crate::engine::{Engine, EngineSettings, LOOK_BACK_MS, Position, StoredGroup};
use crate::error::Error;
use crate::expression::{Expression, Part};
use crate::history::History;
use crate::store_samples::StoreSamples;
use crate::stored::{CHECKPOINT_ID, StoredDefinition, StoredPosition, attachment, decode, encode};

/// Records read at once.
const PAGE: usize = 1000;
/// Series whose samples are read together.
const SERIES_TOGETHER: usize = 1024;
/// What is read together reaches back at most so far: the rest of longer windows is read series by series, so that memory is bounded.
const LOOK_MS_MAX: i64 = 24 * 3_600_000;

impl Service {
    /// Loads everything and opens the feed.
    pub(crate) fn open(
        store: Store,
        settings: Settings,
        commands: Receiver<Command>,
        outbox_waker: OutboxWaker,
    ) -> Result<Self, Error> {
        let records = store.records();
        let clock = store.clock();
        let position = match records.get(TenantId::SYSTEM, RecordKind::Checkpoint, CHECKPOINT_ID)? {
            Some(bytes) => Position::from(decode::<StoredPosition>(&bytes, "checkpoint")?),
            None => first_position(&records, store.newest(), clock.now())?,
        };
        let engine_settings = EngineSettings {
            alarm_delay_ms: i64::from(settings.alarm_delay_seconds) * 1000,
            future_tolerance_ms: i64::from(settings.future_tolerance_seconds) * 1000,
        };
        let samples = StoreSamples::new(store.clone());
        let mut engine = Engine::new(engine_settings, position, Uuid::new_v4);
        let tenants = store.tenants();
        for tenant in &tenants {
            load_tenant(&store, &samples, &mut engine, *tenant)?;
        }
        // Groups are read as of their own places, at which other samples were held back.
        for tenant in &tenants {
            each(&records, *tenant, RecordKind::HeldBack, |_, value| {
                engine.restore_held(decode(value, "held-back sample")?);
                Ok(())
            })?;
        }
        samples.rest();
        let feed = store.feed(position.sequence)?;
        Ok(Service {
            history: History::new(store.clone()),
            checkpointed: (position.sequence, clock.now().max(position.instant)),
            uncommitted: 0,
            settings,
            records,
            clock,
            samples,
            engine,
            feed,
            commands,
            waiters: Vec::new(),
            outbox_waker,
            refused_ahead: 0,
            cut_off_reported: false,
            ending: None,
            store,
        })
    }

    /// A handle that makes the loop look for commands.
    pub(crate) fn waker(&self) -> moneta_storage::feed::FeedWaker {
        self.feed.waker()
    }
}

/// What was written before alarms existed is never replayed, also if the first run ends in a crash.
fn first_position(
    records: &Records,
    sequence: Sequence,
    instant: Timestamp,
) -> Result<Position, Error> {
    let position = Position { sequence, instant };
    let mut batch = RecordBatch::new();
    let stored = encode(&StoredPosition::from(position));
    batch.put(TenantId::SYSTEM, RecordKind::Checkpoint, CHECKPOINT_ID, stored);
    records.commit(batch)?;
    Ok(position)
}

fn load_tenant(
    store: &Store,
    samples: &StoreSamples,
    engine: &mut Engine,
    tenant: TenantId,
) -> Result<(), Error> {
    let records = &store.records();
    let mut spans: HashMap<String, i64> = HashMap::new();
    each(records, tenant, RecordKind::Definition, |id, value| {
        let stored: StoredDefinition = decode(value, "alarm definition")?;
        let expression = Expression::parse(&stored.spec.expression)?;
        let span = span_ms(&expression, stored.spec.empty_coefficient);
        let id = uuid(id, "alarm definition")?;
        let (created, updated) =
            (Timestamp::from_millis(stored.created), Timestamp::from_millis(stored.updated));
        let definition = definition::build(id, stored.spec, &expression, created, updated);
        spans.insert(definition.id.clone(), span);
        engine.restore_definition(tenant, id, definition, expression, stored.position.into());
        Ok(())
    })?;
    let mut members: HashMap<Uuid, Vec<SeriesId>> = HashMap::new();
    each(records, tenant, RecordKind::AlarmSeries, |id, _| {
        if let Some((group, series)) = attachment(id) {
            members.entry(group).or_default().push(series);
        }
        Ok(())
    })?;
    let mut groups: Vec<LoadedGroup> = Vec::new();
    each(records, tenant, RecordKind::Alarm, |id, value| {
        let id = uuid(id, "alarm")?;
        let series = members.remove(&id).unwrap_or_default();
        store.hold(tenant, &series);
        groups.push(LoadedGroup { id, stored: decode(value, "alarm")?, series });
        Ok(())
    })?;
    // Groups of one definition look equally far back, so they are read together.
    groups.sort_by(|a, b| a.stored.definition.cmp(&b.stored.definition));
    let now = engine.position().instant;
    for same in groups.chunk_by(|a, b| a.stored.definition == b.stored.definition) {
        let span = same.first().and_then(|group| spans.get(&group.stored.definition));
        let from = now.plus_millis(-span.copied().unwrap_or(0).clamp(LOOK_BACK_MS, LOOK_MS_MAX));
        for some in together(same) {
            let series: Vec<SeriesId> =
                some.iter().flat_map(|group| &group.series).copied().collect();
            samples.prefetch(tenant, &series, from)?;
            for group in some {
                engine.restore_group(samples, group.id, &group.stored, &group.series)?;
            }
        }
    }
    samples.forget();
    Ok(())
}

/// A group as its records tell.
struct LoadedGroup {
    id: Uuid,
    stored: StoredGroup,
    series: Vec<SeriesId>,
}

/// Groups whose series are read together: at least one, else up to `SERIES_TOGETHER` series.
fn together(groups: &[LoadedGroup]) -> impl Iterator<Item = &[LoadedGroup]> {
    let mut count = 0;
    groups.chunk_by(move |group, next| {
        count += group.series.len();
        let fits = count + next.series.len() <= SERIES_TOGETHER;
        if !fits {
            count = 0;
        }
        fits
    })
}

/// How far back the windows of a definition's parts, and the search for the end of their data, look.
fn span_ms(expression: &Expression, empty_coefficient: u32) -> i64 {
    let span = |part: &Part| {
        let periods = i64::from(part.periods).saturating_mul(i64::from(empty_coefficient) + 1);
        periods.saturating_add(2).saturating_mul(i64::from(part.period)).saturating_mul(1000)
    };
    expression.parts.iter().map(span).max().unwrap_or(0)
}

fn uuid(id: &[u8], what: &'static str) -> Result<Uuid, Error> {
    let corrupt = |_| Error::Store(moneta_storage::Error::corrupt(what, "an alerting record"));
    Uuid::from_slice(id).map_err(corrupt)
}

/// Calls `take` with id and value of every record of a kind.
fn each(
    records: &Records,
    tenant: TenantId,
    kind: RecordKind,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = records.scan(tenant, kind, &[], after.as_deref(), PAGE)?;
        for (id, value) in &page {
            take(id, value)?;
        }
        match page.into_iter().next_back() {
            Some((id, _)) => after = Some(id),
            None => return Ok(()),
        }
    }
}
