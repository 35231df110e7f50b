"""What one of several processes trains for test_processes.py: `processes_in_one.py FOLDER`, as torchrun starts it.

What it found goes to FOLDER/RANK.pt.
"""

import contextlib
import signal
import sys
from pathlib import Path

import torch

from spikeproof.data import Augmentation, load_data
from spikeproof.defenses import AWP, DEFENSES, EMA, HIRE, MPDSGR, REG, SR, TGO, HoSNN, RecDis, RMPLoss
from spikeproof.defenses import AdversarialTraining as AT
from spikeproof.defenses import FreeAdversarialTraining as FreeAT
from spikeproof.errors import SpikeproofError
from spikeproof.models import create_model
from spikeproof.runs import Processes, RunFolder
from spikeproof.spiking import Neuron
from spikeproof.train import Interrupted, TrainConfig, train

sys.path.append(str(Path(__file__).parents[1]))  # as a script it has its own folder alone

from stops import sent_at  # noqa: E402

# Nothing random inside a step, and an odd batch: the second process has fewer images, or parts of a batch.
COMPARED = {
    "vanilla": ([], {}, {}),
    "FGSM": ([AT(eps=0.05)], {}, {}),
    "MPD-SGR": ([MPDSGR(eta=0.3)], {}, {}),
    "penalties": ([RecDis(), TGO(sigma=0.0, lambda_max=0.6)], {}, {}),
    "REG+SR": ([REG(beta=0.01), SR(strength=0.1)], {}, {}),
    "HIRE": ([HIRE(eps=0.05)], {}, {}),
    "FreeAT": ([FreeAT(eps=0.05, replays=2)], {}, {"epochs": 2}),
    "AWP": ([AT(eps=0.05), AWP(gamma=0.1), EMA(tau=0.1)], {}, {"microbatch": 3}),
    "TET": ([], {}, {"loss": "tet"}),
    "parts": ([MPDSGR(eta=0.3)], {}, {"microbatch": 3}),
    "one alone": ([], {}, {"batch_size": 3}),  # in the second process every batch is a single image
    "per-step": ([MPDSGR(eta=0.3)], {"batch_norm": "per-step"}, {}),
    "resnet": ([], {"name": "sew-resnet19", "width": 1 / 16}, {}),
    "merged resnet": ([], {"name": "resnet19", "width": 1 / 16}, {}),
    "fused": ([MPDSGR(eta=0.3)], {"kernels": "fused"}, {}),
}


def model_of(data, seed=0, name="conv", **changes):
    torch.manual_seed(seed)
    shape = {"num_classes": 10, "image_size": 8, "in_channels": 1, "num_steps": 2, "width": 0.5}
    return create_model(name, mean=data.mean, std=data.std, **(shape | changes))


def config_of(**changes):
    settings = {"epochs": 1, "batch_size": 9, "augmentation": Augmentation(cutout=0), "device": "cpu"}
    return TrainConfig(**(settings | {"precision": "fp32"} | changes))


def compared(processes):
    """The weights after a large step of each, and its metrics; in float64 where the kernels are the reference."""
    data, found = load_data("digits", validation=20, train_limit=9), {}
    for name, (defenses, model, config) in COMPARED.items():
        if "microbatch" in config and processes.world == 1:
            config = {"microbatch": 6}  # two processes have as many between them
        network = model_of(data, neuron=Neuron(threshold=0.5), **model)
        network = network if "kernels" in model else network.double()
        run = train(network, data, defenses, config_of(learning_rate=1.0, **config), show=False)
        found[name] = (run.model.state_dict(), run.metrics[-1])
    return found


def every_defense():
    """The weights after two steps with noise, or why it is refused."""
    data, found = load_data("digits", validation=8, train_limit=18), {}
    listed = {name: [kind()] for name, kind in DEFENSES.items()}
    listed |= {
        "hosnn": [HoSNN(warmup=0.0)],
        "rmp-loss": [RMPLoss(threshold=0.5)],
        "mpd-sgr by attack": [MPDSGR(width="attack")],
    }
    for name, defenses in (listed | {"tgo by attack": [TGO(width="attack")]}).items():
        model = model_of(data, width=0.25, neuron=Neuron(threshold=0.5))
        try:
            found[name] = train(model, data, defenses, config_of(), show=False).model.state_dict()
        except SpikeproofError as error:
            found[name] = str(error)
    return found


def in_folders(folder, processes):
    """One run unbroken, and one that was stopped in its second epoch and went on."""
    data, listed = load_data("digits", validation=300, train_limit=36), [FreeAT(eps=0.05, replays=2), TGO(sigma=0.3)]
    shared = {"data": data, "config": config_of(epochs=2), "settings": {"mine": 1}}
    whole = train(model_of(data), defenses=listed, out=folder / "whole", show=False, **shared)
    stopped = refused = None
    second_alone = sent_at(0.6, signal.SIGTERM) if processes.rank == 1 else contextlib.nullcontext()
    try:
        with second_alone:
            train(model_of(data), defenses=listed, out=folder / "cut", **shared)
    except Interrupted:
        state = processes.lead(lambda: RunFolder(folder / "cut").read_state())
        stopped = (state["step"], processes.lead(lambda: sorted(path.name for path in (folder / "cut").iterdir())))
    try:
        train(model_of(data), defenses=listed, out=folder / "cut", **shared)
    except SpikeproofError as error:
        refused = str(error)
    # Another start in every process: it must not matter.
    again = train(model_of(data, 5 + processes.rank), defenses=listed, out=folder / "cut", resume=True, **shared)
    finished = train(model_of(data, 7), defenses=listed, out=folder / "cut", resume=True, **shared)
    runs = {"whole": whole, "cut": again, "finished": finished}
    return {name: (run.model.state_dict(), run.metrics) for name, run in runs.items()} | {
        "stopped": stopped,
        "refused": refused,
    }


def refusals():
    """What training says that cannot begin or go on."""
    data, said = load_data("digits", validation=8, train_limit=18), []
    for config in (config_of(learning_rate=1e30, epochs=2), config_of(batch_size=1), config_of(microbatch=4)):
        try:
            train(model_of(data), data, config=config, show=False)
        except SpikeproofError as error:
            said.append(str(error))
    return said


def main(folder):
    processes = Processes.of_this_process()
    found = {
        "compared": compared(processes),
        "every": every_defense(),
        "folders": in_folders(folder, processes),
        "refusals": refusals(),
    }
    torch.save(found, folder / f"{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
