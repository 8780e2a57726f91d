"""Protected clients: each names its breaker and carries the deadline."""
