"""The lab, put together: the recorder around the middleware around the site.

Serve it from the root of the repository, with ``python -m examples.lab``, or with gunicorn itself:

    gunicorn --config examples/gunicorn.conf.py examples.lab.app:application

It keeps its files in ``./demo``; ``LAB_STORE`` names another store for the sessions, as a URL. If ``make docs`` has made the
book, it is served under ``/book/``; ``LAB_BOOK`` names another directory that it is in. A site on the open internet also
limits how often a sign-in may be tried.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from examples.lab.book import Book
from examples.lab.notebook import Notebook
from examples.lab.site import DEMO_USERS, Site
from examples.lab.trace import Recorder, TimedStore
from examples.lab.users import Users
from session_middleware import CookiePolicy, SessionMiddleware, open_store
from session_middleware.devices import browser_and_network

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

DIRECTORY = Path("demo")
BOOK = Path(__file__).parents[2] / "build" / "docs"


def make(store_url: str = "", book: Book | None = None) -> Recorder:
    """Return the lab itself; *store_url* is for :func:`open_store`, by default a SQLite file in ``./demo``.

    Its steps lead to the lesson in *book*, which is served beside it.
    """
    directory = DIRECTORY.absolute()
    directory.mkdir(mode=0o700, exist_ok=True)
    cookie = CookiePolicy()
    store = TimedStore(open_store(store_url or f"sqlite:///{directory}/sessions.sqlite3"))
    notebook = Notebook(directory / "lab.sqlite3")
    site = Site(Users(directory / "users.sqlite3", DEMO_USERS), notebook, store, cookie, book)
    middleware = SessionMiddleware(site, store, cookie=cookie, describe=browser_and_network)
    site.serve(middleware.manager)
    return Recorder(middleware, notebook, cookie)


def serve(store_url: str, directory: Path) -> "WSGIApplication":
    """Return the lab, with the book beside it that is in *directory*, if there is one."""
    book = Book(directory)
    return book.beside(make(store_url, book))


application = serve(os.environ.get("LAB_STORE", ""), Path(os.environ.get("LAB_BOOK", BOOK)))
