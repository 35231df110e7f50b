"""An audit that was killed goes on where it was, and says what one that was not would have said."""

import copy
import dataclasses
import importlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from spikeproof.audit import Shard, audit
from spikeproof.audit.parts import Parts
from spikeproof.audit.trials import Tuned
from spikeproof.audit.tuning import Tuning
from spikeproof.spiking import sites

TRIALS = ("R+FGSM", "PGD-2", "SA-PGD-2@ASSG", "UNIFORM", "LOCAL-5")
AUDIT = importlib.import_module("spikeproof.audit.audit")  # the function has the module's name


@pytest.fixture
def config(quick):
    return quick(trials=TRIALS, samples=24, batch_size=7, sweep=(0.05,), sweep_samples=10)


def interrupted(seen, at, *arguments, **options):
    """What an audit attacked that was stopped in its n-th attack."""
    seen.clear()
    seen.stop_at = at
    with pytest.raises(KeyboardInterrupt):
        audit(*arguments, show=False, **options)
    seen.stop_at = None
    done = seen[:-1]
    seen.clear()
    return done


def asks_first(seen, *arguments, **options):
    """The trial that an audit starts with."""
    seen.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        audit(*arguments, show=False, **options)
    seen.stop_at = None
    return seen.pop()[0]


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.sweep
@pytest.mark.parametrize("at", [2, 6, -1])
def test_interrupted_and_started_again(tiny, digits, config, told, attacked, tmp_path, at):
    undisturbed = audit(tiny, digits.test, config, show=False)
    everything = list(attacked)
    attacked.clear()
    at = at % (len(everything) + 1)
    done = interrupted(attacked, at, tiny, digits.test, config, parts=tmp_path / "parts")
    assert len(files(tmp_path / "parts")) >= len(done) == at - 1
    found = audit(tiny, digits.test, config, parts=tmp_path / "parts", show=False)
    assert done + attacked == everything  # nothing was done twice, nothing left out
    assert found.outcomes.equals(undisturbed.outcomes)
    assert told(found) == told(undisturbed)
    assert all(np.array_equal(found.pictures[name], undisturbed.pictures[name]) for name in found.pictures)


@pytest.mark.sweep
def test_an_audit_leaves_no_parts_behind(tiny, digits, config, attacked, tmp_path):
    audit(tiny, digits.test, config, parts=tmp_path / "parts", show=False)
    assert not (tmp_path / "parts").exists()
    # Nor in a folder that holds other things, which stay.
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "notes.txt").write_text("mine")
    interrupted(attacked, 3, tiny, digits.test, config, parts=tmp_path / "parts")
    audit(tiny, digits.test, config, parts=tmp_path / "parts", show=False)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["notes.txt"]


@pytest.mark.thorough
def test_parts_stay_until_the_result_is_kept(tiny, digits, config, tmp_path):
    kept = []

    def keep(found):
        assert files(tmp_path / "parts")
        kept.append(found)

    found = audit(tiny, digits.test, config, parts=tmp_path / "parts", save=keep, show=False)
    assert kept == [found]
    assert not (tmp_path / "parts").exists()


@pytest.mark.thorough
def test_the_first_process_alone_keeps_and_forgets(tiny, digits, config, monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(Shard, "owns", lambda *_: True)
    monkeypatch.setattr(Shard, "merge", lambda _, own: own)
    kept = []
    audit(tiny, digits.test, config, parts=tmp_path, save=kept.append, show=False)
    assert not kept
    assert files(tmp_path)


@pytest.mark.thorough
def test_two_interruptions(tiny, digits, config, attacked, tmp_path):
    audit(tiny, digits.test, config, show=False)
    everything = list(attacked)
    done = interrupted(attacked, 4, tiny, digits.test, config, parts=tmp_path)
    done += interrupted(attacked, 4, tiny, digits.test, config, parts=tmp_path)
    audit(tiny, digits.test, config, parts=tmp_path, show=False)
    assert done + attacked == everything


CHANGES = {
    "eps": {"eps": 0.11},
    "seed": {"seed": 1},
    "samples": {"samples": 39},
    "batch size": {"batch_size": 14},
    "eot_iter": {"eot_iter": 2},
    "members": {"per_member": True},
    "trials": {"trials": TRIALS[:-1]},
    "precision": {"precision": "bf16"},
}


def test_the_same_audit_takes_its_parts(tiny, digits, config, attacked, tmp_path):
    interrupted(attacked, 4, tiny, digits.test, config, parts=tmp_path)
    assert asks_first(attacked, tiny, digits.test, config, parts=tmp_path) == "UNIFORM"


def test_auto_goes_on_with_the_parts_of_fp32(tiny, digits, config, attacked, tmp_path):
    """No verdict of an audit is crafted in another precision than the rest."""
    interrupted(attacked, 4, tiny, digits.test, config, parts=tmp_path)
    wide = dataclasses.replace(config, precision="fp32")
    assert config.precision == "auto" and asks_first(attacked, tiny, digits.test, wide, parts=tmp_path) == "UNIFORM"


@pytest.mark.sweep
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_config_has_parts_of_its_own(tiny, digits, config, attacked, tmp_path, change):
    interrupted(attacked, 4, tiny, digits.test, config, parts=tmp_path)
    other = dataclasses.replace(config, **change)
    assert asks_first(attacked, tiny, digits.test, other, parts=tmp_path) == "R+FGSM"


def another_weight(model):
    with torch.no_grad():
        next(model.parameters())[0] += 1e-3


def another_neuron(model):
    site = next(iter(sites(model).values()))
    site.neuron = dataclasses.replace(site.neuron, decay=site.neuron.decay * 0.99)


def another_statistic(model):
    next(iter(sites(model).values())).norm.running_mean += 1e-3


@pytest.mark.parametrize("spoil", [another_weight, another_neuron, another_statistic])
def test_another_model_has_parts_of_its_own(tiny, digits, config, attacked, tmp_path, spoil):
    interrupted(attacked, 4, tiny, digits.test, config, parts=tmp_path)
    other = copy.deepcopy(tiny)
    spoil(other)
    assert asks_first(attacked, other, digits.test, config, parts=tmp_path) == "R+FGSM"


class Scaled(nn.Module):
    """What it does hangs on an attribute that is no weight; how it is written tells nothing, or too much."""

    def __init__(self, inner, gain=1.0, slope=1.0):
        super().__init__()
        self.inner, self.gain, self.slope = inner, gain, slope

    def forward(self, images):
        scaled = (images - 0.5) * self.gain + 0.5
        # The slope is in the gradient alone, as a surrogate's width is.
        return self.inner(scaled.detach() + self.slope * (scaled - scaled.detach()))

    def extra_repr(self):
        return f"at {id(self)}"


@pytest.mark.parametrize(("other", "first"), [({"gain": 0.2}, "R+FGSM"), ({"slope": 0.5}, "R+FGSM"), ({}, "UNIFORM")])
def test_another_behaviour_has_parts_of_its_own(tiny, digits, config, attacked, tmp_path, other, first):
    interrupted(attacked, 4, Scaled(tiny), digits.test, config, parts=tmp_path)
    assert asks_first(attacked, Scaled(copy.deepcopy(tiny), **other), digits.test, config, parts=tmp_path) == first


def test_another_hook_has_parts_of_its_own(tiny, digits, config, attacked, tmp_path):
    interrupted(attacked, 4, tiny, digits.test, config, parts=tmp_path)
    hook = tiny.register_forward_hook(lambda _, given, logits: logits.roll(1, 1))
    assert asks_first(attacked, tiny, digits.test, config, parts=tmp_path) == "R+FGSM"
    hook.remove()
    assert asks_first(attacked, tiny, digits.test, config, parts=tmp_path) == "UNIFORM"


@pytest.mark.thorough
def test_numbers_are_those_of_the_network_at_hand(tiny, digits, config, attacked, tmp_path):
    fresh = audit(Scaled(tiny, gain=0.2), digits.test, config, show=False)
    interrupted(attacked, 6, Scaled(tiny), digits.test, config, parts=tmp_path)
    resumed = audit(Scaled(tiny, gain=0.2), digits.test, config, parts=tmp_path, show=False)
    assert resumed.outcomes.equals(fresh.outcomes)


def test_a_substitute_that_answers_otherwise_has_parts_of_its_own(tiny, digits, config, attacked, tmp_path):
    given = {"parts": tmp_path}
    interrupted(attacked, 4, tiny, digits.test, config, substitutes=[Scaled(tiny)], **given)
    assert asks_first(attacked, tiny, digits.test, config, substitutes=[Scaled(tiny)], **given) == "UNIFORM"
    assert asks_first(attacked, tiny, digits.test, config, substitutes=[Scaled(tiny, slope=0.5)], **given) == "R+FGSM"


NAMED = """
import sys, torch
from spikeproof.audit.fingerprint import fingerprint
from spikeproof.models import create_model

torch.manual_seed(int(sys.argv[1]))  # whatever the caller drew before
torch.set_num_threads(int(sys.argv[2]))
drawn = torch.rand(int(sys.argv[1]) + 1)
torch.manual_seed(0)
noisy = torch.nn.Sequential(torch.nn.Dropout(), create_model("conv", num_classes=10, image_size=8, in_channels=1))
noisy.register_forward_pre_hook(lambda _, given: (torch.nn.functional.dropout(given[0], 0.2, training=True),))
images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
print(fingerprint((noisy, noisy[1]), images, torch.zeros(40, dtype=torch.int64)))
"""


@pytest.mark.thorough
def test_two_processes_give_one_name():
    """Random networks too, whatever was drawn before; with more threads it may be another, and never a wrong one."""
    names = [
        subprocess.run([sys.executable, "-c", NAMED, *words], capture_output=True, text=True, check=True).stdout
        for words in (("0", "1"), ("5", "1"))
    ]
    assert len(set(names)) == 1 and len(names[0].strip()) == 16


@pytest.mark.thorough
def test_who_is_right_when_clean_is_decided_once(tiny, digits, config, attacked, tmp_path):
    """A network may draw numbers that no seed fixes; an audit that goes on attacks those who were right at first."""

    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.generator = tiny, torch.Generator().manual_seed(0)

        def forward(self, images):
            return self.inner(images + 0.3 * torch.randn(images.shape, generator=self.generator))

    config = dataclasses.replace(config, eot_iter=1)
    interrupted(attacked, 6, Loose(), digits.test, config, parts=tmp_path)
    other = Loose()
    other.generator.manual_seed(1)
    found = audit(other, digits.test, config, parts=tmp_path, show=False)
    assert found.results[0].attempted == found.clean.correct


@pytest.mark.thorough
def test_another_noise_has_parts_of_its_own(tiny, digits, config, attacked, tmp_path):
    noisy = dataclasses.replace(config, noise=True)
    for site in sites(tiny).values():
        site.noise_std = 0.1
    interrupted(attacked, 4, tiny, digits.test, noisy, parts=tmp_path)
    for site in sites(tiny).values():
        site.noise_std = 0.5
    assert asks_first(attacked, tiny, digits.test, noisy, parts=tmp_path) == "R+FGSM"


@pytest.mark.parametrize("what", ["images", "labels"])
def test_other_data_have_parts_of_their_own(tiny, digits, config, attacked, tmp_path, what):
    interrupted(attacked, 4, tiny, digits.test, config, parts=tmp_path)
    other = digits.test.take(torch.arange(24))
    if what == "images":
        other.images[23, 0, 0, 0] += 1
    else:
        other.labels[23] = (other.labels[23] + 1) % 10
    assert asks_first(attacked, tiny, other, config, parts=tmp_path) == "R+FGSM"


@pytest.mark.thorough
def test_another_tuning_has_parts_of_its_own(tiny, digits, config, attacked, tmp_path, monkeypatch):
    """Other validation images may decide for other settings; what was crafted with the old ones is another attack."""
    config = dataclasses.replace(config, tune_samples=5)

    def tuned(half_mass):
        monkeypatch.setattr(AUDIT, "tune", lambda *_: Tuning(Tuned(half_mass=half_mass), 5, {}))

    tuned(0.47)
    audit(tiny, digits.test, config, validation=digits.validation, show=False)
    fresh = [attack for attack in attacked if "ASSG" in attack[0]]
    tuned(0.1)
    interrupted(attacked, 4, tiny, digits.test, config, validation=digits.validation, parts=tmp_path)
    tuned(0.47)
    audit(tiny, digits.test, config, validation=digits.validation, parts=tmp_path, show=False)
    assert [attack for attack in attacked if "ASSG" in attack[0]] == fresh


@pytest.mark.thorough
def test_other_substitutes_have_parts_of_their_own(tiny, learned, digits, config, attacked, tmp_path):
    config = dataclasses.replace(config, per_member=True)  # the transfer gets more than what is left of few samples
    fresh, other = (
        audit(tiny, digits.test, config, substitutes=[substitute], show=False) for substitute in (tiny, learned)
    )
    assert not fresh.outcomes.equals(other.outcomes)  # or nothing would be shown
    battery = sum(eps == 0.1 for _, eps, _ in attacked) // 2 - 2  # less the curve's two
    # Stopped in the sweep, behind every trial of the battery, of which the transfer is one.
    interrupted(attacked, battery + 1, tiny, digits.test, config, substitutes=[learned], parts=tmp_path)
    resumed = audit(tiny, digits.test, config, substitutes=[tiny], parts=tmp_path, show=False)
    assert resumed.outcomes.equals(fresh.outcomes)


@pytest.mark.thorough
def test_another_fitting_batch_mixes_up_nobody(tiny, digits, config, attacked, tmp_path, monkeypatch):
    """Without a batch size, what fits into memory decides who is in which batch, and may differ the next time."""
    automatic = dataclasses.replace(config, batch_size=None)
    monkeypatch.setattr(AUDIT, "fitting_microbatch", lambda *_, **__: 7)
    interrupted(attacked, 4, tiny, digits.test, automatic, parts=tmp_path)
    monkeypatch.setattr(AUDIT, "fitting_microbatch", lambda *_, **__: 9)
    found = audit(tiny, digits.test, automatic, parts=tmp_path, show=False)
    fresh = audit(tiny, digits.test, dataclasses.replace(config, batch_size=found.batch_size), show=False)
    assert found.results[0].attempted == found.clean.correct
    assert found.outcomes.equals(fresh.outcomes)


@pytest.mark.thorough
@pytest.mark.parametrize("damage", ["empty", "cut", "text", "flipped", "other arrays"])
def test_a_damaged_part_is_redone(tiny, digits, config, told, attacked, tmp_path, damage):
    undisturbed = audit(tiny, digits.test, config, show=False)
    attacked.clear()
    done = interrupted(attacked, 6, tiny, digits.test, config, parts=tmp_path)
    damaged = files(tmp_path)[2]
    whole = damaged.read_bytes()
    if damage == "other arrays":
        np.savez(damaged, samples=np.arange(3))
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
        damaged.write_bytes({"empty": b"", "cut": whole[:middle], "text": b"no archive", "flipped": flipped}[damage])
    found = audit(tiny, digits.test, config, parts=tmp_path, show=False)
    assert found.outcomes.equals(undisturbed.outcomes)
    assert told(found) == told(undisturbed)
    assert len(done) == 5


@pytest.mark.thorough
def test_no_damage_of_a_part_is_an_error(tmp_path):
    """Each byte of a small file turned over, and the file cut at each: its arrays as they were, or none."""
    arrays = {"samples": np.arange(3), "correct": np.array([True, False, True])}
    Parts(tmp_path).put("one", arrays)
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    damaged = [whole[:at] for at in range(len(whole))]
    damaged += [
        whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :] for at in range(len(whole)) for mask in (1, 255)
    ]
    redone = 0
    for content in damaged:
        file.write_bytes(content)
        found = Parts(tmp_path).get("one")
        redone += found is None
        assert found is None or all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert redone > len(whole)  # at least wherever it was cut


@pytest.mark.thorough
def test_killed_in_the_middle_of_a_write(tiny, digits, config, told, attacked, start, tmp_path):
    undisturbed = audit(tiny, digits.test, config, show=False)
    attacked_in_all = len(attacked)
    attacked.clear()
    process, _ = start(tiny, digits.test, config, parts=tmp_path / "parts", kill=5)
    assert process.wait(120) == -signal.SIGKILL
    left = files(tmp_path / "parts")
    assert (len(left), sum(path.name.startswith(".") for path in left)) == (5, 1)  # four, and what it was writing
    found = audit(tiny, digits.test, config, parts=tmp_path / "parts", show=False)
    assert attacked_in_all - 4 <= len(attacked) < attacked_in_all
    assert found.outcomes.equals(undisturbed.outcomes)
    assert told(found) == told(undisturbed)
    assert not files(tmp_path / "parts")


def test_parts_in_memory_and_in_a_folder(tmp_path):
    arrays = {"samples": np.arange(3)}
    for parts in (Parts(None), Parts(tmp_path / "new")):
        assert parts.get("one") is None
        parts.put("one", arrays)
        assert np.array_equal(parts.get("one")["samples"], np.arange(3))
        assert parts.get("two") is None
    assert np.array_equal(Parts(tmp_path / "new").get("one")["samples"], np.arange(3))
    assert Parts(None).get("one") is None
    Parts(tmp_path / "new").forget()
    assert Parts(tmp_path / "new").get("one") is None
    Parts(tmp_path / "new").forget()  # there is nothing left to forget
