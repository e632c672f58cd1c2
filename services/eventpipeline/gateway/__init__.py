"""The gateway: takes events over HTTP, validates each once, and answers when JetStream has them on disk."""
