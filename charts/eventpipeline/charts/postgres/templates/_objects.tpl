{{- define "postgres.objects" -}}
{{- $server := dict "root" . "name" "postgres" "component" "postgres" }}
{{- $name := printf "%s-postgres" (include "eventpipeline.name" .) }}
{{- $secret := include "eventpipeline.secretName" . }}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "eventpipeline.metadata" $server | nindent 2 }}
data:
  {{- include "postgres.files" . | nindent 2 }}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "eventpipeline.metadata" $server | nindent 2 }}
spec:
  selector:
    {{- include "eventpipeline.selector" $server | nindent 4 }}
  ports:
    - {name: postgres, port: 5432, targetPort: postgres, protocol: TCP}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "eventpipeline.metadata" $server | nindent 2 }}
spec:
  replicas: 1
  serviceName: {{ $name }}
  revisionHistoryLimit: 3
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
        eventpipeline.dev/config-hash: {{ include "postgres.files" . | sha256sum | trunc 16 | quote }}
        {{- with .Values.postgres.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      {{- include "eventpipeline.pod" (dict "root" . "user" 999) | nindent 6 }}
      {{- include "eventpipeline.spread" $server | nindent 6 }}
      # Long enough for the checkpoint that ends a fast shutdown.
      terminationGracePeriodSeconds: 120
      containers:
        - name: postgres
          {{- include "eventpipeline.image" (dict "root" . "image" .Values.postgres.image) | nindent 10 }}
          command: [/bin/sh, /etc/eventpipeline/start.sh]
          ports:
            - {name: postgres, containerPort: 5432, protocol: TCP}
          # As long as the recovery from a crash may take.
          startupProbe:
            exec: {command: [/bin/sh, /etc/eventpipeline/ready.sh]}
            periodSeconds: 1
            timeoutSeconds: 5
            failureThreshold: 3600
          livenessProbe:
            tcpSocket: {port: postgres}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            exec: {command: [/bin/sh, /etc/eventpipeline/ready.sh]}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 3
          lifecycle:
            preStop:
              # A fast shutdown, as by SIGINT. The SIGTERM that follows would wait for every client to leave, and has no
              # effect on a server that already shuts down.
              exec: {command: [pg_ctl, stop, -D, /var/lib/postgresql/data, -m, fast, -W]}
          {{- include "eventpipeline.resources" (dict "resources" .Values.postgres.resources) | nindent 10 }}
          terminationMessagePolicy: FallbackToLogsOnError
          {{- include "eventpipeline.containerSecurity" . | nindent 10 }}
          volumeMounts:
            - {name: data, mountPath: /var/lib/postgresql}
            - {name: config, mountPath: /etc/eventpipeline, readOnly: true}
            - {name: config, mountPath: /etc/passwd, subPath: passwd, readOnly: true}
            - {name: auth, mountPath: /run/eventpipeline/auth, readOnly: true}
            - {name: socket, mountPath: /var/run/postgresql}
            - {name: tmp, mountPath: /tmp}
            - {name: shm, mountPath: /dev/shm}
      volumes:
        - name: config
          configMap: {name: {{ $name }}}
        - name: auth
          projected:
            sources:
              - secret:
                  name: {{ $secret }}
                  items:
                    - {key: postgres-user, path: postgres-user}
                    - {key: postgres-password, path: postgres-password}
                    - {key: postgres-reporter-password, path: postgres-reporter-password}
                    - {key: postgres-owner-password, path: postgres-owner-password}
              # Of the time before a rotation, if there was one.
              - secret:
                  name: {{ $secret }}
                  optional: true
                  items:
                    - {key: postgres-previous-password, path: postgres-previous-password}
              - secret:
                  name: {{ $secret }}
                  optional: true
                  items:
                    - {key: postgres-reporter-previous-password, path: postgres-reporter-previous-password}
        - name: socket
          emptyDir: {sizeLimit: 16Mi}
        - name: tmp
          emptyDir: {sizeLimit: 256Mi}
        - name: shm
          emptyDir: {medium: Memory, sizeLimit: 256Mi}
  volumeClaimTemplates:
    {{- include "eventpipeline.claim" (merge (dict "persistence" .Values.postgres.persistence) $server) | nindent 4 }}
{{- end }}
