"""MessagePack packers that are kept: making one costs more than packing a small value does. They know no type of ours."""

from collections.abc import Callable
from typing import Any

from msgpack import Packer

# The library's own buffers are so large that each of them would ask the system for memory (bytes).
_BUFFER = 1024


class Packers:
    """Packs values, of types that MessagePack lacks by way of *default*. Any number of threads may use it."""

    def __init__(self, default: Callable[[object], Any] | None = None) -> None:
        self._default = default
        self._idle: list[Packer] = []

    def pack(self, value: object) -> bytes:
        try:
            packer = self._idle.pop()
        except IndexError:
            packer = Packer(strict_types=self._default is not None, default=self._default, buf_size=_BUFFER)
        packed: bytes = packer.pack(value)
        self._idle.append(packer)  # after an error it is not used again
        return packed
