{{- /* The proxy of operator and workers as their environment. What is in the cluster is not asked through it. */ -}}
{{- define "unbloat.proxyEnv" -}}
{{- with .Values.proxy }}
{{- if or .https .http }}
{{- with .https }}
HTTPS_PROXY: {{ . | quote }}
{{- end }}
{{- with .http }}
HTTP_PROXY: {{ . | quote }}
{{- end }}
NO_PROXY: {{ concat .noProxy (list ".svc" ".cluster.local") | uniq | join "," | quote }}
{{- end }}
{{- end }}
{{- end }}
