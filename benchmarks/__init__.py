"""Benchmarks of EventPipeline: how much it takes, how fast, and at what cost. They are run by `make bench NAME=...`."""
