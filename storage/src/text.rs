//! Texts as stored values have them: the length (u32, little-endian), then the bytes.

/// Appends a text, which is far shorter than the greatest length.
pub(crate) fn put(out: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("texts are bounded where they come in");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Reads what [`put`] wrote, and moves on behind it.
pub(crate) fn take(rest: &mut &[u8]) -> Option<String> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (text, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = tail;
    String::from_utf8(text.to_vec()).ok()
}
