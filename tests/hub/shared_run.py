"""A run folder's parts, for tests that look into them or spoil them."""

import json

from spikeproof.report import read_runs


def audit_in(folder):
    """The folder of the only audit."""
    (place,) = (folder / "audits").iterdir()
    return place


def read_one(folder):
    """The run with its only audit, or without any."""
    (run,) = read_runs(folder)
    return run


def write_config(folder, config):
    """Write it as a hand would: a checksum of what was there before does not fit any more."""
    config = {name: value for name, value in config.items() if name != "sha256"}
    (folder / "config.json").write_text(json.dumps(config))
