//! Which images a policy matches.

use std::collections::{BTreeMap, BTreeSet};

use unbloat_api::squash_policy::{LabelExpression, LabelOperator, LabelSelector, Selector, SourceKind};

use crate::inventory::{Use, UsingPod};
use crate::pattern;

/// The label that carries a namespace's own name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Labels of a namespace that isn't known.
static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// The pods of a use that a policy is about; those that opt out are among them.
pub fn selected<'u, 'a>(
    selector: &Selector,
    using: &'u Use<'a>,
    namespace_labels: Option<&BTreeMap<String, String>>,
    system: &BTreeSet<String>,
) -> Vec<&'u UsingPod<'a>> {
    let Selector { sources, namespace_selector, pod_selector, images } = selector;
    let labels = namespace_labels.unwrap_or(&NO_LABELS);
    if !sources.contains(&SourceKind::Pods)
        || !holds(namespace_selector, labels)
        || (system.contains(using.namespace) && !names(namespace_selector, using.namespace))
    {
        return Vec::new();
    }
    let is_named = |patterns: &[String], written: &str| {
        patterns.iter().any(|pattern| is_named_by(pattern, using, written))
    };
    using
        .pods
        .iter()
        .filter(|using| holds(pod_selector, &using.pod.labels))
        .filter(|using| is_named(&images.include, using.written) && !is_named(&images.exclude, using.written))
        .collect()
}

/// With `HOST/REPOSITORY`, each `HOST/REPOSITORY:TAG`, and what the pod's spec says.
fn is_named_by(pattern: &str, using: &Use<'_>, written: &str) -> bool {
    let repository = &using.image.repository;
    pattern::matches(pattern, repository)
        || pattern::matches(pattern, written)
        || pattern::matches(pattern, &using.image.reference())
        || using.tags.iter().any(|tag| pattern::matches(pattern, &format!("{repository}:{tag}")))
}

/// Whether labels are what a selector asks for.
pub fn holds(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let LabelSelector { match_labels, match_expressions } = selector;
    match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions.iter().all(|expression| {
            let LabelExpression { key, operator, values } = expression;
            let value = labels.get(key);
            match operator {
                LabelOperator::In => value.is_some_and(|value| values.contains(value)),
                LabelOperator::NotIn => value.is_none_or(|value| !values.contains(value)),
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        })
}

/// Whether a selector asks for a namespace by its name.
fn names(selector: &LabelSelector, namespace: &str) -> bool {
    selector.match_labels.get(NAMESPACE_NAME).is_some_and(|value| value == namespace)
        || selector.match_expressions.iter().any(|expression| {
            expression.key == NAMESPACE_NAME
                && expression.operator == LabelOperator::In
                && expression.values.iter().any(|value| value == namespace)
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{Built, pod, world};

    fn matched(selector: &Value, built: &Built) -> bool {
        let mut world = world();
        world.add(built);
        let uses = world.world.uses();
        let using = uses.values().next().unwrap();
        let system = ["kube-system".to_owned()].into();
        let selector: Selector = serde_json::from_value(selector.clone()).unwrap();
        !selected(&selector, using, world.world.namespaces.get(using.namespace), &system).is_empty()
    }

    #[test]
    fn each_part_of_a_selector_selects() {
        let app = || pod("team", "p", "registry.example/team/app:v1").label("app", "web");
        for (selector, expected) in [
            (json!({}), true),
            (json!({"sources": ["Devboxes"]}), false),
            (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team"}}}), true),
            (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}), false),
            (json!({"podSelector": {"matchLabels": {"app": "web"}}}), true),
            (json!({"podSelector": {"matchLabels": {"app": "db"}}}), false),
            (
                json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "x"]}]}}),
                true,
            ),
            (
                json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}}),
                false,
            ),
            (
                json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}]}}),
                true,
            ),
            (json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}), true),
            (
                json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}}),
                false,
            ),
            (json!({"images": {"include": ["registry.example/*"]}}), true),
            (json!({"images": {"include": ["registry.example/team/app"]}}), true),
            (json!({"images": {"include": ["registry.example/team/app:v1"]}}), true),
            (json!({"images": {"include": ["registry.example/team/app:v2", "*@sha256:*"]}}), true),
            (json!({"images": {"include": ["registry.example/team/app:v2"]}}), false),
            (json!({"images": {"exclude": ["*:v1"]}}), false),
            (json!({"images": {"include": ["other/*"]}}), false),
        ] {
            assert_eq!(matched(&selector, &app()), expected, "{selector}");
        }
    }

    #[test]
    fn an_image_may_be_named_as_the_pod_writes_it() {
        assert!(matched(&json!({"images": {"include": ["nginx*"]}}), &pod("team", "p", "nginx:1")));
        assert!(matched(
            &json!({"images": {"include": ["docker.io/library/nginx"]}}),
            &pod("team", "p", "nginx:1")
        ));
    }

    #[test]
    fn the_platforms_own_namespaces_have_to_be_named() {
        let system = || pod("kube-system", "p", "a.example/b:v1");
        for (selector, expected) in [
            (json!({}), false),
            (
                json!({"namespaceSelector": {"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}}),
                false,
            ),
            (
                json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}),
                true,
            ),
            (
                json!({"namespaceSelector": {"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["kube-system", "a"]}]}}),
                true,
            ),
        ] {
            assert_eq!(matched(&selector, &system()), expected, "{selector}");
        }
    }
}
