{{- /* Names of the priority classes in use: the one that was named, else the chart's own, else none. */ -}}
{{- define "unbloat.operatorPriority" -}}
{{- if .Values.priorityClassName }}{{ .Values.priorityClassName }}
{{- else if and .Values.priorityClasses.create (not .Values.namespace) }}{{ include "unbloat.fullname" . }}-operator
{{- end }}
{{- end }}

{{- define "unbloat.workerPriority" -}}
{{- if .Values.config.worker.priorityClassName }}{{ .Values.config.worker.priorityClassName }}
{{- else if and .Values.priorityClasses.create (not .Values.namespace) }}{{ include "unbloat.fullname" . }}-worker
{{- end }}
{{- end }}
