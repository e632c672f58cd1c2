{{- define "nats.objects" -}}
{{- $server := dict "root" . "name" "nats" "component" "nats" }}
{{- $name := printf "%s-nats" (include "eventpipeline.name" .) }}
{{- $clustered := gt (int64 .Values.nats.replicas) 1 }}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "eventpipeline.metadata" $server | nindent 2 }}
data:
  nats-server.conf: |
    {{- include "nats.config" . | nindent 4 }}
  users.conf: |
    {{- include "nats.users" . | nindent 4 }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "eventpipeline.metadata" $server | nindent 2 }}
spec:
  selector:
    {{- include "eventpipeline.selector" $server | nindent 4 }}
  ports:
    - {name: nats, port: 4222, targetPort: nats, protocol: TCP}
---
# The names of the single servers, also before they are ready: they find one another by them.
apiVersion: v1
kind: Service
metadata:
  {{- include "eventpipeline.metadata" (merge (dict "name" "nats-headless") $server) | nindent 2 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "eventpipeline.selector" $server | nindent 4 }}
  ports:
    - {name: nats, port: 4222, targetPort: nats, protocol: TCP}
    {{- if $clustered }}
    - {name: cluster, port: 6222, targetPort: cluster, protocol: TCP}
    {{- end }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "eventpipeline.metadata" $server | nindent 2 }}
spec:
  replicas: {{ int64 .Values.nats.replicas }}
  serviceName: {{ $name }}-headless
  revisionHistoryLimit: 3
  # All at once: a server of a cluster becomes ready only when most of them are there.
  podManagementPolicy: Parallel
  updateStrategy: {type: RollingUpdate}
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: {{ .Values.deletionPolicy }}
    whenScaled: Retain
  selector:
    matchLabels:
      {{- include "eventpipeline.selector" $server | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "eventpipeline.selector" $server | nindent 8 }}
        app.kubernetes.io/part-of: eventpipeline
      annotations:
        eventpipeline.dev/config-hash: {{ printf "%s%s" (include "nats.config" .) (include "nats.users" .) | sha256sum | trunc 16 | quote }}
        {{- with .Values.nats.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "eventpipeline.pod" (dict "root" . "user" 1000) | nindent 6 }}
      {{- include "eventpipeline.spread" $server | nindent 6 }}
      terminationGracePeriodSeconds: 60
      containers:
        - name: nats
          {{- include "eventpipeline.image" (dict "root" . "image" .Values.nats.image) | nindent 10 }}
          # No shell anywhere: the official image has none.
          command: [nats-server, --config, /etc/nats/nats-server.conf]
          env:
            - name: SERVER_NAME
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
            - name: GOMEMLIMIT
              value: {{ .Values.nats.goMemoryLimit }}
            {{- if $clustered }}
            - name: ROUTE_PASSWORD
              valueFrom:
                secretKeyRef: {name: {{ include "eventpipeline.secretName" . }}, key: nats-route-password}
            - name: QUOTED_PASSWORD
              value: '"$(ROUTE_PASSWORD)"'
            {{- range $ordinal := until (int .Values.nats.replicas) }}
            - name: ROUTE_{{ $ordinal }}
              value: '"nats://route:$(ROUTE_PASSWORD)@{{ $name }}-{{ $ordinal }}.{{ $name }}-headless:6222"'
            {{- end }}
            {{- end }}
          ports:
            - {name: nats, containerPort: 4222, protocol: TCP}
            - {name: monitor, containerPort: 8222, protocol: TCP}
            {{- if $clustered }}
            - {name: cluster, containerPort: 6222, protocol: TCP}
            {{- end }}
          # Until every stream is read from the disk.
          startupProbe:
            httpGet: {path: {{ if $clustered }}"/healthz?js-server-only=true"{{ else }}/healthz{{ end }}, port: monitor}
            periodSeconds: 1
            timeoutSeconds: 5
            failureThreshold: 600
          # A server that met a full disk goes on without JetStream, or with streams that take nothing, until it is
          # started anew. In a cluster /healthz also says that a stream is behind, which is no reason to start anew.
          livenessProbe:
            httpGet: {path: {{ if $clustered }}"/healthz?js-enabled-only=true"{{ else }}/healthz{{ end }}, port: monitor}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: "/healthz?js-server-only=true", port: monitor}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 3
          {{- if $clustered }}
          lifecycle:
            preStop:
              # Lame duck: streams get other leaders, clients move away, then the server ends by itself.
              exec: {command: [nats-server, --signal, ldm=1]}
          {{- end }}
          {{- include "eventpipeline.resources" (dict "resources" .Values.nats.resources) | nindent 10 }}
          terminationMessagePolicy: FallbackToLogsOnError
          {{- include "eventpipeline.containerSecurity" . | nindent 10 }}
          volumeMounts:
            - {name: data, mountPath: /data}
            - {name: config, mountPath: /etc/nats, readOnly: true}
            - {name: tmp, mountPath: /tmp}
      volumes:
        # The passwords are no variables: those of a process are read once. The kubelet renews these files, and the
        # server reads them when the operator asks it to.
        - name: config
          projected:
            sources:
              - configMap: {name: {{ $name }}}
              - secret:
                  name: {{ include "eventpipeline.secretName" . }}
                  items: [{key: nats-passwords.conf, path: nats-passwords.conf}]
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
  volumeClaimTemplates:
    {{- include "eventpipeline.claim" (merge (dict "persistence" .Values.nats.persistence) $server) | nindent 4 }}
{{- if $clustered }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "eventpipeline.metadata" $server | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "eventpipeline.selector" $server | nindent 6 }}
{{- end }}
{{- end }}
