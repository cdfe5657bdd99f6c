//! Samples that are not simply the next one: no numbers, overwritten ones, several of one request,
//! and those the engine never got to see.

use std::collections::BTreeMap;

use moneta_alerting::UndeterminedLogic;

use crate::example::{Action, ExampleSettings, Series, Subject};
use crate::memory::MemoryEngine;

/// A request of (metric, seconds, value), or the passing of time.
enum Step<'a> {
    Write(&'a [(&'a str, i64, f64)]),
    /// Until these seconds nothing is seen, and these have been written.
    Miss(i64, &'a [(&'a str, i64, f64)]),
    Until(i64),
    /// What is not on disk is gone.
    Crash,
}

/// The states the alarm of `expression` goes through from its creation, or "" if there is none.
fn check(expression: &str, steps: &[Step<'_>], want: &str) {
    check_after(&[], expression, steps, want);
}

/// As `check`, with samples that were written before the definition existed.
fn check_after(before: &[(&str, i64, f64)], expression: &str, steps: &[Step<'_>], want: &str) {
    let mut engine = MemoryEngine::new(ExampleSettings { alarm_delay: 30, future_tolerance: 60 });
    engine.advance(0);
    let rows = |rows: &[(&str, i64, f64)]| -> Vec<(Series, i64, f64)> {
        let row = |(name, at, value): &(&str, i64, f64)| {
            let series =
                Series { tenant: "t".into(), name: (*name).into(), dimensions: BTreeMap::new() };
            (series, at * 1000, *value)
        };
        rows.iter().map(row).collect()
    };
    engine.write(&rows(before));
    engine.act(Action::Define {
        label: "D",
        tenant: "t",
        expression,
        match_by: &[],
        logic: UndeterminedLogic::Strict,
        empty_coefficient: 2,
    });
    let mut states = String::new();
    for step in steps {
        match step {
            Step::Write(written) => engine.write(&rows(written)),
            Step::Miss(until, missed) => engine.miss(until * 1000, &rows(missed)),
            Step::Crash => engine.crash(),
            Step::Until(seconds) => engine.advance(seconds * 1000),
        }
        for transition in engine.new_transitions() {
            states.push_str(&format!("{:?} ", transition.new_state));
        }
    }
    let end = engine.alarms().first().map(|alarm| format!("{:?}", alarm.state));
    assert_eq!(states + &end.unwrap_or_default(), want, "{expression}");
}

#[test]
fn what_is_no_number_is_no_data() {
    use Step::{Until, Write};
    check("max(a) > 5", &[Write(&[("a", 0, f64::NAN)])], "");
    check("max(a) > 5", &[Write(&[("a", 0, f64::INFINITY), ("a", 1, 1.0)])], "Undetermined");
    // Overwriting with no number takes the sample away.
    let last = [Write(&[("a", 1, 1.0)]), Write(&[("a", 2, 9.0)]), Write(&[("a", 2, f64::NAN)])];
    check("last(a) > 5", &last, "Ok Alarm Ok Ok");
    let gone = [Write(&[("a", 1, 9.0)]), Write(&[("a", 1, f64::NAN)]), Until(300)];
    check("avg(a) > 5", &gone, "Undetermined");
}

#[test]
fn samples_ahead_of_the_clock_wait_also_for_a_definition_that_comes_later() {
    use Step::{Crash, Until, Write};
    let ahead: &[(&str, i64, f64)] = &[("a", 200, 9.0), ("b", 200, 9.0)];
    check_after(ahead, "max(a) > 5", &[Until(139)], "");
    check_after(ahead, "max(a) > 5", &[Until(140)], "Alarm Alarm");
    check_after(ahead, "last(a) > 5", &[Write(&[("a", 200, 1.0)]), Until(140)], "Ok Ok");
    check_after(ahead, "max(a) > 5", &[Crash, Until(140)], "Alarm Alarm");
    check_after(&[], "max(a) > 5", &[Write(ahead), Until(140)], "Alarm Alarm");
}

#[test]
fn each_row_of_a_request_counts_as_a_write_of_its_own() {
    use Step::{Until, Write};
    let rows: &[(&str, i64, f64)] = &[("a", 1, 9.0), ("a", 1, 1.0), ("a", 1, 9.0)];
    check("last(a) > 5", &[Write(rows)], "Alarm Ok Alarm Alarm");
    check("sum(a) > 5", &[Write(rows), Until(90)], "Alarm Alarm");
    check("count(a) > 1", &[Write(rows), Until(90)], "Ok Ok");
}

#[test]
fn after_being_cut_off_the_windows_hold_what_was_missed() {
    use Step::{Miss, Until, Write};
    let missed = [Write(&[("a", 1, 1.0)]), Miss(2, &[("a", 2, 99.0), ("a", 1, 3.0)]), Until(90)];
    check("avg(a) > 50", &missed, "Alarm Alarm");
    // The views of a long gap are not judged on windows that nobody filled.
    let long = [Write(&[("a", 1, 1.0)]), Miss(600, &[("a", 590, 99.0)]), Until(630)];
    check("avg(a) > 50", &long, "Alarm Alarm");
    let ahead = [Write(&[("a", 1, 1.0)]), Miss(600, &[("a", 700, 99.0)]), Until(640)];
    check("max(a) > 50", &ahead, "Alarm Alarm");
}
