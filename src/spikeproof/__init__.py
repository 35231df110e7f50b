"""spikeproof: train, attack, audit and report adversarially robust spiking neural networks.

import spikeproof as sp

data = sp.load_data("digits", validation=200)
model = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1, mean=data.mean, std=data.std)
defenses = [sp.AdversarialTraining(eps=0.1), sp.MPDSGR()]
run = sp.train(model, data, defenses, sp.TrainConfig(augmentation=None), out="runs/mine")
found = sp.audit(model, data.test, threat=sp.Linf(0.1), validation=data.validation)
found.save("runs/mine")
sp.write_report(["runs/mine"], "report.html")
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from spikeproof.version import __version__ as __version__

if TYPE_CHECKING:
    from spikeproof.api import *  # noqa: F403


class _Package(types.ModuleType):
    """This package. It loads what it offers, PyTorch among it, when the first of it is asked for.

    ``sp.train``, ``sp.audit``, ``sp.certify`` and ``sp.harden`` are functions, although there are rooms of these names:
    Python puts a room into the package when it is imported, and would put it in the function's place.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "__all__" or not name.startswith("_"):
            api = importlib.import_module("spikeproof.api")
            if name == "__all__" or name in api.__all__:
                return getattr(api, name)
        raise AttributeError(f"module 'spikeproof' has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in ("audit", "certify", "harden", "train") and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__getattr__("__all__")})


sys.modules[__name__].__class__ = _Package
