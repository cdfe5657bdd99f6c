//! Questions over series in memory. Times and periods are milliseconds.

use moneta_storage::model::{Dimensions, SeriesKey};
use proptest::prelude::*;

use super::*;
use crate::exec::memory::Memory;

fn key(dimensions: &str) -> SeriesKey {
    let pairs = dimensions.split(',').filter(|pair| !pair.is_empty());
    let dimensions: Dimensions = pairs.filter_map(|pair| pair.split_once('=')).collect();
    SeriesKey { metric: "cpu".into(), dimensions, region: String::new() }
}

/// A line per series: `host=a  0:1 10:2.5`. A value may carry a meta: `0:1:meta`.
fn memory(text: &str) -> Memory {
    let mut memory = Memory::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (dimensions, samples) = line.split_once(' ').unwrap();
        for sample in samples.split_whitespace() {
            let mut parts = sample.split(':');
            let time = parts.next().unwrap().parse().unwrap();
            let value = parts.next().unwrap().parse().unwrap();
            memory.write(key(dimensions), time, value, parts.next());
        }
    }
    memory
}

fn question(grouping: Grouping) -> Question {
    Question {
        metric: "cpu".into(),
        dimensions: Vec::new(),
        range: TimeRange::new(Timestamp::from_millis(0), Timestamp::from_millis(1000)),
        grouping,
        page: None,
        rows_max: 1000,
        samples_max: 1000,
        asker: Asker::default(),
    }
}

fn by(names: &[&str]) -> Grouping {
    Grouping::By(names.iter().map(ToString::to_string).collect())
}

fn shown<Row>(page: &Page<Row>, row: impl Fn(&Row) -> String) -> String {
    let group = |group: &Group<Row>| {
        let rows: Vec<String> = group.rows.iter().map(&row).collect();
        format!("{} {}", group.dimensions, rows.join(" "))
    };
    page.groups.iter().map(group).collect::<Vec<_>>().join(" | ")
}

fn shown_measurements(page: &Page<Measurement>) -> String {
    shown(page, |(time, value, meta)| {
        let meta = meta.as_ref().map(|meta| format!(":{}", meta.text())).unwrap_or_default();
        format!("{time}:{value}{meta}")
    })
}

fn shown_statistics(page: &Page<StatisticRow>) -> String {
    shown(page, |(start, numbers)| {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        format!("{start}:{}", numbers.join(","))
    })
}

/// The pages of a question, from the first to the last.
fn pages<Row>(
    mut question: Question,
    answer: impl Fn(&Question) -> Result<Page<Row>, Error>,
) -> Vec<Page<Row>> {
    let mut pages = Vec::new();
    loop {
        let page = answer(&question).unwrap();
        let next = page.next.clone();
        pages.push(page);
        assert!(pages.len() < 1000, "paging does not end");
        match next {
            Some(next) => question.page = Some(next),
            None => return pages,
        }
    }
}

const THREE: &str = "
    host=a,zone=1  0:1 10:2:why 20:3 30:4
    host=b,zone=1  10:20 20:30
    host=b,zone=2  20:300 40:500";

#[track_caller]
fn check_measurements(memory: &Memory, question: &Question, want: &str) {
    let page = measurements_from(memory, question).unwrap();
    assert_eq!((shown_measurements(&page).as_str(), page.next), (want, None));
}

#[track_caller]
fn check_statistics(
    memory: &Memory,
    question: &Question,
    period_ms: i64,
    statistics: &[Statistic],
    want: &str,
) {
    let page = statistics_from(memory, question, period_ms, statistics).unwrap();
    assert_eq!((shown_statistics(&page).as_str(), page.next), (want, None));
}

#[test]
fn measurements_by_grouping() {
    let memory = memory(THREE);
    let zone_1a = DimensionMatcher { name: "host".into(), value: ValueMatcher::Equals("a".into()) };
    let single = Question { dimensions: vec![zone_1a], ..question(Grouping::Single) };
    check_measurements(&memory, &single, "{host=a, zone=1} 0:1 10:2:why 20:3 30:4");
    check_measurements(
        &memory,
        &question(Grouping::Merged),
        "{} 0:1 10:2:why 10:20 20:3 20:30 20:300 30:4 40:500",
    );
    check_measurements(
        &memory,
        &question(by(&["host"])),
        "{host=a} 0:1 10:2:why 20:3 30:4 | {host=b} 10:20 20:30 20:300 40:500",
    );
    check_measurements(
        &memory,
        &question(Grouping::Every),
        "{host=a, zone=1} 0:1 10:2:why 20:3 30:4 | {host=b, zone=1} 10:20 20:30 \
         | {host=b, zone=2} 20:300 40:500",
    );
}

#[test]
fn a_span_is_half_open_and_series_outside_it_make_no_group() {
    let memory = memory(THREE);
    let mut question = question(Grouping::Every);
    question.range = TimeRange::new(Timestamp::from_millis(30), Timestamp::from_millis(40));
    check_measurements(&memory, &question, "{host=a, zone=1} 30:4");
    assert_eq!(memory.looked_at(), 1, "series of other times cost nothing");
    question.range.end = question.range.start;
    check_measurements(&memory, &question, "");
}

#[test]
fn a_single_answer_needs_a_single_known_series() {
    let memory = memory(THREE);
    let mut question = question(Grouping::Single);
    question.range = TimeRange::new(Timestamp::from_millis(30), Timestamp::from_millis(31));
    let several = measurements_from(&memory, &question);
    assert!(matches!(several, Err(Error::SeveralSeries)), "a series without samples there counts");
    let several = statistics_from(&memory, &question, 10, &[Statistic::Avg]);
    assert!(matches!(several, Err(Error::SeveralSeries)));
    question.metric = "unknown".into();
    check_measurements(&memory, &question, "");
}

#[test]
fn statistics_of_windows_aligned_to_the_epoch() {
    let memory = memory(THREE);
    let mut every = question(Grouping::Every);
    every.range.start = Timestamp::from_millis(5);
    let all = [Statistic::Count, Statistic::Sum, Statistic::Avg, Statistic::Max, Statistic::Min];
    check_statistics(
        &memory,
        &every,
        20,
        &all,
        "{host=a, zone=1} 0:1,2,2,2,2 20:2,7,3.5,4,3 | {host=b, zone=1} 0:1,20,20,20,20 20:1,30,30,30,30 \
         | {host=b, zone=2} 20:1,300,300,300,300 40:1,500,500,500,500",
    );
    check_statistics(
        &memory,
        &question(Grouping::Merged),
        20,
        &[Statistic::Max, Statistic::Count],
        "{} 0:20,3 20:300,4 40:500,1",
    );
}

#[test]
fn period_zero_is_one_window_with_the_label_of_the_start() {
    let memory = memory(THREE);
    let mut question = question(by(&["zone"]));
    question.range.start = Timestamp::from_millis(7);
    check_statistics(&memory, &question, 0, &[Statistic::Sum], "{zone=1} 7:59 | {zone=2} 7:800");
    question.rows_max = 1;
    let pages = pages(question.clone(), |q| statistics_from(&memory, q, 0, &[Statistic::Sum]));
    let shown: Vec<String> = pages.iter().map(shown_statistics).collect();
    assert_eq!(shown, ["{zone=1} 7:59", "{zone=2} 7:800"]);
    assert!(statistics_from(&memory, &question, -1, &[Statistic::Sum]).is_err());
}

#[test]
fn values_that_are_not_finite_are_left_out() {
    let memory = memory("host=a 0:1 10:NaN 20:inf 30:3\nhost=b 10:NaN");
    check_measurements(&memory, &question(Grouping::Every), "{host=a} 0:1 30:3");
    check_statistics(&memory, &question(Grouping::Merged), 10, &[Statistic::Count], "{} 0:1 30:1");
}

#[test]
fn pages_end_inside_groups_and_go_on_in_them() {
    let memory = memory(THREE);
    let question = Question { rows_max: 3, ..question(Grouping::Every) };
    let pages = pages(question, |question| measurements_from(&memory, question));
    let shown: Vec<String> = pages.iter().map(shown_measurements).collect();
    assert_eq!(
        shown,
        [
            "{host=a, zone=1} 0:1 10:2:why 20:3",
            "{host=a, zone=1} 30:4 | {host=b, zone=1} 10:20 20:30",
            "{host=b, zone=2} 20:300 40:500",
        ]
    );
    assert_eq!(pages[0].groups[0].id, pages[1].groups[0].id, "pages are stitched by id");
}

#[test]
fn a_page_that_ends_with_the_last_row_has_no_next() {
    let memory = memory("host=a 0:1 10:2\nhost=b 0:3");
    let question = Question { rows_max: 3, ..question(Grouping::Every) };
    check_measurements(&memory, &question, "{host=a} 0:1 10:2 | {host=b} 0:3");
    let two = Question { rows_max: 2, ..question };
    let page = measurements_from(&memory, &two).unwrap();
    let next = page.next.unwrap();
    assert_eq!((next.group.as_ref(), next.after.millis()), (Some(&page.groups[0].id), 10));
}

#[test]
fn equal_timestamps_of_a_merged_group_stay_on_one_page() {
    let memory = memory(THREE);
    let question = Question { rows_max: 2, ..question(Grouping::Merged) };
    let pages = pages(question, |question| measurements_from(&memory, question));
    let shown: Vec<String> = pages.iter().map(shown_measurements).collect();
    assert_eq!(shown, ["{} 0:1 10:2:why 10:20", "{} 20:3 20:30 20:300", "{} 30:4 40:500"]);
}

#[test]
fn a_bare_timestamp_moves_every_group_on() {
    let memory = memory(THREE);
    let page = Some(PageStart { group: None, after: Timestamp::from_millis(20) });
    let question = Question { page, ..question(Grouping::Every) };
    check_measurements(&memory, &question, "{host=a, zone=1} 30:4 | {host=b, zone=2} 40:500");
    check_statistics(&memory, &question, 20, &[Statistic::Sum], "{host=b, zone=2} 40:500");
}

#[test]
fn a_page_that_begins_in_an_unknown_group_is_refused() {
    let memory = memory(THREE);
    let page = Some(PageStart { group: Some("0".into()), after: Timestamp::from_millis(20) });
    let refused = measurements_from(&memory, &Question { page, ..question(Grouping::Every) });
    assert!(matches!(refused, Err(Error::Invalid(_))));
}

#[test]
fn group_ids_tell_questions_apart_and_not_the_order_of_conditions() {
    let memory = memory(THREE);
    let id = |conditions: &[(&str, ValueMatcher)]| {
        let matcher = |(name, value): &(&str, ValueMatcher)| DimensionMatcher {
            name: (*name).to_owned(),
            value: value.clone(),
        };
        let dimensions = conditions.iter().map(matcher).collect();
        let question = Question { dimensions, ..question(Grouping::Merged) };
        measurements_from(&memory, &question).unwrap().groups[0].id.clone()
    };
    let (host, zone) =
        (("host", ValueMatcher::Present), ("zone", ValueMatcher::Equals("1".into())));
    assert_eq!(id(&[host.clone(), zone.clone()]), id(&[zone.clone(), host.clone()]));
    assert_ne!(id(std::slice::from_ref(&host)), id(std::slice::from_ref(&zone)));
    let one_of = ("zone", ValueMatcher::OneOf(vec!["1".into()]));
    assert_ne!(id(&[one_of]), id(&[zone]));
    let hexadecimal = |id: &str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(hexadecimal(&id(&[host])));
}

/// `series` series of `samples` samples each, 10 ms apart.
fn many(series: i64, samples: i64) -> Memory {
    let mut memory = Memory::default();
    for host in 0..series {
        for at in 0..samples {
            memory.write(key(&format!("host=h{host:04}")), at * 10, 1.0, None);
        }
    }
    memory
}

#[test]
fn a_full_page_ends_the_work() {
    let memory = many(300, 10);
    let question = Question { rows_max: 10, ..question(Grouping::Every) };
    measurements_from(&memory, &question).unwrap();
    assert!(memory.decoded() <= 40, "{} of 3000 samples decoded", memory.decoded());
    let before = memory.decoded();
    statistics_from(&memory, &question, 10, &[Statistic::Max]).unwrap();
    assert!(memory.decoded() - before <= 40);
}

#[test]
fn a_page_of_a_long_series_does_not_need_all_of_it() {
    let memory = many(1, 200_000);
    let range = TimeRange::ALL;
    let question =
        Question { rows_max: 10, samples_max: 100_000, range, ..question(Grouping::Single) };
    let page = measurements_from(&memory, &question).unwrap();
    assert_eq!(page.groups[0].rows.len(), 10);
    assert!(memory.decoded() < 100, "{} samples decoded", memory.decoded());
    let page = statistics_from(&memory, &question, 20, &[Statistic::Count]).unwrap();
    assert_eq!(
        shown_statistics(&page),
        "{host=h0000} 0:2 20:2 40:2 60:2 80:2 100:2 120:2 140:2 160:2 180:2"
    );
    assert!(memory.decoded() < 200);
    assert!(page.next.is_some());
}

#[test]
fn a_page_of_many_long_series_does_not_need_all_of_them() {
    let memory = many(50, 400);
    let short = Question { rows_max: 100, samples_max: 2000, ..question(Grouping::Merged) };
    let short = Question { range: TimeRange::ALL, ..short };
    let got = pages(short.clone(), |question| measurements_from(&memory, question));
    let whole = Question { rows_max: 100_000, samples_max: 100_000, ..short };
    let whole = measurements_from(&memory, &whole).unwrap();
    let rows: Vec<Measurement> =
        got.iter().flat_map(|page| page.groups[0].rows.iter().cloned()).collect();
    assert_eq!((got.len(), rows.len()), (200, 20_000));
    assert!(rows == whole.groups[0].rows);
}

#[test]
fn one_long_series_among_short_ones_is_not_read_whole() {
    let mut memory = Memory::default();
    for host in 0..40 {
        for at in 0..if host == 20 { 5000 } else { 3 } {
            memory.write(key(&format!("host=h{host:02}")), at * 7 + host, 1.0, None);
        }
    }
    let short = Question { rows_max: 50, samples_max: 1000, ..question(Grouping::Merged) };
    let short = Question { range: TimeRange::ALL, ..short };
    let got = pages(short.clone(), |question| measurements_from(&memory, question));
    let whole = Question { rows_max: 100_000, samples_max: 100_000, ..short };
    let whole = measurements_from(&memory, &whole).unwrap();
    let rows: Vec<Measurement> =
        got.iter().flat_map(|page| page.groups[0].rows.iter().cloned()).collect();
    assert_eq!(rows.len(), 5117);
    assert!(rows == whole.groups[0].rows);
}

#[test]
fn long_groups_after_short_ones_are_read_no_further_than_the_page() {
    let mut memory = Memory::default();
    for host in 0..20 {
        for at in 0..if host < 4 { 1 } else { 500 } {
            memory.write(key(&format!("host=h{host:02}")), at, 1.0, None);
        }
    }
    let short = Question { rows_max: 600, samples_max: 3000, ..question(Grouping::Every) };
    let got = pages(short.clone(), |question| measurements_from(&memory, question));
    let rows_of =
        |page: &Page<Measurement>| page.groups.iter().map(|g| g.rows.len()).sum::<usize>();
    let rows: Vec<usize> = got.iter().map(rows_of).collect();
    assert_eq!((rows.len(), rows.iter().sum::<usize>()), (14, 8004));
    assert!(rows[..13].iter().all(|&rows| rows == 600), "{rows:?}");
}

#[test]
fn blocks_inside_a_window_are_not_decoded() {
    let memory = many(2, 100);
    let mut question = question(Grouping::Merged);
    question.samples_max = 0;
    check_statistics(&memory, &question, 400, &[Statistic::Sum], "{} 0:80 400:80 800:40");
    check_statistics(&memory, &question, 0, &[Statistic::Sum], "{} 0:200");
    assert_eq!((memory.decoded(), memory.summaries()), (0, 100));
}

#[test]
fn more_samples_than_allowed_are_refused_by_name() {
    let memory = many(200, 10);
    let question = Question { rows_max: 10_000, samples_max: 1999, ..question(Grouping::Every) };
    let refused = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), "the query would exceed the limit of 1999 samples");
    };
    let merged = Question { grouping: Grouping::Merged, ..question.clone() };
    refused(measurements_from(&memory, &question).map(drop));
    refused(measurements_from(&memory, &merged).map(drop));
    refused(statistics_from(&memory, &question, 10, &[Statistic::Avg]).map(drop));
    refused(statistics_from(&memory, &merged, 10, &[Statistic::Avg]).map(drop));
    let enough = Question { samples_max: 2000, ..merged };
    check_statistics(&memory, &enough, 0, &[Statistic::Count], "{} 0:2000");
    assert_eq!(measurements_from(&memory, &enough).unwrap().groups[0].rows.len(), 2000);
}

fn grouping() -> impl Strategy<Value = Grouping> {
    prop_oneof![
        Just(Grouping::Merged),
        Just(Grouping::Every),
        Just(by(&["zone"])),
        Just(by(&["host", "rack"])),
    ]
}

proptest! {
    /// Whatever the length of a page, following the pages gives every row once and in order.
    #[test]
    fn pages_together_are_the_whole_answer(
        samples in prop::collection::vec((0..5_u8, 0..4_u8, 0..30_i64, -9..9_i32), 0..80),
        grouping in grouping(),
        rows_max in 1..12_usize,
        period in 0..7_i64,
    ) {
        let mut memory = Memory::default();
        for (host, zone, time, value) in samples {
            let key = key(&format!("host={host},zone={zone}"));
            memory.write(key, time, f64::from(value), None);
        }
        let whole = question(grouping);
        let paged = Question { rows_max, ..whole.clone() };
        let stitched = |texts: Vec<Vec<(String, String)>>| texts.concat();

        let rows = |page: &Page<Measurement>| -> Vec<(String, String)> {
            let of = |group: &Group<Measurement>| -> Vec<(String, String)> {
                group.rows.iter().map(|row| (group.id.clone(), format!("{row:?}"))).collect()
            };
            page.groups.iter().flat_map(of).collect()
        };
        let want = rows(&measurements_from(&memory, &whole).unwrap());
        let got = pages(paged.clone(), |question| measurements_from(&memory, question));
        prop_assert_eq!(stitched(got.iter().map(rows).collect()), want);

        let rows = |page: &Page<StatisticRow>| -> Vec<(String, String)> {
            let of = |group: &Group<StatisticRow>| -> Vec<(String, String)> {
                group.rows.iter().map(|row| (group.id.clone(), format!("{row:?}"))).collect()
            };
            page.groups.iter().flat_map(of).collect()
        };
        let all = [Statistic::Count, Statistic::Sum, Statistic::Min, Statistic::Max];
        let want = rows(&statistics_from(&memory, &whole, period, &all).unwrap());
        let got = pages(paged, |question| statistics_from(&memory, question, period, &all));
        prop_assert!(got.iter().all(|page| page.groups.iter().map(|g| g.rows.len()).sum::<usize>() <= rows_max));
        prop_assert_eq!(stitched(got.iter().map(rows).collect()), want);
    }
}

#[test]
fn a_question_that_nobody_waits_for_is_not_answered() {
    let memory = memory("host=a 0:1 10:2");
    let question = question(Grouping::Every);
    assert!(measurements_from(&memory, &question).is_ok());
    question.asker.leave();
    assert!(matches!(measurements_from(&memory, &question), Err(Error::Unwanted)));
    let statistics = statistics_from(&memory, &question, 60, &[Statistic::Avg]);
    assert!(matches!(statistics, Err(Error::Unwanted)));
}
