{{/* `helm install eventpipeline …` makes eventpipeline-operator. */}}
{{- define "operator.name" -}}
{{- .Release.Name | trimSuffix "-operator" | trunc 40 | trimSuffix "-" }}-operator
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: eventpipeline-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/part-of: eventpipeline
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "operator.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "operator.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int64 .Values.runAsUser }}
  runAsGroup: {{ int64 .Values.runAsUser }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "operator.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}
