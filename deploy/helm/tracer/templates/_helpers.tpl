{{- define "tracer.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tracer.selector" -}}
app.kubernetes.io/name: tracer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tracer.labels" -}}
{{ include "tracer.selector" . }}
app.kubernetes.io/component: agent
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tracer.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{ .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- /* The API server rejects a privileged container that may not escalate: it may anyway. */}}
{{- define "tracer.mayEscalate" -}}
{{- or .Values.securityContext.privileged .Values.securityContext.allowPrivilegeEscalation }}
{{- end }}

{{- define "tracer.securityContext" -}}
{{- $escalate := eq (include "tracer.mayEscalate" .) "true" -}}
{{- merge (dict "allowPrivilegeEscalation" $escalate) .Values.securityContext | toYaml }}
{{- end }}

{{- define "tracer.priorityClass" -}}
{{- .Values.priorityClass.name | default (ternary (include "tracer.name" .) "" .Values.priorityClass.create) }}
{{- end }}

{{- /* The operator's own labels would stand where ours are absent; the instance is the node, which outlives its pods. */}}
{{- define "tracer.relabelings" -}}
- action: labeldrop
  regex: namespace|pod|container|endpoint|service
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: instance
{{- end }}
