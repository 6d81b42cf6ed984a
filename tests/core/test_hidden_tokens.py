"""Tokens are hidden wherever they might be shown."""

import copy
import json
import logging
import marshal
import pickle
import pprint
import string
import traceback
from collections.abc import Callable
from functools import partial

import msgpack
import pytest

from session_middleware import JSONCodec, MemoryStore, MsgpackCodec, PayloadError, Send, SessionManager, StoreUnavailable
from session_middleware.testing import FaultyStore
from session_middleware.tokens import Token

TOKEN = Token("id-of-12-chr" + "SECRET-" * 4)
SECRET = "SECRET"

SHOWN: dict[str, Callable[[], object]] = {
    "repr": lambda: repr(TOKEN),
    "str": lambda: str(TOKEN),
    "format": lambda: format(TOKEN),
    "f-string": lambda: f"{TOKEN} {TOKEN!r} {TOKEN!s} {TOKEN!a}",
    "percent": lambda: "%s %r" % (TOKEN, TOKEN),  # noqa: UP031 - the point of it
    "str.format": lambda: "{} {!r}".format(TOKEN, TOKEN),  # noqa: UP032 - the point of it
    "Template": lambda: string.Template("$token").substitute(token=TOKEN),
    "print": lambda: pprint.pformat({"token": [TOKEN]}, width=1),
    "containers": lambda: [[TOKEN], (TOKEN,), {TOKEN}, {TOKEN: TOKEN}],
    "verdict": lambda: f"{Send(TOKEN, 60)!r} {Send(TOKEN, None)}",
    "exception": lambda: f"{KeyError(TOKEN)} {ValueError('token', TOKEN)!r}",
    "bytes": lambda: str(TOKEN).encode(),
    "what dir() lists": lambda: [name for name in dir(TOKEN) if not name.startswith("_")],
}


class TestHiding:
    @pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
    def test_no_way_of_showing_it_shows_the_secret(self, shown: Callable[[], object]) -> None:
        """Promise 11: what is logged and debugged names the session."""
        text = str(shown())

        assert SECRET not in text
        assert "id" in text

    def test_only_a_call_reveals_it(self) -> None:
        """Promise 11: it has no attributes to be dumped."""
        assert SECRET in TOKEN.reveal()
        with pytest.raises(TypeError, match="__dict__"):
            vars(TOKEN)

    def test_no_format_code_reveals_it(self) -> None:
        """Promise 11: a width would make a text of it."""
        with pytest.raises(TypeError) as caught:
            format(TOKEN, ">60")
        assert SECRET not in str(caught.value)

    def test_a_log_does_not_show_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 11: as an argument, in the text, in a verdict."""
        caplog.set_level(logging.INFO)
        log = logging.getLogger("session_middleware")
        log.info("%s %r %s", TOKEN, TOKEN, [Send(TOKEN, 60)])
        log.info(TOKEN)
        log.info("%(token)s", {"token": TOKEN})

        assert caplog.text.count("id-of-12-chr") == 5
        assert SECRET not in caplog.text

    def test_a_traceback_with_its_locals_does_not_show_it(self) -> None:
        """Promise 11: as error reporters write them."""

        def fail(token: Token) -> None:
            verdict = Send(token, None)
            raise LookupError(f"{token} and {verdict}")

        text = reported(lambda: fail(TOKEN), LookupError)

        assert text.count("<Token of id-of-12-chr>") >= 4
        assert SECRET not in text

    @pytest.mark.parametrize("verb", ["load", "create", "update", "delete"])
    def test_nor_does_that_of_a_store_that_fails(self, verb: str) -> None:
        """Promise 11: no frame between the request and the store has the secret in a local."""
        store = FaultyStore(MemoryStore())
        manager = SessionManager(store)
        session = manager.open()
        session.login("alice")
        verdict = manager.commit(session)
        assert isinstance(verdict, Send)
        token, opened = verdict.token, manager.open(None if verb == "create" else verdict.token)
        if verb != "load":
            opened["name"] = opened.id
        if verb == "update":
            opened.regenerate()
        if verb == "delete":
            opened.invalidate()
        issued = {token, opened.state.token or token if opened.state else token}
        store.fail(verb, times=None)

        text = reported(lambda: (opened.get("name"), manager.commit(opened)), StoreUnavailable)

        assert f"{verb}: not done, as the test asked" in text
        assert any(known.id in text for known in issued)
        assert not any(known.reveal()[12:] in text for known in issued)

    @pytest.mark.parametrize("value", [TOKEN, Send(TOKEN, 5), [TOKEN], {TOKEN: 1}], ids=lambda value: type(value).__name__)
    def test_it_is_not_pickled(self, value: object) -> None:
        """Promise 11: a cache or a queue that pickles what it gets would store it."""
        copies: list[Callable[[object], object]] = [partial(pickle.dumps, protocol=number) for number in range(6)]
        for copied in (*copies, copy.deepcopy):
            with pytest.raises(TypeError, match="a Token is a secret and is not pickled") as caught:
                copied(value)
            assert SECRET not in str(caught.value)

    def test_it_is_not_copied(self) -> None:
        """Promise 11: that is how a pickle begins."""
        with pytest.raises(TypeError, match="pass its reveal"):
            copy.copy(TOKEN)

    @pytest.mark.parametrize(
        "written",
        [
            lambda: json.dumps(TOKEN),
            lambda: json.dumps({"token": Send(TOKEN, 5)}),
            lambda: msgpack.packb(TOKEN),
            lambda: marshal.dumps(TOKEN),  # type: ignore[arg-type]  # the point of it
            lambda: bytes(TOKEN),  # type: ignore[call-overload]  # the point of it
            lambda: "".join([TOKEN]),  # type: ignore[list-item]  # the point of it
        ],
        ids=["json", "json of a verdict", "msgpack", "marshal", "bytes", "join"],
    )
    def test_it_is_not_written_by_accident(self, written: Callable[[], object]) -> None:
        """Promise 11: it is no text, so nothing takes it for one."""
        with pytest.raises((TypeError, ValueError)) as caught:
            written()
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec()], ids=["msgpack", "json"])
    def test_it_is_not_kept_in_a_session(self, codec: MsgpackCodec | JSONCodec) -> None:
        """Promises 9 and 11: neither as a value nor as a key."""
        for value in (TOKEN, [TOKEN], {"token": TOKEN}, {TOKEN: 1}):
            with pytest.raises(PayloadError, match="Token") as caught:
                codec.encode(value)
            assert SECRET not in str(caught.value)


def reported(call: Callable[[], object], kind: type[Exception]) -> str:
    """Return the traceback of the exception that *call* raises, with the locals of its frames but for this one."""
    try:
        call()
    except kind as error:
        while error.__traceback__ and error.__traceback__.tb_frame.f_globals["__name__"] == __name__:
            if error.__traceback__.tb_frame.f_code.co_name == "fail":
                break
            error = error.with_traceback(error.__traceback__.tb_next)
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    raise AssertionError("nothing was raised")
