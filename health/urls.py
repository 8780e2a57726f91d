"""Routes of the health API."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
