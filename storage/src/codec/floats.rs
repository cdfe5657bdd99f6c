//! Float columns: which codec one gets. Bits are compared, never values: NaN payloads, -0.0,
//! infinities and subnormals come back as they were.

use super::Effort;
use super::decimal::{self, Decimals};
use super::entropy;
use super::input::{Input, Malformed};
use super::integers::{pays, raw_len, wins};
use super::scheme::Codec;
use super::varint;
use super::xor;

/// Decimals this small are taken without trying the others: bytes a value.
const DECIMAL_ENOUGH: usize = 4;

/// Shorter columns are not worth the microseconds that `pco` takes to set up. Fractions gain half
/// their bytes by it, and so are tried earlier than integers.
const PCO_COUNT_MIN: usize = 64;

/// Appends an encoding of `column`.
pub(super) fn encode(column: &[f64], effort: Effort, out: &mut Vec<u8>) {
    let Some(first) = column.first().map(|value| value.to_bits()) else {
        return out.push(Codec::Raw.byte());
    };
    if column.len() > 1 && column.iter().all(|value| value.to_bits() == first) {
        out.push(Codec::Constant.byte());
        // Short decimals and integers end in zeros, which a varint leaves out at the other end.
        return varint::put(first.swap_bytes(), out);
    }
    let raw = raw_len(column.len());
    let decimals = Decimals::of(column);
    let exact = decimals.as_ref().is_some_and(Decimals::is_exact);
    let mut best =
        decimals.map(|decimals| decimals.encode(effort)).filter(|encoding| encoding.len() < raw);
    let mut limit = best.as_ref().map_or(raw, Vec::len);
    // Were all values short decimals, `pco` would find the same integers again.
    if (effort == Effort::Fast || exact) && limit < column.len() * DECIMAL_ENOUGH {
        return out.extend_from_slice(&best.unwrap_or_default());
    }
    let xor_len = xor::encoded_len(column);
    let xor_wins = xor_len < limit;
    limit = limit.min(xor_len);
    if effort == Effort::Best
        && let Some(encoding) = encode_pco(column, limit)
    {
        best = Some(encoding);
    } else if xor_wins {
        return xor::encode(column, out);
    }
    match best {
        Some(encoding) => out.extend_from_slice(&encoding),
        None => put_raw(column, out),
    }
}

/// The column as a `pco` chunk, if that is well below `limit` bytes.
fn encode_pco(column: &[f64], limit: usize) -> Option<Vec<u8>> {
    (column.len() >= PCO_COUNT_MIN && pays(column, limit)).then_some(())?;
    let mut encoding = vec![Codec::Pco.byte()];
    entropy::compress(column, &mut encoding)?;
    wins(encoding.len(), limit).then_some(encoding)
}

fn put_raw(column: &[f64], out: &mut Vec<u8>) {
    out.push(Codec::Raw.byte());
    out.extend(column.iter().flat_map(|value| value.to_bits().to_le_bytes()));
}

/// Appends the `count` values of an encoding that is all of `input`.
pub(super) fn decode(
    mut input: Input<'_>,
    count: usize,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let codec = Codec::take(&mut input)?;
    if count == 0 && codec != Codec::Raw {
        return Err(Malformed);
    }
    out.reserve(count);
    match codec {
        Codec::Raw => {
            let (words, _) = input.bytes(8 * count)?.as_chunks();
            out.extend(words.iter().map(|word| f64::from_bits(u64::from_le_bytes(*word))));
        }
        Codec::Constant => {
            let value = f64::from_bits(input.varint()?.swap_bytes());
            out.extend(std::iter::repeat_n(value, count));
        }
        Codec::Decimal => decimal::decode(&mut input, count, out)?,
        Codec::NearDecimal => decimal::decode_near(&mut input, count, out)?,
        Codec::Xor => xor::decode(&mut input, count, out)?,
        Codec::Pco => entropy::decompress(input.rest(), count, out)?,
        Codec::Regular
        | Codec::Offsets
        | Codec::Deltas
        | Codec::Linear
        | Codec::Runs
        | Codec::Steps => return Err(Malformed),
    }
    input.finish()
}
