{{- define "unbloat.dnsEgress" -}}
# Names.
- to: {{- toYaml .dns.to | nindent 4 }}
  ports: [{port: {{ .dns.port }}, protocol: UDP}, {port: {{ .dns.port }}, protocol: TCP}]
{{- end }}

{{- define "unbloat.registryEgress" -}}
# Registries.
- to:
    {{- range $cidr := .registries.cidrs }}
    - ipBlock:
        cidr: {{ $cidr | quote }}
        {{- /* An exception has to lie within the block, so those of the other family are left out. */}}
        {{- $except := list }}
        {{- range $.registries.except }}
        {{- if eq (contains ":" .) (contains ":" $cidr) }}
        {{- $except = append $except . }}
        {{- end }}
        {{- end }}
        {{- if and $except (hasSuffix "/0" $cidr) }}
        except: {{- toYaml $except | nindent 10 }}
        {{- end }}
    {{- end }}
    {{- with .registries.pods }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- range .registries.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
