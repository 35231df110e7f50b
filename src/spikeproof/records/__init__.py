"""What lies on disk as JSON: records that are written as they are read, or refused in one sentence."""
