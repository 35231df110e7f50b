"""What needs no PyTorch does not wait for it, and the package still offers all that it says."""

import subprocess
import sys

import pytest

import spikeproof as sp

WITHOUT_TORCH = (
    "import sys; from spikeproof.cli.main import main; main({words}); "
    "assert not {{'torch', 'pydantic'}} & set(sys.modules)"
)


def python(program):
    return subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [["--version"], ["--help"], []], ids=str)
def test_without_torch(words):
    done = python(WITHOUT_TORCH.format(words=words))
    assert (done.returncode, done.stderr) == (0, "") and "spikeproof" in done.stdout


@pytest.mark.parametrize(
    "first",
    [
        "spikeproof.audit",
        *(pytest.param(each, marks=pytest.mark.thorough) for each in ("spikeproof.train.loop", "spikeproof.cli.runs")),
    ],
)
def test_a_room_never_takes_the_place_of_a_function(first):
    done = python(f"import spikeproof as sp, {first}; assert callable(sp.audit) and callable(sp.train), sp.audit")
    assert done.returncode == 0, done.stderr


def test_all_that_is_offered_is_there():
    assert {"audit", "fgsm", "train"} <= set(sp.__all__) <= set(dir(sp))
    assert all(getattr(sp, name) is not None for name in sp.__all__)
    done = python("from spikeproof import *; assert callable(pgd) and callable(train)")
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sp.nonsense  # noqa: B018
