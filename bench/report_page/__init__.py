"""A run as one file to click through: ``python -m bench.report --html FILE``.

The file needs no network and no server. What draws and fills it, Bokeh and Jinja2, comes
from the extra ``report`` and is imported by ``document`` and ``charts`` alone.
"""

from __future__ import annotations

import importlib.util

_LIBRARIES = ("bokeh", "jinja2")


def missing() -> str:
    """What has to be installed before a page can be made; empty: nothing."""
    absent = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"--html needs {' and '.join(absent)}: pip install 'deploybench[report]'"
