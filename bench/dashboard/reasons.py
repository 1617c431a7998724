"""What the page tells of a failure: the reason, without where things stand on the server.

Who runs the server finds the whole text in its log.
"""

from __future__ import annotations

import re

_LOG_PLACE = re.compile(r" \(its output: [^)]*\)")
_QUOTED_PATH = re.compile(r"""(['"])/[^'"\n]*/([^'"\n/]*)\1""")
_PATH = re.compile(r"""(?<![\w.:/~-])/(?:[^\s/'":,;()]+/)+([^\s/'":,;()]*)""")


def shown(exc: BaseException) -> str:
    """What a card says of a failure."""
    return plain(str(exc)) or type(exc).__name__


def mistake(exc: BaseException) -> str:
    """What a card says of an exception that nobody expected."""
    return f"a mistake in the page itself ({type(exc).__name__}: {shown(exc)})"


def plain(reason: str) -> str:
    """Without folders of the server: of an absolute path only the last part is left."""
    text = _LOG_PLACE.sub("", reason)
    return _PATH.sub(r"\1", _QUOTED_PATH.sub(r"\1\2\1", text))
