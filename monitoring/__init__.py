"""Alerts, their tests and the dashboard of whoever runs this."""
