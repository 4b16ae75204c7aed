"""Background tasks: what a process does without a request."""
