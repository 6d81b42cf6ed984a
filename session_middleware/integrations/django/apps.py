"""In ``INSTALLED_APPS`` it lets ``manage.py check`` look at the settings of sessions. Nothing else needs it."""

from django.apps import AppConfig
from django.core.checks import register

from session_middleware.integrations.django.checks import check_settings


class SessionMiddlewareConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """``"session_middleware.integrations.django"``."""

    name = "session_middleware.integrations.django"
    label = "session_middleware"
    verbose_name = "Sessions"

    def ready(self) -> None:
        register(check_settings, "security")
