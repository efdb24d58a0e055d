//! What a leader tells about the cluster's images.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use unbloat_policy::decide::Decision;
use unbloat_policy::facts::Facts;
use unbloat_policy::image::ImageKey;

use super::round::VERDICTS;
use crate::runtime::distribution::Distribution;

/// Layers of images: the incident's 50, and 127, which is the most that overlayfs takes.
const LAYERS: [f64; 13] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 127.0, 200.0, 500.0, 1000.0];
/// Compressed bytes of images: 10 MB to 1 TB.
const BYTES: [f64; 11] = [1e7, 5e7, 1e8, 5e8, 1e9, 2e9, 5e9, 1e10, 5e10, 1e11, 1e12];

/// All of them; clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct DetectorMetrics {
    images: Family<VerdictLabel, Gauge>,
    over: Family<ThresholdLabels, Gauge>,
    layers: Distribution,
    bytes: Distribution,
    max_layers: Gauge,
    max_bytes: Gauge,
    reclaimable: Family<KindLabel, Gauge>,
    inspections: Family<ResultLabel, Counter>,
    budget: Family<BudgetLabels, Gauge>,
    analyses: Family<ResultLabel, Counter>,
    rollouts: Family<RolloutLabels, Counter>,
    originals: Family<ResultLabel, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerdictLabel {
    verdict: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ThresholdLabels {
    policy: String,
    threshold: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RolloutLabels {
    strategy: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BudgetLabels {
    policy: String,
    budget: &'static str,
}

/// What a round found.
#[derive(Debug, Default)]
pub(super) struct Figures {
    verdicts: Vec<(&'static str, i64)>,
    layers: Vec<i64>,
    bytes: Vec<i64>,
    over: Vec<(String, &'static str, i64)>,
    pull_bytes: i64,
    unpacked_bytes: i64,
    budgets: Vec<(String, i64, i64)>,
}

impl Figures {
    pub(super) fn of(decision: &Decision, facts: &HashMap<ImageKey, Facts>) -> Self {
        let mut figures = Figures::default();
        for (verdict, name) in VERDICTS {
            let count = decision.images.values().filter(|image| image.verdict == verdict).count();
            figures.verdicts.push((name, i64::try_from(count).unwrap_or(i64::MAX)));
        }
        for key in decision.images.keys() {
            let Some(known) = facts.get(key) else { continue };
            if let Some(inspection) = &known.inspection {
                figures.layers.push(i64::from(inspection.layers()));
                figures.bytes.push(inspection.bytes());
            }
            if let Some(analysis) = known.analysis.as_ref().filter(|_| known.result.is_none()) {
                figures.pull_bytes = figures.pull_bytes.saturating_add(analysis.reclaimable_bytes);
                figures.unpacked_bytes = figures.unpacked_bytes.saturating_add(analysis.wasted_bytes);
            }
        }
        for outcome in &decision.policies {
            let name = outcome.policy.metadata.name.clone().unwrap_or_default();
            let spent = &outcome.status.spent;
            figures.budgets.push((name.clone(), i64::from(spent.jobs_this_hour), spent.bytes_today));
            let Ok(limits) = unbloat_policy::threshold::Limits::parse(&outcome.policy.spec.thresholds) else {
                continue;
            };
            let mut counts: HashMap<&'static str, i64> = HashMap::new();
            for (key, image) in &decision.images {
                let known = facts.get(key);
                let Some(inspection) = known.and_then(|facts| facts.inspection.as_ref()) else { continue };
                if image.policies.iter().any(|said| said.name == name) {
                    let analysis = known.and_then(|facts| facts.analysis.as_ref());
                    for threshold in limits.passed(inspection, analysis) {
                        *counts.entry(threshold).or_default() += 1;
                    }
                }
            }
            figures
                .over
                .extend(counts.into_iter().map(|(threshold, count)| (name.clone(), threshold, count)));
        }
        figures
    }
}

impl DetectorMetrics {
    pub(crate) fn new(registry: &Arc<RwLock<Registry>>) -> Self {
        let metrics = Self {
            images: Family::default(),
            over: Family::default(),
            layers: Distribution::new(&LAYERS),
            bytes: Distribution::new(&BYTES),
            max_layers: Gauge::default(),
            max_bytes: Gauge::default(),
            reclaimable: Family::default(),
            inspections: Family::default(),
            budget: Family::default(),
            analyses: Family::default(),
            rollouts: Family::default(),
            originals: Family::default(),
        };
        let mut registry = registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.register("unbloat_images", "Images in use by verdict", metrics.images.clone());
        registry.register(
            "unbloat_images_over_threshold",
            "Images in use that pass a threshold of a policy",
            metrics.over.clone(),
        );
        registry.register("unbloat_image_layers", "Layers of the images in use", metrics.layers.clone());
        registry.register(
            "unbloat_image_size_bytes",
            "Compressed bytes of the images in use",
            metrics.bytes.clone(),
        );
        registry.register(
            "unbloat_images_max_layers",
            "Most layers of an image in use",
            metrics.max_layers.clone(),
        );
        registry.register(
            "unbloat_images_max_size_bytes",
            "Compressed bytes of the largest image in use",
            metrics.max_bytes.clone(),
        );
        registry.register(
            "unbloat_reclaimable_bytes",
            "Bytes that squashing the analysed images would give back",
            metrics.reclaimable.clone(),
        );
        registry.register(
            "unbloat_inspections",
            "Images whose manifest was read, by result",
            metrics.inspections.clone(),
        );
        registry.register(
            "unbloat_analyses",
            "Images whose layers were read, by result",
            metrics.analyses.clone(),
        );
        registry.register(
            "unbloat_rollouts",
            "Workloads that were pointed at a result, or left as they are, by result",
            metrics.rollouts.clone(),
        );
        registry.register(
            "unbloat_originals",
            "Originals whose time was over, by what became of them",
            metrics.originals.clone(),
        );
        registry.register(
            "unbloat_policy_budget_used",
            "What is spent of a policy's hour (jobs) and day (bytes)",
            metrics.budget.clone(),
        );
        metrics
    }

    /// Makes one of each family, as an empty one isn't exported.
    #[cfg(test)]
    pub(crate) fn touch(&self) {
        let policy = String::new;
        drop(self.images.get_or_create(&VerdictLabel { verdict: "" }));
        drop(self.over.get_or_create(&ThresholdLabels { policy: policy(), threshold: "" }));
        drop(self.reclaimable.get_or_create(&KindLabel { kind: "" }));
        drop(self.budget.get_or_create(&BudgetLabels { policy: policy(), budget: "" }));
        self.inspected("");
        self.analyzed("");
        self.rolled_out("");
        self.original("");
    }

    pub(super) fn inspected(&self, result: &'static str) {
        self.inspections.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn analyzed(&self, result: &'static str) {
        self.analyses.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn rolled_out(&self, result: &'static str) {
        self.rollouts.get_or_create(&RolloutLabels { strategy: "Workload", result }).inc();
    }

    pub(super) fn original(&self, result: &'static str) {
        self.originals.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn show(&self, figures: &Figures) {
        for (verdict, count) in &figures.verdicts {
            self.images.get_or_create(&VerdictLabel { verdict }).set(*count);
        }
        // Policies come and go.
        self.over.clear();
        for (policy, threshold, count) in &figures.over {
            self.over.get_or_create(&ThresholdLabels { policy: policy.clone(), threshold }).set(*count);
        }
        self.max_layers.set(figures.layers.iter().copied().max().unwrap_or(0));
        self.max_bytes.set(figures.bytes.iter().copied().max().unwrap_or(0));
        self.layers.set(figures.layers.iter().copied());
        self.bytes.set(figures.bytes.iter().copied());
        self.reclaimable.get_or_create(&KindLabel { kind: "pull" }).set(figures.pull_bytes);
        self.reclaimable.get_or_create(&KindLabel { kind: "unpacked" }).set(figures.unpacked_bytes);
        self.budget.clear();
        for (policy, jobs, bytes) in &figures.budgets {
            let set = |budget, value| {
                self.budget.get_or_create(&BudgetLabels { policy: policy.clone(), budget }).set(value);
            };
            set("jobsThisHour", *jobs);
            set("bytesToday", *bytes);
        }
    }
}
