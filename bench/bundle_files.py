"""Write the files of a bundle: the model, what runs it, what is known of it."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import bundle, launch, mobile, selftest
from bench.bundle import Model, Provenance
from bench.bundle_text import Text, readme
from bench.case import Case
from bench.chosen_row import Chosen, notes
from bench.options import UsageError
from bench.record import write_run
from export.artifact import Artifact, Store, model_files
from export.images import Preprocess
from export.printable import printable
from runtimes import REGISTRY, computed_in

TEMPLATES = Path(__file__).parent / "templates"
_RUNTIME = "# the runtime\n"
_RESIZE = "    # the resize\n"
_CHANNELS = "    # the channels\n"
"""The line of predict.txt in whose place a runtime's part stands."""
_BESIDES = {"executorch": ("torch",)}
"""What an adapter imports besides its runtime's own distribution."""
_ONLY = {
    "resize": ("squash", "crop"),
    "channel_order": ("RGB", "BGR", "GREY"),
    "layout": ("NCHW", "NHWC"),
}
_HEEDED = {"size", "first", "filter", "mean", "std", "scale", *_ONLY}
"""What predict.py makes of ``export.images.Preprocess``: a field more needs a line there."""
_CPU_BUILD = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Order:
    """What is packed. ``objections``: why it should not be; ``images``: the user's own, or none."""

    chosen: Chosen
    artifact: Artifact
    store: Store
    objections: tuple[str, ...] = ()
    images: str = ""


def write(folder: Path, order: Order) -> None:
    """Fill an empty folder. Raises ``UsageError``, ``launch.ChildDied`` and ``OSError``."""
    artifact, chosen = order.artifact, order.chosen
    outputs = _write_selftest(folder, order)
    model = model_of(chosen.case, artifact, outputs)
    provenance = provenance_of(chosen, artifact, order.store)
    _copy_model(artifact, folder / bundle.FILES)
    for name, content in texts(model).items():
        (folder / name).write_text(content, encoding="utf-8")
    (folder / bundle.MODEL).write_bytes(bundle.MODEL_JSON.dump_json(model, indent=1))
    needs = requirements(chosen.case.runtime, chosen.run.header.versions)
    (folder / "requirements.txt").write_text(needs, encoding="utf-8")
    (folder / bundle.PROVENANCE).write_bytes(bundle.PROVENANCE_JSON.dump_json(provenance, indent=1))
    write_run(folder / bundle.MEASURED, chosen.alone)
    no_mobile = None
    if artifact.format == "onnx":
        no_mobile = mobile.write(folder / model.file, folder / bundle.MOBILE)
    text = Text(
        model,
        provenance,
        chosen.run.header,
        chosen.row,
        chosen.table,
        order.objections,
        notes(chosen),
        no_mobile,
        own_images=not order.images,
    )
    (folder / bundle.README).write_text(readme(text), encoding="utf-8")
    bundle.write_sums(folder)


def model_of(case: Case, artifact: Artifact, outputs: NDArray[np.float32]) -> Model:
    """What ``predict.py`` is told; ``outputs`` are the model's answers to the self-test."""
    first, second, third = artifact.image_shape
    threads = dict.fromkeys(launch.THREAD_VARIABLES, str(case.threads))
    return Model(
        case=str(case),
        runtime=case.runtime,
        file=f"{bundle.FILES}/{artifact.file}",
        format=artifact.format,
        precision=case.precision,
        computed_in=computed_in(artifact, case.precision),
        threads=case.threads,
        input_shape=(case.batch_size, first, second, third),
        output_shape=(case.batch_size, len(artifact.class_names)),
        probabilities=selftest.are_probabilities(outputs),
        preprocess=preprocess_of(artifact),
        classes=artifact.class_names,
        placeholder_names=artifact.placeholder_names,
        # As export/__init__.py has it: ONNX Runtime would report to its makers.
        environment={**threads, "ORT_DISABLE_TELEMETRY": "1"},
        fixes=artifact.fixes,
        tolerance=selftest.tolerance(case),
        tolerance_when_packed=selftest.tolerance_when_packed(case),
    )


def preprocess_of(artifact: Artifact) -> dict[str, Any]:
    """How ``predict.py`` makes its inputs.

    Raises :class:`UsageError` for what it does not know: it would answer other than measured.
    """
    if not artifact.preprocess:
        raise UsageError(f"{artifact.key} does not say how it takes an image: build it again")
    how = asdict(Preprocess.from_json(artifact.preprocess))
    odd = [f"{name} {how[name]}" for name, values in _ONLY.items() if how[name] not in values]
    odd += sorted(set(how) - _HEEDED)
    if odd:
        raise UsageError(f"{artifact.key} takes images in a way that predict.py can't: {odd}")
    return how


def provenance_of(chosen: Chosen, artifact: Artifact, store: Store) -> Provenance:
    """How the model came to be, without the folders of this machine."""
    return Provenance(
        schema=bundle.SCHEMA,
        case=chosen.case,
        artifact=replace(artifact, folder="", reference=Path(artifact.reference).name),
        chain=bundle.chain_of(artifact, store),
        reference=bundle.reference_of(artifact, store),
        usual_canary_s=chosen.row.usual_canary_s,
    )


def texts(model: Model) -> dict[str, str]:
    """The files that follow from what ``predict.py`` is told."""
    return {
        "predict.py": predict(model.runtime, model.preprocess),
        "selftest.py": _template("selftest"),
        "classes.txt": _class_lines(model),
    }


def predict(runtime: str, how: Mapping[str, Any]) -> str:
    """The text of ``predict.py`` for one runtime and one way to prepare images."""
    # Pillow resizes each channel by itself, and rounds: grey has to be made before.
    mode = "L" if how["channel_order"] == "GREY" else "RGB"
    text = _template("predict").replace(_RUNTIME, _template(runtime))
    text = text.replace("MODE)", f'"{mode}")').replace(_CHANNELS, _channels(how))
    return text.replace(_RESIZE, "".join(f"    {line}\n" for line in _resize(how)))


def _resize(how: Mapping[str, Any]) -> Iterator[str]:
    """What ``export.images.Preprocess`` does for this size, in Pillow's words."""
    (height, width), first = how["size"], how["first"]
    kind = f"Image.Resampling.{how['filter'].upper()}"
    if how["resize"] == "squash":
        if first is not None:
            yield f"image = image.resize(({first}, {first}), Image.Resampling.BILINEAR)"
        yield f"image = image.resize(({width}, {height}), {kind})"
        return
    if first is None:
        yield f"factor = max({width} / image.width, {height} / image.height)"
        least = f"zip(({width}, {height}), image.size, strict=True)"
        yield f"sides = [max(n, round(side * factor)) for n, side in {least}]"
    else:
        yield f"sides = [int({first} * side / min(image.size)) for side in image.size]"
        if first < max(height, width):  # else every image's middle is large enough
            narrow = 'raise ValueError("can\'t be cropped: too narrow")'
            yield f"if sides[0] < {width} or sides[1] < {height}: {narrow}"
    yield f"left, top = round((sides[0] - {width}) / 2), round((sides[1] - {height}) / 2)"
    crop = f"crop((left, top, left + {width}, top + {height}))"
    yield f"image = image.resize(sides, {kind}).{crop}"


def _channels(how: Mapping[str, Any]) -> str:
    """The lines that make numbers of a resized image, in the order that the model takes."""
    order = {"GREY": "[..., None]", "BGR": "[..., ::-1]"}.get(how["channel_order"], "")
    turned = ".transpose(2, 0, 1)" if how["layout"] == "NCHW" else ""
    return (
        f"    values = (np.asarray(image){order}.astype(np.float32) * scale - mean) / std\n"
        f"    return np.ascontiguousarray(values{turned})\n"
    )


def requirements(runtime: str, versions: Mapping[str, str]) -> str:
    """What pip installs: the runtime and numpy as they were measured, Pillow as it is here."""
    names = [*_computing(runtime), "numpy"]
    known = {name: versions.get(name) or _installed(name) for name in names}
    known["Pillow"] = _installed("Pillow")
    lines = [f"{name}=={version}\n" for name, version in known.items()]
    cpu_build = any(version.endswith("+cpu") for version in known.values())
    return "".join([*([f"--extra-index-url {_CPU_BUILD}\n"] if cpu_build else []), *lines])


def other_versions(runtime: str, versions: Mapping[str, str]) -> list[str]:
    """Why the self-test's answers, which what is installed gives, are of another version.

    Raises :class:`UsageError` where the runtime is not installed at all.
    """
    here = {name: _installed(name) for name in _computing(runtime)}
    return [
        f"it was measured with {name} {versions[name]}, and {found} is installed here, which would "
        f"give the self-test's answers: pip install {name}=={versions[name]}, or measure again"
        for name, found in here.items()
        if versions.get(name, found) != found
    ]


def _computing(runtime: str) -> tuple[str, ...]:
    """The distributions on which answers depend."""
    own = REGISTRY[runtime].distribution
    return (*([own] if own else []), *_BESIDES.get(runtime, ()))


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as exc:
        raise UsageError(
            f"{name} is not installed, and the model has to answer the self-test's images here: "
            f"pip install {name}"
        ) from exc


def _template(name: str) -> str:
    return (TEMPLATES / f"{name}.txt").read_text(encoding="utf-8")


def _copy_model(artifact: Artifact, folder: Path) -> None:
    for file in model_files(Path(artifact.folder)):
        target = folder / file.relative_to(artifact.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _class_lines(model: Model) -> str:
    """A name a line, whatever characters are in it; ``model.json`` has them as they are."""
    return "".join(f"{printable(name, ' ')}\n" for name in model.classes)


def _write_selftest(folder: Path, order: Order) -> NDArray[np.float32]:
    """The images, and the answers of the adapter that was measured to what is stored of them."""
    stored = folder / bundle.SELFTEST
    selftest.store_images(stored, order.images)
    how = Preprocess.from_json(order.artifact.preprocess)
    outputs = selftest.answers(order.chosen.case, order.artifact, selftest.inputs(stored, how))
    np.save(folder / bundle.ANSWERS, outputs)
    return outputs
