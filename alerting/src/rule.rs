//! A definition inside the engine: what the user wrote, parsed, and the groups it has.

use moneta_storage::model::TenantId;

use crate::expression::{Expression, Part};
use crate::matching::Matching;
use crate::model::Definition;
use crate::sight::Position;

/// See the head of this file.
pub(crate) struct Rule {
    pub(crate) tenant: TenantId,
    pub(crate) definition: Definition,
    pub(crate) expression: Expression,
    pub(crate) matching: Matching,
    /// Arrivals up to here have made series seen, or shall not: they came before the definition
    /// existed or before one of its alarms was deleted.
    pub(crate) position: Position,
}

/// For each new part the index of the old one that it goes on from: equal parts first, then by
/// position among the parts of the same metric. `None` where the new part has no old one.
pub(crate) fn pair(old: &[Part], new: &[Part]) -> Vec<Option<usize>> {
    let mut free = vec![true; old.len()];
    let mut pairs = vec![None; new.len()];
    let mut claim = |pairs: &mut Vec<Option<usize>>, same: fn(&Part, &Part) -> bool| {
        for (part, pair) in new.iter().zip(pairs.iter_mut()).filter(|(_, pair)| pair.is_none()) {
            let mut candidates = old.iter().zip(free.iter_mut()).enumerate();
            if let Some((at, (_, free))) =
                candidates.find(|(_, (candidate, free))| **free && same(candidate, part))
            {
                *free = false;
                *pair = Some(at);
            }
        }
    };
    claim(&mut pairs, |a, b| a == b);
    claim(&mut pairs, Part::same_metric);
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, new: &str, want: &[Option<usize>]) {
        let parts = |text| Expression::parse(text).unwrap().parts;
        assert_eq!(pair(&parts(old), &parts(new)), want, "{old} -> {new}");
    }

    #[test]
    fn equal_parts_then_position_among_the_same_metric() {
        check("a>1 and b>1", "b>1 and a>1", &[Some(1), Some(0)]);
        check("a>1 and a>2", "a>3 and a>1", &[Some(1), Some(0)]);
        check("a>1 and a>2", "a>3 and a>4", &[Some(0), Some(1)]);
        check("a>1 and b>2", "a>3 and c>4", &[Some(0), None]);
        check("a>1", "a>1 and a>2", &[Some(0), None]);
    }
}
