//! `/admin/backups` and `/admin/snapshots`. A backup runs for as long as it copies, so asking for one
//! starts a job, of which there is one at a time; a snapshot is answered when it is done.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use moneta_storage::backup::{Progress, Step, Taken};
use serde_json::{Value, json};

use crate::auth::Right;
use crate::http::body::Payload;
use crate::http::openapi::admin as told;
use crate::http::{Route, Services};
use crate::status::Failure;

/// The backup that runs, or the last one that did.
#[derive(Default)]
pub(crate) struct Backups {
    state: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    job: Option<Job>,
    /// The running job shall end.
    cancelled: bool,
    /// No job begins any more.
    closed: bool,
}

struct Job {
    number: u64,
    repository: String,
    progress: Progress,
    outcome: Option<Result<Taken, String>>,
}

impl Backups {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.state.lock().expect("no code panics while it holds the job")
    }

    /// Begins a job, unless one runs.
    fn begin(&self, repository: String) -> Result<(), Failure> {
        let mut slot = self.lock();
        if slot.closed {
            return Err(Failure::unavailable("the server is stopping"));
        }
        let last = slot.job.as_ref().map_or(0, |job| job.number);
        if slot.job.as_ref().is_some_and(|job| job.outcome.is_none()) {
            let text = format!("backup job {last} is running");
            return Err(Failure::new(StatusCode::CONFLICT, "Conflict", text));
        }
        let progress =
            Progress { step: Step::Flush, files: 0, files_total: 0, bytes: 0, bytes_total: 0 };
        slot.cancelled = false;
        slot.job = Some(Job { number: last + 1, repository, progress, outcome: None });
        Ok(())
    }

    /// Notes how far the job is; whether it shall go on.
    fn note(&self, progress: Progress) -> ControlFlow<()> {
        let mut slot = self.lock();
        if let Some(job) = &mut slot.job {
            job.progress = progress;
        }
        if slot.cancelled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn end(&self, outcome: Result<Taken, String>) {
        if let Some(job) = &mut self.lock().job {
            match &outcome {
                Ok(taken) => {
                    tracing::info!(id = taken.id, new_bytes = taken.new_bytes, "backup taken")
                }
                Err(error) => tracing::error!(error, "the backup failed"),
            }
            job.outcome = Some(outcome);
        }
    }

    /// Ends the job that runs. Whether there was one.
    fn cancel(&self) -> bool {
        let mut slot = self.lock();
        slot.cancelled = true;
        slot.job.as_ref().is_some_and(|job| job.outcome.is_none())
    }

    /// The server stops: so does the job.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.cancel();
    }

    fn shown(&self) -> Result<Json<Value>, Failure> {
        let slot = self.lock();
        let none = || Failure::not_found("no backup was asked for since the server started");
        slot.job.as_ref().map(|job| Json(job.shown())).ok_or_else(none)
    }
}

impl Job {
    fn shown(&self) -> Value {
        let (state, backup, error) = match &self.outcome {
            None => ("running", None, None),
            Some(Ok(taken)) => ("done", Some(shown(taken)), None),
            Some(Err(error)) => ("failed", None, Some(error)),
        };
        let Progress { step, files, files_total, bytes, bytes_total } = self.progress;
        json!({
            "job": self.number, "state": state, "repository": self.repository, "step": step.name(),
            "files": files, "files_total": files_total, "bytes": bytes, "bytes_total": bytes_total,
            "backup": backup, "error": error,
        })
    }
}

fn shown(taken: &Taken) -> Value {
    json!({
        "id": taken.id, "files": taken.files, "bytes": taken.bytes,
        "new_files": taken.new_files, "new_bytes": taken.new_bytes,
    })
}

/// The routes.
pub(super) fn routes() -> Vec<Route<Arc<Services>>> {
    vec![
        Route::at("/admin/backups")
            .post(Right::Administer, start)
            .told(&told::BACKUP)
            .get(Right::Administer, show)
            .told(&told::BACKUP_SHOW)
            .delete(Right::Administer, cancel)
            .told(&told::BACKUP_CANCEL),
        Route::at("/admin/snapshots").post(Right::Administer, snapshot).told(&told::SNAPSHOT),
    ]
}

/// The folder that a body names: `{"to": "/absolute/path"}`.
fn folder(payload: &Payload) -> Result<PathBuf, Failure> {
    payload.must_be_json()?;
    let body = payload.json()?;
    let only = body.as_object().is_some_and(|fields| fields.keys().all(|name| name == "to"));
    let to = body.get("to").and_then(Value::as_str).filter(|_| only);
    let to = to.ok_or_else(|| Failure::unprocessable("the body is {\"to\": \"/folder\"}"))?;
    let to = PathBuf::from(to);
    // The server's working folder is nothing a client can know.
    if to.is_absolute() {
        Ok(to)
    } else {
        Err(Failure::unprocessable("\"to\" is no absolute path"))
    }
}

async fn start(
    State(services): State<Arc<Services>>,
    payload: Payload,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let to = folder(&payload)?;
    services.backups.begin(to.display().to_string())?;
    let begun = services.backups.shown()?;
    // Not on the pool for requests: it may run for hours. One at a time is all there is.
    let (store, watched) = (services.store.clone(), Arc::clone(&services));
    let copying = tokio::task::spawn_blocking(move || {
        store.backup(&to, &mut |progress| watched.backups.note(progress))
    });
    tokio::spawn(async move {
        let outcome = match copying.await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("the backup has panicked".to_owned()),
        };
        services.backups.end(outcome);
    });
    Ok((StatusCode::ACCEPTED, begun))
}

async fn show(State(services): State<Arc<Services>>) -> Result<Json<Value>, Failure> {
    services.backups.shown()
}

async fn cancel(State(services): State<Arc<Services>>) -> Result<StatusCode, Failure> {
    if services.backups.cancel() {
        Ok(StatusCode::ACCEPTED)
    } else {
        Err(Failure::not_found("no backup is running"))
    }
}

async fn snapshot(
    State(services): State<Arc<Services>>,
    payload: Payload,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let to = folder(&payload)?;
    let store = services.store.clone();
    let run = move || {
        let list = store.snapshot(&to)?;
        Ok(json!({
            "to": to.display().to_string(), "files": list.files(), "bytes": list.bytes(),
            "newest": list.newest.number(), "without": list.without(),
        }))
    };
    services.pool.run(run).await.map(|made| (StatusCode::CREATED, Json(made)))
}
