"""``python -m session_middleware``: the command ``session-middleware``."""

from session_middleware.cli import main

main()
