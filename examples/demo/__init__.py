"""A small site with everything that signing in needs; ``app.application`` is the WSGI application."""
