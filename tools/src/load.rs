//! `moneta load`: sends made-up but realistic samples as fast as a server takes them, and says what
//! that cost. Bodies are encoded before the clock starts. A host's samples go through one
//! connection, in order of time, as an agent would send them: some servers refuse others.

mod process;
mod protocol;
mod shape;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Url;
use serde_json::json;

use crate::client::{Client, Connection, RequestError};
use crate::time;
use process::Usage;
use protocol::{Body, Protocol};
use shape::Shape;

/// Bytes of bodies that wait in memory at most; more samples are sent in rounds.
const ROUND_BYTES_MAX: usize = 256 << 20;
/// A server that answers 503 is asked again so often before the run fails.
const BUSY_RETRIES_MAX: u32 = 1000;

#[derive(Args)]
pub(crate) struct Load {
    /// What the data look like
    #[arg(long, value_enum, default_value_t = Shape::Cpu)]
    shape: Shape,
    /// How samples are written; --url may name the whole address when it is not the usual one
    #[arg(long, value_enum, default_value_t = Protocol::Monasca)]
    protocol: Protocol,
    /// Hosts that report
    #[arg(long, default_value_t = 100)]
    hosts: u32,
    /// Samples to send, in all
    #[arg(long, default_value_t = 1_000_000)]
    samples: u64,
    /// Time of the first report
    #[arg(long, default_value = "-6h", allow_hyphen_values = true, value_name = "TIME")]
    start: String,
    /// Seconds between two reports of a host
    #[arg(long, default_value_t = 10)]
    interval: u32,
    /// Samples in a request
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    /// Requests under way at once
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Process id of the server on this machine, to report its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// The server has settled when it had nothing to do for so many seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    quiet: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What the requests of a run have come to.
#[derive(Default)]
struct Totals {
    samples: u64,
    busy: u64,
    sending: Duration,
    latencies: Vec<Duration>,
}

impl Load {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        if self.batch == 0 || self.hosts == 0 || self.connections == 0 {
            bail!("--batch, --hosts and --connections are at least 1");
        }
        let start = time::parse(&self.start, time::now())?;
        let mut samples =
            shape::samples(self.shape, self.protocol, self.hosts, start, self.interval);
        let before = self.pid.map(Usage::read).transpose()?;
        let client = self.connection.client()?;
        let url = self.target(&client);
        let mut totals = Totals::default();
        while totals.samples < self.samples {
            let (queues, count) = self.encode_round(&mut samples, self.samples - totals.samples);
            let started = Instant::now();
            send_round(&client, &url, self.protocol, queues, &mut totals).await?;
            totals.sending += started.elapsed();
            totals.samples += count;
        }
        let usage = match (self.pid, before) {
            (Some(pid), Some(before)) => {
                let sent = Usage::read(pid)?;
                let settled = process::settled(pid, self.quiet).await?;
                Some((sent.since(&before), settled.since(&before)))
            }
            _ => None,
        };
        self.report(&mut totals, usage);
        Ok(ExitCode::SUCCESS)
    }

    /// Where bodies go: the address as it was given, or the protocol's own on the server given.
    fn target(&self, client: &Client) -> Url {
        let base = client.base();
        if base.path() != "/" && self.protocol != Protocol::Monasca {
            return base.clone();
        }
        let (path, query) = self.protocol.path();
        let mut url = client.url(path);
        url.set_query(query);
        url
    }

    /// Bodies for each connection.
    fn encode_round(
        &self,
        samples: &mut impl Iterator<Item = shape::Sample>,
        wanted: u64,
    ) -> (Vec<Vec<Vec<u8>>>, u64) {
        let new = || Body::new(self.protocol, self.batch);
        let mut open: Vec<Body> = (0..self.connections).map(|_| new()).collect();
        let mut queues = vec![Vec::new(); self.connections];
        let (mut bytes, mut count) = (0, 0);
        for sample in samples {
            let at = sample.host as usize % self.connections;
            let (Some(body), Some(queue)) = (open.get_mut(at), queues.get_mut(at)) else { break };
            if body.samples() >= self.batch && !body.continues(&sample) {
                let full = std::mem::replace(body, new()).finish();
                bytes += full.len();
                queue.push(full);
            }
            body.push(&sample);
            count += 1;
            if count == wanted || bytes >= ROUND_BYTES_MAX {
                break;
            }
        }
        for (body, queue) in open.into_iter().zip(&mut queues) {
            if body.samples() > 0 {
                queue.push(body.finish());
            }
        }
        (queues, count)
    }

    fn report(&self, totals: &mut Totals, usage: Option<(Usage, Usage)>) {
        totals.latencies.sort_unstable();
        let latencies = &totals.latencies;
        let ms = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100).max(1) - 1;
            latencies.get(rank).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let millions = totals.samples as f64 / 1e6;
        let rate = totals.samples as f64 / totals.sending.as_secs_f64();
        if self.json {
            let usage = usage.map(|(sent, settled)| {
                json!({
                    "cpu_s_per_million": sent.cpu / millions,
                    "cpu_s_per_million_settled": settled.cpu / millions,
                    "resident_mb": settled.resident_mb, "peak_mb": settled.peak_mb,
                })
            });
            println!(
                "{}",
                json!({
                    "samples": totals.samples, "samples_per_second": rate,
                    "requests": latencies.len(), "busy_answers": totals.busy,
                    "p50_ms": ms(50), "p99_ms": ms(99), "max_ms": ms(100), "server": usage,
                })
            );
            return;
        }
        println!(
            "{} samples in {:.1} s: {rate:.0} samples/s, {} requests, {} answered busy",
            totals.samples,
            totals.sending.as_secs_f64(),
            latencies.len(),
            totals.busy
        );
        println!(
            "request latency: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            ms(50),
            ms(99),
            ms(100)
        );
        if let Some((sent, settled)) = usage {
            println!(
                "server CPU per million samples: {:.3} s when the last was acknowledged, {:.3} s when settled",
                sent.cpu / millions,
                settled.cpu / millions
            );
            println!(
                "server memory: {} MB resident, {} MB at its peak",
                settled.resident_mb, settled.peak_mb
            );
        }
    }
}

/// Sends every queue through a connection of its own.
async fn send_round(
    client: &Client,
    url: &Url,
    protocol: Protocol,
    queues: Vec<Vec<Vec<u8>>>,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    let mut senders = tokio::task::JoinSet::new();
    for queue in queues {
        let (client, url) = (client.clone(), url.clone());
        senders.spawn(async move {
            let mut done = Totals::default();
            for body in queue {
                send(&client, &url, protocol, body, &mut done).await?;
            }
            Ok::<_, anyhow::Error>(done)
        });
    }
    while let Some(done) = senders.join_next().await {
        let done = done??;
        totals.busy += done.busy;
        totals.latencies.extend(done.latencies);
    }
    Ok(())
}

async fn send(
    client: &Client,
    url: &Url,
    protocol: Protocol,
    body: Vec<u8>,
    done: &mut Totals,
) -> anyhow::Result<()> {
    let mut tries = 0;
    loop {
        let started = Instant::now();
        match client.post_bytes(url.clone(), protocol.headers(), body.clone()).await {
            Ok(()) => {
                done.latencies.push(started.elapsed());
                return Ok(());
            }
            Err(RequestError::Refused { status, .. })
                if status.as_u16() == 503 && tries < BUSY_RETRIES_MAX =>
            {
                tries += 1;
                done.busy += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => return Err(error).context("a batch was not taken"),
        }
    }
}
