//! Sums of rollups against those of samples, of values that are hard to sum up: great and small ones
//! mixed, such that cancel each other, zeros with a sign, subnormal ones, and some that are no numbers.

use std::collections::BTreeMap;

use moneta_storage::Error;
use moneta_storage::model::{Sum, TimeRange, Timestamp};
use moneta_storage::view::Piece;
use proptest::prelude::*;

use super::{DAY, HOUR, MINUTE, Op, Run, START, series_key};

/// What is said of a window: count, sum, the bits of the least and of the greatest value, slots.
#[derive(Clone, Copy, Debug)]
struct Said {
    count: u64,
    sum: Sum,
    min: f64,
    max: f64,
    slots: u64,
}

fn said(run: &Run, window: i64) -> BTreeMap<i64, Said> {
    let tenant = run.store.tenant("t").unwrap();
    let id = run.store.find_series(tenant, &series_key(0)).unwrap().unwrap();
    let mut windows: BTreeMap<i64, Said> = BTreeMap::new();
    let mut add = |time: i64, count: u64, sum: Sum, (min, max): (f64, f64), slots: u64| {
        let none = Said { count: 0, sum: Sum::default(), min, max, slots: 0 };
        let said = windows.entry(time.div_euclid(window) * window).or_insert(none);
        said.count += count;
        said.sum.join(&sum);
        said.min = said.min.min(min);
        said.max = said.max.max(max);
        said.slots += slots;
    };
    let view = run.store.view(tenant);
    let day = TimeRange::new(Timestamp::from_millis(START - DAY), Timestamp::from_millis(START));
    view.fold(&[id], day, Some(window), u64::MAX, |_, piece| {
        match piece {
            Piece::Samples(times, values) => {
                let rows = times.iter().zip(values).filter(|(_, value)| value.is_finite());
                rows.for_each(|(&time, &value)| add(time, 1, value.into(), (value, value), 0));
            }
            Piece::Summary(s) => {
                add(s.first_time.millis(), s.count, s.sum.into(), (s.min, s.max), 0);
            }
            Piece::Slot(slot) => {
                let ends = (slot.min, slot.max);
                add(slot.start.millis(), slot.count, slot.sum.into(), ends, 1);
            }
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    windows
}

/// Compares windows of a day before and after it is rolled up, a sample each `step` ms.
#[track_caller]
fn check(values: &[f64], step: i64) {
    let mut run = Run::new();
    let times = (START - DAY..START).step_by(usize::try_from(step).unwrap());
    let samples: Vec<_> = times.zip(values).map(|(time, &value)| (0, time, value)).collect();
    run.write(&samples);
    run.carry_out(Op::Flush);
    run.carry_out(Op::Merge);
    let windows = [5 * MINUTE, HOUR, 6 * HOUR, DAY];
    let raw = windows.map(|window| said(&run, window));
    run.carry_out(Op::Policies(4));
    for (window, raw) in windows.into_iter().zip(raw) {
        let rolled = said(&run, window);
        assert!(rolled.values().all(|said| said.slots > 0), "rollups answer");
        assert_eq!(raw.keys().collect::<Vec<_>>(), rolled.keys().collect::<Vec<_>>());
        for (start, raw) in raw {
            let rolled = rolled[&start];
            assert_eq!(raw.slots, 0, "samples answer");
            assert_eq!(raw.count, rolled.count);
            assert_eq!((raw.min, raw.max), (rolled.min, rolled.max));
            let inside = |time: i64| time.div_euclid(window) * window == start;
            let inside =
                samples.iter().filter(|(_, time, value)| inside(*time) && value.is_finite());
            let magnitude: f64 = inside.map(|(_, _, value)| value.abs()).sum();
            let (a, b) = (raw.sum.total(), rolled.sum.total());
            assert!((a - b).abs() <= 1e-12 * magnitude, "{a:e} and {b:e} of {magnitude:e}");
            // An average is the same, divided by the same count.
        }
    }
}

fn awkward() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => Just(1.0),
        2 => prop::sample::select(vec![1e16, -1e16, 1e16 + 2.0]),
        2 => prop::sample::select(vec![0.0, -0.0, 5e-324, -5e-324, f64::MIN_POSITIVE]),
        2 => prop::sample::select(vec![0.1, -0.1, 0.7, 99.9]),
        2 => -1e9..1e9,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_are_those_of_the_samples(values in prop::collection::vec(awkward(), 1..1440)) {
        check(&values, MINUTE);
    }
}

#[test]
fn sums_that_nearly_cancel_are_those_of_the_samples() {
    let there_and_back: Vec<f64> =
        (0..1440).map(|i| if i % 2 == 0 { 1e16 } else { -1e16 + f64::from(i) }).collect();
    check(&there_and_back, MINUTE);
    let within_a_slot: Vec<f64> = [1e16, 1.0, -1e16, 1.0, 5e-324].repeat(288);
    check(&within_a_slot, MINUTE);
    check(&[-0.0; 20], MINUTE);
    check(&[5e-324; 1440], MINUTE);
}

#[test]
fn a_day_of_tenths_is_what_its_slots_are() {
    check(&vec![0.1; 8640], 10_000);
}
