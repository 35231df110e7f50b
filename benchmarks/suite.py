"""How fast and how small our networks are beside the field's, and what the defenses add.

    python benchmarks/suite.py [--networks vgg11 wrn16] [--widths .25 .5 1] [--steps 4 8 16] [--batch N] [--quick]
        [--precisions fp32 bf16] [--peers spikingjelly snntorch plain_loop]

A configuration takes some minutes, most of them torch.compile of SpikingJelly's best; each is in results.json as soon
as it is done.

For each network, width, T and precision: the peers of ``peers.py`` get our weights and must give our outputs (eval,
float64); then all are timed in turn in one process, and the times of the convolutions and linear layers alone are
printed beside them. Ours and SpikingJelly's best run in the precision, the others as their users run them, in float32.
The first steps of a new process are measured too, without any kernel on disk and with them.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.defenses import MPDSGR, TGO, Defense, Step, compose, watch
from spikeproof.machine.precision import Resolved, native_bf16
from spikeproof.models import SpikingModel, create_model

try:
    from floor import Floor
    from measure import Timing, alternate, environment, peak_bytes
    from peers import PEERS, Contender
except ModuleNotFoundError as missing:
    print(
        f"The benchmarks compare with SpikingJelly and snnTorch and {missing.name} is not installed: "
        "pip install --no-deps spikingjelly==2.0.0 snntorch==1.0.0, then "
        "pip install loguru scipy matplotlib tensorboard requests h5py packaging "
        "(--no-deps because torchvision and torchaudio are not needed).",
        file=sys.stderr,
    )
    sys.exit(2)

LARGEST_DIFFERENCE = 1e-6
BATCHES = {0.25: 64, 0.5: 32, 1.0: 16}
TITLES = {
    "spikingjelly": "(a) SpikingJelly",
    "spikingjelly_best": "(b) its best",
    "snntorch": "(c) snnTorch",
    "plain_loop": "(d) plain loop",
}
DEFENSES: dict[str, tuple[Defense, ...]] = {
    "vanilla": (),
    "MPDSGR": (MPDSGR(),),
    "TGO, MC alone": (TGO(sigma=0.0),),
    "TGO": (TGO(),),
    "MPDSGR+TGO": (MPDSGR(), TGO()),
}
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured."""

    network: str
    width: float
    num_steps: int
    batch: int
    device: str
    repeats: int
    precision: Resolved

    @property
    def dtype(self) -> torch.dtype:
        """What the convolutions run in."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[self.precision]

    def row(self, measure: str, contender: str, dtype: torch.dtype, found: Timing | int) -> Row:
        """A line of the results: seconds with their spread, or bytes."""
        seen = dataclasses.asdict(found) if isinstance(found, Timing) else {"median": found, "n": 1}
        unit = "seconds" if isinstance(found, Timing) else "bytes"
        return {
            **dataclasses.asdict(self),
            "measure": measure,
            "contender": contender,
            "dtype": str(dtype).removeprefix("torch."),
            "unit": unit,
            **seen,
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, write it down after every configuration, print the tables."""
    asked = parse(arguments)
    device = torch.device(asked.device)
    results: Row = {
        "measured": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "environment": environment(device),
        "rows": [],
    }
    rows = results["rows"]
    grid = itertools.product(asked.networks, asked.widths, asked.steps, asked.precisions)
    for network, width, num_steps, precision in grid:
        batch = asked.batch or BATCHES.get(width) or max(1, round(16 / width))
        setting = Setting(network, width, num_steps, batch, asked.device, asked.repeats, precision)
        began = time.monotonic()
        print(f"{network} width {width} T={num_steps} batch {batch} {precision}", file=sys.stderr, flush=True)
        rows += measure_starts(setting)
        rows += measure_peers(setting, asked.peers)
        torch._dynamo.reset()  # the compiled peer of one configuration is of no use to the next
        rows += measure_defenses(setting)
        torch._dynamo.reset()
        gc.collect()
        asked.out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(["", sentence(results["environment"]), "", *peer_table(rows), "", *defense_table(rows)]))
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=("vgg11", "wrn16"), default=["vgg11", "wrn16"])
    parser.add_argument("--widths", nargs="+", type=float, default=[0.25, 0.5, 1.0])
    parser.add_argument("--steps", nargs="+", type=int, default=[4, 8, 16], help="T")
    fits = ["fp32", "bf16"] if native_bf16("cpu") else ["fp32"]
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=fits)
    parser.add_argument("--batch", type=int, help="64 at width .25, 32 at .5, 16 at 1 unless given")
    parser.add_argument("--peers", nargs="+", choices=tuple(TITLES), default=list(TITLES))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="vgg11, width .25, T=4, 5 repeats; the rest as given")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.json"))
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.networks, asked.widths, asked.steps, asked.repeats = ["vgg11"], [0.25], [4], 5
    return asked


def measure_peers(setting: Setting, peers: Sequence[str]) -> list[Row]:
    """Ours, these peers and the floor: three times and two peaks."""
    model, images, labels = build(setting)
    contenders = {"ours": Contender(model, autocast(model, setting), setting.dtype, freezes=True)}
    contenders |= {name: PEERS[name](model, setting.dtype) for name in peers}
    check_agreement(model, contenders, images)
    floor = Floor(model, images, setting.dtype)
    rows: list[Row] = []

    def measure(name: str, steps: dict[str, Callable[[], object]], floor_step: Callable[[], None], peaks: bool) -> None:
        dtypes = {"floor": setting.dtype} | {key: contender.dtype for key, contender in contenders.items()}
        times = alternate(steps | {"floor": floor_step}, setting.repeats)
        rows.extend(setting.row(name, key, dtypes[key], timing) for key, timing in times.items())
        if peaks:
            rows.extend(setting.row(f"{name} peak", key, dtypes[key], peak_bytes(step)) for key, step in steps.items())

    for contender in contenders.values():
        contender.network.train()
    steps = {key: training_step(contender, images, labels) for key, contender in contenders.items()}
    measure("training step", steps, floor.training, peaks=True)
    for contender in contenders.values():
        contender.network.eval().requires_grad_(not contender.freezes)
    steps = {key: attack_step(contender, images, labels) for key, contender in contenders.items()}
    with crafting(model, Crafting(precision=setting.precision)) as craft:  # as inner attacks of training do
        measure(
            "attack step",
            steps | {"ours": lambda: craft.gradient(images, cross_entropy_of(labels))},
            floor.attack,
            peaks=True,
        )
    steps = {key: inference(contender, images) for key, contender in contenders.items()}
    measure("inference", steps, floor.inference, peaks=False)
    return rows


def measure_starts(setting: Setting) -> list[Row]:
    """The first training step, attack step and verdict of a new process, without kernels on disk and with them."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        told = {"SPIKEPROOF_CACHE_DIR": folder, "SPIKEPROOF_FIRST_STEPS": json.dumps(vars(setting))}
        for measure in ("cold start", "warm start"):
            done = subprocess.run([sys.executable, __file__], env=os.environ | told, stdout=subprocess.PIPE, check=True)
            rows.append(setting.row(measure, "ours", setting.dtype, Timing(*[float(done.stdout)] * 3, 1)))
    return rows


def first_steps(setting: Setting) -> float:
    """Seconds of this process's first training step, attack step and verdict; the network is there already."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model(
            setting.network, num_classes=10, width=setting.width, num_steps=setting.num_steps, kernels="fused"
        ).to(setting.device)
    images = torch.rand(setting.batch, 3, 32, 32, device=setting.device)
    labels = torch.randint(10, (setting.batch,), device=setting.device)
    contender = Contender(model.train(), autocast(model, setting), setting.dtype)
    began = time.perf_counter()
    training_step(contender, images, labels)()
    with crafting(model.eval(), Crafting(precision=setting.precision)) as craft:
        craft.gradient(images, cross_entropy_of(labels))
        craft.judge(images)
    return time.perf_counter() - began


def measure_defenses(setting: Setting) -> list[Row]:
    """Our training step with each list of defenses, from the same weights."""
    steps = {name: defended_step(setting, defenses) for name, defenses in DEFENSES.items()}
    times = alternate(steps, setting.repeats)
    rows = [setting.row("defended step", name, setting.dtype, timing) for name, timing in times.items()]
    peaks = {name: peak_bytes(step) for name, step in steps.items()}
    return rows + [setting.row("defended step peak", name, setting.dtype, peak) for name, peak in peaks.items()]


def build(setting: Setting) -> tuple[SpikingModel, Tensor, Tensor]:
    """Our network, images and labels; the same for the same setting.

    Batch norm gets the statistics of these images and the hidden linear layers larger weights: an untrained network is
    silent in its last layers otherwise, and the comparison of outputs would compare zeros.
    """
    torch.manual_seed(0)
    images = torch.rand(setting.batch, 3, 32, 32, device=setting.device)
    labels = torch.randint(10, (setting.batch,), device=setting.device)
    model = create_model(
        setting.network, num_classes=10, width=setting.width, num_steps=setting.num_steps, kernels="fused"
    ).to(setting.device)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hidden = [module for module in model.modules() if isinstance(module, nn.Linear)][:-1]
    with torch.no_grad():
        for linear in hidden:
            linear.weight.mul_(4)
        for norm in norms:
            norm.momentum = 1.0
        model(images)
        for norm in norms:
            norm.momentum = 0.1
    return model, images, labels


def autocast(model: SpikingModel, setting: Setting) -> Callable[[Tensor], Tensor]:
    """Our model as training and attacks call it in this precision."""

    def call(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=setting.precision == "bf16"):
            return model(images)

    return call


@torch.no_grad()
def check_agreement(model: SpikingModel, contenders: dict[str, Contender], images: Tensor) -> None:
    """Stop unless every peer (the compiled one uncompiled) gives our logits in eval mode.

    In float64: in float32 two orders of summation already move a potential across the threshold in one of some million
    neurons, and a whole spike then changes one image's logits by more than any tolerance worth having. To be called
    first, while the neurons of the stateful peers are fresh.
    """
    expected = model.eval().double()(images.double())
    model.float()
    print(f"  largest logit {expected.abs().max():.3g}; differences in float64:", end="", file=sys.stderr)
    differences: dict[str, float] = {}
    for name in contenders.keys() - {"ours"}:
        network = contenders[name].network.eval()
        found = network.double()(images.double())
        network.float()
        differences[name] = (found - expected).abs().max().item()
        print(f" {name} {differences[name]:.1e}", end="", file=sys.stderr)
    print(file=sys.stderr, flush=True)
    wrong = [name for name, difference in differences.items() if not difference <= LARGEST_DIFFERENCE]
    if wrong:
        sys.exit(f"{', '.join(wrong)} with our weights does not give our outputs; its times would mean nothing.")


def training_step(contender: Contender, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Forward, backward and SGD at rate 0, so that all is measured on one network; gradients are freed at the end."""
    optimizer = torch.optim.SGD(contender.network.parameters(), lr=0.0, momentum=0.9)

    def step() -> None:
        cross_entropy(contender.call(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def defended_step(setting: Setting, defenses: Sequence[Defense]) -> Callable[[], None]:
    """Our training step as ``spikeproof.train`` makes it with these defenses, halfway through training."""
    model, images, labels = build(setting)
    needs = compose(defenses)
    for defense in defenses:
        defense.install(model)
    model.train()
    call = autocast(model, setting)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)

    def step() -> None:
        here = Step(model=model, clean=images, images=images, labels=labels, progress=0.5)
        with watch(model, needs) as here.record:
            here.logits = call(images)
        loss = cross_entropy(here.logits, labels)
        for defense in defenses:
            penalty = defense.penalty(here)
            if penalty is not None:
                loss = loss + penalty
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def attack_step(contender: Contender, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """The gradient of the summed cross-entropy to the images, and to nothing else."""
    leaf = images.clone().requires_grad_()

    def step() -> None:
        loss = cross_entropy(contender.call(leaf), labels, reduction="sum")
        torch.autograd.grad(loss, leaf)

    return step


def inference(contender: Contender, images: Tensor) -> Callable[[], None]:
    """Logits alone."""

    def step() -> None:
        with torch.no_grad():
            contender.call(images)

    return step


def sentence(where: dict[str, Any]) -> str:
    """The machine and the versions in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return f"{where['device']}, {where['cpu']}, {where['threads']} threads; {versions}"


def peer_table(rows: list[Row]) -> list[str]:
    """A line per configuration and measure: ours, the floor, and each peer with how many times ours it takes."""
    lines = [f"{'':48}{'ours':>10}{'floor':>14}" + "".join(f"{title:>20}" for title in TITLES.values())]
    for label, found in grouped(row for row in rows if not row["measure"].startswith("defended")):
        ours = found["ours"]
        floor = shown(found["floor"]) if "floor" in found else ""
        cells = (shown(found[name]) + times(found[name], ours) if name in found else "" for name in TITLES)
        peers = "".join(f"{cell:>20}" for cell in cells)
        lines.append(f"{label:48}{shown(ours):>10}{floor:>14}{peers}")
    return lines


def defense_table(rows: list[Row]) -> list[str]:
    """What each list of defenses costs, relative to our training step without any."""
    lines = [f"{'':48}" + "".join(f"{name:>20}" for name in DEFENSES)]
    for label, found in grouped(row for row in rows if row["measure"].startswith("defended")):
        vanilla = found["vanilla"]
        lines.append(f"{label:48}" + "".join(f"{shown(row) + times(row, vanilla):>20}" for row in found.values()))
    return lines


def grouped(rows: Any) -> list[tuple[str, dict[str, Row]]]:
    """Rows by configuration and measure, in their order, each a dict by contender."""
    groups: dict[str, dict[str, Row]] = {}
    for row in rows:
        where = f"{row['network']} {row['width']:g} T={row['num_steps']} n={row['batch']} {row['precision']}"
        label = f"{where} {row['measure']}"
        groups.setdefault(label, {})[row["contender"]] = row
    return list(groups.items())


def shown(row: Row) -> str:
    """A median for reading."""
    return f"{1e3 * row['median']:.1f} ms" if row["unit"] == "seconds" else f"{row['median'] / 2**20:.1f} MiB"


def times(row: Row, base: Row) -> str:
    """How many times the base."""
    return f" {row['median'] / base['median']:5.2f}x"


if __name__ == "__main__":
    if "SPIKEPROOF_FIRST_STEPS" in os.environ:
        print(first_steps(Setting(**json.loads(os.environ["SPIKEPROOF_FIRST_STEPS"]))))
    else:
        sys.exit(main())
