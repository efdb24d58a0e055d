//! What the operator and its users may do: one table, from which the manifests and the chart are made.

use std::fmt::Write as _;

use anyhow::Result;

use crate::generated::Generated;

/// One rule, and what it is for.
struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
}

const fn rule(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule { group, resources, verbs, why }
}

/// What the operator may do in the namespaces that it works in. It reads no secrets there: workers mount
/// them.
const OPERATOR: &[Rule] = &[
    rule(
        "unbloat.dev",
        &["imagesquashjobs"],
        &["get", "list", "watch", "delete"],
        "delete: ttlSecondsAfterFinished",
    ),
    rule("unbloat.dev", &["imagesquashjobs/status"], &["patch"], ""),
    rule(
        "unbloat.dev",
        &["imagesquashjobs/finalizers"],
        &["update"],
        "owner references with blockOwnerDeletion need it where OwnerReferencesPermissionEnforcement is on",
    ),
    rule("batch", &["jobs"], &["get", "list", "watch", "create", "delete"], "the workers of squashes"),
    rule("", &["pods"], &["list", "watch"], ""),
    rule("", &["events"], &["list"], "why the API server makes no pod of a worker's Job"),
    rule("", &["serviceaccounts"], &["get"], "names of image pull secrets, not the secrets"),
    rule("events.k8s.io", &["events"], &["create"], ""),
];

/// What finding and repairing by itself needs, in all namespaces: policies are of the cluster.
const DETECTOR: &[Rule] = &[
    rule("unbloat.dev", &["imagesquashpolicies"], &["get", "list", "watch"], ""),
    rule("unbloat.dev", &["imagereports"], &["get", "list", "watch", "create", "delete"], ""),
    rule("unbloat.dev", &["imagesquashpolicies/status", "imagereports/status"], &["patch"], ""),
    rule(
        "unbloat.dev",
        &["imagesquashjobs"],
        &["create", "patch"],
        "the jobs of policies; patch resumes a planned one",
    ),
    rule("", &["namespaces"], &["list", "watch"], "labels alone"),
    rule(
        "apps",
        &["replicasets", "deployments", "statefulsets", "daemonsets"],
        &["list", "watch"],
        "metadata alone: who owns a pod; templates where an original's time is over",
    ),
    rule("batch", &["cronjobs"], &["list", "watch"], "likewise"),
    rule(
        "devbox.sealos.io",
        &["devboxes"],
        &["list"],
        "likewise: one that is stopped has an image and no pod",
    ),
];

/// What pointing workloads at results needs, where `detection.rollouts` allows it.
const ROLLOUTS: &[Rule] = &[rule(
    "apps",
    &["deployments", "statefulsets", "daemonsets"],
    &["get", "patch"],
    "patch: images of pod templates, which the admission policy holds it to",
)];

/// In the operator's own namespace alone: the platform's credentials for inspecting images.
const CREDENTIALS: &[Rule] =
    &[rule("", &["secrets"], &["list", "watch"], "those of type kubernetes.io/dockerconfigjson")];

/// What is added to the standard roles `view`, `edit` and `admin`.
const VIEWER: &[Rule] =
    &[rule("unbloat.dev", &["imagesquashjobs", "imagereports"], &["get", "list", "watch"], "")];

/// What a platform team may bind: policies are of the cluster, so no standard role has them.
const POLICY_EDITOR: &[Rule] = &[rule(
    "unbloat.dev",
    &["imagesquashpolicies"],
    &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
    "",
)];

/// What is added to the standard roles `edit` and `admin`.
const EDITOR: &[Rule] = &[rule(
    "unbloat.dev",
    &["imagesquashjobs"],
    &["create", "update", "patch", "delete", "deletecollection"],
    "",
)];

const HEADER: &str = "Generated from xtask/src/rbac.rs by `cargo xtask generate`.";

/// All of them.
pub(crate) fn generate() -> Result<Vec<Generated>> {
    let files = [
        ("config/rbac/operator_role.yaml", operator_role()),
        ("config/rbac/rollouts_role.yaml", rollouts_role()),
        ("config/rbac/lease_role.yaml", lease_role()),
        ("config/rbac/user_roles.yaml", user_roles()),
        ("config/rbac/credentials_role.yaml", credentials_role()),
        ("charts/unbloat/templates/_rbac.tpl", templates()),
    ];
    Ok(files.map(|(path, text)| (path.into(), text)).into())
}

fn rules(rules: &[Rule], indent: &str) -> String {
    let mut text = String::new();
    for Rule { group, resources, verbs, why } in rules {
        let group = if group.is_empty() { "\"\"" } else { group };
        let lines = [
            Some(format!("- apiGroups: [{group}]")),
            Some(format!("  resources: [{}]", resources.join(", "))),
            (!why.is_empty()).then(|| format!("  # {why}")),
            Some(format!("  verbs: [{}]", verbs.join(", "))),
        ];
        for line in lines.into_iter().flatten() {
            let _ = writeln!(text, "{indent}{line}");
        }
    }
    text
}

/// The lease alone, by its name; a name can't be checked for what doesn't exist yet.
fn lease_rules(name: &str, indent: &str) -> String {
    format!(
        "{indent}- apiGroups: [coordination.k8s.io]\n{indent}  resources: [leases]\n\
         {indent}  # a name can't be checked for what doesn't exist yet\n{indent}  verbs: [create]\n\
         {indent}- apiGroups: [coordination.k8s.io]\n{indent}  resources: [leases]\n\
         {indent}  resourceNames: [{name}]\n{indent}  verbs: [get, update]\n"
    )
}

fn operator_role() -> String {
    format!(
        "# {HEADER}\n# What the operator may do in the namespaces that it works in. It reads no secrets: workers mount \
         them.\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: unbloat-operator\nrules:\n{}",
        rules(OPERATOR, "  ") + &rules(DETECTOR, "  ")
    )
}

fn rollouts_role() -> String {
    format!(
        "# {HEADER}\n# To be added where the operator's configuration has `detection.rollouts: true`.\napiVersion: \
         rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: unbloat-operator-rollouts\nrules:\n{}---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: \
         unbloat-operator-rollouts\nroleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: \
         unbloat-operator-rollouts\nsubjects:\n  - kind: ServiceAccount\n    name: unbloat-operator\n    namespace: \
         unbloat-system\n",
        rules(ROLLOUTS, "  ")
    )
}

fn credentials_role() -> String {
    format!(
        "# {HEADER}\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: unbloat-operator-credentials\n  \
         namespace: unbloat-system\nrules:\n{}---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata:\n  name: unbloat-operator-credentials\n  namespace: unbloat-system\nroleRef:\n  apiGroup: \
         rbac.authorization.k8s.io\n  kind: Role\n  name: unbloat-operator-credentials\nsubjects:\n  - kind: \
         ServiceAccount\n    name: unbloat-operator\n    namespace: unbloat-system\n",
        rules(CREDENTIALS, "  ")
    )
}

fn lease_role() -> String {
    format!(
        "# {HEADER}\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: unbloat-operator-lease\n  \
         namespace: unbloat-system\nrules:\n{}---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
         metadata:\n  name: unbloat-operator-lease\n  namespace: unbloat-system\nroleRef:\n  apiGroup: \
         rbac.authorization.k8s.io\n  kind: Role\n  name: unbloat-operator-lease\nsubjects:\n  - kind: ServiceAccount\n    \
         name: unbloat-operator\n    namespace: unbloat-system\n",
        lease_rules("unbloat-operator", "  ")
    )
}

fn user_roles() -> String {
    let role = |name: &str, to: &[&str], what: &[Rule]| {
        let labels: String = to
            .iter()
            .map(|to| format!("    rbac.authorization.k8s.io/aggregate-to-{to}: \"true\"\n"))
            .collect();
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: unbloat-{name}\n{}\
             {labels}rules:\n{}",
            if to.is_empty() { "" } else { "  labels:\n" },
            rules(what, "  ")
        )
    };
    format!(
        "# {HEADER}\n# The first two are added to the standard roles view, edit and admin.\n{}---\n{}---\n{}",
        role("viewer", &["view", "edit", "admin"], VIEWER),
        role("editor", &["edit", "admin"], EDITOR),
        role("policy-editor", &[], POLICY_EDITOR)
    )
}

fn templates() -> String {
    let mut text = format!("{{{{- /* {HEADER} */ -}}}}\n");
    for (name, body) in [
        ("rules", rules(OPERATOR, "")),
        ("leaseRules", lease_rules("{{ include \"unbloat.fullname\" . }}", "")),
        ("viewerRules", rules(VIEWER, "")),
        ("editorRules", rules(EDITOR, "")),
        ("detectorRules", rules(DETECTOR, "")),
        ("rolloutsRules", rules(ROLLOUTS, "")),
        ("credentialsRules", rules(CREDENTIALS, "")),
        ("policyEditorRules", rules(POLICY_EDITOR, "")),
    ] {
        let _ = write!(text, "\n{{{{- define \"unbloat.{name}\" -}}}}\n{body}{{{{- end }}}}\n");
    }
    text
}
