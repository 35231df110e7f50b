"""`spikeproof harden FILE.py:FUNCTION`: one's own network, made robust, with its weights by its own keys."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spikeproof.recipes import Adapting, own_network
from spikeproof.report import read_runs

FILE = """
import torch
from torch import nn
import spikeproof as sp


def jelly():
    from spikingjelly.activation_based import neuron

    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), neuron.IFNode(v_threshold=0.5), nn.Linear(32, 10))
    nn.init.normal_(net[1].weight, std=0.3)
    return net


def ann():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def ours():
    return sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)
"""
SHORT = ["--data", "digits", "--eps", "0.1", "--samples", "4", "--minutes", "0.02", "--device", "cpu", "--quiet"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_weights_come_back_by_ones_own_keys(call, here):
    pytest.importorskip("spikingjelly")
    start = own_network("net.py:jelly", None, Adapting(num_steps=3)).net.net
    save_file(start.state_dict(), here / "net.safetensors")
    words = ["harden", "net.py:jelly", "--weights", "net.safetensors", "--num-steps", "3", *SHORT, "--native"]
    code, out, err = call(*words)
    assert code == 0, err
    folder = here / "runs" / "net-jelly-hardened"
    file = folder / "model.safetensors"
    assert "before" in out and "after" in out and f"load_file('{file.relative_to(here)}')" in out
    weights = load_file(file)
    assert weights.keys() == start.state_dict().keys()
    assert not torch.equal(weights["1.weight"], start.state_dict()["1.weight"])
    start.load_state_dict(weights)
    said = json.loads((folder / "config.json").read_text())
    assert said["name"] == "net-jelly-hardened"
    assert said["recipe"]["network"]["made_by"] == "net.py:jelly" and said["recipe"]["network"]["num_steps"] == 3
    assert len(read_runs(folder)) == 1
    code, _, err = call(*words)
    assert code == 2 and "already holds a run" in err
    audit = [
        "--data",
        "digits",
        "--samples",
        "4",
        "--battery",
        "None",
        "--trials",
        "PGD-2",
        "--no-diagnostics",
        "--quiet",
    ]
    code, _, err = call("audit", "net.py:jelly", "--weights", str(file), "--num-steps", "3", *audit)
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["net.py:jelly", "--num-steps", "3"], ["needs --data NAME", "spikeproof harden net.py:jelly"]),
        (["net.py", *SHORT], ["names no function", "net.py:FUNCTION"]),
        (["other.py:make", *SHORT], ["no file other.py"]),
        (["net.py:jelly", *SHORT], ["give --num-steps T"]),
        (["net.py:jelly", "--num-steps", "3", *SHORT, "--minutes", "0"], ["minutes", "0"]),
        (["net.py:jelly", "--num-steps", "3", *SHORT, "--eps", "0"], ["eps > 0"]),
        (["net.py:jelly", "--num-steps", "3", *SHORT, "--weights", "none.safetensors"], ["no weights at none"]),
        (["net.py:ann", *SHORT], ["create_model", "adapt"]),
        (["net.py:ours", *SHORT, "--native"], ["--native says how a network is adapted", "--num-steps"]),
        (["net.py:jelly", *SHORT, "--num-steps", "3", "--minuts", "3"], ["--minuts", "--minutes"]),
    ],
    ids=lambda value: " ".join(value[:1]) if value[0].startswith("net") else None,
)
def test_wrong_words_are_one_sentence(refused, here, words, says):
    pytest.importorskip("spikingjelly")
    refused("harden", *words, says=says)
    assert not (here / "runs").exists()


def test_help(call, here):
    code, out, _ = call("harden", "net.py:ann", "--help")
    assert code == 0
    assert all(option in out for option in ("--weights", "--num-steps", "--data", "--minutes", "--native"))
    assert "FILE.py:FUNCTION" in call("harden", "--help")[1]


@pytest.mark.thorough
def test_one_of_ours_is_hardened_too(call, here):
    code, out, err = call("harden", "net.py:ours", *SHORT)
    assert code == 0, err
    assert "load_state_dict" not in out
    assert (here / "runs" / "net-ours-hardened" / "model.safetensors").exists()
    assert isinstance(own_network("net.py:ours").net, nn.Module)
