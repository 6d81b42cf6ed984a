"""A value to bytes and back, exactly. Bytes from a store are data: nothing in them is ever run.

Whatever decodes can be encoded again, so a hostile record cannot make a later request fail.
"""

from session_middleware.codecs.base import Codec
from session_middleware.codecs.json import JSONCodec
from session_middleware.codecs.messagepack import MsgpackCodec

__all__ = ["Codec", "JSONCodec", "MsgpackCodec"]
