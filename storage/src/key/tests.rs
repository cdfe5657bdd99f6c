//! Tests of keys.

use proptest::prelude::*;

use super::*;

#[test]
fn keys_sort_as_their_fields_do() {
    let t = TenantId::new(7);
    let ascending = [
        Key::Activity(t, -3).encode(),
        Key::Activity(t, 0).encode(),
        Key::Activity(t, 20_000).encode(),
    ];
    assert!(ascending.is_sorted());
    let at = Moment::from_micros;
    let term = |partition, term, time, id| {
        Key::JournalTerm(t, JournalKind::Event, partition, term, at(time), id).encode()
    };
    let ascending = [
        Key::JournalEntry(t, JournalKind::Event, at(-1), b"z").encode(),
        Key::JournalEntry(t, JournalKind::Event, at(0), b"").encode(),
        Key::JournalEntry(t, JournalKind::Event, at(0), b"a").encode(),
        Key::JournalEntry(t, JournalKind::Event, at(256), b"a").encode(),
        term(-1, b"z", 0, b"z"),
        term(0, b"a", 9, b"z"),
        term(0, b"a\0", 1, b"a"),
        term(0, b"ab", 1, b"a"),
        Key::JournalId(t, JournalKind::Event, 0, b"a").encode(),
        Key::JournalWord(t, JournalKind::Event, 0, b"a").encode(),
        Key::JournalEntry(t, JournalKind::Transition, at(-1), b"z").encode(),
    ];
    assert!(ascending.is_sorted());
    let posting = |name, value| Key::Posting(t, PostingKind::Dimension, name, value).encode();
    let ascending = [posting("a", "z"), posting("a\0", "a"), posting("ab", ""), posting("b", "")];
    assert!(ascending.is_sorted());
}

proptest! {
    #[test]
    fn posting_keys_round_trip(name in ".{0,20}", value in ".{0,20}") {
        let key = Key::Posting(TenantId::new(1), PostingKind::Dimension, &name, &value).encode();
        prop_assert_eq!(decode_posting(&key), Some((name, value)));
    }
}

#[test]
fn segment_keys_round_trip() {
    for (tier, partition, number) in [(0, -1, 5), (3, 20_412, u64::MAX)] {
        let key = Key::Segment(tier, partition, number).encode();
        assert_eq!(decode_segment(&key), Some((tier, partition, number)));
        let key = Key::Rollup(tier, partition).encode();
        assert_eq!(decode_rollup(&key), Some((tier, partition)));
    }
}
