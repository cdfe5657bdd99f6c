//! Carries out the stages against a server.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::latency::{Latencies, milliseconds};
use super::leftover;
use super::receiver::{Arrival, Receiver};
use super::stage::Stage;
use crate::client::{Client, elements};
use crate::time;

const METRIC: &str = "selfcheck.probe";
/// Between two looks at something the API will say.
const POLL: Duration = Duration::from_millis(50);
/// A notification of a round is waited for so long.
const ROUND_LIMIT: Duration = Duration::from_secs(10);

/// What the user wants checked.
pub(super) struct Wishes {
    pub(super) rounds: u32,
    pub(super) period: Duration,
    pub(super) callback_url: Option<String>,
    pub(super) listen: String,
}

/// A check under way.
pub(super) struct Probe {
    client: Client,
    wishes: Wishes,
    nonce: String,
    name: String,
    receiver: Option<Receiver>,
    method: Option<String>,
    definition: Option<String>,
    alarm: Option<String>,
    breach: Option<Breach>,
    notices: HashMap<(u32, String), Notice>,
    pub(super) latencies: Latencies,
}

/// The sample of value 1 of a round.
#[derive(Clone, Copy)]
struct Breach {
    /// When it was about to be sent.
    sent: Instant,
    timestamp: i64,
}

/// Notifications of one round and state.
#[derive(Clone, Copy)]
struct Notice {
    first: Instant,
    count: u32,
}

impl Probe {
    pub(super) fn new(client: Client, wishes: Wishes) -> Self {
        let nonce = leftover::nonce();
        Probe {
            client,
            wishes,
            name: leftover::name(time::now(), &nonce),
            nonce,
            receiver: None,
            method: None,
            definition: None,
            alarm: None,
            breach: None,
            notices: HashMap::new(),
            latencies: Latencies::default(),
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.wishes.period
    }

    /// Whether the stage is wanted at all.
    pub(super) fn wants(&self, stage: Stage) -> bool {
        stage != Stage::Latency || self.wishes.rounds > 1
    }

    /// Carries out a stage; gives what there is to say about it.
    pub(super) async fn carry_out(&mut self, stage: Stage) -> anyhow::Result<String> {
        match stage {
            Stage::Api => self.api().await,
            Stage::Receiver => self.bind().await,
            Stage::Notification => self.make_method().await,
            Stage::Definition => self.make_definition().await,
            Stage::Write => self.write().await,
            Stage::Read => self.read_back().await,
            Stage::Alarm => self.see_state("ALARM").await,
            Stage::Notify => self.notified().await,
            Stage::Latency => self.repeat().await,
            Stage::Recover => self.recover().await,
            Stage::History => self.history().await,
            Stage::Cleanup => self.clean_up().await,
        }
    }

    async fn api(&self) -> anyhow::Result<String> {
        self.client.get(&["v2.0"], &[]).await?;
        self.client.get(&["healthcheck"], &[]).await?;
        let removed = leftover::remove(&self.client, time::now()).await?;
        Ok(match removed {
            0 => self.client.base().to_string(),
            removed => format!("{}; {removed} leftovers removed", self.client.base()),
        })
    }

    async fn bind(&mut self) -> anyhow::Result<String> {
        let address = &self.wishes.listen;
        let receiver = Receiver::bind(address, self.receiver_path()?).await;
        let receiver = receiver.with_context(|| format!("cannot listen on {address}"))?;
        let address = receiver.address;
        self.receiver = Some(receiver);
        Ok(format!("listens on {address}"))
    }

    /// The path no one else knows, below the path of the callback URL.
    fn receiver_path(&self) -> anyhow::Result<String> {
        let below = match &self.wishes.callback_url {
            Some(url) => reqwest::Url::parse(url).context("--callback-url")?.path().to_owned(),
            None => String::new(),
        };
        Ok(format!("{}/selfcheck/{}", below.trim_end_matches('/'), self.nonce))
    }

    fn callback(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.wishes.callback_url {
            return Ok(format!("{}/selfcheck/{}", url.trim_end_matches('/'), self.nonce));
        }
        let receiver = self.receiver.as_ref().context("the receiver does not listen")?;
        Ok(format!("http://{}{}", receiver.address, self.receiver_path()?))
    }

    async fn make_method(&mut self) -> anyhow::Result<String> {
        let address = self.callback()?;
        let body = json!({"name": self.name, "type": "WEBHOOK", "address": address});
        let made = self.client.post(&["v2.0", "notification-methods"], &body).await?;
        self.method = Some(id_of(&made)?);
        Ok(format!("{} to {address}", self.name))
    }

    async fn make_definition(&mut self) -> anyhow::Result<String> {
        let expression =
            format!("max({METRIC}{{run={}}}, {}) > 0", self.nonce, self.wishes.period.as_secs());
        let actions = json!([self.method]);
        let body = json!({
            "name": self.name,
            "description": leftover::DESCRIPTION,
            "expression": expression,
            "match_by": ["probe"],
            "severity": "LOW",
            "alarm_actions": actions, "ok_actions": actions, "undetermined_actions": actions,
        });
        let made = self.client.post(&["v2.0", "alarm-definitions"], &body).await?;
        self.definition = Some(id_of(&made)?);
        Ok(expression)
    }

    async fn write(&mut self) -> anyhow::Result<String> {
        let breach = self.breach(0).await?;
        let took = breach.sent.elapsed();
        self.breach = Some(breach);
        Ok(format!("the sample was stored after {}", milliseconds(took)))
    }

    /// Makes the series of a round exist with the value 0, then breaches with the value 1 in the
    /// same period.
    async fn breach(&self, round: u32) -> anyhow::Result<Breach> {
        let (healthy, timestamp) = healthy_and_breach(time::now(), self.wishes.period);
        self.send(round, healthy, 0).await?;
        let sent = Instant::now();
        self.send(round, timestamp, 1).await?;
        Ok(Breach { sent, timestamp })
    }

    async fn send(&self, round: u32, timestamp: i64, value: u8) -> anyhow::Result<()> {
        let body = json!([{
            "name": METRIC,
            "dimensions": {"run": self.nonce, "probe": round.to_string()},
            "timestamp": timestamp,
            "value": value,
        }]);
        self.client.post(&["v2.0", "metrics"], &body).await?;
        Ok(())
    }

    async fn read_back(&self) -> anyhow::Result<String> {
        let breach = self.breach.context("nothing was written")?;
        let at = time::iso(breach.timestamp)?;
        let parameters = [
            ("name", METRIC.to_owned()),
            ("dimensions", format!("run:{},probe:0", self.nonce)),
            ("start_time", at.clone()),
        ];
        let mut poll = ticks(POLL);
        loop {
            poll.tick().await;
            let path = &["v2.0", "metrics", "measurements"];
            let answer = self.client.get(path, &parameters).await?;
            let Some(first) = answer.pointer("/elements/0/measurements/0") else { continue };
            let value = first.get(1).and_then(Value::as_f64);
            let same = first.get(0).and_then(Value::as_str) == Some(&at) && value == Some(1.0);
            ensure!(same, "wrote 1 at {at}, read {first}");
            return Ok(format!("1 at {at}"));
        }
    }

    /// Waits until the API says that the alarm of the first round is in `state`.
    async fn see_state(&mut self, state: &str) -> anyhow::Result<String> {
        let definition = self.definition.clone().context("there is no definition")?;
        let parameters = [
            ("alarm_definition_id", definition),
            ("metric_dimensions", format!("run:{},probe:0", self.nonce)),
        ];
        let mut poll = ticks(POLL);
        loop {
            poll.tick().await;
            let answer = self.client.get(&["v2.0", "alarms"], &parameters).await?;
            let Some(alarm) = elements(&answer)?.first() else { continue };
            if alarm.get("state").and_then(Value::as_str) == Some(state) {
                let id = id_of(alarm)?;
                let detail = format!("alarm {id} is in {state}");
                self.alarm = Some(id);
                return Ok(detail);
            }
        }
    }

    async fn notified(&mut self) -> anyhow::Result<String> {
        let breach = self.breach.context("nothing was written")?;
        let latency = self.wait_for_alarm(0, breach).await?;
        Ok(format!("{} from sending the sample to the webhook", milliseconds(latency)))
    }

    async fn wait_for_alarm(&mut self, round: u32, breach: Breach) -> anyhow::Result<Duration> {
        loop {
            if let Some(notice) = self.notice(round, "ALARM") {
                let latency = notice.first.duration_since(breach.sent);
                self.latencies.add(latency);
                return Ok(latency);
            }
            let arrival = self.arrival().await?;
            self.note(&arrival);
        }
    }

    async fn repeat(&mut self) -> anyhow::Result<String> {
        for round in 1..self.wishes.rounds {
            let breach = self.breach(round).await?;
            let arrived = timeout(ROUND_LIMIT, self.wait_for_alarm(round, breach)).await;
            arrived.with_context(|| {
                format!("round {round}: no webhook within {} s", ROUND_LIMIT.as_secs())
            })??;
        }
        Ok(format!("{} rounds more", self.wishes.rounds - 1))
    }

    /// Sends healthy samples until the notification of OK is there; then the API must say so too.
    async fn recover(&mut self) -> anyhow::Result<String> {
        let begun = Instant::now();
        let mut each_period = ticks(self.wishes.period);
        while self.notice(0, "OK").is_none() {
            tokio::select! {
                _ = each_period.tick() => self.send(0, time::now(), 0).await?,
                arrival = self.arrival() => {
                    let arrival = arrival?;
                    self.note(&arrival);
                }
            }
        }
        self.see_state("OK").await?;
        for state in ["ALARM", "OK"] {
            let count = self.notice(0, state).map_or(0, |notice| notice.count);
            ensure!(count == 1, "the notification of {state} came {count} times");
        }
        Ok(format!("OK after {:.1} s", begun.elapsed().as_secs_f64()))
    }

    async fn history(&self) -> anyhow::Result<String> {
        let alarm = self.alarm.as_deref().context("there is no alarm")?;
        let mut poll = ticks(POLL);
        loop {
            poll.tick().await;
            let answer = self.client.get(&["v2.0", "alarms", alarm, "state-history"], &[]).await?;
            let state = |entry: &Value| Some(entry.get("new_state")?.as_str()?.to_owned());
            let states: Vec<String> = elements(&answer)?.iter().filter_map(state).collect();
            let raised = states.iter().position(|state| state == "ALARM");
            let recovered = states.iter().rposition(|state| state == "OK");
            if raised.is_some() && raised < recovered {
                return Ok(states.join(", "));
            }
        }
    }

    async fn clean_up(&mut self) -> anyhow::Result<String> {
        let things = [
            ("alarm-definitions", self.definition.take()),
            ("notification-methods", self.method.take()),
        ];
        let mut failures = Vec::new();
        for (resource, id) in things {
            let Some(id) = id else { continue };
            if let Err(error) = self.client.delete(&["v2.0", resource, &id]).await {
                failures.push(format!("{resource}/{id}: {error}"));
            }
        }
        if failures.is_empty() { Ok(String::new()) } else { bail!(failures.join("; ")) }
    }

    async fn arrival(&mut self) -> anyhow::Result<Arrival> {
        let receiver = self.receiver.as_mut().context("the receiver does not listen")?;
        receiver.arrivals.recv().await.context("the receiver has stopped")
    }

    /// Remembers a notification, if it is of our definition.
    fn note(&mut self, arrival: &Arrival) {
        let Some((definition, round, state)) = notification(&arrival.body) else { return };
        if Some(definition) != self.definition.as_deref() {
            return;
        }
        let known = self.notices.entry((round, state.to_owned()));
        known.or_insert(Notice { first: arrival.at, count: 0 }).count += 1;
    }

    fn notice(&self, round: u32, state: &str) -> Option<Notice> {
        self.notices.get(&(round, state.to_owned())).copied()
    }
}

/// Two instants in one period, the second as late as it can be: now.
fn healthy_and_breach(now: i64, period: Duration) -> (i64, i64) {
    let period_ms = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(2);
    let start = now - now.rem_euclid(period_ms);
    (start, now.max(start + 1))
}

/// Definition, round and state of a notification.
fn notification(body: &Value) -> Option<(&str, u32, &str)> {
    let definition = body.get("alarm_definition_id")?.as_str()?;
    let round = body.pointer("/metrics/0/dimensions/probe")?.as_str()?.parse().ok()?;
    Some((definition, round, body.get("state")?.as_str()?))
}

fn id_of(made: &Value) -> anyhow::Result<String> {
    let id = made.get("id").and_then(Value::as_str).context("the answer has no id")?;
    Ok(id.to_owned())
}

/// Ticks at once and then every `period`, without catching up on missed ones.
fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_samples_lie_in_one_period() {
        let check = |now: i64, want: (i64, i64)| {
            assert_eq!(healthy_and_breach(now, Duration::from_secs(1)), want);
        };
        check(5000, (5000, 5001));
        check(5001, (5000, 5001));
        check(5999, (5000, 5999));
    }

    #[test]
    fn notifications_are_told_apart_by_definition_round_and_state() {
        let body = |probe: Value| {
            json!({
                "alarm_definition_id": "d", "state": "ALARM", "old_state": "OK",
                "metrics": [{"id": null, "name": METRIC, "dimensions": {"run": "r", "probe": probe}}],
            })
        };
        assert_eq!(notification(&body(json!("7"))), Some(("d", 7, "ALARM")));
        assert_eq!(notification(&body(json!("x"))), None);
        assert_eq!(notification(&json!({"state": "ALARM"})), None);
    }
}
