"""A table of digits that takes seconds: a calibrated row, a black-box column and a measure, as the papers' have them.

Run as a program it does the whole table, is killed at ten random moments and started again, and writes both tables.
"""

import dataclasses
import os
import random
import signal
import sys
import time
from pathlib import Path

from spikeproof.audit import AuditConfig
from spikeproof.data import Augmentation
from spikeproof.defenses import MPDSGR, REG
from spikeproof.engine import Circumstances, InProcess, Store, TablePlan, reproduce
from spikeproof.recipes import Recipe
from spikeproof.recipes.recipe import DataConfig, ModelConfig
from spikeproof.tables import Calibration, Claim, Column, Row, Table
from spikeproof.train import TrainConfig

VANILLA = Recipe(
    name="small",
    data=DataConfig(name="digits", validation=100, train_limit=192),
    model=ModelConfig(name="conv", num_steps=2, width=0.5, kernels="reference"),
    train=TrainConfig(epochs=2, augmentation=Augmentation(crop_padding=0, flip=False, cutout=0), device="cpu"),
)
OTHER = dataclasses.replace(VANILLA, train=dataclasses.replace(VANILLA.train, seed=7))
SPARED = VANILLA.having(MPDSGR())

TABLE = Table(
    name="small",
    title="A small table",
    source="nobody",
    columns=(
        Column(label="Clean"),
        Column(label="PGD", trial="PGD-3"),
        Column(label="Noise", trial="UNIFORM", eps=0.2),
        Column(label="Black box", trial="FGSM", on_substitute=True),
        Column(label="Proximal", measure="proximal share"),
    ),
    rows=(
        Row(
            name="vanilla",
            label="Vanilla",
            group="Digits",
            recipe=VANILLA,
            published={"Clean": 99.0, "PGD": 1.5},
            substitute=OTHER,
        ),
        Row(
            name="reg",
            label="REG",
            group="Digits",
            recipe=VANILLA.having(REG()),
            published={},
            substitute=OTHER,
        ),
        Row(
            name="mpd-sgr",
            label="MPD-SGR",
            group="Digits",
            recipe=SPARED,
            published={"PGD": 20.0},
            calibrated=("eta",),
            substitute=OTHER,
        ),
    ),
    protocol="PGD",
    calibrations=(
        Calibration(
            name="eta",
            candidates=(MPDSGR(eta=0.1), MPDSGR(eta=1.0)),
            recipe=SPARED,
            reference=VANILLA,
            drop=1.0,
            source="nobody",
        ),
    ),
    claims=(
        Claim(text="MPD-SGR over vanilla", column="PGD", higher="mpd-sgr", lower="vanilla"),
        Claim(text="vanilla has more near the threshold", column="Proximal", higher="vanilla", lower="mpd-sgr"),
    ),
    audit=AuditConfig(eps=0.1, battery="quick", tune_samples=0, diagnostics=False),
)


def plan(**changes):
    made = TablePlan.of(TABLE, "full", **({"seeds": (0,)} | changes))
    return dataclasses.replace(made, samples=(30, 20))


def do(out, pool=None, made=None):
    """The table's text, and what failed."""
    around = Circumstances(Store(out / "store"), command="test", show=False)
    return reproduce(made or plan(), pool or InProcess(), around, out / "results")


def child(out):
    """Do the table in a forked process, which has all imports already."""
    forked = os.fork()
    if forked == 0:
        text, _ = do(out)
        (out / "table.md").write_text(text)
        os._exit(0)
    return forked


def main(folder):
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    for out in (undisturbed, killed):
        out.mkdir()
    began = time.monotonic()
    os.waitpid(child(undisturbed), 0)
    whole = time.monotonic() - began
    moments = random.Random(0)
    hits = 0
    for _ in range(10):
        forked = child(killed)
        time.sleep(moments.uniform(0, whole / 8))
        os.kill(forked, signal.SIGKILL)
        hits += os.WIFSIGNALED(os.waitpid(forked, 0)[1])
    os.waitpid(child(killed), 0)
    (folder / "hits").write_text(str(hits))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
