//! The JSON body of a notification.
//!
//! The first ten keys are those that receivers written for Monasca expect, with their types:
//! `alarm_timestamp` in whole seconds and `metrics` with an `id` that is always null. The keys from
//! `severity` on are additions.

use serde_json::{Value, json};

use crate::model::{AlarmedMetric, PartState};
use crate::outbox::Entry;

/// The body of the next attempt, whose number counts from 1. `tenant` is the tenant's name.
pub(crate) fn body(entry: &Entry, tenant: &str) -> Value {
    let transition = &entry.transition;
    json!({
        "alarm_id": transition.alarm_id,
        "alarm_definition_id": transition.definition_id,
        "alarm_name": transition.alarm_name,
        "alarm_description": transition.alarm_description,
        "alarm_timestamp": transition.time.div_euclid(1000),
        "state": transition.new_state,
        "old_state": transition.old_state,
        "message": transition.reason,
        "tenant_id": tenant,
        "metrics": transition.metrics.iter().map(metric).collect::<Vec<_>>(),
        "severity": transition.severity,
        "link": transition.link,
        "lifecycle_state": transition.lifecycle_state,
        "sub_alarms": transition.parts.iter().map(sub_alarm).collect::<Vec<_>>(),
        "notification_id": entry.notification_id,
        "transition_id": transition.id,
        "attempt": entry.attempt.saturating_add(1),
    })
}

fn metric(metric: &AlarmedMetric) -> Value {
    json!({ "id": null, "name": metric.name, "dimensions": metric.dimensions })
}

/// The shape of `subAlarms` in Monasca's transition message, with this body's spelling of keys.
fn sub_alarm(part: &PartState) -> Value {
    let expression = &part.expression;
    json!({
        "sub_alarm_expression": {
            "function": expression.function,
            "metric_definition": {
                "id": null,
                "name": expression.metric_name,
                "dimensions": expression.dimensions,
            },
            "operator": expression.operator,
            "threshold": expression.threshold,
            "period": expression.period,
            "periods": expression.periods,
            "deterministic": expression.deterministic,
        },
        "sub_alarm_state": part.state,
        "current_values": part.values,
    })
}

#[cfg(test)]
mod tests {
    use moneta_storage::model::TenantId;

    use super::*;
    use crate::outbox::sample;

    #[test]
    fn has_the_ten_keys_and_the_added_ones() {
        let mut entry =
            Entry::new(TenantId::new(1), &sample::transition("1500-1", "a1", 1999), "m1");
        entry.attempt = 2;
        let want = json!({
            "alarm_id": "a1",
            "alarm_definition_id": "definition",
            "alarm_name": "high cpu",
            "alarm_description": "the processor is busy",
            "alarm_timestamp": 1,
            "state": "ALARM",
            "old_state": "OK",
            "message": "too high",
            "tenant_id": "project",
            "metrics": [{"id": null, "name": "cpu.user_perc", "dimensions": {"hostname": "h1"}}],
            "severity": "HIGH",
            "link": null,
            "lifecycle_state": "OPEN",
            "sub_alarms": [{
                "sub_alarm_expression": {
                    "function": "AVG",
                    "metric_definition": {"id": null, "name": "cpu.user_perc", "dimensions": {}},
                    "operator": "GT",
                    "threshold": 90.0,
                    "period": 60,
                    "periods": 1,
                    "deterministic": false,
                },
                "sub_alarm_state": "ALARM",
                "current_values": [95.5],
            }],
            "notification_id": "1500-1.a1.m1",
            "transition_id": "1500-1",
            "attempt": 3,
        });
        assert_eq!(body(&entry, "project"), want);
    }
}
