"""Numbered system checks of the whole."""
