//! Every column comes back bit for bit, typical ones in the codec and size meant for them, and any
//! bytes decode or are refused.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const EFFORTS: [Effort; 2] = [Effort::Fast, Effort::Best];

/// A column of any kind, so that one check serves all three.
#[derive(Clone, Debug)]
enum Column {
    Times(Vec<i64>),
    Integers(Vec<u64>),
    Floats(Vec<f64>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Column::Times(values) => values.len(),
            Column::Integers(values) => values.len(),
            Column::Floats(values) => values.len(),
        }
    }

    fn encode(&self, effort: Effort) -> Vec<u8> {
        let mut out = vec![0xAA];
        match self {
            Column::Times(values) => encode_times(values, effort, &mut out),
            Column::Integers(values) => encode_integers(values, effort, &mut out),
            Column::Floats(values) => encode_floats(values, effort, &mut out),
        }
        assert_eq!(out.remove(0), 0xAA, "encoding appends");
        out
    }

    /// The bits of the values.
    fn bits(&self) -> Vec<u64> {
        match self {
            Column::Times(values) => values.iter().map(|value| value.cast_unsigned()).collect(),
            Column::Integers(values) => values.clone(),
            Column::Floats(values) => values.iter().map(|value| value.to_bits()).collect(),
        }
    }

    /// Decodes as a column of the same kind, behind one value that must stay.
    fn decode(&self, bytes: &[u8], count: usize) -> Result<Vec<u64>, Error> {
        let mut column = match self {
            Column::Times(_) => {
                let mut out = vec![7];
                decode_times(bytes, count, &mut out).map(|()| Column::Times(out))?
            }
            Column::Integers(_) => {
                let mut out = vec![7];
                decode_integers(bytes, count, &mut out).map(|()| Column::Integers(out))?
            }
            Column::Floats(_) => {
                let mut out = vec![7.0];
                decode_floats(bytes, count, &mut out).map(|()| Column::Floats(out))?
            }
        }
        .bits();
        column.remove(0);
        Ok(column)
    }
}

#[track_caller]
fn check_round_trip(column: &Column) {
    for effort in EFFORTS {
        let encoding = column.encode(effort);
        let limit = 8 * column.len() + 1;
        assert!(encoding.len() <= limit, "{} bytes, raw {limit}", encoding.len());
        let decoded = column.decode(&encoding, column.len()).unwrap();
        assert!(decoded == column.bits(), "{effort:?} {}", codec_name(&encoding));
    }
}

/// Pseudo-random numbers for columns too long to be drawn by a strategy.
fn noise(count: usize) -> impl Iterator<Item = u64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

fn special_floats() -> Vec<f64> {
    vec![
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::from_bits(0x7FF0_0000_0000_0002),
        f64::from_bits(0xFFF8_0000_DEAD_BEEF),
        f64::from_bits(1),
        -f64::from_bits(1),
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        9_007_199_254_740_993.0,
        2_251_799_813_685_248.0,
        -2_251_799_813_685_247.0,
        0.1 + 0.2,
        1e-300,
    ]
}

#[test]
fn special_floats_come_back() {
    let special = special_floats();
    check_round_trip(&Column::Floats(special.clone()));
    for value in &special {
        check_round_trip(&Column::Floats(vec![*value]));
        check_round_trip(&Column::Floats(vec![*value; 300]));
        // Among decimals, at the start, in the middle and at the end.
        for place in [0, 150, 299] {
            let mut column: Vec<f64> = (0..300).map(|tenth| f64::from(tenth % 50) / 10.0).collect();
            column[place] = *value;
            check_round_trip(&Column::Floats(column));
        }
    }
    let everywhere = |count| special.iter().copied().cycle().take(count).collect();
    check_round_trip(&Column::Floats(everywhere(5000)));
}

#[test]
fn extreme_integers_come_back() {
    let extremes = [i64::MIN, i64::MAX, 0, -1, 1, i64::MIN + 1, i64::MAX - 1];
    for first in extremes {
        for second in extremes {
            let column: Vec<i64> = [first, second, first, first, second].repeat(60);
            check_round_trip(&Column::Integers(
                column.iter().map(|value| value.cast_unsigned()).collect(),
            ));
            check_round_trip(&Column::Times(column));
            check_round_trip(&Column::Times(vec![first, second]));
        }
    }
}

#[test]
fn the_longest_columns_come_back() {
    let random: Vec<u64> = noise(COLUMN_MAX).collect();
    check_round_trip(&Column::Integers(random.clone()));
    check_round_trip(&Column::Floats(random.iter().map(|bits| f64::from_bits(*bits)).collect()));
    let small = random.iter().map(|bits| f64::from((bits % 1000) as u16) / 10.0);
    check_round_trip(&Column::Floats(small.collect()));
    let jittered = (0..).zip(&random).map(|(place, bits)| place * 10_000 + (bits % 7) as i64);
    check_round_trip(&Column::Times(jittered.collect()));
    check_round_trip(&Column::Times((0..COLUMN_MAX as i64).collect()));
}

#[test]
fn an_empty_column_is_one_byte() {
    for column in [Column::Times(vec![]), Column::Integers(vec![]), Column::Floats(vec![])] {
        assert_eq!(column.encode(Effort::Best), [Codec::Raw.byte()]);
        check_round_trip(&column);
    }
}

/// `name` and at most `bits` a value, headers included.
#[track_caller]
fn check_codec(column: &Column, effort: Effort, name: &str, bits: f64) {
    let encoding = column.encode(effort);
    assert_eq!(codec_name(&encoding), name);
    let taken = encoding.len() as f64 * 8.0 / column.len() as f64;
    assert!(taken <= bits, "{name}: {taken} bits a value, {} bytes", encoding.len());
    check_round_trip(column);
}

#[test]
fn typical_columns_get_the_codec_meant_for_them() {
    use Column::{Floats, Integers, Times};
    use Effort::{Best, Fast};
    let count = 4096_usize;
    let bytes = |len: usize| (len * 8) as f64 / count as f64;
    let start = 1_700_000_000_000_i64;
    let regular = (0_i64..).take(count).map(|place| start + place * 10_000);
    let regular: Vec<i64> = regular.collect();

    check_codec(&Times(regular.clone()), Fast, "regular", bytes(24));
    check_codec(&Times(vec![start; count]), Fast, "constant", bytes(16));
    check_codec(&Floats(vec![93.7; count]), Fast, "constant", bytes(16));
    check_codec(&Floats(vec![0.0; count]), Fast, "constant", bytes(2));

    let jitter = regular.iter().zip(noise(count)).map(|(time, bits)| time + (bits % 7) as i64 - 3);
    let jitter: Vec<i64> = jitter.collect();
    check_codec(&Times(jitter.clone()), Fast, "linear", 3.2);
    check_codec(&Times(jitter), Best, "linear", 3.0);

    let gaps = regular.iter().zip(0_i64..).map(|(time, place)| time + place / 500 * 10_000);
    check_codec(&Times(gaps.collect()), Fast, "steps", 0.2);
    let rows = (0_i64..).take(count).map(|place| start + place % 12 * 10_000);
    check_codec(&Times(rows.collect()), Fast, "steps", 1.0);
    let seconds = noise(count).map(|bits| start + (bits % 16) as i64 * 1000);
    check_codec(&Times(seconds.collect()), Fast, "offsets", 4.2);

    let ids = (0_u64..).take(count).map(|place| 5000 + place / 12);
    check_codec(&Integers(ids.collect()), Fast, "runs", 0.1);
    let sequences = (0_u64..).take(count).map(|place| 1_000_000 + place / 1500 * 17);
    check_codec(&Integers(sequences.collect()), Fast, "runs", 0.1);

    let percent: Vec<f64> = noise(count).map(|bits| f64::from((bits % 101) as u8)).collect();
    check_codec(&Floats(percent.clone()), Fast, "decimal offsets", 7.2);
    check_codec(&Floats(percent), Best, "decimal pco", 6.9);
    let tenths: Vec<f64> =
        noise(count).map(|bits| f64::from((bits % 1001) as u16) / 10.0).collect();
    check_codec(&Floats(tenths), Fast, "decimal offsets", 10.2);
    let cents: Vec<f64> =
        noise(count).map(|bits| f64::from((bits % 4096) as u16) / 100.0).collect();
    check_codec(&Floats(cents), Fast, "decimal offsets", 12.2);
    let counter = (0..)
        .zip(noise(count))
        .map(|(place, bits)| 1e9 + f64::from(place * 1000) + f64::from((bits % 250) as u8));
    let counter: Vec<f64> = counter.collect();
    check_codec(&Floats(counter.clone()), Fast, "decimal deltas", 9.2);
    check_codec(&Floats(counter), Best, "decimal linear", 8.2);

    let fractions = noise(count).map(|bits| f64::from_bits(bits >> 12 | 0x3FF << 52));
    check_codec(&Floats(fractions.collect()), Fast, "xor", 53.0);
    let binary = noise(count).map(|bits| 1.0 + f64::from((bits % 65_535) as u16) / 1_048_576.0);
    check_codec(&Floats(binary.collect()), Fast, "xor", 16.7);
    // Multiplied rather than divided: every few values one unit in the last place off.
    let products = noise(count).map(|bits| f64::from((bits % 1000) as u16) * 0.001);
    let products: Vec<f64> = products.collect();
    check_codec(&Floats(products.clone()), Fast, "near decimal", 12.4);
    check_codec(&Floats(products), Best, "near decimal", 11.2);
    let random = noise(count).map(f64::from_bits);
    check_codec(&Floats(random.collect()), Fast, "raw", 64.1);
}

#[test]
fn a_wrong_count_is_refused() {
    let columns = [
        Column::Times(noise(500).map(|bits| (bits % 9999) as i64).collect()),
        Column::Integers((0..500).map(|place| place / 9).collect()),
        Column::Floats((0..500).map(|place| f64::from(place % 77) / 10.0).collect()),
        Column::Floats(noise(500).map(f64::from_bits).collect()),
    ];
    for column in columns {
        for effort in EFFORTS {
            let encoding = column.encode(effort);
            // A frame of 128 has room to spare; a whole frame more has none.
            for count in [0, column.len() - 200, column.len() + 200, COLUMN_MAX + 1, usize::MAX] {
                let result = column.decode(&encoding, count);
                assert!(result.is_err(), "{} as {count} values", codec_name(&encoding));
            }
            for cut in 0..encoding.len() {
                assert!(column.decode(&encoding[..cut], column.len()).is_err(), "cut at {cut}");
            }
            let longer = [encoding.as_slice(), &[0]].concat();
            assert!(column.decode(&longer, column.len()).is_err(), "a byte behind the end");
        }
    }
}

#[test]
fn a_refused_column_leaves_what_was_there() {
    let mut out = vec![1, 2, 3];
    let encoding =
        Column::Times((0..300).map(|place| place * place).collect()).encode(Effort::Fast);
    let cut = encoding.len() - 1;
    assert!(decode_times(&encoding[..cut], 300, &mut out).is_err());
    assert_eq!(out, [1, 2, 3]);
}

/// The table of codecs in the specification names every codec by its byte.
#[test]
fn the_specification_lists_the_codecs() {
    let spec = include_str!("../../FORMAT.md");
    let (_, section) = spec.split_once("## Columns\n").unwrap();
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let rows: Vec<(u8, &str)> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.trim().strip_prefix('|')?.split('|').map(str::trim);
            Some((cells.next()?.parse().ok()?, cells.next()?.trim_matches('`')))
        })
        .collect();
    let want: Vec<(u8, &str)> = Codec::ALL.map(|codec| (codec.byte(), codec.name())).to_vec();
    assert_eq!(rows, want);
    for codec in Codec::ALL {
        assert_eq!(Codec::take(&mut Input::new(&[codec.byte()])), Ok(codec));
    }
    assert_eq!(Codec::take(&mut Input::new(&[12])), Err(Malformed));
}

/// Integers with the shapes that storage has: walks, runs, steps, jitter, jumps back, anything.
fn integers() -> impl Strategy<Value = Vec<i64>> {
    let walk = |deltas: Vec<i64>, first: i64| {
        let mut value = first;
        deltas
            .into_iter()
            .map(|delta| {
                value = value.wrapping_add(delta);
                value
            })
            .collect::<Vec<_>>()
    };
    let lengths = || 1..700_usize;
    prop_oneof![
        prop::collection::vec(any::<i64>(), 0..300),
        (prop::collection::vec(-100..100_i64, lengths()), any::<i64>())
            .prop_map(move |(deltas, first)| walk(deltas, first)),
        (prop::collection::vec(prop_oneof![9 => Just(10_000), 1 => any::<i64>()], lengths()))
            .prop_map(move |deltas| walk(deltas, 1_700_000_000_000)),
        (prop::collection::vec(-3..4_i64, lengths()), any::<i64>()).prop_map(|(jitter, step)| {
            (0..)
                .zip(jitter)
                .map(|(place, jitter)| step.wrapping_mul(place).wrapping_add(jitter))
                .collect()
        }),
        prop::collection::vec((any::<i64>(), 1..40_usize), 1..40).prop_map(|runs| {
            runs.into_iter().flat_map(|(value, length)| vec![value; length]).collect()
        }),
        (prop::collection::vec(-50..50_i64, lengths()), 1..1_000_000_i64)
            .prop_map(|(values, unit)| values.into_iter().map(|value| value * unit).collect()),
    ]
}

fn floats() -> impl Strategy<Value = Vec<f64>> {
    let lengths = || 0..700_usize;
    prop_oneof![
        prop::collection::vec(any::<u64>().prop_map(f64::from_bits), lengths()),
        (prop::collection::vec(-1_000_000..1_000_000_i32, lengths()), 0..15_i32).prop_map(
            |(integers, exponent)| {
                integers.into_iter().map(|i| f64::from(i) / 10_f64.powi(exponent)).collect()
            }
        ),
        (prop::collection::vec((0..100_000_u32, -9..10_i64), lengths()), 0..4_i32).prop_map(
            |(decimals, exponent)| {
                let near = |(integer, ulps): (u32, i64)| {
                    let decimal = f64::from(integer) / 10_f64.powi(exponent);
                    f64::from_bits(decimal.to_bits().wrapping_add(ulps.cast_unsigned()))
                };
                decimals.into_iter().map(near).collect()
            }
        ),
        prop::collection::vec(
            prop_oneof![
                20 => (0..1000_i32).prop_map(|tenths| f64::from(tenths) / 10.0),
                1 => prop::sample::select(special_floats()),
                1 => any::<f64>(),
            ],
            lengths()
        ),
        (prop::collection::vec(0.0..1.0_f64, lengths()), any::<f64>())
            .prop_map(|(values, scale)| values.into_iter().map(|value| value * scale).collect()),
    ]
}

fn column() -> impl Strategy<Value = Column> {
    prop_oneof![
        integers().prop_map(Column::Times),
        integers().prop_map(|values| {
            Column::Integers(values.into_iter().map(i64::cast_unsigned).collect())
        }),
        floats().prop_map(Column::Floats),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn columns_come_back(column in column()) {
        check_round_trip(&column);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(
        codec in 0..13_u8,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        count in prop_oneof![0..300_usize, Just(COLUMN_MAX)],
        kind in column(),
    ) {
        let bytes = [&[codec], bytes.as_slice()].concat();
        if let Ok(values) = kind.decode(&bytes, count) {
            prop_assert_eq!(values.len(), count);
        }
        prop_assert!(!codec_name(&bytes).is_empty());
    }

    #[test]
    fn changed_encodings_decode_or_are_refused(
        column in column(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        count in prop::option::of(0..2000_usize),
    ) {
        for effort in EFFORTS {
            let mut encoding = column.encode(effort);
            for (place, byte) in &changes {
                let place = place.index(encoding.len());
                encoding[place] = *byte;
            }
            let count = count.unwrap_or(column.len());
            if let Ok(values) = column.decode(&encoding, count) {
                prop_assert_eq!(values.len(), count);
            }
        }
    }
}
