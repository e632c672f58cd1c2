# Stands in for the official nats image. Like that one it has no shell; the binary lies where the scratch and where the
# Alpine variant have it.
FROM scratch
COPY nats-server /nats-server
COPY nats-server /usr/local/bin/nats-server
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/
EXPOSE 4222 8222 6222
ENTRYPOINT ["/nats-server"]
CMD ["--config", "nats-server.conf"]
