"""Shapes and types are checked in every test, by jaxtyping and beartype; users do not pay for it."""

import os
import re
import zlib
from contextlib import contextmanager

import pytest
from jaxtyping import install_import_hook

# Not spiking and gradients: the compiler cannot see through the checks, and their functions are compiled. Not report:
# it reads files that may be wrong in any way and says so itself.
_CHECKED = (
    "attacks",
    "audit",
    "certify",
    "data",
    "defenses",
    "harden",
    "insight",
    "interop",
    "models",
    "recipes",
    "runs",
    "threat",
    "train",
)
install_import_hook([f"spikeproof.{room}" for room in _CHECKED], "typechecker.check")

from spikeproof.errors import SpikeproofError  # noqa: E402 (the hook must stand before the first import)
from spikeproof.machine import precision  # noqa: E402

pytest_plugins = ("small_runs",)


def pytest_collection_modifyitems(items):
    """Seven eighths of a sweep's cases are thorough ones, the same on every machine: chosen by their names."""
    for item in items:
        if item.get_closest_marker("sweep") and zlib.crc32(item.nodeid.encode()) % 8:
            item.add_marker(pytest.mark.thorough)


@pytest.fixture(scope="session", autouse=True)
def kernels_of_the_session(tmp_path_factory):
    """Compiled kernels are kept for the session, or where the environment says: a machine may keep them for longer."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent  # which all workers share
    with pytest.MonkeyPatch.context() as patch:
        if not os.environ.get("SPIKEPROOF_CACHE_DIR"):
            patch.setenv("SPIKEPROOF_CACHE_DIR", str(base / "kernels"))
        # What torch.compile makes of whole models; its folder of every day may hold another machine's.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(base / "compiled"))
        yield


@pytest.fixture
def refuses():
    """A context that demands a SpikeproofError of one line which has all the given pieces of text."""

    @contextmanager
    def context(*pieces):
        with pytest.raises(SpikeproofError) as caught:
            yield
        sentence = str(caught.value)
        assert re.fullmatch(r"[^\n]+\.", sentence)
        for piece in pieces:
            assert str(piece) in sentence

    return context


@pytest.fixture
def machine(monkeypatch):
    """A machine that has bfloat16 or has not, and that has not warned yet."""

    def make(*, native):
        precision._warn_of_emulation.cache_clear()
        monkeypatch.setattr(precision, "native_bf16", lambda device: native)

    yield make
    precision._warn_of_emulation.cache_clear()
