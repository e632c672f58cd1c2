"""The collector: takes the events of one source from the stream into the store, and acknowledges after the commit."""
