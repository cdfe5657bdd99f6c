//! Samples on their way into a write request, of which good ones are taken and others told: what writers
//! share whose bodies are not all or nothing. Series are looked up many at once.

use moneta_storage::Error;
use moneta_storage::model::{SeriesKey, Timestamp, ValueMeta};
use moneta_storage::write::{Sought, WriteRequest};

/// Series that are looked up together: enough to wait for memory once for all of them, and so few that what
/// is known of them until then stays near the processor.
const FOUND_AT_ONCE: usize = 256;
/// Bytes that samples of a body may take together to say which series they belong to. A format that says it
/// once for many samples would otherwise have far more to look up than it has bytes.
const NAMED_BYTES_MAX: usize = 256 << 20;

/// Why a sample is not taken.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// What names its series is not in the form of its protocol.
    Unreadable(&'static str),
    /// Its series breaks a rule.
    Rule(String),
    /// Its time is out of range, or older than anything that is kept.
    Time(String),
    /// The body has more samples, or more to say about them, than a request may hold.
    TooMuch,
    /// The store refuses it.
    Store(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Store(error)
    }
}

impl Fault {
    /// What is wrong, for people.
    pub(crate) fn text(&self) -> String {
        match self {
            Fault::Unreadable(text) => (*text).to_owned(),
            Fault::Rule(text) | Fault::Time(text) => text.clone(),
            Fault::TooMuch => "the request holds too much".to_owned(),
            Fault::Store(error) => error.to_string(),
        }
    }
}

/// What a body may say in all, whoever it is about.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    samples: usize,
    named_bytes: usize,
    new_bytes: usize,
}

impl Allowance {
    /// For a body of which series that are new may have names of `new_bytes` in all.
    pub(crate) fn new(new_bytes: usize) -> Self {
        let samples = moneta_storage::write::REQUEST_SAMPLES_MAX;
        Allowance { samples, named_bytes: NAMED_BYTES_MAX, new_bytes }
    }

    /// A sample whose series takes `bytes` to name.
    pub(crate) fn sample(&mut self, bytes: usize) -> Result<(), Fault> {
        self.samples = self.samples.checked_sub(1).ok_or(Fault::TooMuch)?;
        self.named(bytes)
    }

    /// A series that takes `bytes` to name.
    pub(crate) fn named(&mut self, bytes: usize) -> Result<(), Fault> {
        self.named_bytes = self.named_bytes.checked_sub(bytes).ok_or(Fault::TooMuch)?;
        Ok(())
    }

    /// A series that was not found.
    fn series(&mut self, bytes: usize) -> Result<(), Fault> {
        self.new_bytes = self.new_bytes.checked_sub(bytes).ok_or(Fault::TooMuch)?;
        Ok(())
    }
}

/// A sample that was read, whose series is `S` in the words of its protocol.
struct Waiting<S> {
    series: S,
    time: Timestamp,
    value: f64,
    meta: Option<ValueMeta>,
}

/// Samples for one tenant.
pub(crate) struct Gather<S> {
    request: WriteRequest,
    waiting: Vec<Waiting<S>>,
    /// Of each of them.
    sought: Vec<Sought>,
}

impl<S> Gather<S> {
    /// Samples for the tenant of `request`, about so many of them.
    pub(crate) fn new(mut request: WriteRequest, samples: usize) -> Self {
        request.reserve(samples);
        let at_once = samples.min(FOUND_AT_ONCE);
        let (waiting, sought) = (Vec::with_capacity(at_once), Vec::with_capacity(at_once));
        Gather { request, waiting, sought }
    }

    /// The series that these bytes name, to be found later.
    pub(crate) fn seek(&self, raw: &[u8]) -> Sought {
        self.request.seek(raw)
    }

    /// Adds a sample of a series that is sought.
    pub(crate) fn add(
        &mut self,
        sought: Sought,
        series: S,
        time: Timestamp,
        value: f64,
        meta: Option<ValueMeta>,
    ) {
        self.sought.push(sought);
        self.waiting.push(Waiting { series, time, value, meta });
    }

    /// Whether enough has been added to be found together.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= FOUND_AT_ONCE
    }

    /// Finds the series of what was added, and takes the samples into the request. `key` parses and checks
    /// what names a series that has not been seen lately; `refused` is told of each sample that is not taken.
    /// Fails, at once, if new series have more to say than the body may.
    pub(crate) fn settle(
        &mut self,
        allowance: &mut Allowance,
        key: impl Fn(&S) -> Result<SeriesKey, Fault>,
        mut refused: impl FnMut(&S, Fault),
    ) -> Result<(), Fault> {
        self.request.find(&mut self.sought);
        for (waiting, sought) in self.waiting.drain(..).zip(self.sought.drain(..)) {
            let Waiting { series, time, value, meta } = waiting;
            let checked = || {
                let key = key(&series)?;
                let dimensions = key.dimensions.iter();
                let bytes = dimensions.map(|(name, value)| name.len() + value.len()).sum::<usize>();
                allowance.series(key.metric.len() + bytes)?;
                Ok(key)
            };
            let pushed: Result<(), Fault> =
                self.request.push_found(sought, checked, time, value, meta);
            match pushed {
                Ok(()) => {}
                Err(Fault::Store(Error::Invalid(text)))
                    if self.request.check_time(time).is_err() =>
                {
                    refused(&series, Fault::Time(text));
                }
                Err(Fault::TooMuch) => return Err(Fault::TooMuch),
                Err(fault) => refused(&series, fault),
            }
        }
        Ok(())
    }

    /// The request, once everything has been settled.
    pub(crate) fn into_request(self) -> WriteRequest {
        assert!(self.waiting.is_empty(), "what was added has been settled");
        self.request
    }
}
