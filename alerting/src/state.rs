//! What an alarm is, given what its parts are. Pure.

use crate::expression::{Expression, Node};
use crate::model::{State, UndeterminedLogic};

/// The state of an alarm whose parts have `states`, in expression order.
#[must_use]
pub(crate) fn combine(
    expression: &Expression,
    logic: UndeterminedLogic,
    states: &[State],
) -> State {
    match logic {
        UndeterminedLogic::Strict if states.contains(&State::Undetermined) => State::Undetermined,
        UndeterminedLogic::Strict | UndeterminedLogic::Kleene => of(&expression.root, states),
    }
}

/// With `OK < UNDETERMINED < ALARM`, `and` is the least and `or` the greatest. Without undetermined
/// parts that is plain boolean logic.
fn of(node: &Node, states: &[State]) -> State {
    let all = |nodes: &[Node]| nodes.iter().map(|node| of(node, states)).collect::<Vec<_>>();
    match node {
        Node::Part(at) => states.get(*at).copied().unwrap_or(State::Undetermined),
        Node::And(nodes) => all(nodes).into_iter().min().unwrap_or(State::Undetermined),
        Node::Or(nodes) => all(nodes).into_iter().max().unwrap_or(State::Undetermined),
    }
}

/// The state of a part before its first result.
#[must_use]
pub(crate) fn initial(deterministic: bool) -> State {
    if deterministic { State::Ok } else { State::Undetermined }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, logic: UndeterminedLogic, states: &str, want: char) {
        let expression = Expression::parse(expression).unwrap();
        let state = |c| match c {
            'A' => State::Alarm,
            'O' => State::Ok,
            _ => State::Undetermined,
        };
        let states: Vec<State> = states.chars().map(state).collect();
        assert_eq!(combine(&expression, logic, &states), state(want), "{states:?}");
    }

    #[test]
    fn tables() {
        use UndeterminedLogic::{Kleene, Strict};
        let rows = [
            ("AA", 'A', 'A', 'A', 'A'),
            ("AO", 'O', 'A', 'O', 'A'),
            ("OO", 'O', 'O', 'O', 'O'),
            ("AU", 'U', 'U', 'U', 'A'),
            ("OU", 'U', 'U', 'O', 'U'),
            ("UU", 'U', 'U', 'U', 'U'),
        ];
        for (states, strict_and, strict_or, kleene_and, kleene_or) in rows {
            check("a>1 and b>1", Strict, states, strict_and);
            check("a>1 or b>1", Strict, states, strict_or);
            check("a>1 and b>1", Kleene, states, kleene_and);
            check("a>1 or b>1", Kleene, states, kleene_or);
        }
        check("a>1 and b>1 or c>1", Kleene, "AUA", 'A');
    }
}
