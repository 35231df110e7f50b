"""Whether the gradient sources of an audit's trials can act on its network. Each is tried on two images first.

Most sources act at spikes. An ANN has none, and its own gradient is exact. So the trials of a battery run through that
gradient, and each says for which trials of the battery it stands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from spikeproof.attacks import Crafting, crafting, cross_entropy_of
from spikeproof.attacks.generators import generators_of, put_back
from spikeproof.audit.config import AuditConfig
from spikeproof.audit.network import Network
from spikeproof.audit.trials import Trial, Tuned, make_trial
from spikeproof.errors import FAILURES, SpikeproofError, first_line
from spikeproof.gradients import GradientSource
from spikeproof.models import unwrapped
from spikeproof.spiking import sites

_FEW = 2


def fitting(model: nn.Module, network: Network, config: AuditConfig, tuned: Tuned | None = None) -> list[Trial]:
    """The config's trials, in the order in which they are run. For an ANN, a battery's trials take its own gradient.

    Args:
        model: the audited network.
        network: the description of the model.
        config: of the audit. Trials of its ``trials`` stay as they are; only those of the battery are fitted.
        tuned: settings of gradient sources from validation samples; None for the defaults.

    Raises:
        SpikeproofError: a network that has or may have spikes, but no sites.
    """
    trials = config.members(tuned)
    if sites(model):
        return trials
    own = {trial.name for trial in config.own}
    by_name: dict[str, Trial] = {}
    for trial in trials:
        taken = trial
        if trial.name not in own and not _attaches(trial.source, model):
            if network.hidden is not None:
                raise SpikeproofError(
                    f"{network.hidden}; or name trials through its own gradient (battery None, trials PGD-20, "
                    "SA-PGD-100, ...)."
                )
            taken = make_trial(trial.attack_text, trial.ball)
        same = by_name.get(taken.name, taken)
        by_name[taken.name] = dataclasses.replace(same, stands_for=(*same.stands_for, trial.name))
    fitted = (
        dataclasses.replace(trial, stands_for=()) if trial.stands_for == (trial.name,) else trial
        for trial in by_name.values()
    )
    return sorted(fitted, key=lambda trial: trial.kind != "protocol")


def _attaches(source: GradientSource, model: nn.Module) -> bool:
    try:
        with source.attach(model):
            return True
    except SpikeproofError:
        return False


def check_sources(
    model: nn.Module,
    trials: Sequence[Trial],
    images: Float[Tensor, " n *chw"],
    labels: Int64[Tensor, " n"],
    how: Crafting,
    called: str = "this network",
) -> None:
    """Refuse a trial whose source cannot act on the network. Each source takes one gradient to show that it can.

    Args:
        model: the network that the trials craft on.
        trials: any number.
        images: in [0, 1]; the first two are taken.
        labels: one for each image.
        how: as the trials are run, but for the source.
        called: what sentences call the network.

    Raises:
        SpikeproofError: a source fails; the sentence names the trial and says why.
    """
    images, labels = images[:_FEW], labels[:_FEW]
    tried: list[GradientSource] = []
    for trial in trials:
        if trial.source in tried:
            continue
        tried.append(trial.source)
        own = dataclasses.replace(how, source=trial.source, eot_iter=1)
        try:
            with put_back(generators_of(unwrapped(model))), crafting(model, own) as craft:
                craft.gradient(images, cross_entropy_of(labels))
        except torch.OutOfMemoryError:
            raise
        except SpikeproofError as error:
            raise SpikeproofError(f"The trial {trial.name} cannot run on {called}: {error}") from error
        except FAILURES as error:
            raise SpikeproofError(
                f"The trial {trial.name} cannot run on {called}: its gradient fails ({first_line(error)}); leave the "
                "trial out, or mend the network's backward."
            ) from error
