//! A histogram of what is there now, not of what has happened: it is set as a whole.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Distribution(Arc<Mutex<Values>>);

#[derive(Debug)]
struct Values {
    sum: f64,
    /// Upper bounds with how many values lie in each; the last one takes all.
    buckets: Vec<(f64, u64)>,
}

impl Distribution {
    /// With these upper bounds, the smallest first.
    pub(crate) fn new(bounds: &[f64]) -> Self {
        let buckets = bounds.iter().copied().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        Self(Arc::new(Mutex::new(Values { sum: 0.0, buckets })))
    }

    /// What is there now.
    pub(crate) fn set(&self, values: impl IntoIterator<Item = i64>) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Values { sum, buckets } = &mut *now;
        *sum = 0.0;
        buckets.iter_mut().for_each(|(_, count)| *count = 0);
        for value in values {
            let value = value as f64;
            *sum += value;
            if let Some((_, count)) = buckets.iter_mut().find(|(bound, _)| value <= *bound) {
                *count += 1;
            }
        }
    }
}

impl EncodeMetric for Distribution {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = now.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(now.sum, count, &now.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::registry::Registry;

    #[test]
    fn what_is_set_replaces_what_was_there() {
        let distribution = Distribution::new(&[10.0, 100.0]);
        distribution.set([1, 2, 3]);
        distribution.set([10, 11, 1000]);
        let mut registry = Registry::default();
        registry.register("layers", "Layers", distribution);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "layers_sum 1021.0",
            "layers_count 3",
            "layers_bucket{le=\"10.0\"} 1",
            "layers_bucket{le=\"100.0\"} 2",
            "layers_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
