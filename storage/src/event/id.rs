//! An event's id as it stands in keys. Most are UUIDs, and an event has a dozen keys with its id:
//! as 16 bytes instead of 36 characters they are a good part smaller.

/// In front of the bytes of a UUID that was written in its usual form.
pub(super) const UUID: u8 = 0;
/// In front of any other text.
pub(super) const TEXT: u8 = 1;

/// Where the hyphens stand.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// The bytes of an id.
pub(super) fn to_bytes(id: &str) -> Vec<u8> {
    match uuid(id) {
        Some(number) => [&[UUID][..], &number.to_be_bytes()].concat(),
        None => [&[TEXT], id.as_bytes()].concat(),
    }
}

/// The id that these bytes are of.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<String> {
    match bytes.split_first()? {
        (&UUID, number) => Some(written(u128::from_be_bytes(number.try_into().ok()?))),
        (&TEXT, text) => String::from_utf8(text.to_vec()).ok(),
        _ => None,
    }
}

/// The number of a UUID, if the text is exactly what [`written`] makes of it.
fn uuid(text: &str) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (written(number) == text).then_some(number)
}

fn written(number: u128) -> String {
    let mut text = format!("{number:032x}");
    for at in HYPHENS {
        text.insert(at, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(id: &str, kind: u8) {
        let bytes = to_bytes(id);
        assert_eq!(bytes.first(), Some(&kind), "{id}");
        assert_eq!(from_bytes(&bytes).as_deref(), Some(id));
    }

    #[test]
    fn only_the_usual_form_is_a_uuid() {
        check("67e55044-10b1-426f-9247-bb680e5fe0c8", UUID);
        check("00000000-0000-0000-0000-000000000000", UUID);
        check("67E55044-10b1-426f-9247-bb680e5fe0c8", TEXT);
        check("67e5504410b1426f9247bb680e5fe0c8", TEXT);
        check("+7e55044-10b1-426f-9247-bb680e5fe0c8", TEXT);
        check("67e55044-10b1-426f-9247bb680e5fe0c8-", TEXT);
        check("é7e55044-10b1-426f-9247-bb680e5fe0c", TEXT);
        check("1", TEXT);
        assert_eq!(from_bytes(&[]), None);
        assert_eq!(from_bytes(&[UUID, 1]), None);
        assert_eq!(from_bytes(&[TEXT, 0xFF]), None);
        assert_eq!(from_bytes(&[2, b'a']), None);
    }

    proptest! {
        #[test]
        fn ids_round_trip(number in any::<u128>(), text in ".{0,40}") {
            for id in [written(number), text] {
                let back = from_bytes(&to_bytes(&id));
                prop_assert_eq!(back, Some(id));
            }
        }
    }
}
