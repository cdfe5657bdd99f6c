//! Why an alarm changed its state, in words that existing consumers match on.

use crate::expression::{Expression, decimal};
use crate::model::State;

/// The whole text when a user set the state.
pub(crate) const BY_API: &str = "Alarm state updated via API";

/// The parts whose state is the alarm's new one, in expression order, with their latest values.
pub(crate) fn text(expression: &Expression, new: State, parts: &[(State, &[f64])]) -> String {
    let lead = match new {
        State::Alarm => "Thresholds were exceeded for the sub-alarms",
        State::Ok => "The alarm threshold(s) have not been exceeded for the sub-alarms",
        State::Undetermined => "No data was present for the sub-alarms",
    };
    let listed = expression.parts.iter().zip(parts).filter(|(_, (state, _))| *state == new);
    let items: Vec<String> = listed
        .map(|(part, (_, values))| match new {
            State::Undetermined => part.to_string(),
            State::Alarm | State::Ok => {
                let values: Vec<String> = values.iter().map(|value| decimal(*value)).collect();
                format!("{part} with the values: [{}]", values.join(", "))
            }
        })
        .collect();
    format!("{lead}: {}", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_in_the_new_state_are_listed() {
        let expression = Expression::parse("avg(a{x=y}) > 1 times 2 and max(b) < 2").unwrap();
        let check = |new, parts: &[(State, &[f64])], want: &str| {
            assert_eq!(text(&expression, new, parts), want);
        };
        check(
            State::Alarm,
            &[(State::Alarm, &[5.0, 1.5]), (State::Alarm, &[])],
            "Thresholds were exceeded for the sub-alarms: avg(a{x=y}) > 1.0 times 2 with the values: \
             [5.0, 1.5], max(b) < 2.0 with the values: []",
        );
        check(
            State::Undetermined,
            &[(State::Ok, &[5.0]), (State::Undetermined, &[])],
            "No data was present for the sub-alarms: max(b) < 2.0",
        );
    }
}
