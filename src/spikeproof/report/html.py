"""The page: read every run folder, put the parts together, write the file in one atomic step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from spikeproof.disk import user_path, write_atomically
from spikeproof.errors import SpikeproofError
from spikeproof.kinds import check_kinds
from spikeproof.report.compare import compare_section, finding
from spikeproof.report.records import Run
from spikeproof.report.run_files import read_runs
from spikeproof.report.single_run import run_section
from spikeproof.report.style import STYLE
from spikeproof.report.wording import labels

# The browser itself is told to load nothing, so "self-contained" is enforced and not only intended.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

GLOSSARY = {
    "Protocol": "accuracy under the protocol that papers use: an attack whose gradients come from the network's own, "
    "fixed surrogate.",
    "Worst case": "accuracy that counts a sample only if it is right under every attack of the audit. An attack that "
    "nobody tried could only lower it.",
    "Masking gap": "protocol − worst case, in percentage points: what looked robust only because the protocol attack's "
    "gradients were masked.",
    "Adaptive": "an attack whose gradient source follows the network, so that it does not stop where the window of a "
    "fixed surrogate ends.",
    "Newly broken": "samples that a trial broke and no trial before it had; what a trial leaves is the accuracy under "
    "it and all before it, and its own accuracy only if it attacked every sample that is right when clean.",
    "Red flag": "a sign that an attack failed for another reason than the network's robustness.",
    "E and R": "under noise, the forwards averaged in each gradient and in each verdict.",
    "Margin": "potential minus threshold, before reset; a neuron spikes where it is 0 or more.",
    "Ω": "the share of margins inside the surrogate's window, estimated from their mean and spread.",
    "95 % interval": "the Wilson interval of a measured share: where the accuracy on all such samples plausibly lies.",
}


@check_kinds
def write_report(runs: Sequence[str | os.PathLike[str] | Run], out: str | os.PathLike[str]) -> Path:
    """Write one self-contained HTML file about one or more run folders.

    The page loads nothing and runs no script. It is written beside ``out`` first and then put in its place, so an
    older report stays whole until the new one is.

    Args:
        runs: run folders, each of which is shown with all its audits; or runs that were read already.
        out: the HTML file; missing folders above it are made.

    Returns:
        The path of the written file.

    Raises:
        SpikeproofError: there is no folder, or a file in one is missing or damaged; nothing is written then.
    """
    out = user_path(out)  # what can be no path says so before anything is read
    if not runs:
        raise SpikeproofError("A report needs at least one run, got none; give one or more run folders.")
    page = _page([each for run in runs for each in ([run] if isinstance(run, Run) else read_runs(run))])
    if out.is_dir():
        raise SpikeproofError(f"The report should be a file, but {out} is a folder; give a name such as report.html.")
    write_atomically(out, lambda path: path.write_text(page, encoding="utf-8", errors="replace"))
    return out


def _page(runs: Sequence[Run]) -> str:
    names = labels(runs)
    title = f"Robustness of {names[0]}" if len(runs) == 1 else f"Robustness of {len(runs)} spiking networks"
    sections = "".join(
        run_section(i, name, run, alone=len(runs) == 1) for i, (name, run) in enumerate(zip(names, runs, strict=True))
    )
    folded = (
        '<p class="caption on-paper">Folded sections are not printed: unfold what is to be on paper.</p>'
        if len(runs) > 1
        else ""
    )
    words = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in GLOSSARY.items())
    versions = sorted({str(run.config["spikeproof"]) for run in runs})
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><header><p>spikeproof report</p>"
        f'<h1>{escape(title)}</h1><p class="finding">{finding(runs)}</p></header><main><section>{compare_section(runs)}'
        f"</section><section><h2>{'Each run' if len(runs) > 1 else 'The run'}</h2>{folded}{sections}</section><section>"
        f"<h2>Words</h2><dl>{words}</dl></section></main><footer>Made by spikeproof {escape(', '.join(versions))}."
        "</footer></body></html>\n"
    )
