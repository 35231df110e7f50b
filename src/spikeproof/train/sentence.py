"""An epoch's line of metrics, for a person."""

from __future__ import annotations

from typing import Any

from spikeproof.train.beyond import in_words


def sentence(label: str, line: dict[str, Any], epochs: int, compiling: float = 0.0) -> str:
    """What the bar's news say of an epoch.

    Args:
        compiling: seconds that kernels were compiled in, beside those of the epoch itself.
    """
    penalties = "".join(f", {key} {value:.3f}" for key, value in line["penalties"].items())
    validated = ""
    if line["validation_accuracy"] is not None:
        mean_rate = sum(line["firing_rates"].values()) / len(line["firing_rates"])
        validated = f"validation {100 * line['validation_accuracy']:.1f} %, mean rate {mean_rate:.3f}, "
    learned = f", {in_words(line['beyond'])}" if line.get("beyond") else ""
    apart = f" + {compiling:.0f} s compiling" if compiling >= 1 else ""
    return (
        f"{label}: epoch {line['epoch'] + 1}/{epochs}, loss {line['loss']:.3f}{penalties}, "
        f"train {100 * line['train_accuracy']:.1f} %, {validated}{line['seconds']:.0f} s{apart}{learned}"
    )
