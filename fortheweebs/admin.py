"""The console: the stock admin site with our own frame, lists and Now page.

Apps keep plain ModelAdmins in their own admin.py and import nothing upward; the site
subclasses each with what every list here shares.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.admin import AdminSite, ModelAdmin, ShowFacets
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.functional import cached_property

if TYPE_CHECKING:
    AnyAdmin = ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:  # neither can be subscripted at run time
    AnyAdmin, AnyPaginator = ModelAdmin, Paginator

COUNT_CAP = 1000
READ_ONLY_APPS = frozenset({"ledger", "health", "bugfixer"})
# name in the navigation, app, model; a page shows only when it exists and may be seen.
PAGES = (
    ("Bugs", "bugfixer", "bug"),
    ("Ledger", "ledger", "artifact"),
    ("Instances", "health", "instance"),
    ("People", "auth", "user"),
)


class CappedPaginator(AnyPaginator):
    """Count no further than 1,000: lists end there and say "narrow it"."""

    @cached_property
    def _seen(self) -> int:
        # Unordered: PostgreSQL stops at row 1,001 instead of sorting a million.
        return self.object_list.order_by()[: COUNT_CAP + 1].count()  # type: ignore[union-attr]

    @cached_property
    def count(self) -> int:  # type: ignore[override]
        """Return the number of rows, at most 1,000."""
        return min(self._seen, COUNT_CAP)

    @property
    def capped(self) -> bool:
        """Tell whether there are more rows than are counted."""
        return self._seen > COUNT_CAP


class ReadOnly:
    """No add, change or delete form for anybody, superusers included: only acts."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: rows are made by services."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what must not change has no change form."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: rows are deleted by retention alone."""
        return False


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
    enable_nav_sidebar = False
    site_url = None

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
            if model._meta.app_label in READ_ONLY_APPS:
                base = type(base.__name__, (ReadOnly, base), {})
            super().register(model, base, **options)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Add the fragment that the Now page asks for every five seconds."""
        live = path("now/", self.admin_view(self.now_fragment), name="now")
        return [live, *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Give every page its navigation and the chip that says how things are."""
        from fortheweebs.status import chip

        context = super().each_context(request)
        context["nav"] = self._navigation(request)
        context["chip"] = chip()
        return context

    def _navigation(self, request: HttpRequest) -> list[NavLink]:
        if not self.has_permission(request):
            return []
        here = request.path
        now = reverse("admin:index", current_app=self.name)
        links = [NavLink("Now", now, here == now)]
        known = {
            model._meta.label_lower: options
            for model, options in self._registry.items()
        }
        for name, app, model in PAGES:
            options = known.get(f"{app}.{model}")
            if options is not None and options.has_view_permission(request):
                url = reverse(f"admin:{app}_{model}_changelist")
                # A detail page, or another model of the app, belongs to its entry.
                root = reverse("admin:app_list", args=[app])
                links.append(NavLink(name, url, here.startswith(root)))
        return links

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show Now: what is wrong, since when, and what was done about it."""
        from fortheweebs.pages import now_page

        return now_page(request, self.each_context(request) | (extra_context or {}))

    def now_fragment(self, request: HttpRequest) -> HttpResponse:
        """Answer the page's poll: 304 while nothing has changed."""
        from fortheweebs.pages import now_fragment

        return now_fragment(request)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Log in, and hand out the cookie that reads detail without the database."""
        from fortheweebs.status import chip, set_view_cookie

        context = {"chip": chip(), **(extra_context or {})}
        response = super().login(request, context)
        if request.method == "POST" and request.user.is_authenticated:
            set_view_cookie(response, request.user)
        return response

    def logout(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Log out and take the cookie back."""
        from fortheweebs.status import delete_view_cookie

        response = super().logout(request, extra_context)
        delete_view_cookie(response)
        return response

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Change one's own password; the change and its record happen together."""
        from fortheweebs.people import record_change

        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if response.status_code == 302:
                record_change(user=request.user, by=request.user, change=["password"])
        return response
