"""The console: the stock admin site with our own frame, lists and Now page.

Apps keep plain ModelAdmins in their own admin.py and import nothing upward; the site
subclasses each with what every list here shares.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin import AdminSite, ModelAdmin, ShowFacets, display
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.contrib.auth.forms import UsernameField
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, include, path, reverse
from django.utils.functional import cached_property

from fortheweebs import columns, pages
from fortheweebs.access import list_url, may_view
from fortheweebs.accounts import record_change
from fortheweebs.status import chip, delete_view_cookie, set_view_cookie

if TYPE_CHECKING:
    AnyAdmin = ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:  # neither can be subscripted at run time
    AnyAdmin, AnyPaginator = ModelAdmin, Paginator

COUNT_CAP = 1000
READ_ONLY_APPS = frozenset({"ledger", "breakers", "health", "bugfixer"})
# name in the navigation, app, model; a page shows only when it exists and may be seen.
PAGES = (
    ("Breakers", "breakers", "breakerstate"),
    ("Bugs", "bugfixer", "bug"),
    ("Ledger", "ledger", "artifact"),
    ("Instances", "health", "instance"),
    ("People", "auth", "user"),
)


class CappedPaginator(AnyPaginator):
    """Count no further than 1,000: lists end there and say "narrow it"."""

    @cached_property
    def seen(self) -> int:
        """Count one row further, to know whether there are more."""
        rows: Any = self.object_list
        # Unordered: PostgreSQL stops at row 1,001 instead of sorting a million.
        return int(rows.order_by()[: COUNT_CAP + 1].count())

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most 1,000."""
        return min(self.seen, COUNT_CAP)

    @property
    def capped(self) -> bool:
        """Tell whether there are more rows than are counted."""
        return self.seen > COUNT_CAP


class Results(ChangeList):
    """One page of a list: what fits on the first page is not counted again."""

    def get_results(self, request: HttpRequest) -> None:
        """Fetch the page; count only when there are more."""
        size, start = self.list_per_page, (self.page_num - 1) * self.list_per_page
        if start < 0:
            raise IncorrectLookupParameters
        rows: Any = self.queryset
        found = list(rows[start : min(start + size + 1, COUNT_CAP + 1)])
        paginator: Any = self.model_admin.get_paginator(request, rows, size)
        if start == 0 and len(found) <= size:
            paginator.seen = len(found)
        if start and start >= paginator.count:
            raise IncorrectLookupParameters
        self.paginator = paginator
        self.result_list = found[: min(size, COUNT_CAP - start)]
        self.result_count = paginator.count
        self.full_result_count = None
        self.show_full_result_count = self.can_show_all = False
        self.show_admin_actions = bool(found)
        self.multi_page = self.result_count > size


class Dressed(AnyAdmin):
    """Show states as badges and times as relative and UTC, whatever the app lists."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Put our way to fetch a page before the app's own list, if it has one."""
        return type("Results", (Results, super().get_changelist(request, **kwargs)), {})

    def changelist_view(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        """Show the list; NUL in a filter, which PostgreSQL refuses, is no filter."""
        if any("\0" in value for _, held in request.GET.lists() for value in held):
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")
        return super().changelist_view(request, *args, **options)

    def get_list_display(self, request: HttpRequest) -> Any:
        """Replace columns by those that draw them."""
        return [self._dressed(name) for name in super().get_list_display(request)]

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        """Link the columns that the app named, as they are drawn here."""
        links: Any = super().get_list_display_links(request, list_display)
        if links is None:
            return None
        return [
            column
            for column in list_display
            if column in links or getattr(column, "column", "") in links
        ]

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Fetch a row; ``?_to_field=`` with nothing in it names no field."""
        return super().get_object(request, object_id, from_field or None)

    def _dressed(self, name: Any) -> Any:
        dress = columns.dress(self.model, name) if isinstance(name, str) else None
        if dress is None:
            return name
        source: Any = getattr(self, name, None)
        if source is None:
            field: Any = self.opts.get_field(name)
            title, ordering = str(field.verbose_name), name
        else:
            title = str(getattr(source, "short_description", name))
            ordering = getattr(source, "admin_order_field", None)
        draw = columns.drawer(name, title, dress, source)
        return display(description=title, ordering=ordering)(draw)


class ReadOnly:
    """No add, change or delete form for anybody, superusers included: only acts."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Ask the roles: one query for every model, where the stock asks two."""
        options: Any = self
        return may_view(request.user, options.opts.app_label, options.opts.model_name)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: rows are made by services."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what must not change has no change form."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: rows are deleted by retention alone."""
        return False


class LoginForm(AdminAuthenticationForm):
    """The login, with a limit: a failed one is stored, and longer names cannot be."""

    username = UsernameField(
        max_length=150, widget=forms.TextInput(attrs={"autofocus": True})
    )


@dataclass(frozen=True, slots=True)
class NavLink:
    """One entry of the navigation."""

    name: str
    url: str
    current: bool


class ConsoleSite(AdminSite):
    """Admin site of the project."""

    site_header = site_title = "fortheweebs"
    index_title = "Now"
    login_form = LoginForm
    enable_nav_sidebar = False
    site_url = None
    empty_value_display = ""

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: type[AnyAdmin] | None = None,
        **options: Any,
    ) -> None:
        """Register models with the manners that every list here shares."""
        options = {
            "paginator": CappedPaginator,
            "list_per_page": 50,
            "list_max_show_all": 0,
            "show_full_result_count": False,
            "show_facets": ShowFacets.NEVER,
            **options,
        }
        models = (
            [model_or_iterable]
            if isinstance(model_or_iterable, type)
            else list(model_or_iterable)
        )
        for model in models:
            base = admin_class or ModelAdmin
            closed = model._meta.app_label in READ_ONLY_APPS
            mixins = (ReadOnly, Dressed) if closed else (Dressed,)
            base = type(base.__name__, (*mixins, base), {})
            super().register(model, base, **options)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Add what the Now page polls, and the pages apps have below their name."""
        live = path("now/", self.admin_view(self.now_fragment), name="now")
        own = [
            path(f"{model._meta.app_label}/", include(model_admin.site_urls()))
            for model, model_admin in self._registry.items()
            if hasattr(model_admin, "site_urls")
        ]
        return [live, *own, *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Give every page its navigation and the chip that says how things are."""
        allowed = self.has_permission(request)
        return {
            "site_title": self.site_title,
            "site_header": self.site_header,
            "site_url": self.site_url,
            "has_permission": allowed,
            # The stock context asks for every model's permissions here.
            "available_apps": [],
            "is_popup": False,
            "is_nav_sidebar_enabled": False,
            "nav": self._navigation(request) if allowed else [],
            "chip": chip(),
        }

    def _navigation(self, request: HttpRequest) -> list[NavLink]:
        here = request.path
        now = reverse("admin:index", current_app=self.name)
        links = [NavLink("Now", now, here == now)]
        for name, app, model in PAGES:
            url = list_url(request.user, app, model)
            if url:
                # A detail page, or another model of the app, belongs to its entry.
                root = f"{now}{app}/"
                links.append(NavLink(name, url, here.startswith(root)))
        return links

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show Now: what is wrong, since when, and what was done about it."""
        return pages.now_page(
            request, self.each_context(request) | (extra_context or {})
        )

    def now_fragment(self, request: HttpRequest) -> HttpResponse:
        """Answer the page's poll: 304 while nothing has changed."""
        return pages.now_fragment(request)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Log in, and hand out the cookie that reads detail without the database."""
        context = {"chip": chip(), **(extra_context or {})}
        response = super().login(request, context)
        if request.method == "POST" and request.user.is_authenticated:
            set_view_cookie(response, request.user)
        return response

    def logout(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Log out and take the cookie back."""
        response = super().logout(request, extra_context)
        delete_view_cookie(response)
        return response

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Change one's own password; the change and its record happen together."""
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if response.status_code == 302:
                record_change(user=request.user, by=request.user, change=["password"])
        return response
