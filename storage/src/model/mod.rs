//! The nouns every layer shares: tenants, series, samples, time. Nothing here knows how they are
//! stored, who sent them, or in which language they are asked for.

mod dimensions;
mod ids;
mod keep;
mod moment;
mod pattern;
mod sample;
mod selector;
mod sum;
mod timestamp;

pub use dimensions::{Dimensions, SERIES_KEY_BYTES_MAX, SeriesKey};
pub use ids::{MetricNo, Sequence, SeriesId, TenantId};
pub use keep::Keep;
pub use moment::Moment;
pub use pattern::{PATTERN_BYTES_MAX, PATTERN_COMPILED_BYTES_MAX, Pattern};
pub use sample::{Sample, ValueMeta};
pub use selector::{DimensionMatcher, Selector, ValueMatcher};
pub use sum::Sum;
pub use timestamp::{TimeRange, Timestamp};
