"""A real Kubernetes for the end-to-end tests: `python -m cluster up`. README.md says what it is and how it works."""
