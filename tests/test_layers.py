"""The import rules, read from the syntax tree: they hold where import-linter is not installed.

Which modules are pure and which libraries are runtimes stands once, in the
contracts of pyproject.toml. Imports inside functions count as well.
"""

from __future__ import annotations

import ast
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("bench", "runtimes", "export")
Imports = Mapping[str, frozenset[str]]


def contracts() -> dict[str, dict[str, list[str]]]:
    """The contracts of pyproject.toml by the beginning of their names."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {row["name"].split()[0]: row for row in table["tool"]["importlinter"]["contracts"]}


PURE = frozenset(rule.partition(" -> ")[2] for rule in contracts()["Of"]["ignore_imports"])
RUNTIME_LIBRARIES = frozenset(contracts()["bench"]["forbidden_modules"])


def read_imports(root: Path) -> Imports:
    """Module -> every name that it imports, of all modules of the three packages."""
    files = {_module(root, file): file for layer in LAYERS for file in (root / layer).rglob("*.py")}
    return {name: frozenset(_imported(name, file, files)) for name, file in files.items()}


def _module(root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(name: str, file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Dotted names; ``from a import b`` is ``a.b`` where that is a module of ours."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*above, node.module or ""]) if node.level else node.module or ""
            base = base.rstrip(".")
            deeper = (f"{base}.{alias.name}" for alias in node.names)
            yield from (path if path in known else base for path in deeper)


def violations(root: Path) -> list[str]:
    """Every import that the rules forbid, one line each."""
    imports = read_imports(root)
    return [
        *upward(imports),
        *not_pure(imports),
        *between_adapters(imports),
        *runtimes_behind_bench(imports),
        *loadgen_elsewhere(imports),
    ]


def upward(imports: Imports) -> Iterator[str]:
    """bench, runtimes, export: nobody imports what stands above."""
    for module, name in _edges(imports):
        if _top(name) in LAYERS[: LAYERS.index(_top(module))]:
            yield f"upward: {module} -> {name}"


def not_pure(imports: Imports) -> Iterator[str]:
    """Whoever is above export, or in its pure part, takes only its pure part."""
    for module, name in _edges(imports):
        bound = _top(module) != "export" or module in PURE
        if bound and name.startswith("export.") and name not in PURE:
            yield f"not pure: {module} -> {name}"


def between_adapters(imports: Imports) -> Iterator[str]:
    """No file of runtimes imports another one; the package itself is for all."""
    for module, name in _edges(imports):
        if module.startswith("runtimes.") and name.startswith("runtimes."):
            yield f"between adapters: {module} -> {name}"


def runtimes_behind_bench(imports: Imports) -> Iterator[str]:
    """From bench, no chain of imports ends in a runtime or a converter."""
    came_from = {name: "" for name in sorted(imports) if _top(name) == "bench"}
    queue = list(came_from)
    for module in queue:
        for name in sorted(imports[module]):
            if _top(name) in RUNTIME_LIBRARIES:
                yield "runtime behind bench: " + _chain(came_from, module, name)
            for loaded in _with_parents(name):
                if loaded in imports and loaded not in came_from:
                    came_from[loaded] = module
                    queue.append(loaded)


def loadgen_elsewhere(imports: Imports) -> Iterator[str]:
    """One module knows LoadGen, whose state is the process's: the child imports it late."""
    rule = contracts()["LoadGen,"]
    for module, name in _edges(imports):
        allowed = f"{module} -> {_top(name)}" in rule["ignore_imports"]
        if _top(name) in rule["forbidden_modules"] and not allowed:
            yield f"LoadGen elsewhere: {module} -> {name}"


def _edges(imports: Imports) -> Iterator[tuple[str, str]]:
    return ((module, name) for module in sorted(imports) for name in sorted(imports[module]))


def _top(name: str) -> str:
    return name.partition(".")[0]


def _with_parents(name: str) -> list[str]:
    """Importing a.b.c runs a and a.b as well."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _chain(came_from: Mapping[str, str], module: str, last: str) -> str:
    path = [last]
    while module:
        path.append(module)
        module = came_from[module]
    return " -> ".join(reversed(path))


def test_no_import_runs_against_the_layers() -> None:
    """The code as it stands keeps every rule."""
    assert violations(ROOT) == []


def test_rules_name_modules_that_exist() -> None:
    """A pure module that was renamed would leave its rule behind, saying nothing."""
    assert PURE <= set(read_imports(ROOT))
    assert {"torch", "onnx", "onnxruntime"} <= RUNTIME_LIBRARIES


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("export/variants.py", "import bench.case", "upward: export.variants -> bench.case"),
        ("runtimes/null.py", "from bench import case", "upward: runtimes.null -> bench.case"),
        ("bench/case.py", "from export import steps", "not pure: bench.case -> export.steps"),
        ("runtimes/ort.py", "import export.steps as s", "not pure: runtimes.ort -> export.steps"),
        (
            "export/artifact.py",
            "def late():\n    from .steps import x",
            "not pure: export.artifact -> export.steps",
        ),
        (
            "runtimes/ort.py",
            "from . import torch_eager",
            "between adapters: runtimes.ort -> runtimes.torch_eager",
        ),
        ("bench/case.py", "import os, torch.nn", "runtime behind bench: bench.case -> torch.nn"),
        (
            "bench/case.py",
            "def late():\n    import runtimes.ort",
            "runtime behind bench: bench.case -> runtimes.ort -> onnxruntime",
        ),
        (
            "bench/load_test.py",
            "import mlperf_loadgen",
            "LoadGen elsewhere: bench.load_test -> mlperf_loadgen",
        ),
        (
            "export/__init__.py",
            "from onnx import checker",
            " -> export -> onnx",
        ),
    ],
)
def test_forbidden_import_is_named(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    """One bad line in a copy of the code is found, however it is written."""
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, tmp_path / layer)
    with (tmp_path / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    assert any(complaint in found for found in violations(tmp_path))
