//! `moneta load`: sends made-up but realistic samples as fast as a server takes them, and says what
//! that cost. Bodies are encoded before the clock starts.

mod process;
mod shape;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::client::{Connection, RequestError};
use crate::time;
use process::Usage;
use shape::Shape;

/// Bytes of bodies that wait in memory at most; more samples are sent in rounds.
const ROUND_BYTES_MAX: usize = 256 << 20;
/// A server that answers 503 is asked again so often before the run fails.
const BUSY_RETRIES_MAX: u32 = 1000;

#[derive(Args)]
pub(crate) struct Load {
    /// What the data look like: cpu (10 integer metrics per host) or mixed (13 kinds of series)
    #[arg(long, value_enum, default_value_t = Shape::Cpu)]
    shape: Shape,
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
        let mut samples = shape::samples(self.shape, self.hosts, start, self.interval);
        let before = self.pid.map(Usage::read).transpose()?;
        let mut totals = Totals::default();
        while totals.samples < self.samples {
            let (bodies, count) = self.encode_round(&mut samples, self.samples - totals.samples);
            let started = Instant::now();
            self.send_round(bodies, &mut totals).await?;
            totals.sending += started.elapsed();
            totals.samples += count;
        }
        let usage = match (self.pid, before) {
            (Some(pid), Some(before)) => {
                let sent = Usage::read(pid)?;
                let settled = process::settled(pid).await?;
                Some((sent.since(&before), settled.since(&before)))
            }
            _ => None,
        };
        self.report(&mut totals, usage);
        Ok(ExitCode::SUCCESS)
    }

    fn encode_round(
        &self,
        samples: &mut impl Iterator<Item = shape::Sample>,
        wanted: u64,
    ) -> (VecDeque<Vec<u8>>, u64) {
        let mut bodies = VecDeque::new();
        let (mut bytes, mut count) = (0, 0);
        while bytes < ROUND_BYTES_MAX && count < wanted {
            let left = usize::try_from(wanted - count).unwrap_or(usize::MAX);
            let mut body = Vec::with_capacity(self.batch * 160);
            body.push(b'[');
            for sample in samples.by_ref().take(self.batch.min(left)) {
                if body.len() > 1 {
                    body.push(b',');
                }
                sample.write_json(&mut body);
                count += 1;
            }
            body.push(b']');
            bytes += body.len();
            bodies.push_back(body);
        }
        (bodies, count)
    }

    async fn send_round(
        &self,
        bodies: VecDeque<Vec<u8>>,
        totals: &mut Totals,
    ) -> anyhow::Result<()> {
        let client = self.connection.client()?;
        let queue = Arc::new(Mutex::new(bodies));
        let mut senders = tokio::task::JoinSet::new();
        for _ in 0..self.connections {
            let (client, queue) = (client.clone(), queue.clone());
            senders.spawn(async move {
                let mut done = Totals::default();
                loop {
                    let body = queue.lock().expect("no code panics while it holds it").pop_front();
                    let Some(body) = body else { return Ok::<_, anyhow::Error>(done) };
                    let mut tries = 0;
                    loop {
                        let started = Instant::now();
                        match client.post_bytes(&["v2.0", "metrics"], body.clone()).await {
                            Ok(()) => {
                                done.latencies.push(started.elapsed());
                                break;
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
            });
        }
        while let Some(done) = senders.join_next().await {
            let done = done??;
            totals.busy += done.busy;
            totals.latencies.extend(done.latencies);
        }
        Ok(())
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
