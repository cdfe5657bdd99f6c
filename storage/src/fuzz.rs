//! Every decoder of stored bytes under mutated input: no panic, no allocation beyond a bound, and what
//! decodes does so the same way twice. Mutations keep checksums right half of the time, so that they
//! reach what lies behind them.
//!
//! A short run is part of the tests; `make fuzz SECONDS=600` runs each target so long. A failure prints
//! the seed: `MONETA_SEED=n` repeats the run.

use std::time::{Duration, Instant};

use crate::batch::{Batch, Row};
use crate::block::row::{RowBlock, Rows};
use crate::block::{row, series};
use crate::codec::{self, Effort};
use crate::index::{self, id_set};
use crate::key::{self, Key, PostingKind};
use crate::model::{
    Dimensions, MetricNo, Sequence, SeriesId, SeriesKey, TenantId, TimeRange, Timestamp, ValueMeta,
};
use crate::segment::directory::{self, Extent, RowEntry, SeriesEntry, Top};
use crate::segment::{Group, SegmentFacts, SeriesPlace, decode_footer, encode_footer, table};
use crate::{manifest, roster};

/// Mutations of a short run; of what is compressed for each, fewer.
const ROUNDS: u32 = 20_000;
const ROUNDS_PACKED: u32 = 3000;
/// Address space that decoding may take beyond what there was before.
const BYTES_MAX: u64 = 1 << 30;

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

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.next().to_le_bytes();
        byte
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// What is around the bytes that are mutated.
#[derive(Clone, Copy)]
enum Wrapping {
    None,
    /// A checksum after them.
    Sealed,
    /// Compressed, with a checksum after them.
    Packed,
    /// A checksum, then the magic of a footer.
    Footer,
}

impl Wrapping {
    fn unwrap(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Wrapping::None => bytes.to_vec(),
            Wrapping::Sealed => bytes[..bytes.len() - 4].to_vec(),
            Wrapping::Packed => directory::decompress(bytes, 1 << 20).unwrap(),
            Wrapping::Footer => bytes[..bytes.len() - 12].to_vec(),
        }
    }

    fn wrap(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Wrapping::None => bytes.to_vec(),
            Wrapping::Sealed => sealed(bytes),
            Wrapping::Packed => directory::compress(bytes),
            Wrapping::Footer => {
                let mut out = sealed(bytes);
                out.extend_from_slice(&crate::segment::END_MAGIC);
                out
            }
        }
    }
}

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    crate::block::seal(&mut out, 0);
    out
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const NUMBERS: [u32; 8] = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, u32::MAX];
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 | 1 => {
                let bit = random.below(8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            2 => {
                let value = random.byte();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            3 => {
                let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
                for (byte, new) in bytes.iter_mut().skip(at).zip(number) {
                    *byte = new;
                }
            }
            4 => bytes.truncate(at),
            5 => {
                let more = other.get(random.below(other.len())..).unwrap_or_default();
                bytes.splice(at.., more.iter().copied());
            }
            6 => bytes.insert(at, random.byte()),
            _ => {
                let length = random.below(16);
                let copied: Vec<u8> = bytes.iter().skip(at).take(length).copied().collect();
                bytes.extend(copied);
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

/// Runs `decode`, which answers what it has read in some form that can be compared, on mutations of
/// `samples`.
#[track_caller]
fn check<T: PartialEq>(
    samples: &[Vec<u8>],
    wrapping: Wrapping,
    decode: impl Fn(&[u8]) -> Option<T>,
) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("MONETA_SEED").unwrap_or(1);
    let until = number("MONETA_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    println!("seed {seed}");
    for sample in samples {
        assert!(decode(sample).is_some(), "the samples decode");
    }
    let before = peak();
    let mut random = Random(seed);
    let mut rounds = 0;
    let rounds_max = if matches!(wrapping, Wrapping::Packed) { ROUNDS_PACKED } else { ROUNDS };
    while until.map_or(rounds < rounds_max, |until| Instant::now() < until) {
        rounds += 1;
        let other = &samples[random.below(samples.len())];
        let sample = &samples[random.below(samples.len())];
        let bytes = if random.below(2) == 0 {
            let mut inside = wrapping.unwrap(sample);
            mutate(&mut inside, &wrapping.unwrap(other), &mut random);
            wrapping.wrap(&inside)
        } else {
            let mut outside = sample.clone();
            mutate(&mut outside, other, &mut random);
            outside
        };
        let first = decode(&bytes);
        assert!(first == decode(&bytes), "decodes in two ways, round {rounds}");
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < BYTES_MAX, "{grown} bytes of address space after {rounds} rounds");
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Columns of each shape the codecs look for.
fn integer_columns() -> Vec<Vec<i64>> {
    let mut random = Random(7);
    vec![
        vec![],
        vec![5; 300],
        (0..300).map(|i| i * 10_000 + 1_764_000_000_000).collect(),
        (0..300).map(|i| i * 10 + (i % 7)).collect(),
        (0..300).map(|i| i / 40).collect(),
        (0..300).map(|i| if i % 50 == 0 { i64::MAX - i } else { i }).collect(),
        (0..300).map(|_| random.next().cast_signed()).collect(),
        (0..300).map(|i| (i / 30) * 60_000 + (i % 30)).collect(),
    ]
}

fn float_columns() -> Vec<Vec<f64>> {
    let mut random = Random(9);
    vec![
        vec![],
        vec![0.1; 200],
        (0..300).map(|i| f64::from(i % 13) / 10.0).collect(),
        (0..300).map(|i| f64::from(i).sqrt()).collect(),
        (0..300).map(|i| if i % 90 == 0 { f64::NAN } else { f64::from(i) * 0.01 }).collect(),
        (0..300).map(|i| 100.0 / 3.0 + f64::from(i % 5) * 1e-13).collect(),
        (0..300).map(|_| f64::from_bits(random.next())).collect(),
    ]
}

const EFFORTS: [Effort; 2] = [Effort::Fast, Effort::Best];

/// Encodes with the count (u16) before, as the mutated input has it.
fn counted<T>(columns: &[Vec<T>], encode: impl Fn(&[T], Effort, &mut Vec<u8>)) -> Vec<Vec<u8>> {
    let encoded = |column: &Vec<T>, effort| {
        let mut out = u16::try_from(column.len()).unwrap().to_le_bytes().to_vec();
        encode(column, effort, &mut out);
        out
    };
    columns.iter().flat_map(|column| EFFORTS.map(|effort| encoded(column, effort))).collect()
}

fn count_of(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_le_bytes(*count)), rest))
}

#[test]
fn columns_of_times() {
    check(&counted(&integer_columns(), codec::encode_times), Wrapping::None, |bytes| {
        let (count, bytes) = count_of(bytes)?;
        let mut out = Vec::new();
        codec::decode_times(bytes, count, &mut out).ok()?;
        assert_eq!(out.len(), count);
        Some(out)
    });
}

#[test]
fn columns_of_integers() {
    let columns: Vec<Vec<u64>> = integer_columns()
        .iter()
        .map(|column| column.iter().map(|number| number.cast_unsigned()).collect())
        .collect();
    check(&counted(&columns, codec::encode_integers), Wrapping::None, |bytes| {
        let (count, bytes) = count_of(bytes)?;
        let mut out = Vec::new();
        codec::decode_integers(bytes, count, &mut out).ok()?;
        assert_eq!(out.len(), count);
        Some(out)
    });
}

#[test]
fn columns_of_floats() {
    check(&counted(&float_columns(), codec::encode_floats), Wrapping::None, |bytes| {
        let (count, bytes) = count_of(bytes)?;
        let mut out = Vec::new();
        codec::decode_floats(bytes, count, &mut out).ok()?;
        assert_eq!(out.len(), count);
        Some(bits(&out))
    });
}

fn metas(count: u32) -> Vec<(u32, ValueMeta)> {
    let text = |i: u32| format!("{{\"rc\": \"{}\"}}", i % 3);
    (0..count).step_by(9).map(|i| (i, ValueMeta::new(&text(i)).unwrap())).collect()
}

#[test]
fn row_blocks() {
    let blocks = [0_u32, 1, 40, 400].into_iter().flat_map(|count| {
        let rows = Rows {
            series: (0..count).map(|i| u64::from(i / 9)).collect(),
            times: (0..count).map(|i| i64::from(i % 9) * 1000).collect(),
            sequences: (0..count).map(|i| u64::from(i % 9)).collect(),
            values: (0..count).map(|i| f64::from(i) / 10.0).collect(),
            metas: metas(count),
        };
        EFFORTS.map(|effort| row::encode(&rows, effort))
    });
    check(&blocks.collect::<Vec<_>>(), Wrapping::Sealed, |bytes| {
        let block = RowBlock::verify(bytes)?;
        let rows = block.with_series(block.series()?)?;
        Some((rows.series, rows.times, rows.sequences, bits(&rows.values), rows.metas))
    });
}

#[test]
fn parts_of_series_blocks() {
    let times: Vec<i64> = (0..300).map(|i| i * 10_000).collect();
    let parts = EFFORTS.map(|effort| series::encode_times(&times, effort)).to_vec();
    check(&parts, Wrapping::Sealed, |bytes| series::decode_times(bytes, 300));
    let values: Vec<f64> = (0..300).map(|i| f64::from(i % 17) / 10.0).collect();
    let parts = EFFORTS.map(|effort| series::encode_values(&values, &metas(300), effort)).to_vec();
    check(&parts, Wrapping::Sealed, |bytes| {
        let (values, metas) = series::decode_values(bytes, 300)?;
        Some((bits(&values), metas))
    });
}

fn place(number: u32) -> SeriesPlace {
    SeriesPlace {
        tenant: TenantId::new(1),
        metric: MetricNo::new(number / 10),
        series: SeriesId::new(number),
    }
}

fn span(start: i64) -> TimeRange {
    TimeRange::new(Timestamp::from_millis(start), Timestamp::from_millis(start + 77))
}

fn sequence(number: u32) -> Sequence {
    Sequence::new(u64::from(number))
}

#[test]
fn directory_groups() {
    let rows: Vec<RowEntry> = (0..40)
        .map(|i| RowEntry {
            first: place(i),
            last: place(i + 1),
            times: span(i64::from(i) * 1000),
            sequences: (sequence(i), sequence(i + 5)),
            rows: 8192 - i,
            extent: Extent { at: u64::from(i) * 999, length: 100 + i },
        })
        .collect();
    check(&[directory::encode_rows(&rows)], Wrapping::Packed, |bytes| {
        directory::decode_rows(bytes, 40)
    });
    let entries: Vec<SeriesEntry> = (0..40)
        .map(|i| {
            let times: Vec<i64> = (0..i64::from(i) + 1).collect();
            let values: Vec<f64> = times.iter().map(|&time| time as f64 / 7.0).collect();
            SeriesEntry {
                place: place(i),
                count: i + 1,
                times: span(0),
                summary: series::summarize(&times, &values),
                times_part: Extent { at: 16, length: 30 },
                values_part: Extent { at: 46 + u64::from(i) * 99, length: 99 },
            }
        })
        .collect();
    check(&[directory::encode_series(&entries)], Wrapping::Packed, |bytes| {
        directory::decode_series(bytes, 40).map(|entries| format!("{entries:?}"))
    });
}

#[test]
fn series_tables() {
    let key = |i: u32| format!("cpu.idle host{}", i * 7).into_bytes();
    let entries: Vec<(SeriesPlace, Vec<u8>)> = (0..50).map(|i| (place(i), key(i))).collect();
    check(&[table::encode(&entries)], Wrapping::Packed, |bytes| table::decode(bytes, 50));
}

#[test]
fn tops_and_footers() {
    let group = |i: u32| Group {
        first: place(i),
        last: place(i + 9),
        times: span(5),
        entries: i,
        extent: Extent { at: 1 << 33, length: i },
    };
    let top = Top { rows: vec![group(1), group(2)], series: vec![group(3)], table: vec![] };
    check(&[top.encode()], Wrapping::Sealed, Top::decode);
    check(&[top.encode()], Wrapping::None, Top::decode_damaged);
    let footer = encode_footer(&facts(), Extent { at: 99, length: 44 });
    check(&[footer], Wrapping::Footer, |bytes| decode_footer(bytes.try_into().ok()?, 1 << 20));
}

fn facts() -> SegmentFacts {
    SegmentFacts {
        samples: 5,
        sequences: (sequence(1), sequence(9)),
        times: span(-5),
        bytes: 1 << 20,
        level: 3,
    }
}

#[test]
fn entries_of_the_manifest() {
    check(&[manifest::encode(&facts())], Wrapping::None, manifest::decode);
}

#[test]
fn log_records() {
    let records = [1_i64, 1000, 1 << 40].map(|step| {
        let rows: Vec<Row> = (0..60_u32)
            .map(|i| Row {
                tenant: TenantId::new(1 + i / 40),
                series: SeriesId::new(i % 9),
                time: i64::from(i) * step,
                value: f64::from(i) / 10.0,
            })
            .collect();
        let requests = vec![(TenantId::new(1), 20), (TenantId::new(1), 40), (TenantId::new(2), 60)];
        let arrival = Timestamp::from_millis(1);
        Batch { first: sequence(1), arrival, requests, rows, metas: metas(60) }.encode()
    });
    check(&records, Wrapping::Sealed, |bytes| {
        Batch::decode(sequence(1), bytes).ok().map(|batch| batch.encode())
    });
}

#[test]
fn sets_of_ids() {
    let few: Vec<u32> = (0..9).map(|i| i * 70_000).collect();
    let many = (0..5000).map(|i| i * 3).chain(100_000..170_000).collect();
    let sets = [id_set::encode_list(&few), id_set::encode_bitmap(&many)];
    check(&sets, Wrapping::None, |bytes| id_set::decode(bytes).ok());
    let ids: Vec<SeriesId> = few.iter().map(|&id| SeriesId::new(id)).collect();
    check(&[index::id_list(&ids)], Wrapping::None, index::split_id_list);
}

#[test]
fn keys_and_definitions() {
    let series = SeriesKey {
        metric: "cpu.idle_perc".into(),
        dimensions: [("host", "a"), ("zone", "ü")].into_iter().collect::<Dimensions>(),
        region: "r".into(),
    };
    check(&[series.encode()], Wrapping::None, |bytes| SeriesKey::decode(bytes).ok());
    let definition = index::definition(MetricNo::new(7), &series.encode());
    check(&[definition], Wrapping::None, |bytes| {
        index::split_definition(bytes).ok().map(|(metric, key)| (metric, key.to_vec()))
    });
    let tenant = TenantId::new(3);
    let posting = Key::Posting(tenant, PostingKind::Dimension, "na\0me", "value").encode();
    check(&[posting], Wrapping::None, key::decode_posting);
    let keys = [
        Key::Series(tenant, SeriesId::new(4)),
        Key::SeriesHash(tenant, 77),
        Key::Metric(tenant, MetricNo::new(1)),
        Key::Tenant(tenant),
        Key::Activity(tenant, -4),
        Key::Segment(0, 20_000, 9),
        Key::Wal(sequence(8)),
    ];
    check(&keys.map(|key| key.encode()), Wrapping::None, |bytes| {
        Some((
            key::decode_definition(bytes),
            key::decode_hash(bytes),
            key::decode_metric(bytes),
            key::decode_tenant(bytes),
            key::decode_activity(bytes),
            key::decode_segment(bytes),
            key::decode_wal(bytes),
        ))
    });
}

#[test]
fn rosters() {
    let name = |i| (TenantId::new(i), (i != 3).then(|| format!("tenant {i}")));
    let names = (1..5).map(name).collect();
    check(&[roster::encode(&names)], Wrapping::Sealed, roster::decode);
}
