"""The operator: makes a cluster run what an EventPipeline says."""
