//! What the operator's own account may write, checked by the API server: a stolen token makes workers of ours
//! and nothing else.
//!
//! One text for the manifests and the chart; the account, the image and the ConfigMap of authorities are
//! filled in.

use anyhow::Result;

use crate::generated::Generated;

const HEADER: &str = "Generated from xtask/src/admission.rs by `cargo xtask generate`.";

/// What differs between the manifests and the chart.
struct Place<'a> {
    name: &'a str,
    labels: &'a str,
    account: &'a str,
    namespace: &'a str,
    image: &'a str,
    ca_config_map: &'a str,
    /// Whom the tokens may be for that a worker has, as a list's items in CEL.
    audiences: &'a str,
}

/// All of them.
pub(crate) fn generate() -> Result<Vec<Generated>> {
    let plain = policies(&Place {
        name: "unbloat-operator",
        labels: "",
        account: "system:serviceaccount:unbloat-system:unbloat-operator",
        namespace: "unbloat-system",
        image: "ghcr.io/unbloat/worker:0.1.0",
        ca_config_map: "",
        audiences: "",
    });
    let templated = policies(&Place {
        name: "{{ include \"unbloat.fullname\" . }}",
        labels: "  labels: {{- include \"unbloat.labels\" . | nindent 4 }}\n",
        account: "system:serviceaccount:{{ .Release.Namespace }}:{{ include \"unbloat.serviceAccountName\" . }}",
        namespace: "{{ .Release.Namespace }}",
        image: "{{ include \"unbloat.image\" (dict \"image\" .Values.workerImage \"appVersion\" .Chart.AppVersion) }}",
        ca_config_map: "{{ .Values.config.worker.caConfigMap | default \"\" }}",
        audiences: AUDIENCES,
    });
    let condition = "{{- if and .Values.admissionPolicy.enabled (eq .Values.namespace \"\") }}";
    Ok(vec![
        ("config/admission/policy.yaml".into(), format!("# {HEADER}\n{plain}")),
        (
            "charts/unbloat/templates/admission-policy.yaml".into(),
            format!("# {HEADER}\n{condition}\n{templated}{{{{- end }}}}\n"),
        ),
    ])
}

fn policies(place: &Place<'_>) -> String {
    let Place { name, labels, account, namespace, image, ca_config_map, audiences } = place;
    let workers = WORKERS
        .replace("IMAGE", image)
        .replace("CA_CONFIG_MAP", ca_config_map)
        .replace("AUDIENCES", audiences)
        .replace("NAMESPACE", namespace);
    let one = |suffix: &str, rules: &str, checks: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata:\n  name: \
             {name}-{suffix}\n{labels}spec:\n  failurePolicy: Fail\n  matchConstraints:\n    resourceRules:\n{rules}  \
             matchConditions:\n    - name: by-the-operator\n      expression: request.userInfo.username == '{account}'\n\
             {checks}---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\n\
             metadata:\n  name: {name}-{suffix}\n{labels}spec:\n  policyName: {name}-{suffix}\n  validationActions: \
             [Deny]\n"
        )
    };
    let jobs = "      - apiGroups: [batch]\n        apiVersions: [v1]\n        operations: [CREATE, UPDATE, DELETE]\n        \
                resources: [jobs]\n";
    let ends = "      - apiGroups: [unbloat.dev]\n        apiVersions: [\"*\"]\n        operations: [DELETE]\n        \
                resources: [imagesquashjobs]\n";
    let workloads = "      - apiGroups: [apps]\n        apiVersions: [v1]\n        operations: [CREATE, UPDATE, DELETE]\n        \
                     resources: [deployments, statefulsets, daemonsets, replicasets]\n";
    [one("workers", jobs, &workers), one("deletions", ends, DELETIONS), one("rollouts", workloads, ROLLOUTS)]
        .join("---\n")
}

/// The audiences of the clouds that the chart's values allow. Nothing stands for what has none: an empty
/// audience is the API server's own.
const AUDIENCES: &str = "{{ range $at, $cloud := without .Values.config.overrides.cloudIdentities \"GCP\" }}{{ if $at }}, {{ end }}'{{ get (dict \"AWS\" \"sts.amazonaws.com\" \"Azure\" \"api://AzureADTokenExchange\") $cloud | required \"config.overrides.cloudIdentities: AWS, Azure or GCP\" }}'{{ end }}";

/// A workload is pointed at another image, and nothing else of it changes: what it mounts, may do and runs
/// with stays. Each image is one that the annotation tells, by digest where it isn't the original that it
/// gets back.
const ROLLOUTS: &str = r#"  variables:
    - name: updates
      expression: request.operation == 'UPDATE'
    - name: before
      expression: oldObject.spec.template.spec
    - name: after
      expression: object.spec.template.spec
    - name: told
      expression: object.metadata.?annotations['unbloat.dev/rollout'].orValue('')
    - name: was
      expression: variables.before.containers + variables.before.?initContainers.orValue([])
    - name: now
      expression: variables.after.containers + variables.after.?initContainers.orValue([])
  validations:
    - expression: variables.updates
      message: the operator makes and deletes no workload
    - expression: >-
        variables.updates && object.spec.?replicas == oldObject.spec.?replicas &&
        object.spec.selector == oldObject.spec.selector && object.spec.template.?metadata == oldObject.spec.template.?metadata &&
        variables.after.?volumes == variables.before.?volumes &&
        variables.after.?serviceAccountName == variables.before.?serviceAccountName &&
        variables.after.?automountServiceAccountToken == variables.before.?automountServiceAccountToken &&
        variables.after.?securityContext == variables.before.?securityContext &&
        variables.after.?hostNetwork == variables.before.?hostNetwork && variables.after.?hostPID == variables.before.?hostPID &&
        variables.after.?hostIPC == variables.before.?hostIPC && variables.after.?nodeName == variables.before.?nodeName &&
        variables.after.?nodeSelector == variables.before.?nodeSelector &&
        variables.after.?imagePullSecrets == variables.before.?imagePullSecrets &&
        variables.after.?ephemeralContainers == variables.before.?ephemeralContainers
      message: the operator changes nothing of a workload but its images
    - expression: >-
        variables.updates && variables.now.size() == variables.was.size() && variables.now.all(now,
        variables.was.exists(was, was.name == now.name && now.?command == was.?command && now.?args == was.?args &&
        now.?env == was.?env && now.?envFrom == was.?envFrom && now.?securityContext == was.?securityContext &&
        now.?volumeMounts == was.?volumeMounts && now.?volumeDevices == was.?volumeDevices &&
        now.?lifecycle == was.?lifecycle && now.?workingDir == was.?workingDir && now.?ports == was.?ports &&
        now.?resources == was.?resources && now.?livenessProbe == was.?livenessProbe &&
        now.?readinessProbe == was.?readinessProbe && now.?startupProbe == was.?startupProbe &&
        (now.image == was.image || (variables.told.contains('"' + now.image + '"') &&
        (now.image.contains('@') || variables.told.contains('"RolloutReverted"'))))))
      message: the operator points a workload at a result by its digest, or gives it its original back, and tells it in the annotation
"#;

/// A worker's Job: ours by its owner, our image and arguments, no token, nothing of the host.
const WORKERS: &str = r"  variables:
    - name: owned
      expression: >-
        (request.operation == 'DELETE' ? oldObject : object).metadata.?ownerReferences.orValue([]).exists(owner,
        owner.kind == 'ImageSquashJob' && owner.apiVersion.startsWith('unbloat.dev/') && owner.?controller.orValue(false)) ||
        (request.namespace == 'NAMESPACE' &&
        (request.operation == 'DELETE' ? oldObject : object).metadata.name.startsWith('unbloat-analyze-'))
    - name: deletes
      expression: request.operation == 'DELETE'
    - name: pod
      expression: '(request.operation == ''DELETE'' ? oldObject : object).spec.template.spec'
    - name: volumes
      expression: variables.pod.?volumes.orValue([])
  validations:
    - expression: variables.owned
      message: the operator touches only Jobs whose controller is an ImageSquashJob, and analyses in its own namespace
    - expression: variables.deletes || request.operation == 'CREATE'
      message: the operator changes no Job
    - expression: >-
        variables.deletes || (variables.pod.containers.size() == 1 && variables.pod.containers[0].image == 'IMAGE' &&
        variables.pod.?initContainers.orValue([]).size() == 0 && !has(variables.pod.containers[0].command) &&
        variables.pod.containers[0].?args.orValue([]) == ['--spec', '/etc/unbloat/spec.json'])
      message: the operator runs the worker's image and nothing else
    - expression: >-
        variables.deletes || (variables.pod.?automountServiceAccountToken.orValue(true) == false &&
        variables.volumes.all(volume, !has(volume.projected) || volume.projected.?sources.orValue([]).all(source,
        has(source.serviceAccountToken) && !has(source.secret) && !has(source.configMap) && !has(source.downwardAPI) &&
        source.serviceAccountToken.?audience.orValue('') in [AUDIENCES])))
      message: a worker has no token but one for a cloud that the platform allows
    - expression: >-
        variables.deletes || (!variables.pod.?hostNetwork.orValue(false) && !variables.pod.?hostPID.orValue(false) &&
        !variables.pod.?hostIPC.orValue(false) && !has(variables.pod.nodeName) && variables.volumes.all(volume,
        has(volume.secret) || has(volume.configMap) || has(volume.downwardAPI) || has(volume.emptyDir) ||
        has(volume.ephemeral) || has(volume.persistentVolumeClaim) || has(volume.projected)))
      message: a worker has nothing of its host
    - expression: >-
        variables.deletes || variables.volumes.all(volume, !has(volume.secret) ||
        (volume.secret.?items.orValue([]).size() > 0 &&
        volume.secret.items.all(item, item.key in ['.dockerconfigjson', '.dockercfg'])))
      message: a worker mounts the docker configuration of a secret and nothing else of it
    - expression: >-
        variables.deletes || variables.volumes.all(volume, !has(volume.configMap) || volume.configMap.name == 'CA_CONFIG_MAP')
      message: a worker mounts the ConfigMap of certificate authorities and no other
    - expression: >-
        variables.deletes || (variables.pod.containers[0].?envFrom.orValue([]).size() == 0 &&
        variables.pod.containers[0].?env.orValue([]).all(variable, !has(variable.valueFrom)) &&
        !has(variables.pod.containers[0].lifecycle))
      message: a worker's environment is literal
    - expression: >-
        variables.deletes || (variables.pod.?securityContext.runAsNonRoot.orValue(false) &&
        variables.pod.?securityContext.runAsUser.orValue(65532) > 0 &&
        variables.pod.?securityContext.seccompProfile.type.orValue('') == 'RuntimeDefault' &&
        variables.pod.containers[0].?securityContext.allowPrivilegeEscalation.orValue(true) == false &&
        variables.pod.containers[0].?securityContext.readOnlyRootFilesystem.orValue(false) &&
        !variables.pod.containers[0].?securityContext.privileged.orValue(false) &&
        variables.pod.containers[0].?securityContext.runAsUser.orValue(65532) > 0 &&
        variables.pod.containers[0].?securityContext.capabilities.drop.orValue([]).exists(name, name == 'ALL') &&
        variables.pod.containers[0].?securityContext.capabilities.add.orValue([]).size() == 0)
      message: a worker is restricted
";

/// What the operator deletes of ImageSquashJobs: those whose time to live is over.
const DELETIONS: &str = r"  validations:
    - expression: has(oldObject.status) && has(oldObject.status.completionTime)
      message: the operator deletes only ImageSquashJobs that have ended
";
