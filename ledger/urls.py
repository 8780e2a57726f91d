"""Routes of the ledger API."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
