"""EventPipeline: marketing events from a webhook to a report."""

__version__ = "0.1.0"
