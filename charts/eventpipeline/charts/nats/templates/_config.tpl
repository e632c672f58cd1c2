{{/*
nats-server.conf. Values that begin with $ are variables of the container; nats-server reads their content as if it stood
here, so they bring their own quotation marks.
*/}}
{{- define "nats.config" -}}
server_name: $SERVER_NAME
port: 4222
http_port: 8222
# Clients that are told so go to the other servers, before this one ends.
lame_duck_duration: 30s
lame_duck_grace_period: 3s
include users.conf
jetstream {
  store_dir: /data
  max_mem: 64MB
  # Below the size of the volume: a server that meets a full disk disables JetStream.
  max_file: {{ int64 .Values.nats.maxFileBytes }}
  # Written to disk before it is acknowledged; otherwise a power cut loses what was answered 202.
  sync_interval: always
}
{{- if gt (int64 .Values.nats.replicas) 1 }}
cluster {
  name: {{ include "eventpipeline.name" . | quote }}
  port: 6222
  no_advertise: true
  authorization {user: route, password: $QUOTED_PASSWORD}
  routes: [
    {{- range $ordinal := until (int .Values.nats.replicas) }}
    $ROUTE_{{ $ordinal }}
    {{- end }}
  ]
}
{{- end }}
{{ end }}

{{/* The users and what each may do; it includes nats-passwords.conf, which stands beside it. */}}
{{- define "nats.users" -}}
{{ .Files.Get "nats-users.conf" }}
{{- end }}
