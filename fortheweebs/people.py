"""Users, groups and tokens: stock admin pages whose changes are recorded."""

from typing import TYPE_CHECKING, Any

from django.contrib.admin import ModelAdmin, display, site
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from knox.models import AuthToken

from fortheweebs.accounts import Person, record_change

if TYPE_CHECKING:
    AnyAdmin = ModelAdmin[Any]
    GroupAdmin = ModelAdmin[Group]
    StockUserAdmin = UserAdmin[User]
else:  # cannot be subscripted at run time
    AnyAdmin = GroupAdmin = ModelAdmin
    StockUserAdmin = UserAdmin


def _fields_of(message: Any) -> list[str]:
    """Return which fields the admin says were changed; never their values."""
    found: list[str] = []
    for part in message if isinstance(message, list) else [message]:
        if isinstance(part, dict):
            for verb, what in part.items():
                found += what.get("fields") or [verb]
        else:
            found.append(str(part)[:80])
    return [str(name).lower() for name in found]


class Recorded(AnyAdmin):
    """Record each change beside it: the admin logs inside its transaction."""

    actions = None

    def account(self, obj: Any) -> Person:
        """Return whose account the row is part of."""
        person: Person = obj
        return person

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Record that a row was added."""
        record_change(user=self.account(obj), by=request.user, change=["added"])
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Record which fields were changed."""
        record_change(
            user=self.account(obj), by=request.user, change=_fields_of(message)
        )
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Record what is about to be deleted."""
        for obj in queryset:
            record_change(user=self.account(obj), by=request.user, change=["deleted"])
        return super().log_deletions(request, queryset)


class PeopleAdmin(Recorded, StockUserAdmin):
    """Users: roles are groups, and only a superuser touches superusers."""

    list_display = ("username", "roles", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "groups")
    search_fields = ("username",)
    search_help_text = "Search names"
    # The stock choosers carry an aria-label where none is allowed.
    filter_horizontal = ()
    # Split date and time fields have inputs without a label.
    readonly_fields = ("date_joined", "last_login")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Access", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Seen", {"fields": ("last_login", "date_joined")}),
    )

    @display(description="roles")
    def roles(self, user: User) -> str:
        """Name the user's groups."""
        return ", ".join(group.name for group in user.groups.all())

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Fetch the groups with the users."""
        return super().get_queryset(request).prefetch_related("groups")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep the superuser flag from those who are none."""
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, "is_superuser")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keep superusers' passwords and roles from those who are none."""
        return super().has_change_permission(request, obj) and self._may(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keep superusers from being deleted by those who are none."""
        return super().has_delete_permission(request, obj) and self._may(request, obj)

    @staticmethod
    def _may(request: HttpRequest, obj: Any) -> bool:
        return obj is None or not obj.is_superuser or request.user.is_superuser

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        """Set a password; the change and its record happen together."""
        with transaction.atomic():
            return super().user_change_password(request, id, form_url)


class RolesAdmin(GroupAdmin):
    """Groups are the roles of the code: to be read, not changed."""

    list_display = ("name",)
    fields = ("name", "permissions")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: a role is made by a migration."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what a role may do is written in the code."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: the roles of the code stay."""
        return False


class TokenAdmin(Recorded):
    """Tokens can be seen and deleted; `manage.py create_token` makes them."""

    list_display = ("token_key", "user", "created", "expiry")
    list_select_related = ("user",)
    fields = readonly_fields = ("token_key", "user", "created", "expiry")
    search_fields = ("user__username",)
    search_help_text = "Search users"

    def account(self, obj: Any) -> Person:
        """Return whose token it is."""
        person: Person = obj.user
        return person

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: a token is shown once, on the terminal that asked for it."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: a token is made or deleted, never changed."""
        return False


def register_people() -> None:
    """Put these in the place of what Django and knox registered."""
    for model, options in (
        (User, PeopleAdmin),
        (Group, RolesAdmin),
        (AuthToken, TokenAdmin),
    ):
        if site.is_registered(model):
            site.unregister(model)
        site.register(model, options)
