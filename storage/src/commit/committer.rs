//! The committer's thread.

use std::sync::Arc;

use super::meter::Meter;
use super::new_series::NewSeries;
use super::queue::{Job, Work};
use crate::batch::{self, Batch as Joint, Row};
use crate::error::Error;
use crate::fail_point::{self, Point};
use crate::head::Generation;
use crate::index::hour_of;
use crate::key::Key;
use crate::kv::Batch;
use crate::model::{Sequence, SeriesId, Timestamp};
use crate::segment::partition_of;
use crate::threads::Shared;
use crate::write::{Committed, WriteRequest};

/// Serves the queue until it is stopped and empty. `newest` is the last sequence given so far.
pub(crate) fn run(shared: &Arc<Shared>, newest: Sequence) {
    let mut next = newest.next();
    let mut meter = Meter::default();
    loop {
        match shared.queue.take() {
            Work::Commit(jobs) => next = commit(shared, &mut meter, next, jobs),
            Work::Refuse(jobs) => {
                for job in jobs {
                    (job.ack)(Err(Error::Busy { what: "the head" }));
                }
            }
            Work::CloseGeneration(reply) => {
                let closed = close_generation(shared);
                // The one who asked may have gone.
                let _ = reply.send(closed);
            }
            Work::Call(call) => call(shared, &mut meter),
            Work::Stop => return,
        }
    }
}

fn close_generation(shared: &Shared) -> Option<Arc<Generation>> {
    let mut live = shared.live.lock();
    if live.open.rows == 0 {
        return None;
    }
    let closed = Arc::new(std::mem::take(&mut live.open));
    live.closed.push_back(closed.clone());
    Some(closed)
}

struct Prepared {
    job: Job,
    ids: Vec<SeriesId>,
    /// What the request knows of days may have been taken back since.
    is_stale: bool,
}

/// Commits jobs together and returns the next free sequence.
fn commit(shared: &Shared, meter: &mut Meter, first: Sequence, jobs: Vec<Job>) -> Sequence {
    if let Some(refusal) = shared.refusal() {
        for job in jobs {
            (job.ack)(Err(refusal.clone()));
        }
        return first;
    }
    let mut batch = Batch::default();
    let mut new_series = NewSeries::default();
    let mut prepared = Vec::with_capacity(jobs.len());
    for mut job in jobs {
        let resolved = check_removed(shared, &job.request).and_then(|()| {
            new_series.resolve(&shared.index, &mut job.request, &mut batch, |request, places| {
                meter.admit(shared, request, places)
            })
        });
        match resolved {
            Ok(ids) => {
                meter.note(&job.request, &ids);
                let is_stale = is_stale(shared, &job.request);
                prepared.push(Prepared { job, ids, is_stale });
            }
            Err(error) => (job.ack)(Err(error)),
        }
    }
    if prepared.is_empty() {
        return first;
    }
    new_series.finish(&shared.index, hour_of(shared.clock.now()), &mut batch);
    let arrival = shared.feed.begin();
    let joint = Arc::new(join(first, arrival, &prepared));
    let record = joint.encode();
    let log_bytes = u64::try_from(record.len()).unwrap_or(u64::MAX);
    batch.put(&Key::Wal(first), record);
    if let Err(error) = shared.kv.commit(batch, shared.config.durability.sync()) {
        shared.feed.abandon();
        shared.stop(&error);
        for prepared in prepared {
            (prepared.job.ack)(Err(error.clone()));
        }
        return first;
    }
    fail_point::pass(Point::CommitDurable);
    shared.space.spend(log_bytes);
    let created = new_series.apply(&shared.index);
    let partitions = batch::partitions(&joint.rows);
    let wants_care = {
        let mut live = shared.live.lock();
        live.open.append(joint.clone(), log_bytes, partitions);
        live.open.new_series.extend(created);
        for prepared in &prepared {
            let request = &prepared.job.request;
            note_days(&mut live.open, request, &prepared.ids);
            if prepared.is_stale {
                note_all_days(&mut live.open, request);
            }
        }
        shared.head_log_bytes.store(live.log_bytes(), std::sync::atomic::Ordering::Relaxed);
        live.open.wants_run() || live.open.log_bytes >= shared.config.live_log_bytes
    };
    shared.regulate();
    let last = joint.last_sequence();
    shared.feed.publish(joint);
    fail_point::pass(Point::CommitPublished);
    if wants_care {
        shared.keeper.nudge();
    }
    let sequences = (first.number()..).map(Sequence::new);
    for (prepared, sequence) in prepared.into_iter().zip(sequences) {
        prepared.job.request.committed(&prepared.ids);
        (prepared.job.ack)(Ok(Committed { sequence }));
    }
    last.next()
}

/// Whether series or days were taken back since the request was begun.
fn is_stale(shared: &Shared, request: &WriteRequest) -> bool {
    let tenant = shared.index.tenant_by_id(request.tenant);
    tenant.is_some_and(|tenant| tenant.removals() != request.removals)
}

/// Refuses a request that found the id of a series which has been removed since.
fn check_removed(shared: &Shared, request: &WriteRequest) -> Result<(), Error> {
    let tenant = shared.index.tenant_by_id(request.tenant);
    let tenant = tenant.ok_or_else(|| Error::Invalid("there is no such tenant".into()))?;
    if !is_stale(shared, request) {
        return Ok(());
    }
    let metrics = tenant.metrics.read().expect("no code panics while it holds metrics");
    let gone = request.rows.iter().any(|row| metrics.is_removed(row.series));
    if gone { Err(Error::Removed) } else { Ok(()) }
}

fn join(first: Sequence, arrival: Timestamp, prepared: &[Prepared]) -> Joint {
    let total = prepared.iter().map(|prepared| prepared.job.request.len()).sum();
    let mut rows: Vec<Row> = Vec::with_capacity(total);
    let mut metas = Vec::new();
    let mut requests = Vec::with_capacity(prepared.len());
    for Prepared { job, ids, .. } in prepared {
        let request = &job.request;
        let start = rows.len();
        let base = count(start);
        rows.extend_from_slice(&request.rows);
        for &(row, unknown) in &request.unknown_rows {
            let at = start + usize::try_from(row).expect("a row of this request");
            let id = ids.get(usize::try_from(unknown).expect("one of its unknown series"));
            let row = rows.get_mut(at).expect("a row of this request");
            row.series = *id.expect("every unknown series has an id by now");
        }
        metas.extend(request.metas.iter().map(|(row, meta)| (base + row, meta.clone())));
        requests.push((request.tenant, count(rows.len())));
    }
    Joint { first, arrival, requests, rows, metas }
}

fn note_days(generation: &mut Generation, request: &WriteRequest, ids: &[SeriesId]) {
    for &(series, day) in &request.days {
        generation.note_activity(request.tenant, day, series);
    }
    for (unknown, &series) in request.unknown.iter().zip(ids) {
        for &day in &unknown.days {
            generation.note_activity(request.tenant, day, series);
        }
    }
}

fn note_all_days(generation: &mut Generation, request: &WriteRequest) {
    // Rows of series that the request did not know are noted with these.
    for row in request.rows.iter().filter(|row| row.series != SeriesId::new(u32::MAX)) {
        generation.note_activity(request.tenant, partition_of(row.time), row.series);
    }
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).expect("a joint batch is far below 4 Gi rows")
}
