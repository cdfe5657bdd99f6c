//! The worked examples of alarm evaluation, replayed on the bare engine over samples in memory.
//!
//! The driver of an example is behind [`example::Subject`], so that the same examples can be run
//! through anything else that evaluates alarms.

#[cfg(test)]
mod arrivals;
#[cfg(test)]
mod example;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod stored;

use example::{Example, Subject, examples};
use memory::MemoryEngine;

#[test]
fn every_example_holds_on_the_bare_engine() {
    let examples = examples();
    assert!(examples.len() >= 116, "the examples are all there");
    let mut failures = Vec::new();
    for example in &examples {
        if let Err(failure) = example.run(|settings| Box::new(MemoryEngine::new(settings))) {
            failures.push(format!("{} {}: {failure}", example.id, example.title));
        }
    }
    let passed = examples.len() - failures.len();
    assert!(failures.is_empty(), "{passed} of {} pass\n{}", examples.len(), failures.join("\n"));
}

/// The same with a restart after every step: nothing may change (invariant 7).
#[test]
fn every_example_holds_with_a_restart_after_every_step() {
    let mut failures = Vec::new();
    for example in &examples() {
        let run = |example: &Example| {
            example
                .run(|settings| Box::new(Restless(MemoryEngine::new(settings))) as Box<dyn Subject>)
        };
        if let Err(failure) = run(example) {
            failures.push(format!("{} {}: {failure}", example.id, example.title));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Restarts whenever it is asked for anything.
struct Restless(MemoryEngine);

impl Subject for Restless {
    fn advance(&mut self, now_ms: i64) {
        self.0.advance(now_ms);
        self.0.restart();
    }

    fn act(&mut self, action: example::Action<'_>) {
        self.0.act(action);
        self.0.restart();
    }

    fn alarms(&mut self) -> Vec<moneta_alerting::Alarm> {
        self.0.alarms()
    }

    fn waiting(&mut self) -> Option<usize> {
        self.0.waiting()
    }

    fn new_transitions(&mut self) -> Vec<moneta_alerting::Transition> {
        self.0.new_transitions()
    }
}
