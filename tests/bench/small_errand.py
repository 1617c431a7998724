"""A command as a cluster's machines are given it: quick, or one that never ends.

``python -m tests.bench.small_errand --variants NAME --out DIR`` writes one file.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path


def main() -> int:
    """The exit code that was asked for; ``--linger FILE``: writes its number there and stays."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--linger", type=Path)
    parser.add_argument("--code", type=int, default=0)
    given = parser.parse_args()
    if given.linger:
        given.linger.with_suffix(".tmp").write_text(str(os.getpid()))
        given.linger.with_suffix(".tmp").rename(given.linger)
        signal.pause()
    file = given.out / f"{given.variants}_tiny.txt"
    before = file.read_text() if file.exists() else ""
    data = given.data.read_text() if given.data else ""
    file.write_text(f"{before}{data}{given.variants};")
    print(f"wrote {file.name}")
    if given.code < 0:
        os.kill(os.getpid(), -given.code)
    return int(given.code)


if __name__ == "__main__":
    sys.exit(main())
