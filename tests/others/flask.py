"""Suites of Flask itself and of what people add to it."""

from typing import Final

from tests.others.runner import Suite, pytest

_SESSIONS: Final = ("-p", "others_flask")

_FLASK: Final = Suite(
    name="Flask",
    sources=["Flask==3.1.3"],
    needs=["asgiref==3.9.1", "pytest==8.4.2", "Werkzeug==3.1.3"],
    path=["src"],
    command=pytest(*_SESSIONS, "tests"),
    differences={
        "tests.test_basic.test_missing_session": "no secret key is needed",
        "tests.test_basic.test_session_accessed": "what has been stored does not count as modified any more",
        "tests.test_basic.test_session_cookie_setting": "a cookie that the browser has is not sent again",
        "tests.test_basic.test_session_refresh_vary": "a request that does not use the session says no Vary",
        "tests.test_basic.test_session_secret_key_fallbacks": "nothing is signed, so a key does not end sessions",
        "tests.test_basic.test_session_using_samesite_attribute": "the settings count as they were at the first request",
        "tests.test_basic.test_session_using_session_settings": "the cookie is always HttpOnly",
        "tests.test_testing.test_session_transactions_no_null_sessions": "no secret key is needed",
    },
    at_least=470,
)

_FLASK_LOGIN: Final = Suite(
    name="Flask-Login",
    sources=["Flask-Login==0.6.3"],
    needs=["asgiref==3.9.1", "semantic-version==2.10.0"],
    path=["src"],
    command=pytest(*_SESSIONS, "tests"),
    differences={
        "tests.test_login.LoginTestCase.test_session_protection_strong_deletes_session": "strong protection ends the session"
        " of a user, with all that is in it",
    },
    at_least=110,
)

_FLASK_WTF: Final = Suite(
    name="Flask-WTF",
    sources=["Flask-WTF==1.3.0"],
    path=["src"],
    command=pytest(*_SESSIONS, "tests"),
    differences={
        "tests.test_csrf_extension.test_same_origin": "a session of http is none of https, where its cookie has a prefix",
    },
    at_least=75,
)

_FLASK_SECURITY: Final = Suite(
    name="Flask-Security, CSRF",
    sources=["Flask-Security==5.9.2"],
    needs=[
        "argon2-cffi==25.1.0",
        "bcrypt==5.0.0",
        "email-validator==2.4.0",
        "Flask-Mail==0.10.0",
        "Flask-Principal==0.4.0",
        "Flask-SQLAlchemy==3.1.1",
        "libpass==1.9.4",
    ],
    command=pytest(*_SESSIONS, "-o", "addopts=", "tests/test_csrf.py"),
    differences={
        "tests.test_csrf.test_cp_with_token_cookie_expire": "after a day the session has ended, and with it the token",
        "tests.test_csrf.test_login_csrf_json": "it reads the session in Flask's own cookie, and ours holds no data",
    },
    at_least=25,
)

SUITES: Final = (_FLASK, _FLASK_LOGIN, _FLASK_WTF, _FLASK_SECURITY)
