//! The wire format of protobuf, as much as is needed to read a message: fields of numbers and of bytes.
//! Groups, which nobody writes any more, are refused.

/// The bytes are no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotProtobuf;

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content<'a> {
    Varint(u64),
    /// Eight bytes, the lowest first.
    Fixed64(u64),
    /// Four bytes, of which nothing here has any.
    Fixed32,
    /// A text, a message, or a list of numbers.
    Bytes(&'a [u8]),
}

/// A message, of which fields are read from the front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message<'a> {
    rest: &'a [u8],
}

impl<'a> Message<'a> {
    /// All fields of a message.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Message { rest: bytes }
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field: its number and what it holds.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<(u64, Content<'a>)>, NotProtobuf> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let content = match tag & 7 {
            0 => Content::Varint(self.varint()?),
            1 => {
                let (bytes, rest) = self.rest.split_first_chunk::<8>().ok_or(NotProtobuf)?;
                self.rest = rest;
                Content::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| NotProtobuf)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(NotProtobuf)?;
                self.rest = rest;
                Content::Bytes(bytes)
            }
            5 => {
                self.rest = self.rest.get(4..).ok_or(NotProtobuf)?;
                Content::Fixed32
            }
            _ => return Err(NotProtobuf),
        };
        if tag >> 3 == 0 { Err(NotProtobuf) } else { Ok(Some((tag >> 3, content))) }
    }

    /// A number of one to ten bytes.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, NotProtobuf> {
        let mut number = 0;
        for (at, &byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                if at == 9 && byte > 1 {
                    return Err(NotProtobuf);
                }
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(NotProtobuf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order() {
        let check = |bytes: &[u8], want: Result<&[(u64, Content<'_>)], NotProtobuf>| {
            let mut message = Message::new(bytes);
            let mut got = Ok(Vec::new());
            while let Ok(fields) = &mut got {
                match message.field() {
                    Ok(Some(field)) => fields.push(field),
                    Ok(None) => break,
                    Err(error) => got = Err(error),
                }
            }
            assert_eq!(got, want.map(<[_]>::to_vec), "{bytes:?}");
        };
        check(&[], Ok(&[]));
        check(&[0x08, 0x96, 0x01], Ok(&[(1, Content::Varint(150))]));
        check(
            &[0x12, 2, b'a', b'b', 0x12, 0],
            Ok(&[(2, Content::Bytes(b"ab")), (2, Content::Bytes(b""))]),
        );
        check(&[0x09, 1, 0, 0, 0, 0, 0, 0, 1], Ok(&[(1, Content::Fixed64(1 << 56 | 1))]));
        check(&[0x0d, 1, 2, 3, 4], Ok(&[(1, Content::Fixed32)]));
        let most = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        check(&most, Ok(&[(1, Content::Varint(u64::MAX))]));
        let above = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        check(&above, Err(NotProtobuf));
        let endless = [0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        check(&endless, Err(NotProtobuf));
        for cut in [&[0x08][..], &[0x08, 0x80], &[0x12, 2, b'a'], &[0x09, 1], &[0x0d, 1], &[0x80]] {
            check(cut, Err(NotProtobuf));
        }
        check(&[0x13, 0x14], Err(NotProtobuf));
        check(&[0x00, 0x00], Err(NotProtobuf));
        check(
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            Err(NotProtobuf),
        );
    }
}
