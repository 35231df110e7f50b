"""The stopwatch of compilations, and that real kernels and real epochs use it."""

import subprocess
import sys
import time

import pytest

from spikeproof.data import load_data
from spikeproof.defenses import Defense
from spikeproof.machine.compiling import compiling, compiling_seconds, is_compiling, working_time
from spikeproof.models import create_model
from spikeproof.train import TrainConfig, train

KERNEL = """
import sys, torch
from spikeproof.machine.compiling import compiling_seconds
from spikeproof.spiking.ops import drive, kernels

kernels.run(drive.batch_sums, None, torch.rand(1, 3, 5, 4))
assert (compiling_seconds() > 0) == (sys.argv[1] == "cold"), compiling_seconds()
"""


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_two_compilations_at_once_take_the_time_of_one(clock):
    before, began = compiling_seconds(), working_time()
    with compiling():
        clock[0] += 3.0
        with compiling():
            clock[0] += 4.0
        clock[0] += 1.0
        assert compiling_seconds() - before == 8.0
    clock[0] += 2.0
    assert (compiling_seconds() - before, working_time() - began) == (8.0, 2.0)


def test_a_compilation_that_fails_is_over():
    with pytest.raises(ValueError, match="no compiler"), compiling():
        raise ValueError("no compiler")
    assert not is_compiling()


@pytest.mark.thorough
def test_a_real_kernel_is_counted_where_it_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKEPROOF_CACHE_DIR", str(tmp_path))
    program = tmp_path / "program.py"
    program.write_text(KERNEL)
    for kind in ("cold", "warm"):
        done = subprocess.run([sys.executable, str(program), kind], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


class Compiles(Defense):
    """Spends 13 s compiling and 1 s working before each step, by the clock at hand."""

    def __init__(self, clock):
        self.clock = clock

    def begin(self, step):
        with compiling():
            self.clock[0] += 13.0
        self.clock[0] += 1.0


def test_an_epoch_leaves_compiling_out_and_says_it_apart(clock, capsys):
    data = load_data("digits", validation=100, train_limit=128)
    model = create_model("conv", num_classes=10, image_size=8, in_channels=1)
    run = train(model, data, [Compiles(clock)], TrainConfig(epochs=1, augmentation=None))
    assert [line["seconds"] for line in run.metrics] == [2.0]
    assert capsys.readouterr().err.endswith(", 2 s + 26 s compiling\n")
