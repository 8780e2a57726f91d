"""Probes, watchdog and metrics."""
