{{/*
Everything is named after the release, which is the pipeline: `marketing-gateway`.
The longest suffix is that of a collector, and a name has at most 63 characters.
*/}}
{{- define "eventpipeline.name" -}}
{{- if gt (len .Release.Name) 40 }}{{ fail (printf "the release name %q is longer than 40 characters; names of objects are made from it" .Release.Name) }}{{ end -}}
{{ .Release.Name }}
{{- end }}

{{/* The labels that never change, for selectors, pods and claims. No version: it would replace what has not changed. */}}
{{- define "eventpipeline.selector" -}}
app.kubernetes.io/name: eventpipeline
app.kubernetes.io/instance: {{ include "eventpipeline.name" .root }}
app.kubernetes.io/component: {{ .component }}
{{- with .source }}
eventpipeline.dev/source: {{ . }}
{{- end }}
{{- end }}

{{- define "eventpipeline.labels" -}}
{{ include "eventpipeline.selector" . }}
app.kubernetes.io/part-of: eventpipeline
app.kubernetes.io/managed-by: {{ .root.Values.managedBy | default .root.Release.Service }}
{{- end }}

{{/* dict root, name (without the pipeline's), component, [source], [annotations] */}}
{{- define "eventpipeline.metadata" -}}
name: {{ include "eventpipeline.name" .root }}{{ with .name }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "eventpipeline.labels" . | nindent 2 }}
{{- end }}

{{- define "eventpipeline.image" -}}
{{- $tag := .image.tag | default .root.Chart.AppVersion -}}
image: {{ .image.repository }}{{ if .image.digest }}@{{ .image.digest }}{{ else }}:{{ $tag }}{{ end }}
imagePullPolicy: {{ .image.pullPolicy | default "IfNotPresent" }}
{{- end }}

{{- define "eventpipeline.secretName" -}}
{{- if not .Values.auth.existingSecret }}
{{- fail (printf "auth.existingSecret is required: the name of a Secret with the passwords. Make one with\n\n  %s\n\nand add --set auth.existingSecret=%s-auth" (include "eventpipeline.makeSecret" (dict "root" . "name" (printf "%s-auth" .Release.Name))) .Release.Name) }}
{{- end -}}
{{ .Values.auth.existingSecret }}
{{- end }}

{{/* One line for a shell. Each login of NATS stands twice: for who logs in, and for the servers. */}}
{{- define "eventpipeline.makeSecret" -}}
{{- $users := dict "eventpipeline" "nats-" "gateway" "nats-gateway-" "collector" "nats-collector-" "reporter" "nats-reporter-" -}}
new() { openssl rand -hex 24; }; {{ range $user, $key := $users }}{{ $user }}=$(new); {{ end -}}
kubectl -n {{ .root.Release.Namespace }} create secret generic {{ .name }} --from-literal=nats-route-password=$(new) {{ range $user, $key := $users }}--from-literal={{ $key }}user={{ $user }} --from-literal={{ $key }}password=${{ $user }} {{ end -}}
--from-literal=nats-passwords.conf="$(printf '%s_PASSWORD: "%s"\n'{{ range $user, $key := $users }} {{ upper $user }} ${{ $user }} {{ upper $user }}_B $(new){{ end }})" {{/*
*/}}--from-literal=postgres-user=eventpipeline_a --from-literal=postgres-password=$(new) --from-literal=postgres-reporter-password=$(new) --from-literal=postgres-owner-password=$(new)
{{- end }}

{{/*
The environment of a process. What others use as $(NAME) has to stand before them.
dict root, process
*/}}
{{- define "eventpipeline.environment" -}}
- name: PIPELINE
  value: {{ include "eventpipeline.name" .root | quote }}
{{- $root := .root }}
{{- range .process.secretEnvironment }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret | default (include "eventpipeline.secretName" $root) }}
      key: {{ .key }}
{{- end }}
{{- range $name, $value := .process.environment }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* What every pod has, in the sense of the Pod Security Standard `restricted`. dict root, component, user, [source] */}}
{{- define "eventpipeline.pod" -}}
serviceAccountName: {{ include "eventpipeline.name" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int64 .user }}
  runAsGroup: {{ int64 .user }}
  fsGroup: {{ int64 .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* Of what connects to external servers. Not by subPath, which would stay as it was when the Secret changes. */}}
{{- define "eventpipeline.certificateMounts" -}}
{{- range .certificates }}
- {name: {{ .server }}-tls, mountPath: /etc/eventpipeline/tls/{{ .server }}, readOnly: true}
{{- end }}
{{- end }}

{{/* libpq refuses a key that others may read; the pod's group may. */}}
{{- define "eventpipeline.certificateVolumes" -}}
{{- range .certificates }}
- name: {{ .server }}-tls
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ .ca.name }}
          items:
            - {key: {{ .ca.key | quote }}, path: ca.crt}
      {{- with .clientSecret }}
      - secret:
          name: {{ . }}
          items:
            - {key: tls.crt, path: tls.crt}
            - {key: tls.key, path: tls.key}
      {{- end }}
{{- end }}
{{- end }}

{{- define "eventpipeline.spread" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "eventpipeline.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}

{{- define "eventpipeline.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "eventpipeline.resources" -}}
resources:
  {{- range $kind := list "requests" "limits" }}
  {{- with index $.resources $kind }}
  {{ $kind }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* A claim template, which can never change. dict root, component, persistence */}}
{{- define "eventpipeline.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: data
    labels:
      {{- include "eventpipeline.selector" . | nindent 6 }}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .persistence.storageClassName }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ .persistence.size }}
{{- end }}
