"""An audit's battery against the plain way: every attack over all samples, fp32, gradients for the weights too.

The plain way runs the very same attacks with the same kernels, seeds and steps; only what `spikeproof audit` saves is
undone: nobody leaves an attack before its end, samples that are broken go on to the next attack, weights are not frozen
(``loss.backward()``), crafting is float32.

    python benchmarks/audit_speed.py runs/mini-cifar10-at --samples 500

With ``--precision`` it instead compares bfloat16 with float32 crafting sample by sample.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from spikeproof.attacks import Pursuit
from spikeproof.attacks import craft as craft_module
from spikeproof.audit import AuditConfig, audit
from spikeproof.gradients import Attached
from spikeproof.models import load_model
from spikeproof.recipes.recipe import DataConfig
from spikeproof.recipes.run import recorded_audit_config
from spikeproof.runs import RunFolder


def stay(self: Pursuit, candidates: Tensor, logits: Tensor) -> None:
    """``Pursuit.offer`` without anyone leaving: the verdicts are noted and the attack goes on."""
    loss = self._loss(self.index, logits)
    broken = self._breaks(logits, self.labels, self.targets)
    better = broken | (loss > self._best_loss[self.index])
    self._best[self.index[better]] = candidates[better]
    self._best_loss[self.index[better]] = loss[better]
    self._unbroken[self.index[broken]] = False


def with_weights(self: Attached, call, images: Tensor, objective):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """``Attached.gradient`` by ``loss.backward()``, which fills every weight's gradient on its way."""
    logits, differentiated = self.forward(call, images)
    objective(differentiated.float()).sum().backward()
    assert images.grad is not None
    return images.grad, logits


@contextlib.contextmanager
def unfrozen(model: nn.Module) -> Iterator[None]:
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    yield
    model.zero_grad()


@contextlib.contextmanager
def the_plain_way() -> Iterator[None]:
    with (
        mock.patch.object(Pursuit, "offer", stay),
        mock.patch.object(Attached, "gradient", with_weights),
        mock.patch.object(craft_module, "evaluating", unfrozen),
    ):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--battery", default="reliable")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--precision", action="store_true")
    asked = parser.parse_args()
    data = DataConfig(**_tuples(RunFolder(asked.run).config()["recipe"]["data"])).load(asked.data_dir)
    model = load_model(RunFolder(asked.run).weights, kernels="fused")
    fast = dataclasses.replace(
        recorded_audit_config(asked.run), samples=asked.samples, battery=asked.battery, diagnostics=False, sweep=()
    )
    if asked.precision:
        fast = dataclasses.replace(fast, precision="bf16")
    wide = dataclasses.replace(fast, precision="fp32")
    plain = dataclasses.replace(wide, per_member=True)
    for config in (fast, wide):  # kernels are compiled once per machine
        audit(model, data.test, dataclasses.replace(config, samples=8), show=False)
    found, seconds = timed(model, data.test, fast)
    if asked.precision:
        other, other_seconds = timed(model, data.test, wide)
        names = ("bf16 crafting", "fp32 crafting")
    else:
        with the_plain_way():
            other, other_seconds = timed(model, data.test, plain)
        names = ("reliable", "the plain way")
    right, other_right = survivors(found), survivors(other)
    print(f"{asked.run}: n={asked.samples}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, each, spent in ((names[0], found, seconds), (names[1], other, other_seconds)):
        low, high = each.worst_case.bounds()
        print(
            f"  {name:14} {spent:8.1f} s  protocol {100 * each.protocol.accuracy:.1f}  worst case "
            f"{100 * each.worst_case.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        )
    print(
        f"  ratio {other_seconds / seconds:.2f}; {int((right != other_right).sum())} of {asked.samples} verdicts differ"
    )
    for result in found.results:
        print(
            f"    {result.trial.name:24} attempted {result.attempted:4} newly {result.newly:4} {result.seconds:7.1f} s"
        )


def timed(model: nn.Module, images, config: AuditConfig):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    began = time.perf_counter()
    found = audit(model, images, config, show=False)
    return found, time.perf_counter() - began


def survivors(found) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001
    right = torch.ones(found.clean.samples, dtype=torch.bool)
    for row in found.outcomes.to_pylist():
        if not row["correct"]:
            right[row["sample"]] = False
    return right


def _tuples(recorded: dict[str, object]) -> dict[str, object]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()}


if __name__ == "__main__":
    main()
