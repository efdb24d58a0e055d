{{- /* Generated from xtask/src/rbac.rs by `cargo xtask generate`. */ -}}

{{- define "unbloat.rules" -}}
- apiGroups: [unbloat.dev]
  resources: [imagesquashjobs]
  # delete: ttlSecondsAfterFinished
  verbs: [get, list, watch, delete]
- apiGroups: [unbloat.dev]
  resources: [imagesquashjobs/status]
  verbs: [patch]
- apiGroups: [unbloat.dev]
  resources: [imagesquashjobs/finalizers]
  # owner references with blockOwnerDeletion need it where OwnerReferencesPermissionEnforcement is on
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  # the workers of squashes
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  # why the API server makes no pod of a worker's Job
  verbs: [list]
- apiGroups: [""]
  resources: [serviceaccounts]
  # names of image pull secrets, not the secrets
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "unbloat.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  # a name can't be checked for what doesn't exist yet
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "unbloat.fullname" . }}]
  verbs: [get, update]
{{- end }}

{{- define "unbloat.viewerRules" -}}
- apiGroups: [unbloat.dev]
  resources: [imagesquashjobs, imagereports]
  verbs: [get, list, watch]
{{- end }}

{{- define "unbloat.editorRules" -}}
- apiGroups: [unbloat.dev]
  resources: [imagesquashjobs]
  verbs: [create, update, patch, delete, deletecollection]
{{- end }}

{{- define "unbloat.detectorRules" -}}
- apiGroups: [unbloat.dev]
  resources: [imagesquashpolicies]
  verbs: [get, list, watch]
- apiGroups: [unbloat.dev]
  resources: [imagereports]
  verbs: [get, list, watch, create, delete]
- apiGroups: [unbloat.dev]
  resources: [imagesquashpolicies/status, imagereports/status]
  verbs: [patch]
- apiGroups: [unbloat.dev]
  resources: [imagesquashjobs]
  # the jobs of policies; patch resumes a planned one
  verbs: [create, patch]
- apiGroups: [""]
  resources: [namespaces]
  # labels alone
  verbs: [list, watch]
- apiGroups: [apps]
  resources: [replicasets, deployments, statefulsets, daemonsets]
  # metadata alone: who owns a pod; templates where an original's time is over
  verbs: [list, watch]
- apiGroups: [batch]
  resources: [cronjobs]
  # likewise
  verbs: [list, watch]
- apiGroups: [devbox.sealos.io]
  resources: [devboxes]
  # likewise: one that is stopped has an image and no pod
  verbs: [list]
{{- end }}

{{- define "unbloat.rolloutsRules" -}}
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  # patch: images of pod templates, which the admission policy holds it to
  verbs: [get, patch]
{{- end }}

{{- define "unbloat.credentialsRules" -}}
- apiGroups: [""]
  resources: [secrets]
  # those of type kubernetes.io/dockerconfigjson
  verbs: [list, watch]
{{- end }}

{{- define "unbloat.policyEditorRules" -}}
- apiGroups: [unbloat.dev]
  resources: [imagesquashpolicies]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
{{- end }}
