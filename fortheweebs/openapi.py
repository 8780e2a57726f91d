"""How the OpenAPI document names the ways to come in."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A token made by `manage.py create_token`."""

    target_class = "fortheweebs.access.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme of RFC 6750."""
        return {"type": "http", "scheme": "bearer"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The console's login."""

    target_class = "fortheweebs.access.StaffSessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the session cookie."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


REFUSALS = {
    "401": "No or wrong credentials.",
    "403": "Not staff, or not the right role.",
}


def document_refusals(
    result: dict[str, Any],
    generator: Any,
    request: Any,
    public: bool,  # noqa: FBT001 - called by position
) -> dict[str, Any]:
    """Say on every staff operation how it refuses; an open one names no credentials."""
    for operations in result["paths"].values():
        for operation in operations.values():
            security = operation.get("security", [])
            if security and {} not in security:
                for status, text in REFUSALS.items():
                    operation["responses"].setdefault(status, {"description": text})
    return result


def bound_numbers(
    result: dict[str, Any],
    generator: Any,
    request: Any,
    public: bool,  # noqa: FBT001 - called by position
) -> dict[str, Any]:
    """Say that a number in a path is not negative: no route matches one that is."""
    for operations in result["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                schema = parameter["schema"]
                if parameter["in"] == "path" and schema.get("type") == "integer":
                    schema.setdefault("minimum", 0)
    return result
