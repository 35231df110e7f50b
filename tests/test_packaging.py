"""The wheel: it has all that the package needs, and runs without the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from spikeproof.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "spikeproof"
_BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
_USE = """
import torch
import spikeproof as sp
print(sp.__file__)
model = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1, width=0.25, kernels="fused")
print(model(torch.rand(2, 1, 8, 8)).shape)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, as setuptools leaves files of its own beside the sources."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    subprocess.run([sys.executable, "-c", _BUILD, out], cwd=copy, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_it_has_every_file_of_the_package_and_the_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    files = {
        f"spikeproof/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "spikeproof/py.typed" in files
    assert {name for name in names if name.startswith("spikeproof/")} == files
    assert f"spikeproof-{__version__}.dist-info/licenses/LICENSE" in names


@pytest.mark.thorough
def test_it_runs_from_elsewhere(wheel, tmp_path):
    """Its kernels too: where their source is missing, a warning says so, and here a warning is an error."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    used = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", _USE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    place, shape = used.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path)
    assert shape == "torch.Size([2, 10])"


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
