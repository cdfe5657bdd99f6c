//! State history: of all alarms that exist, or of one that may exist no longer.

use axum::Json;
use moneta_alerting::HistoryPage;
use moneta_storage::model::{TenantId, TimeRange, Timestamp};

use super::alarms::has_metric_with;
use super::call::Call;
use super::dimension_filter::DimensionFilter;
use super::page::{cut, instant};
use crate::status::Failure;
use crate::wire::alarms::TransitionElement;
use crate::wire::metrics::Listing;
use crate::wire::parameters::Parameters;
use crate::wire::time::{self, Instant};

/// `GET /v2.0/alarms/state-history`
pub(super) async fn of_all(call: Call) -> Result<Json<Listing<TransitionElement>>, Failure> {
    call.run(|call| {
        let parameters = call.parameters();
        let filter = DimensionFilter::parse(parameters, "dimensions")?;
        let range = inclusive_span(parameters)?;
        let (after, limit) = (after(parameters)?, parameters.limit()?);
        let found = match call.tenant() {
            Some(tenant) => {
                let ids = existing(call, tenant, &filter)?;
                let alarms = &call.services.alarms;
                alarms.history_of(tenant, &ids, range, after.as_deref(), limit + 1)?
            }
            None => HistoryPage::default(),
        };
        Ok(answer(call, found, limit))
    })
    .await
}

/// `GET /v2.0/alarms/{id}/state-history`
pub(super) async fn of_one(call: Call) -> Result<Json<Listing<TransitionElement>>, Failure> {
    call.run(|call| {
        let (after, limit) = (after(call.parameters())?, call.parameters().limit()?);
        let alarms = &call.services.alarms;
        let found = match call.tenant() {
            Some(tenant) => alarms.history_of(
                tenant,
                &[call.id().to_owned()],
                TimeRange::ALL,
                after.as_deref(),
                limit + 1,
            )?,
            None => HistoryPage::default(),
        };
        Ok(answer(call, found, limit))
    })
    .await
}

fn answer(call: &Call, found: HistoryPage, limit: usize) -> Json<Listing<TransitionElement>> {
    let mut transitions = found.transitions;
    // A page that was cut short says where to go on, though it is not full.
    let short = transitions.len() <= limit;
    let full = cut(&mut transitions, limit, |transition| transition.id.clone());
    let next = full.or(found.next.filter(|_| short));
    let elements = transitions.into_iter().map(TransitionElement::from).collect();
    Json(Listing { links: call.place.page(next.as_deref()), elements })
}

/// Ids of the alarms that exist and have a metric that the filter holds for.
fn existing(
    call: &Call,
    tenant: TenantId,
    filter: &DimensionFilter,
) -> Result<Vec<String>, Failure> {
    let all = call.services.alarms.alarms(tenant)?.into_iter();
    Ok(all.filter(|alarm| has_metric_with(alarm, filter)).map(|alarm| alarm.id).collect())
}

/// `start_time` to `end_time`, both inside.
fn inclusive_span(parameters: &Parameters) -> Result<TimeRange, Failure> {
    let start = instant(parameters, "start_time")?;
    let end = instant(parameters, "end_time")?;
    Ok(TimeRange::new(
        start.map_or(Timestamp::MIN, Instant::ceil),
        end.map_or(Timestamp::MAX, |end| end.floor.plus_millis(1)),
    ))
}

/// `offset`: the id of the last transition of the page before, milliseconds, or a time.
fn after(parameters: &Parameters) -> Result<Option<String>, Failure> {
    let Some(text) = parameters.one("offset")? else {
        return Ok(None);
    };
    let number =
        |text: &str| (1..=19).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let is_id = match text.split_once('-') {
        // A date has two dashes, an id one, behind many digits.
        Some((millis, place)) => number(millis) && millis.len() > 4 && number(place),
        None => number(text),
    };
    if is_id {
        return Ok(Some(text.to_owned()));
    }
    let unreadable = || format!("Offset value {text} is neither an id nor a time");
    let instant = time::parse(text).ok_or_else(|| Failure::unprocessable(unreadable()))?;
    Ok(Some(instant.floor.millis().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_inside() {
        let query = "start_time=1970-01-01T00:00:01Z&end_time=1970-01-01T00:00:01Z";
        let span = inclusive_span(&Parameters::parse(query)).unwrap();
        assert_eq!((span.start.millis(), span.end.millis()), (1000, 1001));
        assert_eq!(inclusive_span(&Parameters::parse("")).unwrap(), TimeRange::ALL);
    }

    #[test]
    fn offsets_are_ids_or_times() {
        let check = |text: &str, want: Result<&str, ()>| {
            let got = after(&Parameters::parse(&format!("offset={text}")));
            assert_eq!(got.map(Option::unwrap).map_err(|_| ()), want.map(str::to_owned), "{text}");
        };
        check("1795166507329", Ok("1795166507329"));
        check("1795166507329-2", Ok("1795166507329-2"));
        check("1970-01-01T00:00:01.5Z", Ok("1500"));
        check("1970-01", Ok("0"));
        check("abc", Err(()));
        check("1-", Err(()));
    }
}
