# Stands in for the official python:3.11-slim: Debian's Python 3.11 on Debian bookworm.
FROM scratch
COPY rootfs /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
