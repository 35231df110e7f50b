"""Every number that an attack, an audit or a gradient source takes: of its kind and in its range, or one sentence.

In a process of its own, where types are not checked: so do users run it.
"""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import dataclasses, functools, inspect, json
import numpy as np, torch
import spikeproof as sp
from spikeproof import attacks, gradients
from spikeproof.insight import landscape

torch.manual_seed(0)
model = sp.create_model("conv", num_classes=10, image_size=8, in_channels=1)
images, labels = torch.rand(2, 1, 8, 8), torch.tensor([1, 2])
with torch.no_grad():
    labels = model.eval()(images).argmax(1)
ODD = [
    -1, 0, 1.5, 8.0, True, "7", "a", "", None, [], (), {}, 2**31, 2**63, 2**70, 10**5000, -(2**70), 1e308, 1e400,
    float("nan"), float("-inf"), 1j, object(), b"1", np.float64("nan"), np.array([1, 2]), torch.zeros(3), int,
    lambda: 1,
]
calls = {}
for name, function in vars(attacks).items():
    if not hasattr(function, "norms"):
        continue
    ball = sp.L2(1.0) if function.norms == ("l2",) else sp.Linf(0.1)
    needed = {"corruption": {"kind": "contrast", "severity": 3}, "transfer": {"substitutes": [model]}}.get(name, {})
    small = {"steps": 1, "searches": 1, "restarts": 1, "queries": 1, "samples": 2, "classes": 1, "trials": 1}
    taken = inspect.signature(function).parameters
    small = {key: value for key, value in small.items() if key in taken}
    for key, parameter in taken.items():
        if isinstance(parameter.default, (int, float)) or key in ("step_size", "std", "severity", "how"):
            calls[f"{name}.{key}"] = (
                functools.partial(function, model, images, labels, ball, **needed | small), key, parameter.default
            )
for kind in (sp.AuditConfig, sp.Crafting, gradients.ASSG, gradients.RGA, gradients.HART):
    for field in dataclasses.fields(kind):
        calls[f"{kind.__name__}.{field.name}"] = (kind, field.name, field.default)
calls["BPTT.surrogate"], calls["Mixed.sources"] = (sp.BPTT, "surrogate", None), (sp.Mixed, "sources", None)
for key in ("draws", "batch_size"):
    calls[f"judge.{key}"] = (functools.partial(sp.judge, model, images), key, 1)
for key in ("eps", "points", "seed"):
    fixed = {"eps": 0.1, "points": 3}
    fixed.pop(key, None)
    calls[f"landscape.{key}"] = (functools.partial(landscape, model, images, labels, **fixed), key, 3)
calls["Linf.eps"], calls["L2.eps"] = (sp.Linf, "eps", None), (sp.L2, "eps", None)

refused, other = 0, []
for name, (call, key, default) in calls.items():
    for value in ODD:
        if value is None and default is None or (key in ("random_start",)):
            continue
        if callable(value) and key == "surrogate" and not isinstance(value, type):
            continue  # any function of a margin is one
        try:
            made = call(**{key: value})
        except sp.SpikeproofError as error:
            refused += 1
            if "\\n" in str(error) or len(str(error)) > 610 or not str(error).endswith("."):
                other.append(f"{name}={type(value).__name__}: {str(error)[:200]}")
        except Exception as error:
            other.append(f"{name}={type(value).__name__}: {type(error).__name__}: {str(error)[:80]}")
        else:
            held = getattr(made, key, value)
            if type(held) not in (int, float, bool, str, tuple, list, type(None)) or held != held:
                other.append(f"{name}={type(value).__name__}: taken as {held!r:.40}")
print(json.dumps({"calls": len(calls), "refused": refused, "other": other}))
"""


@pytest.mark.thorough
def test_every_number_in_its_range_and_of_its_kind():
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads(ran.stdout)
    assert told["other"] == []
    assert told["calls"] > 60 and told["refused"] > 1000
