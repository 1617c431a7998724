"""What Keras's files hold, laid out as Keras 2 and 3 write them; made with h5py alone."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from export.anatomy.contents import UnreadableFile
from export.anatomy.examine import examine
from export.anatomy.keras_file import read_keras
from tests.export.anatomy.graphs import weights

h5py = pytest.importorskip("h5py")

LAYERS = {
    "conv2d": {"0": weights(3, 3, 3, 8), "1": weights(8)},
    "batch_normalization": {str(i): weights(8, seed=i) for i in range(4)},
    "conv2d_1": {"0": weights(3, 3, 8, 16), "1": weights(16)},
    "dense": {"0": weights(16 * 16, 10), "1": weights(10)},
}
PARAMETERS = 3 * 8 * 9 + 8 + 16 + 8 * 16 * 9 + 16 + 2560 + 10
CONFIG = {
    "config": {
        "layers": [
            {"class_name": kind, "config": {"name": name}}
            for kind, name in (
                ("InputLayer", "input"),
                ("Conv2D", "stem"),
                ("BatchNormalization", "norm"),
                ("Conv2D", "last"),
                ("Flatten", "flat"),
                ("Dense", "answer"),
            )
        ]
    }
}


def keras_2(file, optimizer=False):
    """As ``model.save("x.h5")`` of Keras 2 does."""
    names = {"0": "kernel:0", "1": "bias:0"}
    norm = {"0": "gamma:0", "1": "beta:0", "2": "moving_mean:0", "3": "moving_variance:0"}
    with h5py.File(file, "w") as opened:
        group = opened.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in LAYERS]
        for layer, variables in LAYERS.items():
            for key, value in variables.items():
                name = (norm if "norm" in layer else names)[key]
                group[f"{layer}/{layer}/{name}"] = value
                if optimizer:
                    for moment in ("m", "v"):
                        opened[f"optimizer_weights/Adam/{layer}/{moment}/{name}"] = value
    return file


def keras_3(file, compression=zipfile.ZIP_STORED):
    """As ``model.save("x.keras")`` of Keras 3 does."""
    content = io.BytesIO()
    with h5py.File(content, "w") as opened:
        for layer, variables in LAYERS.items():
            for key, value in variables.items():
                opened[f"layers/{layer}/vars/{key}"] = value
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.writestr("model.weights.h5", content.getvalue())
    return file


@pytest.mark.parametrize("write", [keras_2, keras_3])
def test_layers_and_parameters(tmp_path, write):
    """Running statistics are no parameters; layers stand in the network's order."""
    found = read_keras(write(tmp_path / "a.keras"))
    assert found.parameters == PARAMETERS
    assert [x.name.split("/")[-1] for x in found.layers] == list(LAYERS)
    assert found.macs is None and "weights only" in found.no_macs


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_values_are_mapped(tmp_path, compression):
    """From inside the zip where it stores them as they are, else from what was unpacked."""
    found = read_keras(keras_3(tmp_path / "a.keras", compression))
    values = {x.name: x.values() for x in found.tensors}
    for layer, variables in LAYERS.items():
        for key, value in variables.items():
            got = values[f"layers/{layer}/vars/{key}"]
            assert isinstance(got, np.memmap)
            np.testing.assert_array_equal(got, value)


@pytest.mark.parametrize("write", [keras_2, keras_3])
def test_the_head_behind_a_flatten_is_guessed(tmp_path, write):
    """Weights alone show it: the head takes 16 places of each of the last 16 filters."""
    found = {x.code: x for x in examine(write(tmp_path / "a.keras")).findings}
    remedy = found["flattened-head"].remedies[0]
    assert remedy.bytes_saved == 4 * (256 - 16) * 10
    assert remedy.macs_saved is None


def test_a_link_to_another_file_is_refused(tmp_path):
    """Whatever stands there is not this file's."""
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened["stolen"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(UnreadableFile, match="leads to another file"):
        read_keras(tmp_path / "a.h5")


def test_a_link_by_way_of_another_is_refused_unopened(tmp_path):
    """A soft link may go through an external one; the file behind that is not opened at all."""
    for name in ("soft", "model_weights"):
        with h5py.File(tmp_path / "a.h5", "w") as opened:
            opened[name] = h5py.SoftLink("/z/x")
            opened["z"] = h5py.ExternalLink("absent.h5", "/")  # to open it would be an error
        with pytest.raises(UnreadableFile, match=f"'{name}' is a link that leads to another"):
            read_keras(tmp_path / "a.h5")


def test_values_in_another_file_are_refused(tmp_path):
    """HDF5 can keep an array's bytes anywhere on the disk; that is not followed."""
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened.create_dataset("w", (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
    with pytest.raises(UnreadableFile, match="keeps its values in another file"):
        read_keras(tmp_path / "a.h5")


def test_bombs_are_refused(tmp_path):
    """Zeros that unpack to far more than the file, in HDF5 and in the zip."""
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened.create_dataset("w", (1 << 40,), "f4", chunks=(1 << 16,), compression="gzip")
    with pytest.raises(UnreadableFile, match="unpacks to"):
        read_keras(tmp_path / "a.h5")
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1 << 24))
    with pytest.raises(UnreadableFile, match="unpacks to more than"):
        read_keras(tmp_path / "a.keras")


def test_what_a_zip_unpacks_to_is_bounded(tmp_path, monkeypatch):
    """It goes into a temporary file, which no limit of memory holds."""
    monkeypatch.setattr("export.anatomy.keras_file._MOST_UNPACKED_BYTES", 5000)
    with pytest.raises(UnreadableFile, match="more than 5000 bytes, the most that is"):
        read_keras(keras_3(tmp_path / "a.keras", zipfile.ZIP_DEFLATED))
    assert read_keras(keras_3(tmp_path / "b.keras")).parameters == PARAMETERS


def test_a_type_is_no_array(tmp_path):
    """HDF5 can store a type under a name."""
    with h5py.File(keras_2(tmp_path / "a.h5"), "a") as opened:
        opened["kind"] = np.dtype("f4")
    assert read_keras(tmp_path / "a.h5").parameters == PARAMETERS


@pytest.mark.parametrize("write", [keras_2, keras_3])
def test_a_file_cut_off_is_an_error(tmp_path, write):
    """At many lengths, each with the file's name."""
    content = write(tmp_path / "a.h5").read_bytes()
    for length in range(0, len(content) - 1, 997):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        with pytest.raises(UnreadableFile, match="cut.h5"):
            read_keras(tmp_path / "cut.h5")


def test_a_zip_of_something_else_is_refused(tmp_path):
    """It names what is missing in it."""
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UnreadableFile, match="without model.weights.h5"):
        read_keras(tmp_path / "a.keras")


def test_the_optimizer_state_of_keras(tmp_path):
    """Two moments of each variable: twice the weights, which saving them alone leaves out."""
    whole = examine(keras_2(tmp_path / "whole.h5", optimizer=True))
    alone = examine(keras_2(tmp_path / "alone.h5"))
    (finding,) = [x for x in whole.findings if x.code == "optimizer-state"]
    saved = whole.contents.stored_bytes - alone.contents.stored_bytes
    assert finding.remedies[0].bytes_saved == saved
    assert whole.contents.parameters == alone.contents.parameters
