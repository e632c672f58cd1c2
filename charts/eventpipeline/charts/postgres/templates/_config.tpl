{{/* What Postgres reads: files of one ConfigMap. Of the image they need postgres, initdb, pg_ctl, a shell and coreutils. */}}

{{- define "postgres.start" -}}
# Starts Postgres without the image's own entry point. What is set here is set at each start, so that a volume that was
# kept and a Secret that is new agree before anyone can connect.
set -eu
trap 'exit 143' TERM INT
umask 077
home=/var/lib/postgresql
data=$home/data
# Nothing else runs in this container yet, so whoever wrote it is gone. The probes read it.
rm -f "$data/postmaster.pid"
say() { echo "eventpipeline: $*" >&2; }

# A password becomes part of a URL and of a statement.
password() {
  value=$(cat "/run/eventpipeline/auth/$1" 2>/dev/null) || value=
  case $value in
    *[!A-Za-z0-9._~-]*) say "the key $1 of the Secret may only have letters, digits and - . _ ~"; exit 1 ;;
    '') [ "${2-}" = optional ] || { say "the Secret has no key $1"; exit 1; } ;;
  esac
}
password postgres-owner-password; owner_password=$value
password postgres-password; present_password=$value
password postgres-previous-password optional; previous_password=$value
password postgres-reporter-password; present_reporter_password=$value
password postgres-reporter-previous-password optional; previous_reporter_password=$value
password postgres-user; present=$value
case $present in
  eventpipeline_a) other=eventpipeline_b ;;
  eventpipeline_b) other=eventpipeline_a ;;
  *) say "the key postgres-user of the Secret must be eventpipeline_a or eventpipeline_b"; exit 1 ;;
esac

former='NOLOGIN PASSWORD NULL'
[ -z "$previous_password" ] || former="LOGIN PASSWORD '$previous_password'"
former_reporter='NOLOGIN PASSWORD NULL'
[ -z "$previous_reporter_password" ] || former_reporter="LOGIN PASSWORD '$previous_reporter_password'"

# One statement a line; the first that fails ends it, and none is ever logged.
statements() {
  postgres --single -D "$1" -c config_file=/etc/eventpipeline/postgresql.conf -c exit_on_error=on \
    -c log_min_error_statement=panic -c log_statement=none -c log_checkpoints=off "$2" > /dev/null
}

if [ ! -d "$data" ]; then
  # Made beside its place and moved there when it is whole: a start that is killed leaves no half of one.
  rm -rf "$data.new"
  initdb -D "$data.new" -U postgres -A scram-sha-256 --pwfile=/run/eventpipeline/auth/postgres-owner-password \
    --no-locale -E UTF8 --no-instructions
  echo 'CREATE DATABASE eventpipeline' | statements "$data.new" postgres
  sync
  mv "$data.new" "$data"
  sync
fi
# Where a volume takes its group from the pod, its folders become open to that group, which Postgres refuses.
chmod 0700 "$data"
ours=$(postgres --version); ours=${ours##*) }; theirs=$(cat "$data/PG_VERSION")
if [ "${ours%%.*}" != "$theirs" ]; then
  say "the volume was written by Postgres $theirs, and this is Postgres $ours, which cannot read it"
  exit 1
fi
statements "$data" eventpipeline <<SQL
DO \$\$ DECLARE name text; BEGIN FOREACH name IN ARRAY ARRAY['eventpipeline_owner', 'eventpipeline_service', 'eventpipeline_a', 'eventpipeline_b', 'eventpipeline_reporter', 'eventpipeline_a_reporter', 'eventpipeline_b_reporter'] LOOP IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN EXECUTE format('CREATE ROLE %I', name); END IF; END LOOP; END \$\$
GRANT eventpipeline_service TO eventpipeline_a, eventpipeline_b
GRANT eventpipeline_reporter TO eventpipeline_a_reporter, eventpipeline_b_reporter
ALTER DATABASE eventpipeline OWNER TO eventpipeline_owner
REVOKE CREATE, TEMPORARY ON DATABASE eventpipeline FROM PUBLIC
ALTER DEFAULT PRIVILEGES FOR ROLE eventpipeline_owner REVOKE ALL ON TABLES FROM eventpipeline_service
ALTER DEFAULT PRIVILEGES FOR ROLE eventpipeline_owner REVOKE ALL ON SEQUENCES FROM eventpipeline_service
ALTER ROLE postgres PASSWORD NULL
ALTER ROLE eventpipeline_owner LOGIN CREATEROLE PASSWORD '$owner_password'
GRANT eventpipeline_a, eventpipeline_b, eventpipeline_a_reporter, eventpipeline_b_reporter TO eventpipeline_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE
ALTER ROLE $present LOGIN PASSWORD '$present_password'
ALTER ROLE $other $former
ALTER ROLE ${present}_reporter LOGIN PASSWORD '$present_reporter_password'
ALTER ROLE ${other}_reporter $former_reporter
SQL
exec postgres -D "$data" -c config_file=/etc/eventpipeline/postgresql.conf
{{ end }}

{{- define "postgres.ready" -}}
# Whether Postgres takes connections, after its own word: the eighth line of its pid file. It listens long before that.
n=0
while read -r line; do
  n=$((n+1))
  [ $n -ne 8 ] || [ "${line%% *}" != ready ] || exit 0
done < /var/lib/postgresql/data/postmaster.pid
exit 1
{{ end }}

{{- define "postgres.settings" -}}
listen_addresses = '*'
unix_socket_directories = '/var/run/postgresql'
hba_file = '/etc/eventpipeline/pg_hba.conf'
max_connections = {{ int64 .Values.postgres.maxConnections }}
shared_buffers = '{{ .Values.postgres.sharedBuffers }}'
max_wal_size = '{{ .Values.postgres.maxWalSize }}'
checkpoint_timeout = '15min'
wal_compression = 'pglz'
random_page_cost = 1.1
jit = off
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u '
# Without the keys of rows that are there already: they are of senders.
log_error_verbosity = terse
{{ end }}

{{- define "postgres.access" -}}
# Over the network with a password, as one of these; the superuser not at all.
host eventpipeline eventpipeline_owner,eventpipeline_a,eventpipeline_b all scram-sha-256
host eventpipeline eventpipeline_a_reporter,eventpipeline_b_reporter all scram-sha-256
{{ end }}

{{- define "postgres.files" -}}
start.sh: |
  {{- include "postgres.start" . | nindent 2 }}
ready.sh: |
  {{- include "postgres.ready" . | nindent 2 }}
postgresql.conf: |
  {{- include "postgres.settings" . | nindent 2 }}
pg_hba.conf: |
  {{- include "postgres.access" . | nindent 2 }}
# initdb looks up the name of its user; an image need not know this one.
passwd: |
  root:x:0:0:root:/root:/bin/sh
  postgres:x:999:999::/var/lib/postgresql:/bin/sh
{{- end }}

{{- define "postgres.backup" -}}
# Writes a backup named after the time at which it began, and drops the oldest ones beyond those that are kept.
set -eu
umask 077
cd "$BACKUPS"
rm -f ./*.unfinished
file=$(date -u +%Y-%m-%dT%H:%M:%SZ).dump
pg_dump --dbname="$DATABASE_URL" --format=custom --file="$file.unfinished"
pg_restore --list "$file.unfinished" > /dev/null
sync
mv "$file.unfinished" "$file"
sync
set -- ./*.dump
while [ $# -gt "$KEEP" ]; do
  rm -- "$1"
  shift
done
echo "wrote $file; $# are kept"
{{ end }}

{{- define "postgres.restore" -}}
# Puts the database back to the backup that BACKUP names, or to the latest one: as a whole, or not at all.
set -eu
cd "$BACKUPS"
if [ "$BACKUP" = latest ]; then
  for file in ./*.dump; do :; done
else
  file=./${BACKUP%.dump}.dump
fi
if [ ! -f "$file" ]; then
  echo "there is no backup ${file#./}; there are:" >&2
  ls >&2
  exit 1
fi
pg_restore --dbname="$DATABASE_URL" --clean --if-exists --no-owner --single-transaction --exit-on-error "$file"
time=${file#./}; time=${time%.dump}
# What the stream had taken before the backup, and collectors had not stored yet, is not in it.
from=$(date -u -d "$time 1 hour ago" +%Y-%m-%dT%H:%M:%SZ)
echo "restored $file; what it lacks is on the stream: eventpipeline replay --from $from"
echo "That is right where the collectors were less than an hour behind at $time; else begin earlier, or leave --from away."
{{ end }}
