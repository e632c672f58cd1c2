{{/*
One of our services: its Deployment, autoscaler and disruption budget.
dict root, name, component, command, [source], service (its values), gracePeriod (seconds), [drain] (seconds before
SIGTERM, while the pod is taken out of the Services), [migrate]
*/}}
{{- define "eventpipeline.service" -}}
{{- $port := int64 (index .service.environment "PORT") }}
{{- $scaled := lt (int64 .service.autoscaling.minReplicas) (int64 .service.autoscaling.maxReplicas) }}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "eventpipeline.metadata" . | nindent 2 }}
spec:
  {{- if not $scaled }}
  replicas: {{ int64 .service.autoscaling.minReplicas }}
  {{- end }}
  revisionHistoryLimit: 3
  progressDeadlineSeconds: 600
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}
  selector:
    matchLabels:
      {{- include "eventpipeline.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "eventpipeline.selector" . | nindent 8 }}
        app.kubernetes.io/part-of: eventpipeline
      {{- with .service.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "eventpipeline.pod" (dict "root" .root "user" .root.Values.runAsUser) | nindent 6 }}
      {{- include "eventpipeline.spread" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ int64 .gracePeriod }}
      {{- if .migrate }}
      initContainers:
        - name: migrate
          {{- include "eventpipeline.image" (dict "root" .root "image" .root.Values.image) | nindent 10 }}
          # Postgres may still be on its way; one that refuses for good shows here as the reason.
          command: [eventpipeline, migrate, --wait, "60"]
          env:
            {{- include "eventpipeline.environment" (dict "root" .root "process" .root.Values.migrate) | nindent 12 }}
          {{- include "eventpipeline.resources" (dict "resources" .service.resources) | nindent 10 }}
          terminationMessagePolicy: FallbackToLogsOnError
          {{- include "eventpipeline.containerSecurity" . | nindent 10 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- include "eventpipeline.certificateMounts" .root.Values.migrate | nindent 12 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          {{- include "eventpipeline.image" (dict "root" .root "image" .root.Values.image) | nindent 10 }}
          command: [eventpipeline, {{ .command }}]
          env:
            {{- include "eventpipeline.environment" (dict "root" .root "process" .service) | nindent 12 }}
          ports:
            - {name: http, containerPort: {{ $port }}, protocol: TCP}
          startupProbe:
            httpGet: {path: /livez, port: http}
            periodSeconds: 1
            timeoutSeconds: 5
            failureThreshold: 120
          livenessProbe:
            httpGet: {path: /livez, port: http}
            periodSeconds: 10
            timeoutSeconds: 10
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 3
            timeoutSeconds: 5
            failureThreshold: 3
          {{- with .drain }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ int64 . }}}
          {{- end }}
          {{- include "eventpipeline.resources" (dict "resources" .service.resources) | nindent 10 }}
          terminationMessagePolicy: FallbackToLogsOnError
          {{- include "eventpipeline.containerSecurity" . | nindent 10 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .service.keySecrets }}
            - {name: keys, mountPath: /etc/eventpipeline/keys, readOnly: true}
            {{- end }}
            {{- include "eventpipeline.certificateMounts" .service | nindent 12 }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 256Mi}
        {{- include "eventpipeline.certificateVolumes" .service | nindent 8 }}
        {{- with .service.keySecrets }}
        # Not by subPath, which would stay as it was when the Secret changes.
        - name: keys
          projected:
            defaultMode: 0440
            sources:
              {{- range . }}
              {{- $secret := .name }}
              - secret:
                  name: {{ $secret }}
                  items:
                    {{- range .keys }}
                    - {key: {{ . | quote }}, path: {{ printf "%s/%s" $secret . | quote }}}
                    {{- end }}
              {{- end }}
        {{- end }}
---
{{- if $scaled }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "eventpipeline.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "eventpipeline.name" .root }}-{{ .name }}
  minReplicas: {{ int64 .service.autoscaling.minReplicas }}
  maxReplicas: {{ int64 .service.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ int64 .service.autoscaling.targetCPUUtilizationPercent }}
  behavior:
    {{- include "eventpipeline.behavior" (.service.autoscaling.behavior | default dict) | nindent 4 }}
---
{{- end }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "eventpipeline.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "eventpipeline.selector" . | nindent 6 }}
{{- end }}

{{/* Up at once, at most doubled every 15 s; down when two minutes agree, at most half a minute. */}}
{{- define "eventpipeline.behavior" -}}
{{- $up := .scaleUp | default dict }}
{{- $down := .scaleDown | default dict }}
scaleUp:
  stabilizationWindowSeconds: {{ int64 (dig "stabilizationWindowSeconds" 0 $up) }}
  selectPolicy: {{ $up.selectPolicy | default "Max" }}
  policies:
    {{- range $up.policies | default (list (dict "type" "Percent" "value" 100 "periodSeconds" 15) (dict "type" "Pods" "value" 2 "periodSeconds" 15)) }}
    - {type: {{ .type }}, value: {{ int64 .value }}, periodSeconds: {{ int64 .periodSeconds }}}
    {{- end }}
scaleDown:
  stabilizationWindowSeconds: {{ int64 (dig "stabilizationWindowSeconds" 120 $down) }}
  selectPolicy: {{ $down.selectPolicy | default "Max" }}
  policies:
    {{- range $down.policies | default (list (dict "type" "Percent" "value" 50 "periodSeconds" 60)) }}
    - {type: {{ .type }}, value: {{ int64 .value }}, periodSeconds: {{ int64 .periodSeconds }}}
    {{- end }}
{{- end }}

{{/* dict root, name, component, [source], port, [headless] */}}
{{- define "eventpipeline.address" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "eventpipeline.metadata" . | nindent 2 }}
    eventpipeline.dev/metrics: "true"
spec:
  {{- if .headless }}
  clusterIP: None
  {{- end }}
  selector:
    {{- include "eventpipeline.selector" . | nindent 4 }}
  ports:
    - {name: http, port: {{ int64 .port }}, targetPort: http, protocol: TCP, appProtocol: http}
{{- end }}

{{/* dict root, name, component, ingress, port, paths, exact */}}
{{- define "eventpipeline.ingress" -}}
{{- $service := printf "%s-%s" (include "eventpipeline.name" .root) .name }}
{{- $port := .port }}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "eventpipeline.metadata" . | nindent 2 }}
spec:
  {{- with .ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with .ingress.tlsSecretName }}
  tls:
    - hosts: [{{ $.ingress.host | quote }}]
      secretName: {{ . }}
  {{- end }}
  rules:
    - host: {{ .ingress.host | quote }}
      http:
        paths:
          {{- range $path := .paths }}
          - path: {{ $path }}
            pathType: {{ if eq $path "/" }}Exact{{ else }}Prefix{{ end }}
            backend:
              service:
                name: {{ $service }}
                port: {name: http}
          {{- end }}
{{- end }}
