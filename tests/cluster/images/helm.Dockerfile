# Stands in for alpine/helm: only the binary, which is all that the project's Dockerfile takes from it.
FROM scratch
COPY helm /usr/bin/helm
ENTRYPOINT ["/usr/bin/helm"]
