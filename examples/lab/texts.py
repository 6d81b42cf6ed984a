"""What the pages say, in each language; the texts are in ``texts/*.toml`` and may be HTML, what is put into them not."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from webob import Request

LANGUAGES = {"en": "English", "ko": "한국어"}


class Texts:
    """The texts of one language; ``texts("cart.title", name=value)`` is one of them, with the values escaped."""

    def __init__(self, language: str) -> None:
        self.language = language
        path = Path(__file__).parent / "texts" / f"{language}.toml"
        self.all: dict[str, str] = dict(_flat(tomllib.loads(path.read_text(encoding="utf-8"))))

    def __call__(self, key: str, /, **values: object) -> Markup:
        return Markup(self.all[key]).format(**values)  # noqa: S704 - our own texts

    def duration(self, seconds: float) -> str:
        """Return a time span in its largest unit."""
        for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
            if seconds >= 2 * size or seconds == size:
                return self(f"time.{unit}s" if seconds >= 2 * size else f"time.{unit}", number=round(seconds / size))
        return self("time.seconds" if round(seconds) != 1 else "time.second", number=round(seconds))

    def ago(self, seconds: float) -> str:
        return self("time.now") if seconds < 2 else self("time.ago", duration=self.duration(seconds))


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value).strip()}
    return flat


TEXTS = {language: Texts(language) for language in LANGUAGES}


def preferred(request: Request) -> str:
    """Return the language that the browser asks for; English for any that the lab does not speak."""
    return str(request.accept_language.lookup(list(LANGUAGES), default="en"))
