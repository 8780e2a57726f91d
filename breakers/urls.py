"""Routes of the breakers' API; no trailing slashes."""

from django.urls import path

from breakers import views

app_name = "breakers"
urlpatterns = [
    path("breakers", views.BreakersView.as_view(), name="breakers"),
    path("breakers/<str:name>", views.BreakerView.as_view(), name="breaker"),
    path("breakers/<str:name>/override", views.OverrideView.as_view(), name="override"),
    path("breakers/<str:name>/reset", views.ResetView.as_view(), name="reset"),
]
