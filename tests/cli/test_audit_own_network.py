"""`spikeproof audit FILE.py:FUNCTION`: one's own network on the command line, and every wrong way in one sentence."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import spikeproof as sp
from spikeproof.report import read_runs

FILE = '''
import torch
from torch import nn
from beside import HIDDEN


def ann():
    """Flatten, a layer, ReLUs, a layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


def jelly(threshold=0.5):
    from spikingjelly.activation_based import neuron

    net = ann()
    net[2] = neuron.IFNode(v_threshold=threshold)
    return net


def adapted():
    import spikeproof as sp

    return sp.adapt(jelly(), num_steps=4)


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, margin):
        ctx.save_for_backward(margin)
        return (margin >= 0).to(margin.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (1 - ctx.saved_tensors[0].abs()).clamp_min(0)


class Spikes(nn.Module):
    def forward(self, current):
        return Fire.apply(current - 0.5)


def own_code():
    net = ann()
    net[2] = Spikes()
    return net


def wants(width, depth):
    return ann()


def fails():
    return ann()[7]


def leaves():
    raise SystemExit("no GPU here")


def nothing():
    return None, ann()


def five():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))


def large():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))


def twice():
    import spikeproof as sp

    return sp.adapt(adapted(), num_steps=4)


net = ann()
SIZE = 64
'''
DIGITS = ["--data", "digits", "--eps", "0.1", "--samples", "10", "--no-diagnostics", "--quiet"]
SHORT = [*DIGITS, "--battery", "None", "--trials", "PGD-2"]


@pytest.fixture(scope="session")
def by_means():
    """Weights that tell digits apart by their classes' means."""
    data = sp.load_data("digits")
    means = torch.stack([data.train.images[data.train.labels == k].double().mean(0).flatten() for k in range(10)]) / 255
    return {
        "1.weight": torch.eye(64),
        "1.bias": torch.zeros(64),
        "3.weight": (2 * means).float(),
        "3.bias": -means.square().sum(1).float(),
    }


@pytest.fixture
def here(tmp_path, monkeypatch, by_means):
    """A folder with the file and its weights, which is where the command is given."""
    (tmp_path / "net.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("HIDDEN = 64\n")
    save_file(by_means, tmp_path / "net.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def audited(folder):
    (place,) = (folder / "audits").iterdir()
    return json.loads((place / "audit.json").read_text())


@pytest.mark.thorough
def test_an_ann(call, here):
    code, out, err = call("audit", "net.py:ann", "--weights", "net.safetensors", *DIGITS, "--battery", "quick")
    assert code == 0, err
    assert "net-ann: Sequential: no spiking layer: an ANN." in out
    folder = here / "runs" / "net-ann"
    said = audited(folder)
    assert said["trials"][0]["accuracy"] > 0.5
    assert said["network"]["library"] is None
    assert said["command"].startswith("spikeproof audit net.py:ann")
    assert {path.name for path in folder.iterdir()} == {"config.json", "metrics.jsonl", "audits", "report.html"}
    code, out, _ = call("report", folder)
    assert code == 0
    assert "an ANN" in out
    page = (folder / "report.html").read_text()
    assert "net.py:ann: trained elsewhere" in page
    assert "an ANN" in page


def test_a_network_of_another_library(call, here):
    pytest.importorskip("spikingjelly")
    code, out, err = call(
        "audit", "net.py:jelly", "--weights", "net.safetensors", "--num-steps", "4", *SHORT, "--out", "there"
    )
    assert code == 0, err
    said = audited(here / "there")["network"]
    assert said == {
        "name": "Sequential",
        "library": "SpikingJelly",
        "num_steps": 4,
        "runs": "steps",
        "reads": "mean",
        "native": False,
        "frames": False,
        "readouts": [],
        "functions": [],
        "binary": [],
    }
    assert "Sequential of SpikingJelly, adapted: T = 4, called with the images in every step" in out
    assert "1 site." in out
    assert audited(here / "there")["trials"][0]["accuracy"] > 0.5


def test_one_that_the_function_adapts_needs_no_option(call, here):
    pytest.importorskip("spikingjelly")
    code, _, err = call("audit", "net.py:adapted", "--weights", "net.safetensors", *SHORT)
    assert code == 0, err
    assert audited(here / "runs" / "net-adapted")["network"]["num_steps"] == 4


def test_code_of_one_s_own(call, here):
    words = ["audit", "net.py:own_code", "--weights", "net.safetensors", *SHORT]
    code, _, err = call(*words, "--num-steps", "1", "--spikes", "Fire", "--mean", "0", "--std", "1")
    assert code == 0, err
    assert audited(here / "runs" / "net-own_code")["network"]["library"] == "your code"


def test_weights_of_torch_save(call, here, by_means):
    torch.save(by_means, here / "net.pt")
    for seed, name in enumerate(("net.pt", "net.safetensors")):  # the same weights, so the same network
        code, _, err = call("audit", "net.py:ann", "--weights", name, *SHORT, "--seed", seed)
        assert code == 0, err
    assert len(read_runs(here / "runs" / "net-ann")) == 2


def test_json(call, here):
    (here / "net.py").write_text(FILE + "print('words of its own')\n")
    code, out, _ = call("audit", "net.py:ann", "--weights", "net.safetensors", *SHORT, "--json")
    assert code == 0
    assert json.loads(out)["samples"] == 10


def test_another_network_or_other_data_in_the_same_folder(call, refused, here, by_means):
    words = ["audit", "net.py:ann", *SHORT]
    assert call(*words, "--weights", "net.safetensors")[0] == 0
    refused(*words, "--weights", "net.safetensors", says=["already", "--force"])
    before = {path: path.read_bytes() for path in (here / "runs").rglob("*") if path.is_file()}
    save_file(by_means | {"3.bias": torch.zeros(10)}, here / "others.safetensors")
    others = [*words, "--weights", "others.safetensors", "--seed", "1"]
    refused(*others, says=["other settings", "network.weights", "--out"])
    (here / "net.py").write_text(FILE.replace("ReLU()", "Tanh()"))
    refused(*words, "--weights", "net.safetensors", "--seed", "1", says=["other settings", "network.file", "--out"])
    assert {path: path.read_bytes() for path in (here / "runs").rglob("*") if path.is_file()} == before
    (here / "net.py").write_text(FILE)
    assert call(*words, "--weights", "net.safetensors", "--force")[0] == 0
    for others in (["audit", "net-ann"], ["push", "net-ann", "there"]):
        refused(
            others[0], here / "runs" / others[1], *others[2:], says=["your own file makes (net-ann)", "config.json"]
        )


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.py:make"], ["no file nowhere.py"]),
        (["net.py"], ["names no function", "net.py:FUNCTION"]),
        (["net.py:"], ["names no function", "net.py:FUNCTION"]),
        (["net.py:an"], ["net.py has no function an", "ann, jelly"]),
        (["net.py:SIZE"], ["SIZE in net.py is no function", "int"]),
        (["net.py:net"], ["net in net.py is no function", "Sequential"]),
        (["net.py:wants"], ["wants in net.py wants width, depth", "defaults"]),
        (["net.py:fails"], ["fails in net.py fails at line", "IndexError"]),
        (["net.py:leaves"], ["leaves in net.py fails at line", "SystemExit", "no GPU here"]),
        (["net.py:nothing"], ["returns", "no torch.nn.Module"]),
        (["net.py:five"], ["5 outputs", "10 classes"]),
        (["net.py:large"], ["images of 1x8x8", "fails"]),
        (["net.py:ann", "--num-steps", "4"], ["No spiking layer", "as it is"]),
        (["net.py:ann", "--mean", "0.5", "--std", "0.5"], ["--mean", "--num-steps"]),
        (["net.py:ann", "--runs", "often"], ["often", "images"]),
        (["net.py:own_code"], ["functions of its own (Fire)", "spikes=Fire"]),
        (["net.py:own_code", "--num-steps", "1", "--spikes", "act"], ["attribute 'act'"]),
        (["net.py:ann", "--weights", "nowhere.safetensors"], ["no weights at nowhere.safetensors"]),
        (["net.py:ann", "--weights", "net.py"], ["net.py", "more than tensors"]),
        (["net.py:ann", "--weights", "five.safetensors"], ["it lacks 3.weight, 3.bias", "1.weight (5, 64)"]),
        (["net.py:five", "--weights", "net.safetensors"], ["it has besides 3.bias, 3.weight", "instead of (5, 64)"]),
        (["net.py:ann", "--weights", "whole.pt"], ["whole.pt holds more than tensors", "safetensors.torch.save_file"]),
        (["net.py:ann", "--weights", "checkpoint.pt"], ["checkpoint.pt holds epoch, state_dict", "save_file"]),
        (["net.py:ann", "--weights", "cut.pt"], ["cut.pt"]),
        (["net.py:ann", "--weights", "cut.safetensors"], ["cut.safetensors is damaged"]),
        (["net.py:ann", "--norm", "l2"], ["--eps", "L2"]),
        (["net.py:ann", "--weight", "net.safetensors"], ["--weight", "--weights"]),
        (["net.py:ann", "--samples", "501"], ["500 images", "501"]),
        (["net.py:ann", "--out", "net.py"], ["a file is in its way"]),
    ],
    ids=lambda value: " ".join(value) if value[0].partition(":")[0].endswith(".py") else "",
)
def test_wrong_ways(refused, here, by_means, words, says):
    few = {name: value[:5].clone() for name, value in by_means.items() if name.startswith("1")}
    save_file(few, here / "five.safetensors")
    torch.save(nn.Linear(2, 2), here / "whole.pt")
    torch.save({"epoch": 3, "state_dict": by_means}, here / "checkpoint.pt")
    torch.save(by_means, here / "all.pt")
    for name in ("all.pt", "net.safetensors"):
        whole = (here / name).read_bytes()
        (here / f"cut.{name.partition('.')[2]}").write_bytes(whole[: len(whole) // 2])
    given = ["--data", "digits", "--battery", "quick", "--samples", "10", "--quiet"]
    refused("audit", words[0], *given, *words[1:], says=says)
    assert not list((here / "runs").glob("*"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["net.py:jelly"], ["layers of SpikingJelly", "Sequential", "--num-steps T"]),
        (["net.py:jelly", "--reads", "last"], ["layers of SpikingJelly", "--num-steps T"]),
        (["net.py:adapted", "--num-steps", "4"], ["adapted already"]),
        (["net.py:twice"], ["adapted already"]),
        (["net.py:jelly", "--num-steps", "4", "--runs", "images"], ["called with images every layer runs 1 step"]),
        (["net.py:jelly", "--num-steps", "4", "--mean", "0.5"], ["a mean and a std"]),
        (["net.py:jelly", "--num-steps", "0"], ["num_steps", "0"]),
    ],
    ids=lambda value: " ".join(value) if value[0].partition(":")[0].endswith(".py") else "",
)
def test_wrong_ways_to_adapt(refused, here, words, says):
    pytest.importorskip("spikingjelly")
    refused("audit", words[0], *SHORT, *words[1:], says=says)
    assert not list((here / "runs").glob("*"))


def test_no_data(refused, here):
    refused("audit", "net.py:ann", says=["--data", "cifar10"])
    refused("audit", "net.py:ann", "--data", "nonesuch", says=["nonesuch", "digits"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def make(:\n    pass\n", ["SyntaxError", "line 1"]),
        ("import torch\n\nimport nonesuch\n", ["line 3", "nonesuch"]),
    ],
    ids=["syntax", "import"],
)
def test_a_file_that_python_cannot_run(refused, here, text, says):
    (here / "broken.py").write_text(text)
    refused("audit", "broken.py:make", "--data", "digits", says=["broken.py fails", *says])


def test_help(call, here):
    code, out, _ = call("audit", "net.py:ann", "--help")
    assert code == 0
    assert all(option in out for option in ("--weights", "--num-steps", "--data", "--mean", "--battery"))
    assert "FILE.py:FUNCTION" in call("audit", "--help")[1]


def test_a_folder_of_that_name_is_a_run(refused, here):
    (here / "odd.py").mkdir()
    refused("audit", "odd.py", says=["is not a run folder"])
