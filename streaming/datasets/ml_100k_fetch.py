"""Fetch MovieLens 100K from the publisher's archive, or from a PyPI wheel with the same rows; both are verified."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from hsnn.streaming.datasets.base import DataError

ADDRESS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
WHEEL = "recbole==1.2.1"

# SHA-256 of the files that are read. The rows of ml-100k.inter after its header are byte for byte those of u.data.
_ARCHIVE = {
    "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
    "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
    "u.user": "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c",
}
_CARRIED = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
}


def fetch(target: Path) -> None:
    """Fill `target` with the verified files of one of the two sources.

    Raises
    ------
    DataError
        Neither source could be reached, or the content is not MovieLens 100K; the text has the error of each.
    """
    try:
        _from_archive(target)
    except DataError as first:
        try:
            _from_wheel(target)
        except DataError as second:
            raise DataError(
                f"ml-100k could not be fetched.\n  {ADDRESS}: {first}\n  {WHEEL} from PyPI: {second}\n"
                f"Fetch the archive by hand, unpack it and name its folder: ml-100k:/path/to/ml-100k"
            ) from second


def unpack(archive: Path, prefix: str, files: Mapping[str, str], target: Path) -> None:
    """Write the named files of a zip archive to `target`, after checking each against its SHA-256.

    Raises
    ------
    DataError
        The archive is broken, or a file is missing or not the published one.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            contents = {name: zipped.read(prefix + name) for name in files}
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise DataError(f"not the archive that was expected ({error})") from error
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        if digest != files[name]:
            raise DataError(f"{name} has SHA-256 {digest}, expected {files[name]}")
    for name, content in contents.items():
        (target / name).write_bytes(content)


def _from_archive(target: Path, timeout: float = 5.0) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "ml-100k.zip"
        try:
            with urllib.request.urlopen(ADDRESS, timeout=timeout) as answer:
                archive.write_bytes(answer.read())
        except OSError as error:
            raise DataError(str(error)) from error
        unpack(archive, "ml-100k/", _ARCHIVE, target)


def _from_wheel(target: Path) -> None:
    if find_spec("pip") is None:
        raise DataError(
            f"this Python has no pip; run `{sys.executable} -m ensurepip` (or `uv pip install pip`) and try again"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            folder,
            WHEEL,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (no text of others in it)
        wheels = list(Path(folder).glob("recbole-*.whl"))
        if done.returncode != 0 or not wheels:
            raise DataError(f"pip download failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        unpack(wheels[0], "recbole/dataset_example/ml-100k/", _CARRIED, target)
