from __future__ import annotations

import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.artifact import LayerWork
from export.to_pt2 import count_layers, count_module, linear_names, quantize_linear, write_pt2

SIZE = (8, 6)
LINEAR = 64 * 48 * 8 + 10 * 64  # weights of the two Linear layers

pytest.importorskip("torchao", reason="INT8 torch programs need torchao: pip install '.[torch]'")


@pytest.fixture(scope="module")
def module() -> Any:
    """One network for all tests, most of it in two Linear layers."""
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(8 * 48, 64),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(64, 10),
    )
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def files(module, tmp_path_factory) -> dict[str, Path]:
    """The network in fp32 and in INT8, under the same name."""
    folder = tmp_path_factory.mktemp("programs")
    found = {"fp32": folder / "fp32" / "model.pt2", "int8": folder / "int8" / "model.pt2"}
    for file in found.values():
        file.parent.mkdir()
    write_pt2(module, found["fp32"], SIZE)
    write_pt2(quantize_linear(module), found["int8"], SIZE)
    return found


def images(count: int) -> torch.Tensor:
    """Random images of the right size."""
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def answer(file: Path, inputs: torch.Tensor) -> torch.Tensor:
    """What the program in a file computes."""
    logits: torch.Tensor = torch.export.load(file).module()(inputs)
    return logits


@pytest.mark.parametrize("count", [1, 2, 5])
def test_same_outputs(module, files, count):
    """The fp32 program computes what the module computes, for any batch."""
    inputs = images(count)
    with torch.inference_mode():
        assert torch.equal(answer(files["fp32"], inputs), module(inputs))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_int8_outputs(module, files, count):
    """Writing an INT8 module in plain operators changes nothing; INT8 changes little."""
    inputs = images(count)
    with torch.inference_mode():
        expected = quantize_linear(module)(inputs)
        exact = module(inputs)
    logits = answer(files["int8"], inputs)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert (logits - exact).abs().max() < 0.05 * exact.abs().max()


def test_int8_weights_are_a_quarter(files):
    """The Linear weights shrink by 75 % in the file, up to scales and the program's text."""
    weights = {name: stored(file) for name, file in files.items()}
    assert weights["fp32"] - weights["int8"] == pytest.approx(0.75 * 4 * LINEAR, rel=0.02)


def stored(file: Path) -> int:
    """Bytes of all weights in a program's archive."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    return sum(m.file_size for m in members if "/weight_" in m.filename)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_fresh_process_needs_torch_only(files, precision):
    """A program loads and runs where torchao was never imported."""
    code = (
        "import sys, torch; program = torch.export.load(sys.argv[1]).module(); "
        "assert program(torch.rand(3, 3, 8, 6)).shape == (3, 10); "
        "assert 'torchao' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, files[precision]], check=True)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_no_pickles_no_examples_no_paths(files, precision):
    """The archive holds plain weights, no example images, and no path of this machine."""
    with zipfile.ZipFile(files[precision]) as archive:
        contents = {m.filename: archive.read(m) for m in archive.infolist()}
    config = contents["model/data/weights/model_weights_config.json"]
    assert b'"use_pickle": true' not in config
    assert contents["model/data/sample_inputs/model.pt"] == b""
    for trace in (str(Path.cwd()), "site-packages", "stack_trace", ".py"):
        assert not [name for name, content in contents.items() if trace.encode() in content]


def test_sums_over_weights_are_folded(files):
    """What depends on weights alone is computed at export, not for every image."""
    program = torch.export.load(files["int8"])
    operators = {str(node.target) for node in program.graph.nodes}
    assert "aten._int_mm.default" in operators
    assert "aten.sum.dim_IntList" not in operators


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_same_bytes_again(module, files, precision, tmp_path):
    """The same module gives the same file, in another folder and later."""
    source = module if precision == "fp32" else quantize_linear(module)
    write_pt2(source, tmp_path / "model.pt2", SIZE)
    assert (tmp_path / "model.pt2").read_bytes() == files[precision].read_bytes()


def test_quantize_linear_leaves_the_module_alone(module):
    """The copy has INT8 Linear layers and shares all other tensors; the module is as before."""
    quantized: Any = quantize_linear(module)
    assert quantized[0].weight is module[0].weight
    assert type(quantized[4].weight) is not nn.Parameter
    assert type(module[4].weight) is nn.Parameter


def test_nothing_to_quantize():
    """A network without a Linear layer is refused, not returned as it was."""
    with pytest.raises(ValueError, match="no Linear"):
        quantize_linear(nn.Sequential(nn.Conv2d(3, 8, 3)).eval())


def test_training_mode_is_refused(module, tmp_path):
    """Dropout and batch statistics are not what is shipped."""
    with pytest.raises(ValueError, match=r"\.eval\(\)"):
        write_pt2(nn.Sequential(nn.Dropout()).train(), tmp_path / "model.pt2", SIZE)


def test_quiet(module, tmp_path, capfd):
    """Neither torch nor torchao says anything, and no warning is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_pt2(quantize_linear(module), tmp_path / "model.pt2", SIZE)
    assert capfd.readouterr() == ("", "")


def test_count_module(module):
    """Parameters without running statistics; MACs of one image; zeros among the parameters."""
    pruned = nn.Sequential(*module).eval()
    parameters = 3 * 8 * 9 + 8 + 2 * 8 + LINEAR + 64 + 10
    convolution = 3 * 8 * 9 * 48
    zeros = 8  # the norm's biases
    assert count_module(pruned, SIZE) == (parameters, zeros, convolution + LINEAR)


def test_count_quantized_module(module):
    """INT8 weights count as weights, scales do not; zeros are those that rounding made too."""
    parameters, zeros, macs = count_module(module, SIZE)
    counted = count_module(quantize_linear(module), SIZE)
    assert (counted[0], counted[2]) == (parameters, macs)
    assert zeros < counted[1] < parameters / 10


def test_count_of_the_baseline():
    """VGG-19 at 224: 143.7 M parameters, 19.51 G MACs in convolutions and 0.124 G in the head."""
    from export.models.vgg import vgg19

    with torch.device("meta"):
        network = vgg19()
    network = network.to_empty(device="cpu")  # untouched memory costs nothing
    parameters, _, macs = count_module(network.eval(), (224, 224))
    assert parameters == 143_667_240
    assert macs == 19_508_428_800 + 123_633_664


def test_layers_of_a_module():
    """MACs, bytes of weights and of what is read and written, of each layer in turn, in fp32."""
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10)
    )
    conv, linear = count_layers(module, (8, 8))
    assert conv == LayerWork("0", 8 * 16 * 27, 4 * (8 * 27 + 8), 4 * (3 * 64 + 8 * 16))
    assert linear == LayerWork("3", 1280, 4 * (1280 + 10), 4 * (8 * 16 + 10))
    assert linear_names(module) == ("3",)
