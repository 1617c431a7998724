"""What a file does not say, though nobody can use it safely without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from export.anatomy.contents import Contents
from export.anatomy.finding import Finding, Remedy

_CLASSES = ("deploybench.class_names", "classes", "class_names", "labels", "names")
_PREPROCESSING = ("deploybench.preprocess", "preprocess", "preprocessing", "mean")
_PROVENANCE = ("deploybench.key", "provenance", "trained", "parent", "data")
_MADE_UP = "deploybench.class_names_are_placeholders"

_SAY = {
    "ONNX": "write {what} into the file's metadata_props, or into a .toml beside it for bench.run",
    "safetensors": "write {what} into the file's metadata (python -m export.train does)",
}
_BESIDE = "save it as safetensors with {what} in the metadata, or ship {what} in a file beside it"


def missing(contents: Contents) -> Iterator[Finding]:
    """Class names, preprocessing, provenance: a finding for each that is not there."""
    names = _said(contents.metadata, _CLASSES)
    if not names:
        yield _absent(
            contents,
            "no-class-names",
            "the file does not name its classes",
            "the class names in output order",
            _CLASSES,
        )
    elif contents.metadata.get(_MADE_UP) == "true":
        yield Finding(
            "placeholder-class-names",
            "the file's class names are placeholders",
            (f"{_MADE_UP} is true",),
            (Remedy("build it from weights that name their classes"),),
        )
    if not _said(contents.metadata, _PREPROCESSING):
        yield _absent(
            contents,
            "no-preprocessing",
            "the file does not say how an image becomes its input",
            "size, resizing, mean, std and channel order",
            _PREPROCESSING,
        )
    if not _said(contents.metadata, _PROVENANCE):
        yield _absent(
            contents,
            "no-provenance",
            "the file does not say where its weights come from",
            "what they were trained on and by which code",
            _PROVENANCE,
        )


def _said(metadata: Mapping[str, str], keys: tuple[str, ...]) -> bool:
    return any(metadata.get(key, "").strip() not in ("", "[]", "{}", "null") for key in keys)


def _absent(contents: Contents, code: str, title: str, what: str, keys: tuple[str, ...]) -> Finding:
    looked = f"its metadata has none of {', '.join(keys)}"
    if contents.format not in _SAY:
        looked = f"a {contents.format} file has no place for it"
    remedy = _SAY.get(contents.format, _BESIDE).format(what=what)
    return Finding(code, title, (looked,), (Remedy(remedy),))
