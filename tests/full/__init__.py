"""Measurements that take too long for CI: `make e2e-full`."""
