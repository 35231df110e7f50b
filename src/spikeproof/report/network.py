"""Which network was audited, in words: whose layers it has, how it ran, and which trials stood for others."""

from __future__ import annotations

from spikeproof.report.numbers import listed
from spikeproof.report.records import Audit

OURS = "spikeproof"
_RUNS = {
    "images": "called once with the {images}",
    "sequence": "called once with a sequence [T,N,C,H,W]",
    "merged": "called once with merged frames [N*T,C,H,W]",
    "steps": "called with the {images} in every step",
    "states": "called with the {images} and its state in every step",
    "function": "called by a function of its owner",
}


def network_sentences(audit: Audit) -> list[str]:
    """Whose network was audited and how it ran; no sentence for an older audit that does not say.

    Example: "Net of SpikingJelly, adapted: T = 4, called with the images in every step, logits the mean of the steps;
    3 sites. The layer lif2 is a readout and no site."
    """
    network = audit.network
    if network is None:
        return []
    count = len(audit.sites)
    counted = f"{count} site{'s' * (count != 1)}"
    if network.ann:
        return [f"{network.name}: no spiking layer: an ANN.", *_stand_ins(audit)]
    if network.num_steps is None:
        whose = f"layers of {network.library}"
        if network.functions:
            whose = f"functions of its own in its backward ({listed(network.functions)})"
        elif network.binary:
            whose = f"layers that give zeros and ones alone ({listed(network.binary)})"
        return [f"{network.name} has {whose} and was not adapted: it was attacked through its own backward alone."]
    if network.library == OURS:
        return [f"{network.name}: T = {network.num_steps}, {counted}."]
    reads = f", logits the {network.reads} of its steps" if network.reads else ""
    how = "converted to neurons of spikeproof" if network.native else "adapted"
    called = _RUNS.get(network.runs or "", f"{network.runs}").format(images="frames" if network.frames else "images")
    sentences = [f"{network.name} of {network.library}, {how}: T = {network.num_steps}, {called}{reads}; {counted}."]
    if network.readouts:
        several = len(network.readouts) > 1
        sentences.append(
            f"The layer{'s' * several} {listed(network.readouts)} {'are readouts' if several else 'is a readout'} and "
            "no site."
        )
    return sentences


def _stand_ins(audit: Audit) -> list[str]:
    pairs = [
        f"{trial.name} for {listed([name for name in trial.stands_for if name != trial.name])}"
        for trial in audit.trials
        if trial.stands_for
    ]
    if not pairs:
        return []
    return [
        f"Sources that need spikes were left out, and their attacks ran through its own gradient: {'; '.join(pairs)}."
    ]
