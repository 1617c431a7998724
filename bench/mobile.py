"""ONNX Runtime's own format, for mobile builds: its converter in a child of ours."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import host
from export.memory import limit_own

_LIMIT_S = 900.0
_CONVERTER = (sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort")


def write(model: Path, folder: Path) -> str:
    """Write ``model``, an .onnx, below ``folder`` in ORT format; or say why that can't be done."""
    with tempfile.TemporaryDirectory(prefix="deploybench-") as scratch:
        command = [*_CONVERTER, "--output_dir", scratch, "--optimization_style", "Fixed"]
        try:
            done = subprocess.run(
                [*command, "--", str(model)],
                capture_output=True,
                check=False,
                text=True,
                errors="replace",
                timeout=_LIMIT_S,
                # It folds what a file computes of constants, whatever its size.
                preexec_fn=functools.partial(limit_own, host.child_memory_bytes()),
            )
        except subprocess.TimeoutExpired:
            return f"the converter was not done within {_LIMIT_S:.0f} s"
        made = sorted(
            path for path in Path(scratch).iterdir() if path.suffix in (".ort", ".config")
        )
        if done.returncode != 0 or not any(path.suffix == ".ort" for path in made):
            lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
            return f"ONNX Runtime's converter ended with {done.returncode}: {lines[-1]}"
        folder.mkdir()
        for path in made:
            if path.suffix == ".config":  # it names the scratch folder in a comment
                text = path.read_text(encoding="utf-8").replace(f"{scratch}/", "")
                (folder / path.name).write_text(text, encoding="utf-8")
            else:
                shutil.copyfile(path, folder / path.name)
    return ""
