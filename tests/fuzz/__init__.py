"""Requests that nobody should send, to every endpoint of gateway and reporter, in every mode: `make fuzz`."""
