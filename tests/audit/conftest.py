"""Small networks that have learned the digits, and quick audits of them."""

import copy
import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from digit_networks import network
from spikeproof.audit import AuditConfig, config, curves, trials
from spikeproof.data import Data, load_data
from spikeproof.spiking import Site


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits", validation=50)


@pytest.fixture
def tiny():
    """A network of few channels and two steps, for what only has to run."""
    return network("tiny")


@pytest.fixture
def learned():
    return network("learned")


@pytest.fixture
def model(learned):
    """The learned network, one's own to spoil."""
    return copy.deepcopy(learned)


@pytest.fixture
def masked(learned):
    """Make the trained network with every potential and threshold times a factor.

    It computes the same function, exactly so for a power of two, but its surrogate is that much too narrow.
    """

    def make(factor):
        model, before = copy.deepcopy(learned), None
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                before = module
            if isinstance(module, Site):
                module.neuron = dataclasses.replace(module.neuron, threshold=module.neuron.threshold * factor)
                scaled = before if module.norm is None else module.norm
                with torch.no_grad():
                    scaled.weight *= factor
                    scaled.bias *= factor
        return model

    return make


@pytest.fixture
def quick():
    """An AuditConfig of few images and steps, without diagnostics and tuning."""

    def make(**changes):
        trials = ("FGSM", "R+FGSM", "PGD-3", "SA-PGD-6@ASSG")
        settings = {"eps": 0.1, "samples": 40, "battery": None, "trials": trials}
        return AuditConfig(**(settings | {"diagnostics": False, "tune_samples": 0} | changes))

    return make


@pytest.fixture
def told():
    """What an audit says, but for the seconds that it took."""

    def strip(value):
        if isinstance(value, dict):
            return {name: strip(inner) for name, inner in value.items() if name != "seconds"}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    return lambda found: strip(found.to_json("command"))


@pytest.fixture
def attacked(monkeypatch):
    """Every attack that an audit makes is noted: (trial, radius, samples); the one at ``stop_at`` is interrupted."""
    seen = Attacks()

    def watched(text, tuned=None, ball="linf"):
        trial = trials.make_trial(text, tuned, ball)

        def attack(model, images, labels, threat, how, **start):
            seen.append((trial.name, threat.eps, len(images)))
            if len(seen) == seen.stop_at:
                raise KeyboardInterrupt
            return trial.attack(model, images, labels, threat, how, **start)

        return dataclasses.replace(trial, attack=attack)

    monkeypatch.setattr(config, "make_trial", watched)
    monkeypatch.setattr(curves, "make_trial", watched)
    return seen


class Attacks(list):
    """What was attacked so far, and which attack, counted from 1, is interrupted."""

    stop_at = None


@pytest.fixture
def start(tmp_path):
    """Start an audit in a process of its own; gives the process and the file that it will leave."""
    started = []

    def make(model, images, config, *, parts=None, kill=None, **environment):
        job, result = (tmp_path / f"{name}-{len(started)}.pt" for name in ("job", "result"))
        torch.save({"model": model, "images": images, "config": config, "parts": parts, "kill": kill}, job)
        script = Path(__file__).with_name("audit_in_process.py")
        environment = os.environ | {"PYTHONWARNINGS": "error"} | environment
        said = (tmp_path / f"said-{len(started)}").open("w")
        process = subprocess.Popen([sys.executable, script, job, result], env=environment, stderr=said)
        started.append((process, said))
        return process, result

    yield make
    for process, said in started:
        process.kill()
        process.wait()
        said.close()
