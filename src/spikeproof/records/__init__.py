"""What lies on disk as JSON, as records: what could not be read is not written, and damage is told in one sentence."""
