# syntax=docker/dockerfile:1
# One image with every command: the services (`eventpipeline gateway`, …) and the operator (`eventpipeline-operator`).
#
#     docker build -t eventpipeline .
#
# PYTHON_IMAGE and HELM_IMAGE may name mirrors of the official images. Where pip needs settings of its own (a proxy, another
# index, a certificate), give them for the build alone: --secret id=pip.conf,src=$HOME/.config/pip/pip.conf
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim
ARG HELM_IMAGE=docker.io/alpine/helm:4.3.1

FROM ${HELM_IMAGE} AS helm

FROM ${PYTHON_IMAGE} AS dependencies
WORKDIR /build
RUN python -m venv --without-pip /opt/eventpipeline/venv
COPY requirements-operator.lock .
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/eventpipeline/venv/bin/python install --no-cache-dir --disable-pip-version-check --no-deps \
    --require-hashes -r requirements-operator.lock

# What changes with each commit is laid over the dependencies as a small layer of its own, in the same folders.
FROM dependencies AS project
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY services services
COPY operator operator
# The build back end comes from the lock, so this needs no network.
RUN pip --python /opt/eventpipeline/venv/bin/python install --no-cache-dir --disable-pip-version-check --no-deps \
    --no-index --no-build-isolation --prefix /project .

FROM ${PYTHON_IMAGE} AS release
LABEL org.opencontainers.image.title="EventPipeline" \
      org.opencontainers.image.description="Marketing events from webhook to report" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=helm /usr/bin/helm /usr/local/bin/helm
COPY --from=dependencies /opt/eventpipeline/venv /opt/eventpipeline/venv
COPY --from=project /project /opt/eventpipeline/venv
COPY charts /opt/eventpipeline/charts
# Nothing is written below /; what a command writes goes to /tmp, which may be a volume in memory. USER is for kopf, which
# asks who it is: whatever the uid, there need be no account of it.
ENV PATH=/opt/eventpipeline/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    USER=eventpipeline \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["eventpipeline"]
CMD ["--help"]
