"""The building child of the page, with two small files in the place of the five of VGG-19."""

from __future__ import annotations

import sys
from unittest import mock

from bench.dashboard import building
from bench.files import FileKey

SMALL: tuple[FileKey, ...] = (
    ("revisited-base", "fp32", "onnx"),
    ("revisited-base", "int8-dynamic", "onnx"),
)
COMMAND = (sys.executable, "-m", "tests.bench.dashboard.small_building")

if __name__ == "__main__":
    with mock.patch.object(building, "FIVE", SMALL):
        sys.exit(building.main())
