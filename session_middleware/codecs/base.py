"""What a codec is. It knows no format."""

from typing import Any, Protocol


class Codec(Protocol):
    """How a value of the session becomes bytes. A codec keeps no state and may be used by any number of threads."""

    def encode(self, value: Any) -> bytes:
        """Return *value* as bytes; the same value always gives the same bytes.

        Raise :exc:`PayloadError`, its path beginning at *value*, for one that :meth:`decode` would not give back as it is.
        """
        ...

    def decode(self, encoded: bytes) -> Any:
        """Return the value, built anew; raise :exc:`PayloadError`, and nothing else, for bytes that hold none."""
        ...
