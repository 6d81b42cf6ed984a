"""The small application for a WSGI server: PEER names the library and what it needs, one a line."""

import logging
import os
import warnings

from benchmarks.peers.contenders import BY_NAME, Place

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
_name, _store, _folder, _redis, _postgresql, _database = os.environ["PEER"].split("\n")
application = BY_NAME[_name].make(_store, Place(_folder, int(_redis), int(_postgresql), _database)).application
