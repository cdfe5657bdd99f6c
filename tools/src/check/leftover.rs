//! Names that tell when and by whom a thing was made, so that what a crashed check left behind can
//! be found again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use serde_json::Value;

use crate::client::Client;

const PREFIX: &str = "selfcheck-";
/// A check that runs is younger than this.
const AGE_SECONDS_MIN: i64 = 3600;

/// Marks definitions and methods as ours, beside their names.
pub(super) const DESCRIPTION: &str = "made by moneta check; removed when it ends";

/// A text that no other check uses: 16 hexadecimal digits.
pub(super) fn nonce() -> String {
    // A hasher's keys are random, which is all that is needed: nobody gains by guessing it.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// The name of what the check `nonce` makes.
pub(super) fn name(now_ms: i64, nonce: &str) -> String {
    format!("{PREFIX}{}-{nonce}", now_ms / 1000)
}

/// Whether `name` belongs to a check that began more than an hour ago.
fn is_leftover(name: &str, now_ms: i64) -> bool {
    let Some((seconds, nonce)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    let ours = nonce.len() == 16 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
    let begun = seconds.parse::<i64>().ok().filter(|_| ours);
    begun.is_some_and(|begun| now_ms / 1000 - begun > AGE_SECONDS_MIN)
}

/// Removes what crashed checks left behind, definitions before the methods they name. Gives how many
/// things were removed; what cannot be removed is left to the next check.
pub(super) async fn remove(client: &Client, now_ms: i64) -> anyhow::Result<usize> {
    let mut removed = 0;
    for resource in ["alarm-definitions", "notification-methods"] {
        for element in client.list(&["v2.0", resource]).await? {
            let field = |name: &str| element.get(name).and_then(Value::as_str).unwrap_or_default();
            if !is_leftover(field("name"), now_ms) {
                continue;
            }
            removed += usize::from(client.delete(&["v2.0", resource, field("id")]).await.is_ok());
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_things_of_ours_are_leftovers() {
        let (then, hour) = (1_795_166_675_045, 3_600_000);
        let name = name(then, &nonce());
        assert!(!is_leftover(&name, then));
        assert!(!is_leftover(&name, then + hour));
        assert!(is_leftover(&name, then + hour + 2000));
        for other in ["selfcheck-", "selfcheck-1-mine", "selfcheck-x-0123456789abcdef", "cpu", ""] {
            assert!(!is_leftover(other, then), "{other}");
        }
        assert_ne!(nonce(), nonce());
    }
}
