{{- /* Two releases that serve the same objects would each undo what the other does. What is installed already says whom it serves.
Who installs a release for one namespace may be allowed to look at that one's alone. */ -}}
{{- define "unbloat.refuseOverlap" -}}
{{- $own := . }}
{{- range (lookup "apps/v1" "Deployment" (ternary "" .Release.Namespace (eq .Values.namespace "")) "").items }}
{{- $labels := .metadata.labels | default dict }}
{{- if hasKey $labels "unbloat.dev/class" }}
{{- $is_own := and (eq .metadata.namespace $own.Release.Namespace) (eq .metadata.name (include "unbloat.fullname" $own)) }}
{{- $elsewhere := index (.metadata.annotations | default dict) "unbloat.dev/namespace" | default "" }}
{{- $meets := or (eq $elsewhere "") (eq $own.Values.namespace "") (eq $elsewhere $own.Values.namespace) }}
{{- if and (not $is_own) $meets (eq (index $labels "unbloat.dev/class") $own.Values.config.class) }}
{{- fail (printf "%s in namespace %s already serves objects of the class %q; give this release one of its own with config.class" .metadata.name .metadata.namespace $own.Values.config.class) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
