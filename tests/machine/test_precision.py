"""What fits the machine: the table of answers, the warning, and a CPU that is made to lack bfloat16."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from spikeproof.attacks import Crafting, crafting
from spikeproof.machine import precision
from spikeproof.machine.precision import for_verdicts, native_bf16, resolved

SOURCE = Path(precision.__file__).parents[2]
WITHOUT = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def run_without_bf16():
    """Python on this CPU as one without bfloat16."""

    def run(code, *words):
        environment = os.environ | WITHOUT | {"PYTHONPATH": str(SOURCE)}
        ended = subprocess.run(
            [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended

    return run


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.filterwarnings("ignore:bf16 is emulated")
def test_what_is_asked_and_what_runs(machine, device, native):
    machine(native=native)
    assert resolved("fp32", device) == "fp32"
    assert resolved("bf16", device) == "bf16"
    assert resolved("auto", device) == ("bf16" if native else "fp32")
    assert for_verdicts("auto") == "fp32"
    assert (for_verdicts("fp32"), for_verdicts("bf16")) == ("fp32", "bf16")


def test_a_gpu_of_today_has_it_and_an_unknown_device_has_not():
    assert native_bf16("meta") is False
    if not torch.cuda.is_available():
        assert native_bf16("cuda") is True
    else:
        assert native_bf16("cuda") == (torch.cuda.get_device_capability() >= (8, 0))


@pytest.mark.parametrize("said", [True, False])
def test_a_cpu_whose_library_only_emulates_it(monkeypatch, said):
    """oneDNN says yes of every CPU with AVX-512."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: said)
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    assert precision._cpu_has_bf16.__wrapped__() == said
    monkeypatch.setattr(precision.platform, "machine", lambda: "aarch64")
    assert precision._cpu_has_bf16.__wrapped__()


def test_bf16_that_is_emulated_is_said_once(machine):
    machine(native=False)
    with pytest.warns(RuntimeWarning, match="bf16 is emulated on this CPU: 10 to 15 times slower") as said:
        for _ in range(3):
            resolved("bf16", "cpu")
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolved("bf16", "cpu")
        resolved("auto", "cpu")


@pytest.mark.filterwarnings("error:bf16 is emulated")
def test_nothing_is_said_where_it_is_not(machine):
    machine(native=False)
    resolved("auto", "cpu")
    resolved("fp32", "cpu")
    resolved("bf16", "cuda")
    machine(native=True)
    resolved("bf16", "cpu")


@pytest.mark.parametrize(
    ("asked", "dtype"), [("auto", torch.float32), ("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.filterwarnings("ignore:bf16 is emulated")
def test_attacks_craft_in_fp32_unless_told_otherwise(machine, asked, dtype, native):
    machine(native=native)
    seen = []
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    model[1].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with crafting(model, Crafting(precision=asked)) as craft:
        craft.logits(torch.rand(3, 1, 2, 2))
    assert seen == [dtype]


TRAIN = """
import sys, warnings
from spikeproof.cli.main import main
code = main(sys.argv[1:])
sys.exit(code)
"""


@pytest.mark.thorough
def test_a_recipe_on_a_cpu_without_it(run_without_bf16, tmp_path):
    """The whole command, on a machine where bf16 is emulated: fp32 by itself, and a word where bf16 is asked for."""
    from spikeproof.runs import RunFolder

    small = ["--model.name", "conv", "--model.width", "1", "--model.kernels", "reference", "--quiet"]
    small += ["--data.name", "digits", "--data.train-limit", "96", "--train.epochs", "1", "--train.device", "cpu"]
    small += ["--train.batch-size", "32"]
    for words, ran, warned in (((), "fp32", 0), (("--train.precision", "bf16"), "bf16", 1)):
        folder = tmp_path / ran
        ended = run_without_bf16(TRAIN, "train", "mini-cifar10-at", *small, *words, "--out", str(folder))
        run = RunFolder(folder)
        assert run.config()["precision"] == run.precision == run.metrics()[0]["precision"] == ran
        assert run.config()["recipe"]["train"]["precision"] == (words[1] if words else "auto")
        assert ended.stderr.count("bf16 is emulated on this CPU") == warned
