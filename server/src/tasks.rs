//! Wires everything together, and lists every long task:
//!
//! | Task | Does | Ends |
//! |---|---|---|
//! | listener | accepts connections, serves requests | at the stop, when open requests have finished |
//! | collector | measures this machine, if enabled | at the stop |
//! | figures | counts alarms and journals for `/metrics` | at the stop |
//! | backup | takes a backup, when asked to | when it is done, or soon after the stop |
//! | notifier | sends notifications; alerting owns it | when it is closed, before alerting |
//!
//! The store's and alerting's own threads end when those are closed, which comes last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use moneta_alerting::{Alarms, Notifier, NotifySettings, Settings, State};
use moneta_storage::clock::{Clock, SystemClock};
use moneta_storage::feed::Consumer;
use moneta_storage::journal::JournalKind;
use moneta_storage::{Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::auth::{Gate, Keystone, Mode, TokenFile, Tokens};
use crate::config::{AuthConfig, AuthMode, Config};
use crate::error::Error;
use crate::http::body::BodyMemory;
use crate::http::own::Health;
use crate::http::{Front, Services, admin, all_routes, listener};
use crate::memory;
use crate::pool::Pool;
use crate::security::Reach;
use crate::shutdown::{self, Stopper};
use crate::telemetry::Telemetry;
use crate::tls;

/// Between two counts of alarms. Counting copies every alarm, which takes about a microsecond each.
const FIGURES_INTERVAL: Duration = Duration::from_secs(15);

/// Counts of alarms between two of journals, which read some thousand entries.
const COUNTS_PER_JOURNALS: u32 = 4;

/// A server that runs.
pub struct Running {
    address: SocketAddr,
    stopper: Stopper,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    services: Arc<Services>,
}

/// Runs a server until SIGTERM or SIGINT, then lets it end in good order.
///
/// # Errors
/// What keeps it from starting, and what goes wrong while it ends.
pub async fn run(config: Config) -> Result<(), Error> {
    let running = start(config, Arc::new(SystemClock)).await?;
    let signal = shutdown::requested().await?;
    tracing::info!(signal, "stopping");
    running.shutdown().await
}

/// Starts a server; it serves when this returns.
///
/// # Errors
/// `Store` and `Alerting` if the data directory cannot be opened, `Listen` if the address is taken.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Running, Error> {
    // Another part of the process may have chosen its cryptography already; then that is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let address = config.server.listen;
    // First the address: a second server on the same port must not touch the data.
    let listener =
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address, source })?;

    // What is wrong with it is said before the data is opened.
    let gate = gate(&config.auth, &clock)?;
    let tls = config.server.tls.as_ref().map(tls::acceptor).transpose()?;
    let (store, alarms) = open(&config, clock).await?;
    let settings = notify_settings(&config);
    let methods = alarms.shared_methods();
    let notifier = Arc::new(Notifier::start(store.clone(), methods, settings, Handle::current())?);
    let woken = Arc::clone(&notifier);
    alarms.on_outbox(Arc::new(move || woken.wake()));
    // What was committed before the line above was nobody's call.
    notifier.wake();

    let telemetry = Arc::new(Telemetry::new());
    let services = Arc::new(Services {
        store: store.clone(),
        alarms,
        notifier,
        pool: Pool::for_reading(),
        decoders: Pool::for_decoding(),
        telemetry: Arc::clone(&telemetry),
        region: config.server.region.clone(),
        samples_max: config.query.samples_max,
        body_bytes_max: config.server.body_bytes_max,
        bodies: BodyMemory::new(config.server.body_bytes_max),
        periods: config.notifications.periods_seconds.clone(),
        health: Arc::new(Health::default()),
        backups: admin::backup::Backups::default(),
    });
    let trusting = config.auth.mode == AuthMode::None;
    let reach = match trusting && !config.server.allow_remote_without_auth {
        true => Reach::ThisMachine,
        false => Reach::Everyone,
    };
    let front = Front::new(
        all_routes(),
        Arc::clone(&services),
        gate,
        reach,
        config.server.requests_max,
        Arc::clone(&telemetry),
    )
    .over_tls(tls.is_some());

    let stopper = Stopper::new();
    let connections_max = config.server.connections_max;
    let mut tasks = vec![
        (
            "listener",
            tokio::spawn(listener::serve(
                listener,
                tls,
                Arc::new(front),
                connections_max,
                stopper.watch(),
            )),
        ),
        ("figures", tokio::spawn(count(Arc::clone(&services), stopper.watch()))),
    ];
    if config.collector.enabled {
        let collector = crate::collector::run(
            store,
            config.collector.tenant,
            config.server.region,
            Duration::from_secs(u64::from(config.collector.interval_seconds)),
            stopper.watch(),
        );
        tasks.push(("collector", tokio::spawn(collector)));
    }
    tracing::info!(%address, data = %config.server.data_dir.display(), "serving");
    Ok(Running { address, stopper, tasks, services })
}

/// Who decides who is let in.
fn gate(auth: &AuthConfig, clock: &Arc<dyn Clock>) -> Result<Gate, Error> {
    let mode = match &auth.mode {
        AuthMode::None => Mode::None,
        AuthMode::Tokens => {
            let file = TokenFile::at(&auth.tokens_file);
            Mode::Tokens(Tokens::open(file, clock.now())?)
        }
        AuthMode::Keystone(keystone) => Mode::Keystone(Box::new(Keystone::new(keystone.clone())?)),
    };
    Ok(Gate::new(mode, auth.roles.clone(), Arc::clone(clock)))
}

/// Opens the data directory and starts alerting on it.
async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<(Store, Alarms), Error> {
    let directory = config.server.data_dir.clone();
    let settings = Settings {
        alarm_delay_seconds: config.alarms.delay_seconds,
        future_tolerance_seconds: config.alarms.future_tolerance_seconds,
        window_seconds_max: config.alarms.window_seconds_max,
        definitions_max: config.alarms.definitions_max,
        valid_notification_periods: config.notifications.periods_seconds.clone(),
    };
    let storage = &config.storage;
    let derived = StoreConfig::within(memory::budget(storage.memory_mb));
    let store_config = StoreConfig {
        durability: storage.durability,
        live_log_bytes: match storage.live_log_mb {
            0 => derived.live_log_bytes,
            given => given << 20,
        },
        flush_age: Duration::from_secs(u64::from(storage.flush_age_seconds)),
        limits: config.limits,
        keep_events: storage.keep_events,
        keep_transitions: storage.keep_transitions,
        strict: storage.strict,
        free_space_min: storage.free_space_min,
        // The alarms go on where they stopped, and need the log from there.
        consumer: Consumer::Expected,
        ..derived
    };
    blocking("opening", move || {
        let store = Store::open(&directory, store_config, clock)?;
        let alarms = Alarms::start(store.clone(), settings)?;
        Ok((store, alarms))
    })
    .await
}

fn notify_settings(config: &Config) -> NotifySettings {
    let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
    let notifications = &config.notifications;
    NotifySettings {
        timeout: seconds(notifications.timeout_seconds),
        ttl: seconds(notifications.ttl_seconds),
        destinations_parallel: notifications.destinations_parallel,
        allow_private: notifications.allow_private,
    }
}

/// Runs a call that blocks, outside of the pool for requests.
async fn blocking<T: Send + 'static>(
    task: &'static str,
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let result = tokio::task::spawn_blocking(call).await;
    result.unwrap_or(Err(Error::Panicked { task }))
}

/// Counts definitions, alarms by state, and entries of journals, for the figures.
async fn count(services: Arc<Services>, mut stop: watch::Receiver<bool>) {
    let mut beat = tokio::time::interval(FIGURES_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut until_journals = 0;
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            () = shutdown::stopped(&mut stop) => return,
        }
        let counted = Arc::clone(&services);
        let counting = services.pool.run(move || {
            let mut by_state = [(State::Ok, 0), (State::Undetermined, 0), (State::Alarm, 0)];
            let mut definitions = 0;
            for tenant in counted.store.tenants() {
                definitions += counted.alarms.definitions(tenant)?.len();
                for alarm in counted.alarms.alarms(tenant)? {
                    for (state, count) in &mut by_state {
                        *count += usize::from(alarm.state == *state);
                    }
                }
            }
            Ok((by_state, definitions))
        });
        if let Ok((by_state, definitions)) = counting.await {
            services.telemetry.set_alarms(by_state, definitions);
        }
        if until_journals == 0 {
            until_journals = COUNTS_PER_JOURNALS;
            count_journals(&services).await;
        }
        until_journals -= 1;
    }
}

/// Counts events and state changes of alarms, for the figures.
async fn count_journals(services: &Arc<Services>) {
    for kind in [JournalKind::Event, JournalKind::Transition] {
        let store = services.store.clone();
        let count = services.pool.run(move || Ok(store.journal_stats(kind)?));
        if let Ok(stats) = count.await {
            services.telemetry.set_journal(kind, stats);
        }
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops intake, finishes open requests, then closes alerting and the store.
    ///
    /// # Errors
    /// The first thing that goes wrong; the rest is closed all the same.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.services.health.is_stopping();
        self.services.backups.close();
        self.stopper.stop();
        let mut outcome = Ok(());
        for (task, handle) in self.tasks {
            if handle.await.is_err() {
                outcome = outcome.and(Err(Error::Panicked { task }));
            }
        }
        self.services.notifier.close().await;
        let (store, alarms) = (self.services.store.clone(), self.services.alarms.clone());
        let alarms_closed = blocking("closing alerting", move || Ok(alarms.close()?)).await;
        let store_closed = blocking("closing the store", move || Ok(store.close()?)).await;
        outcome.and(alarms_closed).and(store_closed)
    }
}
