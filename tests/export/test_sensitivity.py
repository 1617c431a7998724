"""Which layer suffers most: measured one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from export.build import Int8
from export.images import Preprocess, crops, sample_photographs
from export.sensitivity import LayerError, errors, layers, main, worst_first
from export.to_onnx import write_onnx
from tests.export.given_files import keras_like

SIZE = (12, 12)


class Uneven(nn.Module):
    """The second convolution has one weight so large that a scale for all leaves little else."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        first, spoilt = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.layers = nn.Sequential(first, nn.ReLU(), spoilt, nn.ReLU())
        self.head = nn.Linear(8 * 144, 5)
        spoilt.weight.detach()[0, 0, 0, 0] = 300.0
        self.head.weight.detach()[:, :144] = 0.0  # the channel that it spoils is not looked at

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.layers(images).flatten(1))
        return logits


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network in fp32."""
    path: Path = tmp_path_factory.mktemp("sensitivity") / "fp32.onnx"
    metadata = {"deploybench.preprocess": Preprocess(SIZE).to_json()}
    write_onnx(Uneven().eval(), path, SIZE, metadata)
    return path


IMAGES = Preprocess(SIZE).batch(crops(sample_photographs(), 4, seed=0))


def test_the_spoilt_layer_comes_first(file: Path) -> None:
    """With one scale a tensor the layer with the outlier loses most; every layer is measured."""
    found = list(errors(file, IMAGES, Int8(per_channel=False)))
    assert [one.name for one in found] == ["Conv_0", "Conv_2", "Gemm_5"]
    first, *rest = worst_first(found)
    assert first.name == "Conv_2"
    assert first.error > 2 * max(one.error for one in rest)


def test_scales_for_each_channel_heal_it(file: Path) -> None:
    """The ranking is of the scheme that was asked for, and leaves out what stays in fp32."""
    found = list(errors(file, IMAGES, Int8(keep_fp32=("Conv_0",))))
    assert [one.name for one in found] == ["Conv_2", "Gemm_5"]
    spoilt = list(errors(file, IMAGES, Int8(per_channel=False, keep_fp32=("Conv_0",))))
    assert found[0].error < spoilt[0].error / 2


def test_equals_keep_their_order() -> None:
    """A tie is decided, the same way each time."""
    rows = [LayerError(name, "Conv", error) for name, error in (("a", 0.1), ("b", 0.1), ("c", 0.2))]
    assert [one.name for one in worst_first(rows)] == ["c", "a", "b"]


def test_the_command_line(file: Path, capsys: Any) -> None:
    """A table for a person, lines of JSON for a program, a sentence for a mistake."""
    assert main([str(file), "--images", "2"]) == 0
    shown = capsys.readouterr().out.split()
    assert shown[0::3] == sorted(shown[0::3], reverse=True)
    assert dict(zip(shown[1::3], shown[2::3], strict=True))["Conv_2"] == "layers.2"
    assert main([str(file), "--images", "2", "--json", "--int8", '{"method": "entropy"}']) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == ["Conv_0", "Conv_2", "Gemm_5"]
    assert main([str(file), "--int8", '{"bits": 4}']) == 2
    assert "error: --int8: Unexpected keyword argument" in capsys.readouterr().err


def test_a_number_that_counts_nothing_is_refused(file: Path, capsys: Any) -> None:
    """With the flag and the value; 0 stands for the number that --int8 says."""
    with pytest.raises(SystemExit) as end:
        main([str(file), "--images", "-1"])
    assert end.value.code == 2
    assert "argument --images: '-1' is no whole number" in capsys.readouterr().err


def test_nothing_is_left_beside_the_file(file: Path) -> None:
    """The file may stand in a store that others read."""
    before = sorted(file.parent.iterdir())
    list(errors(file, IMAGES[:1], Int8()))
    assert sorted(file.parent.iterdir()) == before
    assert np.isfinite([one.error for one in errors(file, IMAGES[:2], Int8())]).all()


def test_a_fixed_batch_is_measured_image_by_image(tmp_path: Path) -> None:
    """A given file that takes four at a time has the errors of one that takes any number."""
    photos = np.random.default_rng(1).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
    four, any_number = (
        list(errors(keras_like(tmp_path / f"{batch}.onnx", batch=batch), photos, Int8()))
        for batch in (4, "N")
    )
    assert [one.name for one in four] == [one.name for one in any_number]
    assert [one.error for one in four] == pytest.approx([one.error for one in any_number])


def test_layers_are_called_as_their_weights(file: Path, capsys: Any) -> None:
    """A node's number says nothing: the weight's name does, measured or not."""
    names = {"Conv_0": "layers.0", "Conv_2": "layers.2", "Gemm_5": "head"}
    assert layers(file) == names
    assert {one.name: one.layer for one in errors(file, IMAGES[:1], Int8())} == names
    assert main([str(file), "--names"]) == 0
    assert json.loads(capsys.readouterr().out) == names
