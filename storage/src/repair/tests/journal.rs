//! Journals that contradict themselves: each row of the table damages one entry of one family, and the
//! repair makes everything that can be derived what it was, or says what is lost.

use std::collections::BTreeMap;

use super::*;
use crate::event::{Event, EventQuery, TraitValue};
use crate::journal::{Entry, JournalKind, Order, Query, Term};
use crate::model::{Keep, Moment};
use crate::record::{RecordBatch, RecordKind};

const DAY_MS: i64 = 86_400_000;
/// How long events are kept here.
const KEEP_DAYS: u64 = 10;

fn at(days_ago: i64) -> Moment {
    Moment::from(Timestamp::from_millis(NOW - days_ago * DAY_MS))
}

fn event(number: u8) -> Event {
    let traits = [
        ("host".to_owned(), TraitValue::Text(format!("h{number}"))),
        ("load".to_owned(), TraitValue::Float(0.5)),
        ("size".to_owned(), TraitValue::Integer(i64::from(number))),
    ];
    Event {
        id: format!("id-{number}"),
        event_type: format!("type.{}", number % 2),
        time: at(i64::from(number)),
        traits: traits.into_iter().collect(),
        payload: vec![number],
    }
}

fn transition(number: u8) -> Entry {
    let alarm = [number % 2; 16];
    Entry {
        time: at(i64::from(number)),
        id: 0_u32.to_be_bytes().to_vec(),
        value: [&[1][..], &alarm, b"{}"].concat(),
        terms: vec![Term { term: alarm.to_vec(), note: Vec::new() }],
        words: Vec::new(),
    }
}

/// All that stands in journals.
fn rows(directory: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let kv = Kv::open_read_only(&offline::database(directory), &offline::sizes()).unwrap();
    let mut rows = BTreeMap::new();
    kv.scan(Family::Journal, &[], &[], |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        Ok::<_, Error>(true)
    })
    .unwrap();
    rows
}

/// Events and transitions; `expired`, without those that are over.
fn fill(directory: &Path, expired: bool) {
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let store = Store::open(directory, StoreConfig::default(), clock.clone()).unwrap();
    let tenant = store.tenant("t").unwrap();
    let events: Vec<Event> = (0..20).map(event).collect();
    assert_eq!(store.events(tenant).append(&events).unwrap().stored, 20);
    let mut batch = RecordBatch::new();
    for number in 0..20 {
        batch.append(tenant, JournalKind::Transition, transition(number)).unwrap();
    }
    store.records().commit(batch).unwrap();
    let keep = Keep::For(std::time::Duration::from_secs(KEEP_DAYS * 86_400));
    if !expired {
        return;
    }
    for kind in JournalKind::ALL {
        store.journal(tenant, kind).set_keep(Some(keep)).unwrap();
    }
    store.expire_journals().unwrap();
}

/// How many events and transitions are read.
fn read(directory: &Path) -> (usize, usize) {
    let store = open(directory);
    let range = Moment::MIN..Moment::MAX;
    let query = EventQuery::all(range.clone(), 1000);
    let events = store.events(T).find(&query).unwrap().events.len();
    let order = Order::OldestFirst;
    let query = Query { range, order, after: None, terms: Vec::new(), limit: 1000 };
    let journal = store.journal(T, JournalKind::Transition);
    let page = journal.read(&query, |_, value| Ok::<_, Error>((value.len() > 17).then_some(())));
    (events, page.unwrap().found.len())
}

/// Damages journals; `whats` is what verification says of it, and all that it says.
#[track_caller]
fn check(name: &str, whats: &[&str], damage: impl FnOnce(&Kv, &mut Batch)) -> Repaired {
    check_filled(name, true, whats, damage)
}

/// [`check`], with or without entries that are over.
#[track_caller]
fn check_filled(
    name: &str,
    expired: bool,
    whats: &[&str],
    damage: impl FnOnce(&Kv, &mut Batch),
) -> Repaired {
    let folder = Folder::new(name);
    fill(&folder.0, expired);
    let (before, read_before) = (rows(&folder.0), read(&folder.0));
    let whole = verify(&folder.0, &|_, _| {}).unwrap();
    assert_eq!(whole.problems, []);
    let entries = u64::try_from(read_before.0 + read_before.1).unwrap();
    assert_eq!(whole.verified.journal_entries, entries);
    change(&folder.0, damage);
    let damaged = rows(&folder.0);
    let found = verify(&folder.0, &|_, _| {}).unwrap().problems;
    assert!(found.iter().all(|problem| problem.part == Part::Journal), "{found:?}");
    assert_eq!(found.iter().map(|problem| problem.what.as_str()).collect::<Vec<_>>(), whats);
    let dry = repair(&folder.0, Mode::DryRun, &|_, _| {}).unwrap();
    assert_eq!(rows(&folder.0), damaged, "a dry run changes nothing");
    let repaired = repair(&folder.0, Mode::Apply, &|_, _| {}).unwrap();
    assert_eq!((&repaired.found, repaired.left.as_slice()), (&found, &[][..]));
    assert_eq!((&dry.steps, &dry.lost), (&repaired.steps, &repaired.lost));
    if repaired.lost.is_empty() {
        assert_eq!((rows(&folder.0), read(&folder.0)), (before, read_before));
    }
    read(&folder.0); // Whatever is lost, what is left can be read.
    repaired
}

#[track_caller]
fn check_whole(name: &str, whats: &[&str], damage: impl FnOnce(&Kv, &mut Batch)) {
    assert_eq!(check(name, whats, damage).lost, []);
}

/// The rows of a part, encoded.
fn part(kv: &Kv, kind: JournalKind, part: crate::key::JournalPart) -> Vec<(Vec<u8>, Vec<u8>)> {
    let prefix = crate::key::journal_prefix(T, kind, part);
    let mut rows = Vec::new();
    kv.scan(Family::Journal, &prefix, &prefix, |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok::<_, Error>(true)
    })
    .unwrap();
    rows
}

/// The row of a part that belongs to event or transition 3.
fn third(kv: &Kv, kind: JournalKind, which: crate::key::JournalPart) -> (Vec<u8>, Vec<u8>) {
    let id: &[u8] = match kind {
        JournalKind::Event => b"\x01id-3",
        JournalKind::Transition => &[0; 4],
    };
    let mut place = Vec::new();
    crate::key::put_place(&mut place, at(3), id);
    let rows = part(kv, kind, which);
    rows.into_iter().find(|(key, _)| key.ends_with(&place) || key.ends_with(b"\x01id-3")).unwrap()
}

use crate::key::JournalPart as P;
use JournalKind::{Event as E, Transition as S};

#[test]
fn terms_ids_and_words_come_back_from_entries() {
    check_whole("j-term", &["1 terms of entries are missing"], |kv, batch| {
        batch.delete_raw(Family::Journal, third(kv, E, P::Term).0);
    });
    check_whole("j-history-term", &["1 terms of entries are missing"], |kv, batch| {
        batch.delete_raw(Family::Journal, third(kv, S, P::Term).0);
    });
    check_whole("j-note", &["1 terms are not those of their entry"], |kv, batch| {
        batch.put_raw(Family::Journal, third(kv, E, P::Term).0, b"type.9".to_vec());
    });
    check_whole("j-id", &["1 ids of entries are missing"], |kv, batch| {
        batch.delete_raw(Family::Journal, third(kv, E, P::Id).0);
    });
    for (name, value) in [("j-id-time", vec![1; 8]), ("j-id-no-time", vec![1])] {
        check_whole(name, &["1 ids are not those of their entry"], |kv, batch| {
            batch.put_raw(Family::Journal, third(kv, E, P::Id).0, value);
        });
    }
    let words = ["6 words of entries are missing"];
    check_whole("j-words", &words, |kv, batch| {
        // Those of the first partition that is left belong to removed entries too.
        let newest = part(kv, E, P::Word).into_iter().rev().take(6);
        newest.for_each(|(key, _)| batch.delete_raw(Family::Journal, key));
    });
}

#[test]
fn what_leads_to_no_entry_is_removed() {
    let time = at(2);
    let partition = crate::journal::partition_of(time, E.term_days());
    check_whole("j-term-alone", &["1 terms belong to no entry"], |_, batch| {
        batch.put(&Key::JournalTerm(T, E, partition, b"\x01type.0", time, b"\x01x"), vec![]);
    });
    check_whole("j-term-of-another", &["1 terms belong to no entry"], |_, batch| {
        batch.put(&Key::JournalTerm(T, E, partition, b"\x01type.7", time, b"\x01id-2"), vec![]);
    });
    check_whole("j-term-elsewhere", &["1 terms belong to no entry"], |_, batch| {
        batch.put(&Key::JournalTerm(T, E, partition + 1, b"\x01type.0", time, b"\x01id-2"), vec![]);
    });
    let ids = crate::journal::partition_of(time, crate::journal::ID_DAYS);
    for (name, value) in
        [("j-id-alone", time.micros().to_le_bytes().to_vec()), ("j-id-alone-without-time", vec![])]
    {
        check_whole(name, &["1 ids belong to no entry"], |_, batch| {
            batch.put(&Key::JournalId(T, E, ids, b"\x01x"), value);
        });
    }
    check_whole("j-word-alone", &["1 words belong to no entry"], |_, batch| {
        let word = [&crate::key::whole_bytes(b"type.0"), &b"nothing"[..]].concat();
        batch.put(&Key::JournalWord(T, E, partition, &word), vec![]);
    });
    check_whole("j-horizon", &["what was removed last does not decode"], |_, batch| {
        batch.put(&Key::JournalHorizon(T, E), vec![1]);
    });
}

#[test]
fn entries_that_do_not_decode_are_said_to_be_lost() {
    for (name, kind, whats) in [
        // Of an event: its type, two traits and its words, which others have too.
        ("j-event", E, &["1 entries do not decode", "1 ids belong to no entry"][..]),
        ("j-transition", S, &["1 entries do not decode", "1 terms belong to no entry"]),
    ] {
        let whats: Vec<&str> = match kind {
            E => whats.iter().copied().chain(["3 terms belong to no entry"]).collect(),
            S => whats.to_vec(),
        };
        let repaired = check(name, &whats, |kv, batch| {
            let (key, mut value) = third(kv, kind, P::Entry);
            value.truncate(5);
            batch.put_raw(Family::Journal, key, value);
        });
        let [lost] = repaired.lost.as_slice() else { panic!("{:?}", repaired.lost) };
        assert_eq!((lost.part, lost.what.as_str()), (Part::Journal, "1 entries"));
        assert_eq!(lost.affects.tenant_name.as_deref(), Some("t"));
        let times = lost.affects.times.unwrap();
        assert_eq!(times.start, at(3).timestamp());
        assert_eq!(times.end, at(3).timestamp().plus_millis(1));
    }
    let repaired = check("j-key", &["2 keys do not decode"], |_, batch| {
        batch.put_raw(Family::Journal, vec![0, 0, 0, 1, 9, 9], vec![]);
        batch.put_raw(Family::Journal, vec![7], vec![]);
    });
    assert_eq!(repaired.lost.len(), 1);
}

#[test]
fn a_journal_whose_keeping_is_lost_is_kept() {
    let setting = Key::Record(T, RecordKind::Setting, b"journal.event");
    let repaired = check("j-keep", &["how long it is kept does not decode"], |_, batch| {
        batch.put(&setting, vec![1, 2]);
    });
    assert_eq!(repaired.lost.len(), 1);
    assert!(repaired.lost[0].what.contains("for ever"), "{:?}", repaired.lost);
}

#[test]
fn all_that_is_derived_comes_back_at_once() {
    let repaired = check_filled(
        "j-all",
        false,
        &[
            "20 ids of entries are missing",
            "21 words of entries are missing",
            "60 terms of entries are missing",
            "20 terms of entries are missing",
        ],
        |kv, batch| {
            for (kind, which) in [(E, P::Term), (E, P::Id), (E, P::Word), (S, P::Term)] {
                for (key, _) in part(kv, kind, which) {
                    batch.delete_raw(Family::Journal, key);
                }
            }
        },
    );
    assert_eq!(repaired.lost, []);
}

/// Nothing is wrong where keeping was made longer again, or where an id was stored again after its time.
#[test]
fn what_is_left_of_removed_entries_is_no_damage() {
    let folder = Folder::new("j-left");
    let clock = ManualClock::at(Timestamp::from_millis(NOW));
    let store = Store::open(&folder.0, StoreConfig::default(), clock.clone()).unwrap();
    let tenant = store.tenant("t").unwrap();
    let events = store.events(tenant);
    let keep = |days: u64| {
        let keep = Keep::For(std::time::Duration::from_secs(days * 86_400));
        events.journal().set_keep(Some(keep)).unwrap();
    };
    let is_whole = || {
        let elsewhere = Folder::new("j-left-copy");
        let copy = elsewhere.0.join("snapshot");
        store.snapshot(&copy).unwrap();
        let verified = verify(&copy, &|_, _| {}).unwrap();
        assert_eq!(verified.problems, []);
        verified.verified.journal_entries
    };
    keep(100);
    events.append(&(0..20).map(event).collect::<Vec<_>>()).unwrap();
    assert_eq!(is_whole(), 20);
    keep(8);
    store.expire_journals().unwrap();
    assert_eq!(is_whole(), 9);
    // Older than what was removed, of a type that there is and of one that there was not.
    keep(100);
    let late = |number: u8| Event { id: format!("late-{number}"), ..event(number) };
    let odd = Event { event_type: "odd".into(), ..late(12) };
    events.append(&[late(10), late(11), odd]).unwrap();
    assert_eq!(is_whole(), 12);
    // The same id, once its time is over, while the first entry is still there.
    keep(7);
    clock.set(Timestamp::from_millis(NOW + 2 * DAY_MS));
    let again = Event { time: at(0), ..event(6) };
    assert_eq!(events.append(&[again]).unwrap().stored, 1);
    assert_eq!(is_whole(), 13);
    store.expire_journals().unwrap();
    assert_eq!(is_whole(), 7);
}
