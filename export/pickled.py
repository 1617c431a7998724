"""What a .pt file may claim to be: checked before torch opens it, for torch allocates first.

``torch.save`` writes a zip whose members lie in it as they are. Read without torch.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from export.download import WeightsError

_ZIP = b"PK\x03\x04"
_MOST_MEMBERS = 1_000_000


def check_archive(file: Path) -> None:
    """Raise ``WeightsError`` for an archive that unpacks to more than it is.

    What is compressed can't be mapped, and may be a bomb; members that share their bytes
    count as often as they are named. Of files that are no zip, or none that can be read,
    nothing is said: torch does so.
    """
    try:
        with file.open("rb") as stream:
            if stream.read(len(_ZIP)) != _ZIP:
                return
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return
    if len(members) > _MOST_MEMBERS:
        raise WeightsError(f"{file} has {len(members)} parts: no network has so many tensors")
    if any(one.compress_type != zipfile.ZIP_STORED for one in members):
        raise WeightsError(
            f"{file} is a compressed archive, which torch.save writes none of: unpack it, and "
            "save the state dict again"
        )
    size, unpacked = file.stat().st_size, sum(one.file_size for one in members)
    if unpacked > size:
        raise WeightsError(
            f"{file} has {size} bytes and claims to hold {unpacked}: torch.save did not write it"
        )
