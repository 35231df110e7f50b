"""Networks of other libraries, handed over: ``adapt`` makes one look like ours."""

from spikeproof.interop.adapt import adapt
from spikeproof.interop.adapted import Adapted
from spikeproof.interop.layout import Layout
from spikeproof.interop.libraries import libraries_in
from spikeproof.interop.native import Native
from spikeproof.interop.native_site import NativeSite
from spikeproof.interop.running import Reads, Runs
from spikeproof.interop.site import ByForward, ByStep, Facts, ForeignSite, InPlace, Seen
from spikeproof.interop.weights import check_adapted_writable, identity_of_adapted, load_adapted, save_adapted

__all__ = [
    "Adapted",
    "ByForward",
    "ByStep",
    "Facts",
    "ForeignSite",
    "InPlace",
    "Layout",
    "Native",
    "NativeSite",
    "Reads",
    "Runs",
    "Seen",
    "adapt",
    "check_adapted_writable",
    "identity_of_adapted",
    "libraries_in",
    "load_adapted",
    "save_adapted",
]
