"""Routes of the bugfixer API."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
