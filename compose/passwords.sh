# Whether the passwords of compose.yaml are fit for production. They become part of URLs.
for name in NATS_PASSWORD NATS_GATEWAY_PASSWORD NATS_COLLECTOR_PASSWORD NATS_REPORTER_PASSWORD \
  POSTGRES_PASSWORD POSTGRES_REPORTER_PASSWORD POSTGRES_OWNER_PASSWORD GRAFANA_PASSWORD; do
  eval "value=\$$name"
  case $value in
    development) echo "$name is not set; see compose/production.env" >&2; exit 1 ;;
    *[!A-Za-z0-9._~-]*) echo "$name may only have letters, digits and - . _ ~" >&2; exit 1 ;;
  esac
done
