from __future__ import annotations

import hashlib
import http.server
import importlib.util
import os
import pickle
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from export import weights
from export.download import IMAGENET_MEAN, IMAGENET_STD, Official, WeightsError
from export.models import revisited, vgg, xception
from export.models.revisited import base
from export.seeded import Residual, seeded
from export.steps import Check, check_weights
from export.surgery import prune_filters, prune_vgg19
from export.weights import (
    OFFICIAL,
    Weights,
    apply,
    class_count,
    facts,
    imagenet,
    read_checkpoint,
    resolve,
)

SHARED = Path(__file__).parents[2].parent / "shared"
CHECKPOINTS = SHARED / "checkpoints"
REVISITED = ["base", "v1", "v2", "v3", "v4", "v5", "v6", "alpha"]


def crops(count: int, size: tuple[int, int]) -> torch.Tensor:
    """Squares out of the two photographs that scikit-learn ships, normalised, (N, 3, H, W)."""
    spec = importlib.util.find_spec("sklearn")  # found, not imported: it is slow to load
    assert spec
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "images"
    photographs = [Image.open(path).convert("RGB") for path in sorted(folder.glob("*.jpg"))]
    random = np.random.default_rng(0)
    arrays = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(random.integers(120, photograph.height))
        left, top = (int(random.integers(0, length - side)) for length in photograph.size)
        crop = photograph.crop((left, top, left + side, top + side)).resize(size[::-1])
        arrays.append((np.asarray(crop) / 255 - IMAGENET_MEAN) / IMAGENET_STD)
    return torch.from_numpy(np.stack(arrays)).float().permute(0, 3, 1, 2).contiguous()


def spread(module: nn.Module, images: torch.Tensor) -> float:
    """How far each image's outputs are from some other's: the least over the images.

    The distance is the largest difference in a class over the largest output.
    """
    with torch.inference_mode():
        logits = module(images)
    distances = (logits[:, None] - logits[None]).abs().amax(dim=2) / logits.abs().max()
    return float(distances.amax(dim=1).min())


# --- seeded -----------------------------------------------------------------

SMALL = {
    "vgg19-gap": (vgg.vgg19_gap, (96, 96)),
    "xception": (xception.xception, (96, 96)),
    "xception-gap": (xception.xception_gap, (75, 100)),
    "xception-flatten": (xception.xception_flatten, (75, 100)),
    **{f"revisited-{name}": (getattr(revisited, name), (32, 32)) for name in REVISITED},
}


@pytest.mark.parametrize("name", SMALL)
def test_seeded_outputs_depend_on_the_image(name):
    """Under seeded weights each image's outputs differ by 10 % of the largest or more."""
    builder, size = SMALL[name]
    images = crops(8, size)
    assert spread(seeded(builder(input_size=size), images), images) >= 0.1


def test_seeded_vgg19_depends_on_the_image():
    """So do those of the full VGG-19, which torch's defaults would make answer all alike."""
    images = crops(2, (224, 224))
    assert spread(seeded(vgg.vgg19(), images), images) >= 0.1


def test_seeded_twice_is_the_same():
    """Nothing but names, shapes and the calibration images decides the values."""
    images = crops(4, (32, 32))
    torch.manual_seed(1)
    first = seeded(base(), images).state_dict()
    torch.manual_seed(2)
    second = seeded(base(), images).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_variants_share_their_backbone():
    """A parameter that two variants have under one name has one value in both."""
    gap = seeded(xception.xception_gap(40, (75, 100)))
    flat = dict(seeded(xception.xception_flatten(40, (75, 100))).named_parameters())
    shared = [name for name, _ in gap.named_parameters() if not name.startswith("dense")]
    assert len(shared) > 100
    assert all(torch.equal(gap.get_parameter(name), flat[name]) for name in shared)


@pytest.mark.parametrize(("build", "blocks", "norms"), [(base, 2, 1), (revisited.v3, 6, 2)])
def test_what_a_block_adds_is_damped(build, blocks, norms):
    """The norms before a sum get half the gain, every other norm all of it."""
    module = seeded(build())
    damped = [block.closing_norms() for block in module.modules() if isinstance(block, Residual)]
    assert [len(group) for group in damped] == [norms] * blocks
    closing = {id(norm) for group in damped for norm in group}
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert (norm.weight == (0.5 if id(norm) in closing else 1.0)).all()


def test_a_block_of_xception_closes_with_its_last_norm():
    """The pooling behind it doesn't hide it."""
    block = xception.Block((4, 8, 8), halve=True)
    assert block.closing_norms() == [block.rep[-2]]


def test_no_two_layers_are_alike():
    """Layers of one shape get different values, each from its own name."""
    module: Any = seeded(vgg.vgg19_gap(10, (32, 32)))
    assert not torch.equal(module.features[30].weight, module.features[32].weight)


def test_distributions():
    """VGG is initialised as torchvision does it; elsewhere Linear layers keep the scale."""
    module: Any = seeded(vgg.vgg19_gap(1000, (32, 32)))
    assert float(module.features[34].weight.detach().std()) == pytest.approx(
        (2 / (512 * 9)) ** 0.5, rel=0.01
    )
    assert float(module.classifier.weight.detach().std()) == pytest.approx(0.01, rel=0.01)
    assert not module.features[34].bias.any()
    other: Any = seeded(xception.xception(1000, (75, 75)))
    assert float(other.fc.weight.detach().std()) == pytest.approx((2 / 2048) ** 0.5, rel=0.01)
    assert float(other.conv4.conv1.weight.detach().std()) == pytest.approx((2 / 9) ** 0.5, rel=0.02)


def test_norms_take_their_statistics_from_the_images():
    """BatchNorm has the plain mean and variance of what one pass put through it."""
    images = crops(4, (32, 32))
    module: Any = seeded(base(), images)
    convolution, norm = module.blocks[0].body[0]
    maps = convolution(images)
    torch.testing.assert_close(norm.running_mean, maps.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, maps.var(dim=(0, 2, 3)))
    assert norm.momentum == 0.1
    assert not any(layer.training for layer in module.modules())


def test_calibration_wants_two_images():
    """One image has no variance to take over a fully connected layer's outputs."""
    with pytest.raises(ValueError, match="N >= 2"):
        seeded(base(), torch.zeros(1, 3, 32, 32))


# --- a file -----------------------------------------------------------------


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the state dict."""
    return {key: value.clone() for key, value in module.state_dict().items()}


def save(path: Path, state: dict[str, torch.Tensor], **metadata: str) -> Path:
    """Write a safetensors file; returns where."""
    save_file(state, path, metadata=metadata or None)
    return path


def test_safetensors_with_metadata(tmp_path):
    """Class names, mean and std come from the metadata; fp16 becomes fp32."""
    state = {key: value.half() for key, value in seeded(base(3)).state_dict().items()}
    path = save(
        tmp_path / "revisited-base_fruit.safetensors",
        state,
        classes='["fig", "plum", "quince"]',
        mean="0.1,0.2,0.3",
        std="0.4,0.5,0.6",
    )
    read = read_checkpoint(path)
    assert (read.name, read.class_names, read.placeholder_names) == (
        "fruit",
        ("fig", "plum", "quince"),
        False,
    )
    assert (read.mean, read.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert read.key == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert all(value.dtype == torch.float32 for value in read.state.values())
    assert torch.equal(read.state["fc.weight"], state["fc.weight"].float())


@pytest.mark.parametrize(
    ("suffix", "wrap"),
    [
        (".pth", lambda state: state),
        (".pt", lambda state: {"state_dict": state, "epoch": 3}),
        (".ckpt", lambda state: {"model": state}),
        (".bin", lambda state: {f"module.{key}": value for key, value in state.items()}),
    ],
)
def test_pickled_state_dicts(tmp_path, suffix, wrap):
    """A state dict is found in the usual wrappings; its classes get placeholder names."""
    state = state_of(base(3))
    torch.save(wrap(state), tmp_path / f"mine{suffix}")
    read = read_checkpoint(tmp_path / f"mine{suffix}")
    assert read.class_names == ("class_0000", "class_0001", "class_0002")
    assert read.placeholder_names
    assert (read.mean, read.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert all(torch.equal(read.state[key], value.float()) for key, value in state.items())


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("vgg19-gap_plants40", "plants40"),
        ("vgg19-pruned_plants40_epoch3", "plants40_epoch3"),
        ("my_model", "my_model"),
        ("xception_", "xception_"),
        ("a/b c@d+e".rpartition("/")[2], "b-c-d-e"),
    ],
)
def test_short_name(tmp_path, stem, name):
    """The name is the stem without a leading variant name, fit for a row key."""
    assert read_checkpoint(save(tmp_path / f"{stem}.safetensors", state_of(base()))).name == name


def test_reserved_names_are_refused(tmp_path):
    """A file can't pass for the seeded weights or the official ones."""
    path = save(tmp_path / "vgg19_seeded.safetensors", state_of(base()))
    with pytest.raises(WeightsError, match=r"would be called 'seeded'.*rename it"):
        read_checkpoint(path)
    assert read_checkpoint(path, name="mine").name == "mine"


def test_old_xception_files(tmp_path):
    """Pointwise weights stored 2-D and a head named last_linear are taken as they were meant."""
    state = {"conv3.pointwise.weight": torch.rand(4, 3), "last_linear.weight": torch.rand(7, 4)}
    torch.save(state, tmp_path / "old.pth")
    read = read_checkpoint(tmp_path / "old.pth")
    assert {key: tuple(value.shape) for key, value in read.state.items()} == {
        "conv3.pointwise.weight": (4, 3, 1, 1),
        "fc.weight": (7, 4),
    }
    assert len(read.class_names) == 7


@pytest.mark.parametrize("name", ["vgg19-gap", "xception-gap"])
def test_trained_checkpoints(name):
    """The real checkpoints carry forty names and a short name in their file's."""
    path = CHECKPOINTS / f"{name}_plants40.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    read = read_checkpoint(path)
    assert (read.name, len(read.class_names)) == ("plants40", 40)
    assert read.class_names[0] == "00_Hibiscus_rosa-sinensis"


class Code:
    """What a hostile pickle does: it calls something when it is loaded."""

    def __reduce__(self):
        return (os.system, ("touch pwned",))


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _truncated_pickle(path: Path) -> None:
    torch.save(state_of(base()), path)
    _half(path)


def _truncated_safetensors(path: Path) -> None:
    save(path, state_of(base()))
    _half(path)


def _torchscript(path: Path) -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.script(nn.Linear(2, 2)).save(path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated.pth": (_truncated_pickle, "truncated or damaged"),
    "truncated.safetensors": (_truncated_safetensors, "truncated or not a safetensors file"),
    "empty.pth": (Path.touch, "truncated or damaged"),
    "empty.safetensors": (Path.touch, "truncated or not a safetensors file"),
    "page.pth": (lambda path: path.write_text("<html>404</html>"), "not a checkpoint that torch"),
    "page.safetensors": (lambda path: path.write_text("<html>"), "not a safetensors file"),
    "folder.pth": (Path.mkdir, "can't be read"),
    "notes.txt": (Path.touch, "should end in .safetensors"),
    "code.pth": (lambda path: torch.save({"a": Code()}, path), "would run code .posix.system"),
    "module.pth": (lambda path: torch.save(nn.Linear(2, 2), path), "would run code .torch.nn"),
    "pickle-2.pth": (
        lambda path: path.write_bytes(pickle.dumps(Code(), protocol=2)),
        "would run code .posix.system",
    ),
    "pickle-5.pth": (
        lambda path: path.write_bytes(pickle.dumps(Code(), protocol=5)),
        "not a checkpoint that torch",
    ),
    "script.pt": (_torchscript, "TorchScript program"),
    "list.pth": (lambda path: torch.save([1, 2], path), "holds a list, not a state dict"),
    "nothing.pth": (lambda path: torch.save({}, path), "holds no tensors"),
    "epochs.pth": (lambda path: torch.save({"epoch": 3}, path), "'epoch' is of type int"),
    "headless.pth": (
        lambda path: torch.save({"features.0.weight": torch.zeros(4, 3, 3, 3)}, path),
        "there is no output layer",
    ),
    "diverged.pth": (
        lambda path: torch.save({"fc.weight": torch.tensor([[float("nan")]])}, path),
        "fc.weight holds NaN",
    ),
    "names.safetensors": (
        lambda path: save(path, state_of(base(3)), classes='["fig"]'),
        "names 1 classes, but the head has 3",
    ),
    "no-json.safetensors": (
        lambda path: save(path, state_of(base(3)), classes="fig, plum"),
        "should be a JSON list",
    ),
    "mean.safetensors": (
        lambda path: save(path, state_of(base(3)), mean="0.5"),
        "'mean' should be three numbers",
    ),
    "std.safetensors": (
        lambda path: save(path, state_of(base(3)), std="0,1,1"),
        "'std' should be three numbers",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, name, monkeypatch):
    """A file that is no checkpoint of ours is refused in a sentence that names it."""
    monkeypatch.chdir(tmp_path)
    make, why = BAD[name]
    make(tmp_path / name)
    with pytest.raises(WeightsError, match=why) as refusal:
        read_checkpoint(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "pwned").exists()


def test_missing_file_is_named():
    """A file that isn't there is named, with the option that named it."""
    with pytest.raises(WeightsError, match=r"/nowhere/a\.pth can't be read .*check --weights"):
        read_checkpoint(Path("/nowhere/a.pth"))


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"fc.weight": (7, 3), "dense.0.weight": (9, 3)}, 7),
        ({"classifier.weight": (7, 3)}, 7),
        (
            {
                "classifier.0.weight": (9, 3),
                "classifier.3.weight": (8, 9),
                "classifier.6.weight": (7, 8),
            },
            7,
        ),
        ({"classifier.6.0.weight": (2, 8), "classifier.6.1.weight": (7, 2)}, 7),
    ],
)
def test_class_count(keys, count):
    """The number of classes is what the last Linear of the head puts out."""
    assert class_count({key: torch.zeros(shape) for key, shape in keys.items()}) == count


@pytest.mark.parametrize("builder", [vgg.vgg19, vgg.vgg19_gap, xception.xception_flatten, base])
def test_class_count_of_our_networks(builder):
    """Every network's own state dict tells its number of classes."""
    with torch.device("meta"):
        assert class_count(builder(23).state_dict()) == 23


# --- into the module --------------------------------------------------------


def trained(state: dict[str, torch.Tensor]) -> Weights:
    """Weights as if read from a file."""
    return Weights("mine", "0" * 16, ("class_0000",), True, state)


def halve(module: nn.Module) -> nn.Module:
    """A surgery on the small network: half of the first convolution's filters."""
    return prune_filters(module, ["blocks.0.body.0.0"], 0.5, torch.zeros(1, 3, 32, 32))


def test_apply_without_surgery():
    """Weights that fit are loaded, and the module computes with them."""
    source = seeded(base())
    module = apply(base().train(), None, trained(state_of(source)))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(images), source(images))
    assert not module.training


def test_apply_needs_no_counters():
    """BatchNorm's counters are absent from old checkpoints, and that is no fault."""
    state = {key: value for key, value in state_of(base()).items() if "num_batches" not in key}
    got = apply(base(), None, trained(state)).state_dict()
    assert all(torch.equal(got[key], value) for key, value in state.items())


def test_apply_operates_after_loading():
    """Weights of the whole network are loaded first: they decide what is pruned."""
    state = state_of(seeded(base()))
    expected = halve(seeded(base())).state_dict()
    got = apply(base(), halve, trained(state)).state_dict()
    assert all(torch.equal(got[key], expected[key]) for key in expected)


def test_apply_loads_operated_weights():
    """Weights that are pruned already go into the pruned skeleton, whatever it would lose."""
    operated = halve(seeded(base()))
    module = apply(base(), halve, trained(state_of(operated)))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(images), operated(images))


def test_apply_loads_a_pruned_vgg19():
    """A pruned and fine-tuned VGG-19 keeps its filters: they are not chosen anew."""
    operated = prune_vgg19(seeded(vgg.vgg19_gap(5, (32, 32))))
    module = apply(vgg.vgg19_gap(5, (32, 32)), prune_vgg19, trained(state_of(operated)))
    assert all(
        torch.equal(module.state_dict()[key], value) for key, value in state_of(operated).items()
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda state: state.pop("fc.bias"), "missing key fc.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected key extra"),
        (
            lambda state: state.update({"fc.bias": torch.zeros(3)}),
            r"fc.bias should have the shape \(10,\), not \(3,\)",
        ),
        (
            lambda state: [state.pop(key) for key in ("fc.weight", "fc.bias")],
            r"missing key fc.weight \(and 1 more\)",
        ),
    ],
)
@pytest.mark.parametrize("surgery", [None, halve])
def test_apply_names_what_is_wrong(change, why, surgery):
    """The first key or shape that doesn't fit is named, and how many others there are."""
    state = state_of(base())
    change(state)
    with pytest.raises(WeightsError, match=f"weights 'mine' don't fit: {why}$"):
        apply(base(), surgery, trained(state))


def test_apply_names_the_closer_side():
    """Operated weights with one fault are compared with the operated network."""
    state = state_of(halve(seeded(base())))
    state["fc.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError, match=r"fc.bias should have the shape \(10,\), not \(3,\)$"):
        apply(base(), halve, trained(state))


# --- by name ----------------------------------------------------------------


def test_facts_of_a_file(tmp_path):
    """What is known of a file's weights before a build is what stands in the file."""
    said = {"classes": '["fig", "plum"]', "input": "32x48"}
    path = save(tmp_path / "fruit.safetensors", state_of(base(2)), **said)
    known = facts(str(path), tmp_path)
    read = resolve(str(path), "revisited", tmp_path)
    assert (known.name, known.key, known.class_names) == ("fruit", read.key, ("fig", "plum"))
    assert not known.placeholder_names
    assert known.learnt_size == (32, 48)


def test_facts_of_the_official_weights(tmp_path):
    """The official weights are known by their hashes without a download."""
    known = facts("imagenet", tmp_path)
    assert (known.name, known.key) == ("imagenet", "dcbb9e9d-43020ad28")
    assert (known.class_names, known.placeholder_names) == ((), True)
    assert list(tmp_path.iterdir()) == []


def test_official_sources():
    """The official files are named after their own hash, as torch's hub has it."""
    for source in OFFICIAL.values():
        assert source.file_name.endswith(f"-{source.sha256_prefix}.pth")


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, Path, list[str]]]:
    """A file server on this machine: its URL, its folder, and the paths asked of it."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, _, *arguments):
            asked.append(str(arguments[0]))

    listening = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=folder)
    )
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}", folder, asked
    listening.shutdown()
    listening.server_close()
    thread.join()


def publish(server, **changes) -> dict[str, Official]:
    """Put a checkpoint on the server; where it stands and its hash."""
    url, folder, _ = server
    torch.save(state_of(base()), folder / "base.pth")
    digest = hashlib.sha256((folder / "base.pth").read_bytes()).hexdigest()
    return {
        "revisited": Official(**{"url": f"{url}/base.pth", "sha256_prefix": digest[:8], **changes})
    }


def test_download_once(server, tmp_path):
    """A file with the right hash is kept and not asked for again."""
    sources = publish(server)
    first = imagenet("revisited", tmp_path / "cache", sources)
    again = imagenet("revisited", tmp_path / "cache", sources)
    assert first.name == again.name == "imagenet"
    assert first.key.startswith(sources["revisited"].sha256_prefix)
    assert len(server[2]) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["base.pth"]


def test_a_damaged_cache_is_fetched_again(server, tmp_path):
    """What stands in the cache counts only with the right hash."""
    sources = publish(server)
    imagenet("revisited", tmp_path / "cache", sources)
    _half(tmp_path / "cache" / "base.pth")
    assert imagenet("revisited", tmp_path / "cache", sources).name == "imagenet"
    assert len(server[2]) == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sha256_prefix": "dcbb9e9d"}, r"has sha256 .*, not dcbb9e9d"),
        ({"max_bytes": 1000}, "is larger than 1000 bytes"),
    ],
)
def test_wrong_downloads_are_refused(server, tmp_path, changes, why):
    """A file with another hash, or far too large, is refused and not kept."""
    sources = publish(server, **changes)
    with pytest.raises(WeightsError, match=f"{why}.*by hand and pass --weights FILE"):
        imagenet("revisited", tmp_path / "cache", sources)
    assert list((tmp_path / "cache").iterdir()) == []


def test_http_errors_are_named(server, tmp_path):
    """A file that the server hasn't got is refused with its URL and the server's answer."""
    url = f"{server[0]}/gone.pth"
    with pytest.raises(WeightsError, match=rf"{url} failed \(HTTP Error 404.*--weights FILE"):
        imagenet("revisited", tmp_path / "cache", publish(server, url=url))
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_network_is_named(tmp_path):
    """Where nobody answers, the refusal has the URL and the remedy."""
    # Port 1 of this machine: reserved, and nothing listens there.
    sources = {"vgg19": Official("http://127.0.0.1:1/a.pth", "00000000")}
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:1/a\.pth failed .*--weights FILE"):
        imagenet("vgg19", tmp_path, sources)


def test_families_without_official_weights(tmp_path):
    """A family that nobody published is refused with those that were."""
    with pytest.raises(WeightsError, match="for 'revisited', only for vgg19, xception"):
        imagenet("revisited", tmp_path)


def test_official_xception_takes_our_normalisation(server, tmp_path):
    """Weights made for mean and std 0.5 answer the same to images in ImageNet's normalisation."""
    original = seeded(xception.xception(5, (75, 75)))
    torch.save(state_of(original), server[1] / "x.pth")
    digest = hashlib.sha256((server[1] / "x.pth").read_bytes()).hexdigest()
    half = (0.5, 0.5, 0.5)
    sources = {"xception": Official(f"{server[0]}/x.pth", digest[:8], mean=half, std=half)}
    read = imagenet("xception", tmp_path / "cache", sources)
    assert (read.mean, read.std) == (IMAGENET_MEAN, IMAGENET_STD)
    ours = crops(2, (75, 75))
    pixels = (
        ours * torch.tensor(IMAGENET_STD)[:, None, None]
        + torch.tensor(IMAGENET_MEAN)[:, None, None]
    )
    expected = original((pixels - 0.5) / 0.5).detach()
    got = apply(xception.xception(5, (75, 75)), None, read)(ours)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_official_files_are_known_by_their_hash(tmp_path, monkeypatch):
    """A file downloaded by hand is the official one, whatever it is called."""
    torch.save(state_of(base()), tmp_path / "by-hand.pth")
    digest = hashlib.sha256((tmp_path / "by-hand.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(weights, "OFFICIAL", {"revisited": Official("http://x/y.pth", digest[:8])})
    assert read_checkpoint(tmp_path / "by-hand.pth").name == "imagenet"


def test_an_absurd_checkpoint_is_a_sentence(tmp_path, monkeypatch):
    """A bomb is refused before torch opens it; too little memory is told as that, not as damage."""
    file = tmp_path / "a.pt"
    torch.save({"fc.weight": torch.zeros(10, 10)}, file)
    check = Check(str(tmp_path / "store"), str(file), ())
    assert check_weights(check).error == ""
    for lack in (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "load", Raises(lack))
            said = check_weights(check).error
        assert said.startswith(f"--weights {file}: it needs more memory"), said
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert f"{file} is a compressed archive" in check_weights(check).error


class Raises:
    """Called with anything, it raises what it was made with."""

    def __init__(self, exc: Exception) -> None:
        self._exc = exc

    def __call__(self, *given: object, **more: object) -> None:
        raise self._exc
