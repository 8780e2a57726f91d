"""Template built-ins, named in settings: when, state, spark."""

from django import template

register = template.Library()
