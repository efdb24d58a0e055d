{{- define "unbloat.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "unbloat.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "unbloat.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "unbloat.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "unbloat.selectorLabels" -}}
app.kubernetes.io/name: {{ include "unbloat.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Of the pod of `helm test`: not those of the operator, which the Service selects by. */ -}}
{{- define "unbloat.testLabels" -}}
app.kubernetes.io/name: {{ include "unbloat.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "unbloat.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "unbloat.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "unbloat.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "unbloat.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Reference of an image, by digest where one is given; a repository on no registry is left as it is. */ -}}
{{- define "unbloat.image" -}}
{{- $tag := default .appVersion .image.tag -}}
{{- if .image.registry }}{{ .image.registry }}/{{ end }}{{ .image.repository }}:{{ $tag }}
{{- with .image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "unbloat.config" -}}
{{- $config := deepCopy .Values.config }}
{{- $worker := get $config "worker" }}
{{- $_ := set $worker "image" (include "unbloat.image" (dict "image" .Values.workerImage "appVersion" .Chart.AppVersion)) }}
{{- if not (hasKey $worker "imagePullPolicy") }}
{{- $_ := set $worker "imagePullPolicy" .Values.workerImage.pullPolicy }}
{{- end }}
{{- with include "unbloat.workerPriority" . }}
{{- $_ := set $worker "priorityClassName" . }}
{{- end }}
{{- with include "unbloat.proxyEnv" . | fromYaml }}
{{- /* What is named itself goes before. */}}
{{- $_ := set $worker "env" (merge (deepCopy ($worker.env | default dict)) .) }}
{{- end }}
{{- /* One kind of scratch: the default gives way to what was asked for. */}}
{{- if or $worker.scratch.ephemeral $worker.scratch.persistentVolumeClaim }}
{{- $_ := unset $worker.scratch "emptyDir" }}
{{- end }}
{{- toYaml $config }}
{{- end }}
