//! How long does a column take to encode and to decode, and how small does it get?
//!
//! Names are `codec/<encode|decode>/<fast|best>/<column>`; throughput is in values. The bytes per
//! value of each column are printed before its measurements.
//!
//! On two shared cores of an AMD EPYC, in ns (encode, decode) and bytes a value, columns of 8192:
//!
//! ```text
//!                    fast                     best
//! regular_times       2.3   0.4   0.0012       1.6   0.4   0.0012
//! times_with_gaps    10.9   0.3   0.030       39     3.3   0.018
//! jittered_times      5.7   1.5   0.39        28     2.4   0.36
//! row_block_times     6.4   1.1   0.17        20     1.5   0.059
//! row_block_series    6.3   0.3   0.0035      18     0.3   0.0035
//! processor           5.8   2.1   0.27        21     3.5   0.20
//! percentages         6.0   1.9   0.89        40     3.4   0.84
//! gauge               6.6   2.2   1.02        53     4.3   0.96
//! sums               13.2   3.4   2.29        96     6.1   1.48
//! counter             6.5   2.1   1.64        56     4.3   1.54
//! noise               2.9   1.2   6.92        56     1.2   6.92
//! ```

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moneta_storage::codec::{
    Effort, codec_name, decode_floats, decode_integers, decode_times, encode_floats,
    encode_integers, encode_times,
};

/// Values of a column: a full series block of a merged segment is about as long.
const COUNT: usize = 8192;

/// A small generator with a fixed seed, so that every run measures the same columns.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u32) -> i32 {
        i32::try_from(self.next() % u64::from(limit)).expect("below a 31-bit limit")
    }
}

const START: i64 = 1_700_000_000_000;

fn regular_times() -> Vec<i64> {
    (0_i64..).take(COUNT).map(|place| START + place * 10_000).collect()
}

fn times_with_gaps() -> Vec<i64> {
    let mut random = Random(1);
    let mut now = START;
    let step = |_| {
        now += if random.below(100) == 0 { 20_000 } else { 10_000 };
        now
    };
    (0..COUNT).map(step).collect()
}

fn jittered_times() -> Vec<i64> {
    let mut random = Random(2);
    regular_times().into_iter().map(|time| time + i64::from(random.below(7) - 3)).collect()
}

/// Twelve samples each of series that are read at the same instants.
fn row_block_times() -> Vec<i64> {
    (0_i64..).take(COUNT).map(|place| START + place % 12 * 10_000 + place / 12 % 7 * 1000).collect()
}

fn row_block_series() -> Vec<u64> {
    (0_u64..).take(COUNT).map(|place| 1000 + place / 12).collect()
}

/// A host's processor: integers 0 to 100 that wander.
fn processor() -> Vec<f64> {
    let mut random = Random(3);
    let mut value = 50;
    let step = |_| {
        value = (value + random.below(3) - 1).clamp(0, 100);
        f64::from(value)
    };
    (0..COUNT).map(step).collect()
}

/// Integers 0 to 100 in no order.
fn percentages() -> Vec<f64> {
    let mut random = Random(4);
    (0..COUNT).map(|_| f64::from(random.below(101))).collect()
}

/// A gauge with two decimals.
fn gauge() -> Vec<f64> {
    let mut random = Random(5);
    let mut value = 5000;
    let step = |_| {
        value = (value + random.below(201) - 100).clamp(0, 10_000);
        f64::from(value) / 100.0
    };
    (0..COUNT).map(step).collect()
}

/// A gauge with three decimals that was summed up: a few units in the last place off.
fn sums() -> Vec<f64> {
    let mut random = Random(8);
    let mut value = 0.0;
    let step = |_| {
        value = (value + f64::from(random.below(2001)) / 1000.0) % 100.0;
        value
    };
    let sums: Vec<f64> = (0..COUNT).map(step).collect();
    sums.iter().map(|sum| (sum * 1000.0).round() * 0.001).collect()
}

/// A counter of bytes.
fn counter() -> Vec<f64> {
    let mut random = Random(6);
    let mut value = 1e9;
    let step = |_| {
        value += f64::from(random.below(5000));
        value
    };
    (0..COUNT).map(step).collect()
}

/// Random fractions: 52 bits of noise each.
fn noise() -> Vec<f64> {
    let mut random = Random(7);
    let fraction = |_| f64::from_bits(random.next() >> 12 | 0x3ff0_0000_0000_0000) - 1.0;
    (0..COUNT).map(fraction).collect()
}

type Encode<T> = fn(&[T], Effort, &mut Vec<u8>);
type Decode<T> = fn(&[u8], usize, &mut Vec<T>) -> Result<(), moneta_storage::Error>;

fn measure<T>(
    criterion: &mut Criterion,
    name: &str,
    column: &[T],
    encode: Encode<T>,
    decode: Decode<T>,
) {
    for (effort, label) in [(Effort::Fast, "fast"), (Effort::Best, "best")] {
        let mut encoding = Vec::new();
        encode(column, effort, &mut encoding);
        let count = u32::try_from(column.len()).expect("a column is short");
        let len = u32::try_from(encoding.len()).expect("and so is its encoding");
        let per_value = f64::from(len) / f64::from(count);
        println!("{label:4} {name:16} {per_value:.4} bytes a value, {}", codec_name(&encoding));

        let mut group = criterion.benchmark_group("codec");
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(format!("encode/{label}/{name}"), |bencher| {
            let mut out = Vec::with_capacity(encoding.len());
            bencher.iter(|| {
                out.clear();
                encode(column, effort, &mut out);
            });
        });
        group.bench_function(format!("decode/{label}/{name}"), |bencher| {
            let mut out = Vec::with_capacity(column.len());
            bencher.iter(|| {
                out.clear();
                decode(&encoding, column.len(), &mut out).expect("our own encoding");
            });
        });
        group.finish();
    }
}

fn columns(criterion: &mut Criterion) {
    let times = [
        ("regular_times", regular_times()),
        ("times_with_gaps", times_with_gaps()),
        ("jittered_times", jittered_times()),
        ("row_block_times", row_block_times()),
    ];
    for (name, column) in &times {
        measure(criterion, name, column, encode_times, decode_times);
    }
    measure(criterion, "row_block_series", &row_block_series(), encode_integers, decode_integers);
    let floats = [
        ("processor", processor()),
        ("percentages", percentages()),
        ("gauge", gauge()),
        ("sums", sums()),
        ("counter", counter()),
        ("noise", noise()),
    ];
    for (name, column) in &floats {
        measure(criterion, name, column, encode_floats, decode_floats);
    }
}

criterion_group!(benches, columns);
criterion_main!(benches);
