"""Which defenses a network of another library can have: its neurons are the library's own, and only watched here.

Firing noise is the one thing that a foreign site takes; decays, gains, thresholds, gates and surrogates it does not.
Native sites (``adapt(net, native=True)``) take all of these. The coding is the network's own in both.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import nn

from spikeproof.defenses.defense import Defense
from spikeproof.errors import SpikeproofError
from spikeproof.interop import Adapted, ForeignSite, Native
from spikeproof.models import SpikingModel, shapes_seen, site_shapes
from spikeproof.spiking import Site, sites

_log = logging.getLogger(__name__)
_NOISE, _CODING = "the firing noise", "the coding"


def own_sites(model: nn.Module) -> dict[str, Site]:
    """The sites whose neurons are spikeproof's, by name."""
    return {name: site for name, site in sites(model).items() if not isinstance(site, ForeignSite)}


def own_neurons(label: str, model: nn.Module) -> dict[str, torch.Size]:
    """[*space, C] of every site whose neurons are spikeproof's, for a defense that gives each neuron a part.

    Raises:
        SpikeproofError: another network.
    """
    if isinstance(model, SpikingModel):
        return site_shapes(model)
    if isinstance(model, Native) and model.image_shape is not None:
        return shapes_seen(model, model.image_shape)
    raise SpikeproofError(
        f"{label} gives every neuron a part of its own; take a network of spikeproof.create_model, or one of "
        "spikeproof.adapt(net, num_steps=T, native=True) that has run."
    )


def check_foreign(defenses: Sequence[Defense], model: nn.Module) -> None:
    """Refuse what the neurons of another library cannot have; say of what is left without a part what that is.

    Args:
        model: any network; of an adapted one the first forward must have been.

    Raises:
        SpikeproofError: a defense that sets what is the library's own, watches potentials after a reset, or needs one
            margin, the currents or the noise where the layer has none.

    Example:
        >>> from spikeproof.models import create_model
        >>> check_foreign([], create_model("conv", num_classes=10, image_size=8, in_channels=1))
    """
    for defense in defenses if isinstance(model, Adapted) else ():
        if _CODING in defense.takes:
            raise SpikeproofError(
                f"{defense.label} changes {_CODING}, which is the network's own here, as it repeats its images itself; "
                "take a network of spikeproof.create_model for it (FEEL: frequency=False leaves the coding alone)."
            )
    theirs = [site for site in sites(model).values() if isinstance(site, ForeignSite)]
    if not theirs:
        return
    library = theirs[0].library
    for defense in defenses:
        sets = sorted(defense.takes - {_NOISE})
        if sets and defense.elsewhere is None:
            raise SpikeproofError(
                f"{defense.label} changes {' and '.join(sets)}, which are {library}'s own here; spikeproof's neurons "
                "take their place by adapt(net, num_steps=T, native=True), or take a network of create_model."
            )
        if sets:
            _log.warning(
                "%s cannot change %s, which are %s's own here: it %s.",
                defense.label,
                " and ".join(sets),
                library,
                defense.elsewhere,
            )
        _check_watching(defense, theirs)
        if _NOISE in defense.takes:
            _check_noise(defense, theirs)


def _check_watching(defense: Defense, theirs: Sequence[ForeignSite]) -> None:
    needs, library = defense.needs, theirs[0].library
    watches = needs.moments or needs.cost is not None
    if watches and needs.after_reset:
        raise SpikeproofError(
            f"{defense.label} watches the potential after a reset, which is {library}'s own and is not seen; give it "
            "potential='before-reset'."
        )
    many = [site.label for site in theirs if site.fires_many]
    if watches and many:
        raise SpikeproofError(
            f"{defense.label} watches how near potentials lie to one threshold, and {many[0]} fires several spikes in "
            "a step, at several; give the layer a function that fires once (sinabs: spike_fn=SingleSpike)."
        )
    if needs.currents and theirs[-1].layout is None:
        raise SpikeproofError(
            f"{defense.label} needs the currents that enter {theirs[-1].label}, and this layer's output is not its "
            "spikes, so they are not seen; take another defense."
        )


def _check_noise(defense: Defense, theirs: Sequence[ForeignSite]) -> None:
    apart = [site.label for site in theirs if site.facts().resets_apart]
    if apart:
        raise SpikeproofError(
            f"{defense.label} adds firing noise, and {theirs[0].library} forms the reset apart from the spike at "
            f"{apart[0]}, so noise would move the one and not the other; leave the noise out (TGO: sigma=0)."
        )
