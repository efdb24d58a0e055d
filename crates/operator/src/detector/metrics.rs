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

/// All of them; clones share their values.
#[derive(Clone, Debug, Default)]
pub(super) struct DetectorMetrics {
    images: Family<VerdictLabel, Gauge>,
    over: Family<ThresholdLabels, Gauge>,
    max_layers: Gauge,
    max_bytes: Gauge,
    reclaimable: Family<KindLabel, Gauge>,
    inspections: Family<ResultLabel, Counter>,
    budget: Family<BudgetLabels, Gauge>,
    analyses: Family<ResultLabel, Counter>,
    rollouts: Family<RolloutLabels, Counter>,
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
    over: Vec<(String, &'static str, i64)>,
    max_layers: i64,
    max_bytes: i64,
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
                figures.max_layers = figures.max_layers.max(i64::from(inspection.layers()));
                figures.max_bytes = figures.max_bytes.max(inspection.bytes());
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
    pub(super) fn new(registry: &Arc<RwLock<Registry>>) -> Self {
        let metrics = Self::default();
        let mut registry = registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.register("unbloat_images", "Images in use by verdict", metrics.images.clone());
        registry.register(
            "unbloat_images_over_threshold",
            "Images in use that pass a threshold of a policy",
            metrics.over.clone(),
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
            "unbloat_policy_budget_used",
            "What is spent of a policy's hour (jobs) and day (bytes)",
            metrics.budget.clone(),
        );
        metrics
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

    pub(super) fn show(&self, figures: &Figures) {
        for (verdict, count) in &figures.verdicts {
            self.images.get_or_create(&VerdictLabel { verdict }).set(*count);
        }
        // Policies come and go.
        self.over.clear();
        for (policy, threshold, count) in &figures.over {
            self.over.get_or_create(&ThresholdLabels { policy: policy.clone(), threshold }).set(*count);
        }
        self.max_layers.set(figures.max_layers);
        self.max_bytes.set(figures.max_bytes);
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
