"""The C++ twins of a site's functions on a CPU: instances of ``site.cpp``, called through ctypes.

No header of torch, and a call costs some microseconds. ``run`` knows the functions of ``drive.py``, with the surrogates
and costs of this package. Anything else (a surrogate of one's own, another dtype, a gradient by each element's
sharpness) has no twin here.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from spikeproof.spiking.cost import Hinge, QuantisationError
from spikeproof.spiking.ops import drive as plain
from spikeproof.spiking.ops.drive import LEARNED, Cotangents, Drive, Following, OfMean, Setting
from spikeproof.spiking.ops.instance import TYPES, WORDS, Call, NoCompiler, NotBuilt, instance
from spikeproof.spiking.ops.kernel_folder import warn_of_failure
from spikeproof.spiking.ops.noise import SAMPLE_STRIDE
from spikeproof.spiking.surrogate import (
    ArcTan,
    Exponential,
    Gaussian,
    Rectangular,
    RectifiedTriangle,
    Sigmoid,
    StraightThrough,
    SuperSpike,
    Triangle,
)

# In the order of the enums of margins.h and call.h.
_SURROGATES = (
    *(Triangle, Rectangular, Sigmoid, SuperSpike, ArcTan, Gaussian),
    *(Exponential, StraightThrough, RectifiedTriangle),
)
_COSTS = (type(None), Hinge, QuantisationError)
_NOTHING, _CHANNEL, _NEURON, _ELEMENT = range(4)
_SILENT, _DECISION, _CARRIED = range(3)
_NO_RATE, _MEAN_SLOPE, _EVER_FIRED, _GAIN_OF_MEAN = range(4)
# The fields that point to what is learned, and to its gradients, in the order of LEARNED.
_FIELDS = dict(zip(LEARNED, ("decays", "gains", "sharpness", "adaptation"), strict=True))


def run(function: Callable[..., Any], setting: Hashable, *arguments: Any) -> list[Tensor] | None:
    """``function(setting, *arguments)`` by its C++ twin.

    ``add_affine`` writes its result over the gradient that it is given, ``follow`` the new mean and spread over the
    old.

    Args:
        function, setting, arguments: as in ``kernels.run``.

    Returns:
        The function's tensors, without those that are None; None where there is no twin or no compiler.
    """
    twin = _TWINS.get(function)
    if twin is None or _failed:
        return None
    try:
        return twin(setting, *arguments)
    except (_NoTwin, NoCompiler):
        return None
    except NotBuilt as error:  # of any kind: no headers, a full disk, a folder that nothing may be run from
        _failed.append(str(error))
        warn_of_failure(str(error))
        return None


def failed() -> bool:
    """Whether this machine's compiler has failed; then no further instance is tried."""
    return bool(_failed)


class _NoTwin(Exception):
    """This call has no twin here."""


_failed: list[str] = []  # why the first instance that failed could not be built; after it no other is tried


@dataclasses.dataclass
class _Prepared:
    """A call without its outputs, and the objects that it points to (``held``), which must live as long as it does."""

    call: Call
    words: dict[str, int]
    values: Tensor
    wide: torch.dtype
    held: list[Any]

    def point(self, field: str, tensor: Tensor | None, dtype: torch.dtype | None = None) -> None:
        if tensor is None:
            return
        tensor = tensor.to(self.wide if dtype is None else dtype).contiguous()
        self.held.append(tensor)
        setattr(self.call, field, tensor.data_ptr())

    def new(self, field: str, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
        tensor = torch.empty(shape, dtype=self.wide if dtype is None else dtype)
        setattr(self.call, field, tensor.data_ptr())
        return tensor

    def do(self, function: str) -> None:
        words = tuple(self.words.values())
        instance(function, self.values.dtype, words)(ctypes.addressof(self.call))


def _prepare(setting: Setting, drive: Drive) -> _Prepared:
    values = drive.values
    if values.dtype not in TYPES or values.device.type != "cpu" or values.numel() == 0:
        raise _NoTwin
    if type(setting.surrogate) not in _SURROGATES or type(setting.cost) not in _COSTS:
        raise _NoTwin
    template, words = _fixed(setting)
    call = Call.from_buffer_copy(template)
    shape, steps, words = values.shape, setting.num_steps, dict(words)
    call.K, call.N, call.C, call.threads = shape[0], shape[1], shape[-1], torch.get_num_threads()
    call.H, call.W = (2 * shape[2], 2 * shape[4]) if setting.pooled else (1, shape[2:-1].numel())
    prepared = _Prepared(call, words, values, torch.promote_types(values.dtype, torch.float32), [])
    prepared.point("values", values, values.dtype)
    prepared.point("scale", drive.scale)
    prepared.point("shift", drive.shift)
    words |= {"SCALED": int(drive.scale is not None), "SHARED": int(len(values) < steps)}
    for name, word in (("decay", "DECAY_BY"), ("gain", "GAIN_BY"), ("adaptation", "MOVING_BY")):
        words[word], part = _broadcast(getattr(drive, name), drive)
        prepared.point(_FIELDS[name], part)
    if drive.setpoint is not None:
        by, part = _broadcast(drive.setpoint, drive)
        if by != words["MOVING_BY"]:
            raise _NoTwin
        prepared.point("setpoint", part)
    words["SHARPNESS_BY"], part = _of_surrogate(drive)
    prepared.point("sharpness", part)
    words["NOISY"] = _SILENT
    if drive.noise is not None and drive.noise_std is not None:
        words["NOISY"] = _CARRIED if setting.neuron.carries_noise else _DECISION
        tape = torch.bfloat16 if values.dtype == torch.bfloat16 else torch.float32
        if any(each.normals.dtype != tape for each in drive.noise):
            raise _NoTwin
        tapes = (ctypes.c_void_p * steps)(*(each.normals.data_ptr() for each in drive.noise))
        prepared.held.append(tapes)
        call.noise, call.noise_std = ctypes.addressof(tapes), drive.noise_std.item()
    return prepared


@functools.lru_cache(1024)
def _fixed(setting: Setting) -> tuple[bytes, dict[str, int]]:
    """What the setting alone decides: a call with its numbers, and words."""
    neuron = setting.neuron
    call = Call(decay=neuron.decay, threshold=neuron.threshold, noise_stride=SAMPLE_STRIDE)
    call.through = float(not neuron.detach_reset)
    call.reset_by = neuron.reset_by or 0.0
    for field, described in ((call.surrogate_at, setting.surrogate), (call.cost_at, setting.cost)):
        for position, value in enumerate(vars(described).values() if described is not None else ()):
            field[position] = value
    words = WORDS | {
        "STEPS": setting.num_steps,
        "SOFT": 0 if neuron.reset == "hard" else 1 if neuron.reset_by is None else 2,
        "POOLED": int(setting.pooled),
        "SURROGATE": _SURROGATES.index(type(setting.surrogate)),
        "COST": _COSTS.index(type(setting.cost)),
        "MOMENTS": int(setting.want_moments),
        "MARGINS": int(setting.want_margins),
        "AFTER_RESET": int(setting.after_reset and (setting.want_moments or setting.cost is not None)),
        "SPIKING": 1,
    }
    return bytes(call), words


def _broadcast(part: Tensor | None, drive: Drive) -> tuple[int, Tensor | None]:
    """Something of each step and neuron, as [T, C] where it is the same everywhere, else as [T, *space, C]."""
    if part is None:
        return _NOTHING, None
    channels = drive.values.shape[-1]
    if part[0, ..., 0].numel() == 1:
        return _CHANNEL, part.reshape(len(part), -1).expand(-1, channels)
    return _NEURON, part.expand(len(part), *drive.values.shape[2:])


def _of_surrogate(drive: Drive) -> tuple[int, Tensor | None]:
    if drive.sharpness is None or drive.sharpness.ndim > 2:
        return (_NOTHING if drive.sharpness is None else _ELEMENT), drive.sharpness
    return _CHANNEL, drive.sharpness.expand(-1, drive.values.shape[-1])


def _forward(setting: Setting, drive: Drive) -> list[Tensor]:
    prepared = _prepare(setting, drive)
    prepared.words |= {"SURROGATE": 0, "SHARPNESS_BY": 0}  # the backward's
    values, steps = drive.values, setting.num_steps
    space = values.shape[2:-1:2] if setting.pooled else values.shape[2:-1]
    given = [prepared.new("spikes", (steps, values.shape[1], *space, values.shape[-1]), values.dtype)]
    if setting.want_margins:
        given.append(prepared.new("margin", (steps, *values.shape[1:])))
    asked = [
        (setting.want_moments, "total"),
        (setting.want_moments, "squares"),
        (setting.cost is not None, "cost_total"),
    ]
    given += [prepared.new(field, (steps, values.shape[-1])) for wanted, field in asked if wanted]
    prepared.do("forward")
    return given


def _without_spikes(setting: Setting, drive: Drive, *, keeps_surrogate: bool = False) -> _Prepared:
    bare = dataclasses.replace(setting, pooled=False, want_margins=False, want_moments=False, cost=None)
    prepared = _prepare(bare, drive)
    prepared.words["SPIKING"] = 0
    if not keeps_surrogate:
        prepared.words |= {"SURROGATE": 0, "SHARPNESS_BY": 0}
    return prepared


def _noisy_margins(setting: Setting, drive: Drive) -> list[Tensor]:
    prepared = _without_spikes(setting, drive)
    prepared.words["MARGINS"] = 2
    margins = prepared.new("margin", (setting.num_steps, *drive.values.shape[1:]))
    prepared.do("forward")
    return [margins]


def _follow(how: Following, drive: Drive, mean: Tensor, spread: Tensor) -> list[Tensor]:
    prepared = _without_spikes(how.setting, drive)
    prepared.words["FOLLOWS"] = 1
    call = prepared.call
    call.momentum, call.relax, call.omega = how.momentum, how.relax, how.omega
    for field, state in (("mean", mean), ("spread", spread)):
        if state.dtype != prepared.wide or not state.is_contiguous():
            raise _NoTwin
        prepared.point(field, state)
        prepared.point(f"new_{field}", state)
    given = [mean, spread, prepared.new("new_sharpness", tuple(mean.shape))]
    prepared.do("forward")
    return given


def _rate(rate: int, setting: Setting, drive: Drive, rga_slope: float = 0.0) -> list[Tensor]:
    prepared = _without_spikes(setting, drive, keeps_surrogate=rate == _MEAN_SLOPE)
    prepared.words["RATE"], prepared.call.rga_slope = rate, rga_slope
    rates = prepared.new("rates", (1, *drive.values.shape[1:]))
    prepared.do("forward")
    return [rates]


def _gain_of_mean(how: OfMean, drive: Drive) -> list[Tensor]:
    return _rate(_GAIN_OF_MEAN, how.setting, drive, how.slope)


def _prepare_backward(setting: Setting, drive: Drive, cotangents: Cotangents, *, learns: bool) -> _Prepared:
    # A sum that the loss does not use has no cotangent.
    used = dataclasses.replace(
        setting,
        want_margins=False,
        want_moments=cotangents.total is not None or cotangents.total_of_squares is not None,
        cost=None if cotangents.cost_total is None else setting.cost,
    )
    prepared = _prepare(used, drive)
    prepared.words |= {"LEARNS": int(learns), "SPIKING": 0}
    prepared.point("g_spikes", cotangents.spikes, drive.values.dtype)
    for field, part in (("g_total", cotangents.total), ("g_squares", cotangents.total_of_squares)):
        prepared.point(field, part)
    prepared.point("g_cost", cotangents.cost_total)
    return prepared


def _input_gradient(setting: Setting, drive: Drive, cotangents: Cotangents) -> list[Tensor]:
    prepared = _prepare_backward(setting, drive, cotangents, learns=False)
    gradient = prepared.new("g_values", tuple(drive.values.shape), drive.values.dtype)
    prepared.do("backward")
    return [gradient]


def _all_gradients(setting: Setting, drive: Drive, cotangents: Cotangents, middle: Tensor) -> list[Tensor]:
    if drive.sharpness is not None and drive.sharpness.ndim > 2:
        raise _NoTwin
    prepared = _prepare_backward(setting, drive, cotangents, learns=True)
    values, words = drive.values, prepared.words
    prepared.point("middle", middle)
    given = [prepared.new("g_values", tuple(values.shape), values.dtype)]
    given += [prepared.new(field, (values.shape[-1],)) for field in ("sum", "sum_with_values")]
    for name, word in zip(LEARNED, ("DECAY_BY", "GAIN_BY", "SHARPNESS_BY", "MOVING_BY"), strict=True):
        if words[word]:
            space = values.shape[2:-1] if words[word] == _NEURON else ()
            given.append(prepared.new(f"g_{_FIELDS[name]}", (setting.num_steps, *space, values.shape[-1])))
    prepared.do("backward")
    parts = [part for part in (getattr(drive, name) for name in LEARNED) if part is not None]
    for position, part in enumerate(parts, 3):
        given[position] = _summed(given[position], part)
    return given


def _summed(gradient: Tensor, part: Tensor) -> Tensor:
    """The gradient by what was broadcast."""
    if gradient.ndim == 2:
        gradient = gradient.reshape(len(part), *(1,) * (part.ndim - 2), -1)
    return gradient.sum_to_size(part.shape)


def _rows(values: Tensor) -> _Prepared:
    """A call over rows of channels, for batch norm's passes; [1, rows, P, C]."""
    if values.dtype not in TYPES or values.device.type != "cpu" or values.numel() == 0:
        raise _NoTwin
    channels = values.shape[-1]
    call = Call(K=1, N=1, H=1, W=values.numel() // channels, C=channels, threads=torch.get_num_threads())
    prepared = _Prepared(call, WORDS | {"STEPS": 1}, values, torch.promote_types(values.dtype, torch.float32), [])
    prepared.point("values", values, values.dtype)
    return prepared


def _batch_sums(_: None, values: Tensor) -> list[Tensor]:
    prepared = _rows(values)
    origin = values[(0,) * (values.ndim - 1)].to(prepared.wide)
    prepared.point("middle", origin)
    sums = [prepared.new(field, (values.shape[-1],)) for field in ("sum", "sum_with_values")]
    prepared.do("batch_sums")
    return [origin, *sums]


def _add_affine(
    _: None, gradient: Tensor, values: Tensor, scale: Tensor, constant: Tensor, slope: Tensor
) -> list[Tensor]:
    prepared = _rows(values)
    if not gradient.is_contiguous():
        raise _NoTwin
    for field, part in (("scale", scale), ("shift", constant), ("middle", slope)):
        prepared.point(field, part)
    prepared.point("g_values", gradient, values.dtype)
    prepared.do("add_affine")
    return [gradient]


_TWINS: dict[Callable[..., Any], Callable[..., list[Tensor]]] = {
    plain.forward: _forward,
    plain.input_gradient: _input_gradient,
    plain.all_gradients: _all_gradients,
    plain.batch_sums: _batch_sums,
    plain.add_affine: _add_affine,
    plain.noisy_margins: _noisy_margins,
    plain.follow: _follow,
    plain.gain_of_mean: _gain_of_mean,
    plain.fired_mask: functools.partial(_rate, _EVER_FIRED),
    plain.mean_slope: functools.partial(_rate, _MEAN_SLOPE),
}
