"""A network of another library as every network here is: images [N,C,H,W] in [0,1] to logits [N,K], stateless.

Of event data it takes frames [N,T,C,H,W].
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spikeproof.errors import SpikeproofError
from spikeproof.interop.layout import Layout
from spikeproof.interop.native_site import NativeSite
from spikeproof.interop.running import Caller, Reads, Runs, picked, read, run
from spikeproof.interop.seam import Library, Seam
from spikeproof.interop.settle import Settled, settle
from spikeproof.interop.site import ForeignSite
from spikeproof.private_rng import private_rng
from spikeproof.spiking import Site


@dataclasses.dataclass(frozen=True)
class Handed:
    """What the user said of a network that is handed over (see :func:`spikeproof.adapt`)."""

    num_steps: int
    runs: Runs | Caller | None = None
    reads: Reads = "mean"
    output: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class Adapted(nn.Module):
    """A user's network behind our contract; made by :func:`spikeproof.adapt`.

    Every forward begins and ends with all potentials at zero. While it runs, the calls that form spikes go through the
    sites; outside a forward nothing of the user's network is changed. How it is called and read is found out at the
    first forward, since only then an image's shape is known.

    Args:
        net: the user's module, which stays the user's: its ``state_dict`` is as before.
        libraries: those whose layers it has.
        handed: what the user said.

    Attributes:
        sites: its spiking layers, by order of firing once a forward has shown it.
        settled: how it runs; None before the first forward.
    """

    _mean: Tensor
    _std: Tensor

    def __init__(self, net: nn.Module, libraries: Sequence[Library], handed: Handed) -> None:
        super().__init__()
        self.net = net
        self.handed = handed
        self.settled: Settled | None = None
        self._libraries = tuple(libraries)
        found = [(library.name, seam) for library in libraries for seam in library.seams(net)]
        self._seams = {seam.label: seam for _, seam in found}
        self.sites = nn.ModuleList(self._site_of(seam, name) for name, seam in found)
        self.training = net.training
        self.sites.train(net.training)
        weight = next(net.parameters(), torch.empty(0))
        for name, given in (("_mean", handed.mean), ("_std", handed.std)):
            self.register_buffer(name, torch.tensor(given, device=weight.device).view(1, -1, 1, 1), persistent=False)

    def _site_of(self, seam: Seam, library: str) -> Site:
        """What stands for one spiking layer."""
        return ForeignSite(seam.label, library, seam.facts, seam.spikes_of, self.num_steps, fires_many=seam.fires_many)

    @property
    def num_steps(self) -> int:
        """T."""
        return self.handed.num_steps

    @property
    def library(self) -> str:
        """Whose network it is, as sentences call it."""
        return " and ".join(library.name for library in self._libraries)

    @property
    def layers(self) -> dict[str, nn.Module]:
        """The user's layer of every site, by its name in the user's network."""
        return {site.label: self._seams[site.label].module for site in self._sites()}

    @property
    def entry(self) -> Layout | None:
        """How the images reach the first layer with weights, once a forward has shown it."""
        return None if self.settled is None else self.settled.entry

    def extra_repr(self) -> str:
        return f"{self.library}, num_steps={self.num_steps}"

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy finds the seams of its own network: they hold functions of this one's."""
        noise = {site.label: (site.noise_std, site.noise_at_inference) for site in self._sites()}
        normalisation = (self._mean, self._std)
        return _again, (self.net, self._libraries, self.handed, self.settled, noise, normalisation, self.training)

    def forward(self, images: Float[Tensor, "*nchw"]) -> Float[Tensor, "n k"]:
        self._check_steps(images)
        if torch.is_autocast_enabled(images.device.type):
            raise SpikeproofError(
                "A network of another library runs in float32: in bfloat16 its potentials round across the threshold. "
                "Leave the precision at auto, or give fp32."
            )
        if self._mean.numel() not in (0, 1, images.shape[-3]):
            raise SpikeproofError(
                f"adapt was given a mean of {self._mean.numel()} channels, and the images have {images.shape[-3]}; "
                "give one for each channel, or a number."
            )
        # A copy, since the user's network may work in place, and a leaf or a batch is not its own.
        frames = (images - self._mean) / self._std if self._mean.numel() else images.clone()
        settled = self.settled or self._settle(frames)
        with self._fresh():
            returned = self._run(frames, settled)
        return read(picked(returned, self.handed.output), settled.output, self.num_steps, self.handed.reads)

    def _check_steps(self, images: Tensor) -> None:
        """Refuse what is neither images nor as many frames as there are steps, and the one after the other."""
        frames = images.ndim == 5
        if images.ndim != 4 and not (frames and images.shape[1] == self.num_steps):
            raise SpikeproofError(
                f"An adapted network takes images [N,C,H,W] and unrolls them over its {self.num_steps} steps itself, "
                f"or frames [N,{self.num_steps},C,H,W] of event data, one for each step; got {tuple(images.shape)}."
            )
        if self.settled is not None and self.settled.frames != frames:
            first, now = ("frames", "images") if self.settled.frames else ("images", "frames")
            raise SpikeproofError(
                f"This network was called with {first} at first, which showed how it runs, and now gets {now}; adapt "
                f"it again for {now}."
            )

    def _run(self, frames: Tensor, settled: Settled) -> list[Any]:
        """What the user's network returns, once for each call."""
        sites = [site for site in self._sites() if isinstance(site, ForeignSite)]
        with contextlib.ExitStack() as stack:
            self._opened(sites, stack)
            returned = run(self.net, frames, settled.runs, self.num_steps, settled.frames)
            for site in sites:
                site.finish()
        return returned

    def _opened(self, sites: Sequence[ForeignSite], stack: contextlib.ExitStack) -> None:
        """The layers' calls go through these sites until the stack is closed."""
        for site in sites:
            site.begin()
            seam = self._seams[site.label]
            stack.enter_context(seam.opened(site.cross))
            if site.wants_whole:
                stack.enter_context(_whole(seam.module, site))

    def _sites(self) -> list[ForeignSite | NativeSite]:
        return [site for site in self.sites if isinstance(site, ForeignSite | NativeSite)]

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[None]:
        self.reset()
        try:
            yield
        finally:
            self.reset()

    def reset(self) -> None:
        """Zero potential in the user's network, with nothing left of a batch."""
        for library in self._libraries:
            library.reset(self.net)

    def _settle(self, frames: Tensor) -> Settled:
        if len(frames) == 0:
            raise SpikeproofError("How a network of others runs is seen at its first images, and here are none.")
        with torch.inference_mode(False), private_rng(), torch.autocast(frames.device.type, enabled=False):
            settled = settle(
                self.net,
                list(self._seams.values()),
                frames.detach().clone(),
                self.num_steps,
                runs=self.handed.runs,
                output=self.handed.output,
                fresh=self._fresh,
            )
        self._take(settled)
        return settled

    def _take(self, settled: Settled) -> None:
        by_label = {site.label: site for site in self._sites()}
        if not settled.layers:
            raise SpikeproofError(
                "No spiking layer of this network reaches its logits; give the part of its output that is made of "
                "spikes or of what they drive: adapt(net, output=...)."
            )
        for label, layer in settled.layers.items():
            by_label[label].layout, by_label[label].normed = layer.layout, layer.normed
        self.sites = nn.ModuleList(by_label[label] for label in settled.layers).train(self.training)
        self.settled = settled


@contextlib.contextmanager
def _whole(module: nn.Module, site: ForeignSite) -> Iterator[None]:
    """The site answers for what leaves the layer; states that leave beside it pass no gradient."""

    def hook(_: nn.Module, given: tuple[Any, ...], returned: Any) -> Any:
        if not isinstance(returned, tuple):
            return site.whole(given[0], returned)
        return (site.whole(given[0], returned[0]), *(_detached(each) for each in returned[1:]))

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _detached(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(_detached(each) for each in state))
    return type(state)(_detached(each) for each in state) if isinstance(state, tuple | list) else state


def _again(
    net: nn.Module,
    libraries: Sequence[Library],
    handed: Handed,
    settled: Settled | None,
    noise: dict[str, tuple[float, bool]],
    normalisation: tuple[Tensor, Tensor],
    training: bool,
) -> Adapted:
    adapted = Adapted(net, libraries, handed)
    adapted._mean, adapted._std = normalisation
    adapted.training = training
    adapted.sites.train(training)
    if settled is not None:
        adapted._take(settled)
    for site in adapted._sites():
        site.noise_std, site.noise_at_inference = noise.get(site.label, (0.0, False))
    return adapted
