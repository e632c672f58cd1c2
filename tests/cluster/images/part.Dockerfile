# One static binary of the node's add-ons.
FROM scratch
ARG PART
COPY ${PART} /part
ENTRYPOINT ["/part"]
