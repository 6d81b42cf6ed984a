"""What ``manage.py`` finds where ``"session_middleware.integrations.django"`` is in ``INSTALLED_APPS``."""
