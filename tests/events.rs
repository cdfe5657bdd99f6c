//! Events against a naive list: random appends with duplicates, late and early ones, expiry, shorter
//! keeping, reopening, and queries whose cursors live on through all of that. Then single rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use moneta_storage::clock::ManualClock;
use moneta_storage::event::{
    Event, EventCursor, EventQuery, Events, TraitCondition, TraitTest, TraitValue,
};
use moneta_storage::journal::{Order, Refusal};
use moneta_storage::model::Keep;
use moneta_storage::model::{Moment, TenantId, Timestamp};
use moneta_storage::record::{RecordBatch, RecordKind};
use moneta_storage::verify::verify;
use moneta_storage::{Error, ErrorKind, Store, StoreConfig};
use proptest::prelude::*;

const DAY: i64 = 24 * 3600 * 1000;
const NOW: i64 = 20_400 * DAY;
/// Events know their traits by the week.
const WEEK_MICROS: i64 = 7 * DAY * 1000;
const EVER: std::ops::Range<Moment> = Moment::MIN..Moment::MAX;

fn moment(millis: i64) -> Moment {
    Moment::from(Timestamp::from_millis(millis))
}

fn days(days: u64) -> Keep {
    Keep::For(Duration::from_secs(days * 86_400))
}

fn open(directory: &Path, now: i64) -> (Store, Arc<ManualClock>) {
    let clock = ManualClock::at(Timestamp::from_millis(now));
    let config = StoreConfig { keep_events: days(14), ..StoreConfig::default() };
    (Store::open(directory, config, clock.clone()).unwrap(), clock)
}

fn event(id: u8, event_type: u8, time: i64) -> Event {
    Event {
        id: format!("id-{id}"),
        event_type: format!("type.{event_type}"),
        time: moment(time),
        traits: BTreeMap::new(),
        payload: vec![id],
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<Event>),
    /// Hours the clock goes on.
    Advance(i64),
    Expire,
    /// Keeps events for fewer days.
    KeepTwoDays,
    Reopen,
    Query(Box<EventQuery>),
    /// Another page of the last query.
    NextPage,
    Listings(u8, u8),
}

fn value() -> impl Strategy<Value = TraitValue> {
    prop_oneof![
        Just(TraitValue::Null),
        any::<bool>().prop_map(TraitValue::Boolean),
        (-2_i64..3).prop_map(TraitValue::Integer),
        (-4_i8..5).prop_map(|halves| TraitValue::Float(f64::from(halves) / 2.0)),
        prop::sample::select(vec!["", "a", "b", "a\0", "é"])
            .prop_map(|text| TraitValue::Text(text.into())),
        (1022_usize..1027).prop_map(|length| TraitValue::Text("x".repeat(length))),
        (0_i64..3).prop_map(|micros| TraitValue::Time(Moment::from_micros(micros))),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let traits = prop::collection::btree_map("[ab]", value(), 0..3);
    // A few instants, so that ids decide; most within the fourteen days that events are kept.
    let ago = prop_oneof![4 => 0_i64..6, 4 => (0_i64..15).prop_map(|d| d * 24), 1 => -30_i64..400];
    (any::<u8>(), 0_u8..5, ago, traits).prop_map(|(id, event_type, hours, traits)| Event {
        traits,
        ..event(id % 120, event_type, NOW - hours * DAY / 24)
    })
}

fn query() -> impl Strategy<Value = EventQuery> {
    let types = prop::collection::vec((0_u8..6).prop_map(|n| format!("type.{n}")), 0..3);
    let test = prop_oneof![
        Just(TraitTest::Present),
        prop::collection::vec(value(), 0..4).prop_map(TraitTest::OneOf),
        (value(), value()).prop_map(|(a, b)| TraitTest::Within(
            std::ops::Bound::Included(a),
            std::ops::Bound::Excluded(b)
        )),
    ];
    let condition = ("[abc]", test).prop_map(|(name, test)| TraitCondition { name, test });
    (
        prop_oneof![2 => Just(EVER), 1 => (-40_i64..400, 0_i64..400).prop_map(|(ago, span)| {
            let start = NOW - ago * DAY / 24;
            moment(start)..moment(start + span * DAY / 24)
        })],
        any::<bool>(),
        prop::option::of(types.clone()),
        types,
        prop::collection::vec(condition, 0..3),
        1_usize..9,
    )
        .prop_map(|(range, newest_first, types, types_except, traits, limit)| EventQuery {
            range,
            order: if newest_first { Order::NewestFirst } else { Order::OldestFirst },
            types,
            types_except,
            traits,
            after: None,
            limit,
        })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => prop::collection::vec(events(), 1..20).prop_map(Op::Append),
        2 => (1_i64..60).prop_map(Op::Advance),
        1 => Just(Op::Expire),
        1 => Just(Op::KeepTwoDays),
        1 => Just(Op::Reopen),
        8 => query().prop_map(Box::new).prop_map(Op::Query),
        8 => Just(Op::NextPage),
        3 => (0_u8..5, 1_u8..5).prop_map(|(event_type, limit)| Op::Listings(event_type, limit)),
    ]
}

/// The naive list.
struct Model {
    now: i64,
    keep: i64,
    /// Everything that was ever stored.
    ever: Vec<Event>,
}

impl Model {
    fn horizon(&self) -> Moment {
        moment(self.now - self.keep)
    }

    fn visible(&self) -> Vec<&Event> {
        self.ever.iter().filter(|event| event.time >= self.horizon()).collect()
    }

    /// Stored, duplicates, refused.
    fn append(&mut self, events: &[Event]) -> (usize, usize, usize) {
        let (mut stored, mut duplicates, mut refused) = (0, 0, 0);
        let ids_from = moment(self.now - self.keep.max(7 * DAY));
        for event in events {
            let known = |have: &Event| have.id == event.id && have.time >= ids_from;
            if event.time < self.horizon() || event.time > moment(self.now + DAY) {
                refused += 1;
            } else if self.ever.iter().any(known) {
                duplicates += 1;
            } else {
                stored += 1;
                self.ever.push(event.clone());
            }
        }
        (stored, duplicates, refused)
    }

    fn page(&self, query: &EventQuery, after: Option<&Event>) -> Vec<Event> {
        let place = |event: &Event| (event.time, event.id.clone());
        let inside = |event: &&&Event| query.range.contains(&event.time) && query.accepts(event);
        let mut found: Vec<Event> =
            self.visible().iter().filter(inside).map(|event| (*event).clone()).collect();
        found.sort_by_key(place);
        if query.order == Order::NewestFirst {
            found.reverse();
        }
        let passed = |event: &Event| {
            after.is_some_and(|after| match query.order {
                Order::OldestFirst => place(event) <= place(after),
                Order::NewestFirst => place(event) >= place(after),
            })
        };
        found.into_iter().filter(|event| !passed(event)).take(query.limit).collect()
    }

    fn types(&self) -> BTreeSet<String> {
        self.visible().iter().map(|event| event.event_type.clone()).collect()
    }

    fn trait_names(&self, event_type: &str) -> BTreeSet<String> {
        let week = |time: Moment| time.micros().div_euclid(WEEK_MICROS);
        let known = |event: &&Event| {
            event.event_type == event_type && week(event.time) >= week(self.horizon())
        };
        self.ever.iter().filter(known).flat_map(|event| event.traits.keys().cloned()).collect()
    }

    /// Listed values of trait `a`, shown as text in their order.
    fn values(&self, event_type: &str) -> Vec<TraitValue> {
        let mut values: Vec<TraitValue> = Vec::new();
        for event in self.visible().iter().filter(|event| event.event_type == event_type) {
            let Some(have) = event.traits.get("a") else { continue };
            let listed = match have {
                TraitValue::Text(text) if text.len() <= 1024 => have.clone(),
                // Halves of small numbers.
                TraitValue::Float(_) => {
                    match (-9..9).map(TraitValue::Integer).find(|whole| whole.equals(have)) {
                        Some(whole) => whole,
                        None => continue,
                    }
                }
                TraitValue::Boolean(_) | TraitValue::Integer(_) => have.clone(),
                TraitValue::Null | TraitValue::Text(_) | TraitValue::Time(_) => continue,
            };
            if !values.contains(&listed) {
                values.push(listed);
            }
        }
        let rank = |value: &TraitValue| match value {
            TraitValue::Boolean(_) => 0,
            TraitValue::Integer(_) => 1,
            TraitValue::Null | TraitValue::Float(_) | TraitValue::Text(_) | TraitValue::Time(_) => {
                2
            }
        };
        values.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.compare(b).unwrap()));
        values
    }
}

/// All of a listing, fetched in pages.
fn in_pages<T: Clone>(limit: usize, page: impl Fn(Option<&T>) -> Result<Vec<T>, Error>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    loop {
        let found = page(all.last()).unwrap();
        all.extend(found.iter().cloned());
        if found.len() < limit {
            return all;
        }
    }
}

fn check_listings(events: &Events, model: &Model, event_type: u8, limit: u8) {
    let (event_type, limit) = (format!("type.{event_type}"), usize::from(limit));
    let types = in_pages(limit, |after| events.types(EVER, after.map(String::as_str), limit));
    assert_eq!(types, model.types().into_iter().collect::<Vec<_>>());
    let names = in_pages(limit, |after| {
        events.trait_names(&event_type, EVER, after.map(String::as_str), limit)
    });
    assert_eq!(names, model.trait_names(&event_type).into_iter().collect::<Vec<_>>());
    let values = in_pages(limit, |after| events.values("a", Some(&event_type), EVER, after, limit));
    assert_eq!(values, model.values(&event_type));
}

struct Bench {
    directory: tempfile::TempDir,
    store: Store,
    clock: Arc<ManualClock>,
    tenant: TenantId,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, clock) = open(directory.path(), NOW);
        let tenant = store.tenant("t").unwrap();
        Bench { directory, store, clock, tenant }
    }

    fn events(&self) -> Events {
        self.store.events(self.tenant)
    }

    fn reopen(self, now: i64) -> Self {
        self.store.close().unwrap();
        drop(self.store);
        let path: &Path = self.directory.path();
        let (store, clock) = open(path, now);
        Bench { directory: self.directory, store, clock, tenant: self.tenant }
    }
}

fn run(ops: Vec<Op>) {
    let mut bench = Bench::new();
    let other = bench.store.tenant("other").unwrap();
    bench.store.events(other).append(&[event(1, 1, NOW)]).unwrap();
    let mut model = Model { now: NOW, keep: 14 * DAY, ever: Vec::new() };
    let mut open_query: Option<(EventQuery, Option<Event>)> = None;
    for op in ops {
        match op {
            Op::Append(events) => {
                let got = bench.events().append(&events).unwrap();
                let got = (got.stored, got.duplicates, got.refused.len());
                assert_eq!(got, model.append(&events));
                for event in &events {
                    let want = model.visible().into_iter().rfind(|have| have.id == event.id);
                    assert_eq!(bench.events().get(&event.id).unwrap().as_ref(), want);
                }
            }
            Op::Advance(hours) => {
                model.now += hours * DAY / 24;
                bench.clock.set(Timestamp::from_millis(model.now));
            }
            Op::Expire => bench.store.expire_journals().unwrap(),
            Op::KeepTwoDays => {
                model.keep = 2 * DAY;
                bench.events().journal().set_keep(Some(days(2))).unwrap();
            }
            Op::Reopen => bench = bench.reopen(model.now),
            Op::Query(query) => open_query = Some((*query, None)),
            Op::NextPage => {}
            Op::Listings(event_type, limit) => {
                check_listings(&bench.events(), &model, event_type, limit);
            }
        }
        if let Some((query, last)) = &mut open_query {
            let want = model.page(query, last.as_ref());
            let page = bench.events().find(query).unwrap();
            assert_eq!(page.events, want, "{query:?}");
            assert_eq!(page.next.is_some(), want.len() == query.limit, "{query:?}");
            if let Some(end) = want.last() {
                let cursor = page.next.unwrap_or_else(|| EventCursor::at(end, query.order));
                query.after = Some(cursor.to_string().parse().unwrap());
                *last = Some(end.clone());
            }
        }
    }
    assert_eq!(
        bench.store.events(other).get("id-1").unwrap().is_some(),
        model.now - NOW <= 14 * DAY
    );
    let Bench { directory, store, .. } = bench;
    store.close().unwrap();
    drop(store);
    let verified = verify(directory.path(), &|_, _| {}).unwrap();
    assert_eq!(verified.problems, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn events_are_those_of_a_naive_list(ops in prop::collection::vec(op(), 1..60)) {
        run(ops);
    }
}

#[test]
fn what_cannot_be_stored_is_named() {
    let bench = Bench::new();
    let check = |change: &dyn Fn(&mut Event), kind: ErrorKind, words: &str| {
        let mut changed = event(1, 1, NOW);
        change(&mut changed);
        let error = bench.events().append(&[event(2, 1, NOW), changed]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let text = |length: usize| TraitValue::Text("x".repeat(length));
    check(&|event| event.id = String::new(), ErrorKind::Invalid, "an event's id");
    check(&|event| event.id = "é".repeat(256), ErrorKind::Invalid, "1 to 255 characters, not 256");
    check(&|event| event.event_type = String::new(), ErrorKind::Invalid, "an event's type");
    let with = |event: &mut Event, name: &str, value| {
        event.traits.insert(name.into(), value);
    };
    check(&|event| with(event, "", text(1)), ErrorKind::Invalid, "a trait's name");
    check(&|event| with(event, "a", text(65_537)), ErrorKind::Limit, "65536");
    check(&|event| with(event, "a", TraitValue::Float(f64::NAN)), ErrorKind::Invalid, "trait a");
    check(
        &|event| (0..513).for_each(|n| with(event, &n.to_string(), text(0))),
        ErrorKind::Limit,
        "the traits of an event is limited to 512",
    );
    check(&|event| event.payload = vec![0; 4 << 20], ErrorKind::Limit, "4194304");
    let many = vec![event(1, 1, NOW); 10_001];
    assert_eq!(bench.events().append(&many).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(bench.events().get("id-2").unwrap(), None, "none of a refused request is stored");

    let mut largest = event(3, 1, NOW);
    largest.id = "é".repeat(255);
    largest.event_type = "\0".repeat(255);
    with(&mut largest, &"\0".repeat(255), text(65_536));
    with(&mut largest, "b", TraitValue::Text("\0".repeat(1024)));
    assert_eq!(bench.events().append(std::slice::from_ref(&largest)).unwrap().stored, 1);
    assert_eq!(bench.events().get(&largest.id).unwrap(), Some(largest));
}

#[test]
fn the_ends_of_time_are_inside_and_beyond_them_is_refused() {
    let bench = Bench::new();
    let at = |id, micros: i64| {
        let time = Moment::from_micros(micros);
        Event { time, ..event(id, 1, 0) }
    };
    let (oldest, newest) = ((NOW - 14 * DAY) * 1000, (NOW + DAY) * 1000);
    let events = [at(1, oldest - 1), at(2, oldest), at(3, newest), at(4, newest + 1)];
    let appended = bench.events().append(&events).unwrap();
    let refused: Vec<_> = appended.refused.iter().map(|each| (each.item, each.why)).collect();
    assert_eq!((appended.stored, refused), (2, vec![(0, Refusal::TooOld), (3, Refusal::TooNew)]));
    assert_eq!(bench.events().find(&EventQuery::all(EVER, 9)).unwrap().events, events[1..3]);
}

#[test]
fn an_event_shares_the_fate_of_its_batch() {
    let bench = Bench::new();
    let records = bench.store.records();
    let mut batch = RecordBatch::new();
    batch.put(bench.tenant, RecordKind::Setting, b"x", b"1".to_vec());
    batch.append_event(bench.tenant, &event(1, 1, NOW)).unwrap();
    batch.append_event(bench.tenant, &event(1, 2, NOW)).unwrap();
    let appended = records.commit_counted(batch).unwrap();
    assert_eq!((appended.stored, appended.duplicates), (1, 1));
    drop(records);
    let bench = bench.reopen(NOW);
    assert_eq!(bench.events().get("id-1").unwrap(), Some(event(1, 1, NOW)));
    let found = bench.store.records().get(bench.tenant, RecordKind::Setting, b"x").unwrap();
    assert_eq!(found, Some(b"1".to_vec()));
    bench.store.close().unwrap();
    let refused = bench.events().append(&[event(2, 1, NOW)]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Stopped);
}

#[test]
fn an_event_sent_by_many_at_once_is_stored_once() {
    let bench = Bench::new();
    for round in 0..20 {
        let barrier = Barrier::new(4);
        let stored: usize = std::thread::scope(|scope| {
            let send = |own: u8| {
                let (events, barrier) = (bench.events(), &barrier);
                scope.spawn(move || {
                    // Each by another way, so that they wait for one another.
                    let mut ids = [round * 10, round * 10 + 1, round * 10 + 2];
                    ids.rotate_left(usize::from(own) % 3);
                    let batch = ids.map(|id| event(id, own, NOW + i64::from(own)));
                    barrier.wait();
                    events.append(&batch).unwrap().stored
                })
            };
            let senders: Vec<_> = (0..4).map(send).collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).sum()
        });
        assert_eq!(stored, 3);
    }
    let page = bench.events().find(&EventQuery::all(EVER, 1000)).unwrap();
    assert_eq!(page.events.len(), 60);
}

#[test]
fn queries_that_cannot_be_answered_say_why() {
    let bench = Bench::new();
    bench.events().append(&[event(1, 1, NOW)]).unwrap();
    let mut query = EventQuery::all(EVER, 1);
    query.after = bench.events().find(&query).unwrap().next;
    query.order = Order::NewestFirst;
    let error = bench.events().find(&query).unwrap_err();
    assert!(error.to_string().contains("the other order"), "{error}");
    query.after = None;
    let many = (0..1001).map(TraitValue::Integer).collect();
    query.traits = vec![TraitCondition { name: "a".into(), test: TraitTest::OneOf(many) }];
    assert_eq!(bench.events().find(&query).unwrap_err().kind(), ErrorKind::Limit);
    let after = Some(&TraitValue::Null);
    let error = bench.events().values("a", None, EVER, after, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_longer_keep_shows_what_is_not_gone_yet() {
    let bench = Bench::new();
    let journal = bench.events().journal().clone();
    bench.events().append(&[event(1, 1, NOW - 3 * DAY), event(2, 1, NOW)]).unwrap();
    let visible = || bench.events().find(&EventQuery::all(EVER, 9)).unwrap().events.len();
    assert_eq!((visible(), journal.keep().unwrap()), (2, days(14)));
    journal.set_keep(Some(days(2))).unwrap();
    assert_eq!((visible(), bench.events().get("id-1").unwrap()), (1, None));
    journal.set_keep(Some(Keep::Forever)).unwrap();
    assert_eq!(visible(), 2);
    journal.set_keep(None).unwrap();
    bench.clock.set(Timestamp::from_millis(NOW + 12 * DAY));
    assert_eq!(visible(), 1);
    bench.store.expire_journals().unwrap();
    journal.set_keep(Some(Keep::Forever)).unwrap();
    assert_eq!(visible(), 1, "what is removed is gone");
    assert!(journal.set_keep(Some(Keep::For(Duration::ZERO))).is_err());
}

#[test]
fn who_does_not_know_the_settings_removes_nothing() {
    let bench = Bench::new();
    bench.events().append(&[event(1, 1, NOW)]).unwrap();
    bench.store.close().unwrap();
    let Bench { directory, store, tenant, .. } = bench;
    drop(store);
    let clock = ManualClock::at(Timestamp::from_millis(NOW + 1000 * DAY));
    let store = Store::open(directory.path(), StoreConfig::default(), clock).unwrap();
    store.expire_journals().unwrap();
    assert_eq!(store.events(tenant).get("id-1").unwrap(), Some(event(1, 1, NOW)));
}
