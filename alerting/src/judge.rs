//! What a part is, given its window. Pure: the steps of the procedure, in order.

use crate::expression::{Function, Part};
use crate::model::State;
use crate::window::Window;

/// How far a judgement goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// Only what can be decided before the view is due.
    Early,
    /// The view is due.
    Full,
}

/// State and values a judgement gives to a part.
pub(crate) type Verdict = (State, Vec<f64>);

/// Judges a part. `None`: state and values stay what they are.
pub(crate) fn judge(
    part: &Part,
    coefficient: u32,
    window: &Window,
    depth: Depth,
) -> Option<Verdict> {
    match part.function {
        Function::Last => newest(part, window),
        Function::Min | Function::Max | Function::Count | Function::Sum | Function::Avg => {
            early(part, window).or_else(|| match depth {
                Depth::Early => None,
                Depth::Full => full(part, coefficient, window),
            })
        }
    }
}

/// `last` looks at one sample; periods and slots play no role.
fn newest(part: &Part, window: &Window) -> Option<Verdict> {
    let (_, value) = window.newest?;
    Some((if part.breaches(value) { State::Alarm } else { State::Ok }, vec![value]))
}

/// Which state can be decided before the slots are complete: more data can only raise a maximum.
fn early_state(part: &Part) -> Option<State> {
    match (part.function, part.operator.upward()) {
        (Function::Max | Function::Count, true) | (Function::Min, false) => Some(State::Alarm),
        (Function::Max | Function::Count, false) | (Function::Min, true) => Some(State::Ok),
        (Function::Sum | Function::Avg | Function::Last, _) => None,
    }
}

fn early(part: &Part, window: &Window) -> Option<Verdict> {
    match early_state(part)? {
        State::Alarm => {
            let wanted = usize::try_from(part.periods).unwrap_or(usize::MAX);
            let mut run = Vec::new();
            for value in window.values(part.function) {
                match value {
                    Some(value) if part.breaches(value) => run.push(value),
                    Some(_) | None => run.clear(),
                }
                if run.len() == wanted {
                    return Some((State::Alarm, run));
                }
            }
            None
        }
        State::Ok | State::Undetermined => window
            .values(part.function)
            .flatten()
            .find(|value| !part.breaches(*value))
            .map(|value| (State::Ok, vec![value])),
    }
}

fn full(part: &Part, coefficient: u32, window: &Window) -> Option<Verdict> {
    let mut collected = Vec::new();
    let mut gaps = false;
    for value in window.view(part.function) {
        let Some(value) = value else {
            gaps = true;
            continue;
        };
        collected.push(value);
        if !part.breaches(value) {
            return Some((State::Ok, collected));
        }
    }
    if !gaps {
        return Some((State::Alarm, collected));
    }
    if part.deterministic {
        return Some((State::Ok, collected));
    }
    let silent = window.newest_slot_end().is_none_or(|end| {
        window.view_end_ms().saturating_sub(end) >= window.patience_ms(coefficient)
    });
    silent.then(|| (State::Undetermined, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Expression;

    /// Judges a part with 60 s slots of which the first view ends at 60 * `periods` seconds; `-` is
    /// an empty slot.
    fn check(text: &str, slots: &[Option<f64>], depth: Depth, want: Option<(State, &[f64])>) {
        let expression = Expression::parse(text).unwrap();
        let part = &expression.parts[0];
        let mut window = Window::new(part, part.period_ms() * i64::from(part.periods));
        for (at, value) in slots.iter().enumerate() {
            if let Some(value) = value {
                window.add(i64::try_from(at).unwrap() * part.period_ms(), *value);
            }
        }
        let want = want.map(|(state, values)| (state, values.to_vec()));
        assert_eq!(judge(part, 2, &window, depth), want, "{text} {slots:?}");
    }

    #[test]
    fn early_and_full() {
        use Depth::{Early, Full};
        use State::{Alarm, Ok, Undetermined};
        check("max(a) > 1", &[Some(2.0)], Early, Some((Alarm, &[2.0])));
        check("max(a) > 1", &[Some(1.0)], Early, None);
        check("max(a) > 1", &[Some(1.0)], Full, Some((Ok, &[1.0])));
        check("max(a) < 1", &[Some(1.0)], Early, Some((Ok, &[1.0])));
        check("max(a) < 1", &[Some(0.0)], Full, Some((Alarm, &[0.0])));
        check("min(a) >= 1", &[None, Some(0.0)], Early, Some((Ok, &[0.0])));
        check(
            "count(a) > 0 times 2",
            &[Some(9.0), None, Some(9.0), Some(9.0)],
            Early,
            Some((Alarm, &[1.0, 1.0])),
        );
        check("avg(a) > 1", &[Some(2.0)], Early, None);
        check("avg(a) > 1 times 2", &[Some(2.0), Some(3.0)], Full, Some((Alarm, &[2.0, 3.0])));
        check("avg(a) > 1 times 2", &[Some(2.0), None], Full, None);
        check("avg(a, deterministic) > 1 times 2", &[Some(2.0), None], Full, Some((Ok, &[2.0])));
        check("avg(a) > 1", &[], Full, Some((Undetermined, &[])));
        check("avg(a) > 1", &[None, Some(2.0)], Full, None);
        check("last(a) > 1 times 3", &[Some(2.0)], Early, Some((Alarm, &[2.0])));
        check("last(a) > 1", &[], Full, None);
    }
}
