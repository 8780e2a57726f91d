"""Protected clients: each names its breaker and keeps the deadline of its caller.

Importing a client imports no SDK; the first call does.
"""
