//! Every decoder of what clients send, under mutated input: no panic, no allocation beyond a bound, and the
//! same answer twice.
//!
//! A short run is part of the tests; `make fuzz SECONDS=600` runs each target so long. A failure prints
//! the seed: `MONETA_SEED=n` repeats the run.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use moneta_storage::clock::ManualClock;
use moneta_storage::model::Timestamp;
use moneta_storage::write::WriteRequest;
use moneta_storage::{Store, StoreConfig};

use super::gather::Fault;
use super::line::{Found, each_line};
use super::line_batch::{Decoded, Naming, Precision, Terms};
use super::monasca::each_metric;
use super::remote_write::{Refusal, Version};
use super::{line_batch, line_series, remote_write};

/// Mutations of a short run.
const ROUNDS: u32 = 20_000;
/// Address space that decoding may take beyond what there was before.
const BYTES_MAX: u64 = 1 << 30;
const NOW: i64 = 1_795_166_675_000;

/// Small, quick, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self, words: &[u8]) -> u8 {
        let [byte, ..] = self.next().to_le_bytes();
        // Bytes that mean something, half of the time.
        if self.below(2) == 0 {
            byte
        } else {
            words.get(self.below(words.len())).copied().unwrap_or(byte)
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], words: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 => {
                let bit = random.below(8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let value = random.byte(words);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            2 => bytes.truncate(at),
            3 => {
                let more = other.get(random.below(other.len())..).unwrap_or_default();
                bytes.splice(at.., more.iter().copied());
            }
            4 => {
                let end = at + random.below(9).min(bytes.len() - at);
                bytes.drain(at..end);
            }
            5 => {
                let more: Vec<u8> = (0..random.below(9)).map(|_| random.byte(words)).collect();
                bytes.splice(at..at, more);
            }
            _ => {
                let end = at + random.below(64).min(bytes.len() - at);
                let again = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

/// Most address space this process has had, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).map_or(0, |kb: u64| kb << 10)
}

/// Runs `decode`, which says what it has read, on mutations of `samples`; `words` are bytes that mean
/// something to it.
#[track_caller]
fn check(samples: &[Vec<u8>], words: &[u8], decode: impl Fn(&[u8]) -> String) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("MONETA_SEED").unwrap_or(1);
    let until = number("MONETA_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    println!("seed {seed}");
    let mut random = Random(seed);
    let before = peak();
    let mut rounds = 0;
    while until.map_or(rounds < ROUNDS, |until| Instant::now() < until) {
        rounds += 1;
        let mut bytes = samples[random.below(samples.len())].clone();
        mutate(&mut bytes, &samples[random.below(samples.len())], words, &mut random);
        assert!(decode(&bytes) == decode(&bytes), "decodes in two ways, round {rounds}");
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < BYTES_MAX, "{grown} bytes of address space after {rounds} rounds");
}

fn with_store(run: impl FnOnce(&Store)) {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let store = Store::open(folder.path(), StoreConfig::default(), clock).unwrap();
    store.tenant("t").unwrap();
    run(&store);
    store.close().unwrap();
}

fn lines() -> Vec<Vec<u8>> {
    let persisted = concat!(
        r"cpu.idle,_region=RegionOne,_tenant_id=t,dev\ ice=x\ yz/é,hostname=a value=0.5,",
        r#"value_meta="{\"k\": \"v0\"}" 1795165619123"#,
    );
    [
        persisted,
        "cpu,host=a,zone=b idle=1i,user=2.5,up=true,name=\"x\\\" y\",n=7u 1795166675000\ncpu v=1\n",
        "# comment\n#m,_region=r value=-1.5e-7\r\n\\,a\\ b,c\\=d=e f=\"two\nlines\",g=.5 -17\n",
        "bad\nworse x=\n,\nm f=1 1 1\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

const LINE_WORDS: &[u8] = b" ,=\"\\\n\r\t#iuteE+-.0_";

#[test]
fn lines_under_mutation() {
    check(&lines(), LINE_WORDS, |body| {
        let mut out = String::new();
        each_line::<Infallible>(body, |found| {
            if let Found::Line(line, fields) = &found {
                for field in *fields {
                    // What has been found can be taken apart.
                    out.push_str(&format!(
                        "{:?}",
                        line_series::key(line.series, field.key, "r").is_ok()
                    ));
                }
            }
            out.push_str(&format!("{found:?}\n"));
            Ok(())
        })
        .unwrap();
        out
    });
}

#[test]
fn bodies_of_lines_under_mutation() {
    with_store(|store| {
        check(&lines(), LINE_WORDS, |body| {
            let terms = Terms {
                store,
                tenant: "t",
                region: "r",
                naming: Naming::Anybody,
                precision: Precision::Milliseconds,
                new_bytes: 1 << 20,
            };
            match line_batch::decode(&terms, body) {
                Ok(Decoded::Whole(batch)) => {
                    let samples: usize = batch.requests.iter().map(WriteRequest::len).sum();
                    let texts = [&batch.unreadable, &batch.refused, &batch.expired];
                    format!("{samples} {:?}", texts.map(super::complaints::Complaints::text))
                }
                Ok(Decoded::Strangers(names)) => format!("{names:?}"),
                Err(Fault::TooMuch) => "too much".to_owned(),
                Err(fault) => panic!("{fault:?}"),
            }
        });
    });
}

/// A field of protobuf that holds bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    let head = if length < 0x80 { vec![length] } else { vec![length, 1] };
    [&[number << 3 | 2], &head[..], content].concat()
}

#[test]
fn remote_write_under_mutation() {
    let label = |name: &str, value: &str| {
        field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
    };
    let mut point = vec![0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10];
    point.extend([0xf8, 0xd6, 0xd3, 0xb3, 0x9f, 0x34]);
    let labels = [label("__name__", "up"), label("job", "node"), label("path", "/é")].concat();
    let one = field(1, &[labels, field(2, &point), field(3, b""), field(4, b"")].concat());
    let symbols: Vec<u8> = ["", "__name__", "up", "job", "é"]
        .iter()
        .flat_map(|text| field(4, text.as_bytes()))
        .collect();
    let two = field(5, &[field(1, &[1, 2, 3, 4]), field(2, &point), field(3, b"")].concat());
    let single = field(5, &[&[0x08, 1, 0x08, 2][..], &field(2, &point)].concat());
    let two = [symbols, two.clone(), two, single].concat();
    let words = [0, 1, 2, 8, 9, 10, 16, 18, 26, 34, 42, 0x7f, 0x80, 0xff];
    with_store(|store| {
        for (version, body) in [(Version::One, one), (Version::Two, two)] {
            let samples = [body.clone(), [body.clone(), body].concat()];
            check(&samples, &words, |body| {
                let request = store.request(store.find_tenant("t").unwrap());
                match remote_write::decode(version, request, "r", 1 << 20, body) {
                    Ok(batch) => format!(
                        "{} {} {} {}",
                        batch.request.len(),
                        batch.refused.text(),
                        batch.histograms.text(),
                        batch.exemplars
                    ),
                    Err(refusal @ (Refusal::Malformed(_) | Refusal::TooMuch)) => {
                        format!("{refusal:?}")
                    }
                }
            });
        }
    });
}

#[test]
fn measurements_under_mutation() {
    let body = concat!(
        r#"[{"name":"cpu.idle","dimensions":{"h":"a","z":"\u00e9"},"timestamp":1795166675045.77,"#,
        r#""value":0.25,"value_meta":{"k":[1,null]}},{"name":"b","value":true,"timestamp":7}]"#,
    );
    let one = r#"{"name":"a\n","timestamp":-1.9e3,"value":-0.5,"more":[{"x":null}]}"#;
    let samples = [body, one].map(|text| text.as_bytes().to_vec());
    check(&samples, b"[]{},:\"\\ue+-.0 ntf", |body| {
        let mut out = String::new();
        let read = each_metric(body, |metric| {
            out.push_str(&format!("{metric:?} {:?}\n", metric.identity.key("r")));
            Ok(())
        });
        format!("{out}{read:?}")
    });
}
