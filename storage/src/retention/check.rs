//! Whether stored bytes are what they should be: for verification, which has no use for what they say.

use super::stored;

/// Whether a value decodes as policies.
pub(crate) fn are_policies(bytes: &[u8]) -> bool {
    stored::decode_policies(bytes).is_some()
}

/// Whether a value decodes as floors.
pub(crate) fn are_floors(bytes: &[u8]) -> bool {
    stored::decode_floors(bytes).is_some()
}
