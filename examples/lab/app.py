"""The lab, put together: the recorder around the middleware around the site.

Serve it from the root of the repository, with ``python -m examples.lab``, or with gunicorn itself:

    gunicorn --config examples/gunicorn.conf.py examples.lab.app:application

It keeps its files in ``./demo``; ``LAB_STORE`` names another store for the sessions, as a URL. A site on the open internet
also limits how often a sign-in may be tried.
"""

import os
from pathlib import Path

from examples.lab.notebook import Notebook
from examples.lab.site import DEMO_USERS, Site
from examples.lab.trace import Recorder, TimedStore
from examples.lab.users import Users
from session_middleware import CookiePolicy, SessionMiddleware, open_store

DIRECTORY = Path("demo")


def make(store_url: str = "") -> Recorder:
    """Return the application; *store_url* is for :func:`open_store`, by default a SQLite file in ``./demo``."""
    directory = DIRECTORY.absolute()
    directory.mkdir(mode=0o700, exist_ok=True)
    cookie = CookiePolicy()
    store = TimedStore(open_store(store_url or f"sqlite:///{directory}/sessions.sqlite3"))
    notebook = Notebook(directory / "lab.sqlite3")
    site = Site(Users(directory / "users.sqlite3", DEMO_USERS), notebook, store, cookie)
    middleware = SessionMiddleware(site, store, cookie=cookie)
    site.serve(middleware.manager)
    return Recorder(middleware, notebook, cookie)


application = make(os.environ.get("LAB_STORE", ""))
