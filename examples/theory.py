"""The papers' theory, checked by numbers: what docs/theory.md says, and its pictures.

    python examples/theory.py      # six minutes of one core; networks into runs/theory, pictures into docs/images

It simulates neurons (Theorem 1 of MPD-SGR, the flip probability of TGO), trains small networks on digits (ten
settings, three seeds; what is trained is not trained again), and measures on the 200 validation images. Nothing is
chosen on them.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import spikeproof as sp
from spikeproof.attacks import sa_pgd
from spikeproof.gradients import ASSG
from spikeproof.insight import landscape
from spikeproof.insight.theory import (
    firing_slope,
    flip_probability,
    flipped_shares,
    jacobian_norms,
    local_bound,
    near_shares,
    simulated_firing,
    simulated_potentials,
    site_spreads,
    unreset_moments,
)
from spikeproof.recipes import find_recipe, load_run, train_recipe

Rows = dict[str, list[dict[str, Tensor]]]

STEPS, RADIUS, SEEDS = 8, 0.1, (0, 1, 2)
DOSES = {
    "vanilla": (),
    **{f"MPD-SGR {eta:g}": (sp.MPDSGR(eta=eta, warmup=0.0),) for eta in (0.5, 1.0, 2.0, 4.0)},
    **{f"MC {weight:g}": (sp.TGO(lambda_max=weight, sigma=0.0),) for weight in (0.6, 2.0, 6.0, 15.0)},
    "NLIF 0.5": (sp.TGO(lambda_max=0.0, sigma=0.5),),
}
SHOWN = ("vanilla", "MPD-SGR 2", "MC 2")


def main(out: Path, images: Path) -> None:
    theorem_1(images / "theory-potentials.png")
    flips(images / "theory-flips.png")
    networks, data = trained(out)
    shown, labels = data.validation.images.float() / 255, data.validation.labels
    first = {name: each[0] for name, each in networks.items()}
    at_sites(first["vanilla"], shown)
    bound(first, shown, labels, images / "theory-bound.png")
    rows = {name: [measured(model, shown, labels) for model in each] for name, each in networks.items()}
    nearness(rows)
    scales(networks, shown)
    jacobian(rows, images / "theory-jacobian.png")
    roughness(networks, shown, labels)


def theorem_1(picture: Path) -> None:
    """Standard deviation and share in the window by step, for currents N(0, 1)."""
    cases = {
        "independent, no reset": ("independent", False),
        "independent, hard reset": ("independent", True),
        "constant, no reset": ("constant", False),
        "constant, hard reset": ("constant", True),
    }
    fig, panels = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained", sharex=True)
    time = range(1, STEPS + 1)
    for column, decay in enumerate((1.0, 0.5)):
        spread, share = panels[:, column]
        said = unreset_moments(decay, 0.0, 1.0, STEPS)[1]
        spread.plot(time, said, color="black", linewidth=2.5, alpha=0.4, label="Theorem 1")
        print(
            f"\nTheorem 1, decay {decay}, currents N(0, 1), T = {STEPS}, n = 100000: sd {said[-1]:.2f} at the last step"
        )
        for place, (name, (currents, resets)) in enumerate(cases.items()):
            found = simulated_potentials(sp.Neuron(decay=decay), 0.0, 1.0, STEPS, currents=currents, resets=resets)
            spread.plot(time, found.std, color=f"C{place}", label=name)
            share.plot(time, found.window_share, color=f"C{place}", label=name)
            share.plot(time, found.omega, "--", color=f"C{place}")
            print(
                f"  {name:24} mean {found.mean[-1]:6.2f}  sd {found.std[-1]:.2f}  within 1 of the threshold "
                f"{found.window_share.mean():.3f}, Omega {found.omega.mean():.3f} (means over steps)"
            )
        spread.set(title=f"decay {decay:g}", ylabel="standard deviation of u[t]")
        share.set(xlabel="step t", ylabel="share in the window", ylim=(0, 0.52))
    panels[0, 0].legend(fontsize=8)
    panels[1, 0].plot([], [], "--", color="grey", label="dashed: Omega, as if normal")
    panels[1, 0].legend(fontsize=8, handles=panels[1, 0].lines[-1:])
    save(fig, picture)


def at_sites(model: nn.Module, shown: Tensor) -> None:
    """The theorem at the sites of a trained network."""
    print("\nTheorem 1 at the sites of the vanilla network (T = 4): sd that it says / measured, by step")
    for site in site_spreads(model, shown):
        pairs = "  ".join(f"{said:.2f}/{there:.2f}" for said, there in zip(site.expected, site.measured, strict=True))
        print(f"  {site.name:8} correlation of currents over steps {site.correlation:.2f}   {pairs}")


def flips(picture: Path) -> None:
    """TGO's flip probability and the slope of firing, against draws of a noisy site."""
    sigmas = torch.linspace(0.1, 2.0, 20)
    margins, reach = (0.1, 0.5, 1.0), 0.1
    fig, (flip, slope) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    furthest = 0.0
    for place, margin in enumerate(margins):
        at = torch.tensor([margin, margin - reach, margin + reach])
        said = torch.stack([flip_probability(at[:1], sigma)[0] for sigma in sigmas.tolist()])
        fired = torch.stack([simulated_firing(at, sigma, count=200_000) for sigma in sigmas.tolist()])
        furthest = max(furthest, (said - (1 - fired[:, 0])).abs().max().item())
        flip.plot(sigmas, said, color=f"C{place}", label=f"v = {margin}")
        flip.plot(sigmas, 1 - fired[:, 0], ".", color=f"C{place}")
        exact = torch.stack([firing_slope(at[:1], sigma)[0] for sigma in sigmas.tolist()])
        slope.plot(sigmas, exact, color=f"C{place}", label=f"v = {margin}")
        slope.plot(sigmas, (fired[:, 2] - fired[:, 1]) / (2 * reach), ".", color=f"C{place}")
        slope.axvline(margin, color=f"C{place}", linestyle=":", linewidth=0.8)
    flip.set(title="P(flip): noise flips the spike", xlabel="sigma")
    slope.set(title="slope: dP(fire) / dv; dotted: sigma = v", xlabel="sigma", ylim=(0, 3))
    flip.legend(fontsize=8)
    save(fig, picture)
    print(f"\nFlips: 200000 draws at each of 60 pairs (v, sigma) are off the formula by {furthest:.4f} at most")


def trained(out: Path) -> tuple[dict[str, list[nn.Module]], sp.Data]:
    """Networks of every setting, one for each seed; those that are there already are read."""
    networks: dict[str, list[nn.Module]] = {}
    for name, defenses in DOSES.items():
        for seed in SEEDS:
            recipe = dataclasses.replace(find_recipe("demo-digits-vanilla"), name=f"theory {name}", defenses=defenses)
            recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, seed=seed))
            folder = out / f"{name.lower().replace(' ', '-')}-s{seed}"
            train_recipe(recipe, data_dir=None, out=folder, resume=True, show=False)
            model, data = load_run(folder, None)
            networks.setdefault(name, []).append(model.eval())
    return networks, data


def bound(networks: dict[str, nn.Module], shown: Tensor, labels: Tensor, picture: Path) -> None:
    """Eq. 8: the change of the loss, its first term and the residual, for FGSM and for random signs."""
    signs = 2.0 * torch.randint(2, shown.shape, generator=torch.Generator().manual_seed(0)) - 1
    ways: dict[str, Callable[[nn.Module, float], Tensor]] = {
        "FGSM": lambda model, eps: sp.fgsm(model, shown, labels, sp.Linf(eps)).images,
        "random signs": lambda model, eps: (shown + eps * signs).clamp(0, 1),
    }
    radii = [RADIUS / 2**power for power in range(9)]
    fig, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
    for axes, (way, moved) in zip(panels, ways.items(), strict=True):
        print(
            f"\nEq. 8, {way}, {len(shown)} images, medians: change, first term, residual; rank correlation of the two"
        )
        for name in SHOWN:
            terms = [local_bound(networks[name], shown, moved(networks[name], eps), labels) for eps in radii]
            parts = [(found.residual.sum() / found.linear.sum()).item() for found in terms]
            axes.plot(radii, parts, marker=".", label=name)
            for eps, found in ((radii[0], terms[0]), (radii[-1], terms[-1])):
                medians = "  ".join(f"{part.median():.2e}" for part in (found.change, found.linear, found.residual))
                held = (found.change <= found.linear + found.residual + 1e-5).all()
                rank = spearmanr(found.change, found.linear)
                ratio = found.residual.sum() / found.linear.sum()
                print(
                    f"  {name:10} eps {eps:.4f}: {medians}  residual/first (sums) {ratio:.2f}  "
                    f"rho {rank.statistic:.2f}  holds: {bool(held)}"
                )
        axes.set(title=way, xlabel="eps", xscale="log", yscale="log")
    panels[0].set_ylabel("residual / first term")
    panels[0].legend(fontsize=8)
    save(fig, picture)


def measured(model: nn.Module, shown: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """All that is compared of one network, image by image."""
    threat, adapted = sp.Linf(RADIUS), sp.Crafting(source=ASSG())
    attacked = sp.fgsm(model, shown, labels, threat)
    adaptive = sa_pgd(model, shown, labels, threat, adapted, steps=50, objective="margin")
    return {
        "clean": (sp.judge(model, shown).argmax(1) == labels).float(),
        "FGSM": attacked.correct.float(),
        "PGD-7": sp.pgd(model, shown, labels, threat, steps=7, step_size=RADIUS / 4).correct.float(),
        "ASSG": adaptive.correct.float(),
        "near": near_shares(model, shown, 0.5),
        "near, in sd": near_shares(model, shown, 0.5, in_spreads=True),
        "flips, FGSM": flipped_shares(model, shown, attacked.images),
        "flips, ASSG": flipped_shares(model, shown, adaptive.images),
        "|J|": jacobian_norms(model, shown),
    }


def nearness(rows: Rows) -> None:
    """The 40 % claim: how far fewer potentials lie near the threshold, and what else falls."""
    before = {key: mean_of(rows["vanilla"], key) for key in rows["vanilla"][0]}
    print(f"\nMeans over 200 images and seeds {SEEDS}, radius {RADIUS}; in brackets change from vanilla, %")
    print(f"  {'':12}" + "".join(f"{key:>14}" for key in before))
    for name, each in rows.items():
        means = {key: mean_of(each, key) for key in before}
        cells = "".join(f"{means[key]:7.3f} ({100 * means[key] / before[key] - 100:+4.0f})" for key in before)
        print(f"  {name:12}{cells}")


@torch.no_grad()
def scales(networks: dict[str, list[nn.Module]], shown: Tensor) -> None:
    """How a defense empties the band: mean and spread of v, firing, and the weights' size as the neurons feel it."""
    print(
        "\nSecond site (body.2), means over seeds: mean of v, sd of v, firing rate, norm of a channel's weights x gain"
    )
    for name, each in networks.items():
        found = []
        for model in each:
            with sp.probe(model, "margins", "rate") as record:
                model(shown)
            seen, norm = record["body.2"], sp.sites(model)["body.2"].norm
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            weights = model.get_submodule("body.1").weight.flatten(1).norm(dim=1) * gain.abs()
            found.append(torch.stack([seen.margins.mean(), seen.margins.std(), seen.rate, weights.mean()]))
        print(f"  {name:12}" + "".join(f"{value:8.3f}" for value in torch.stack(found).mean(0)))


def jacobian(rows: Rows, picture: Path) -> None:
    """Norm of the Jacobian against shares near the threshold."""
    print("\n|J| against the share near the threshold: rank correlation over networks (means), and over images")
    for share in ("near", "near, in sd", "flips, FGSM", "flips, ASSG"):
        within = {name: [spearmanr(row["|J|"], row[share]).statistic for row in each] for name, each in rows.items()}
        every = [row for each in rows.values() for row in each]
        over = spearmanr(*([row[key].mean() for row in every] for key in ("|J|", share))).statistic
        lowest = min(min(each) for each in within.values())
        told = "  ".join(f"{name} {sum(each) / len(each):.2f}" for name, each in within.items())
        print(f"  {share:12} {len(every)} networks: {over:.2f}; 200 images: {told}; the lowest of all {lowest:.2f}")
    fig, (images, means) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name in SHOWN:
        images.scatter(rows[name][0]["near"], rows[name][0]["|J|"], s=6, label=name)
    images.set(title="200 images, three networks", xlabel="share of |v| < 0.5", ylabel="|J|, spectral norm")
    images.legend(fontsize=8)
    for place, (name, each) in enumerate(rows.items()):
        points = zip(*((row["near"].mean(), row["|J|"].mean()) for row in each), strict=True)
        means.scatter(*points, s=14, color=f"C{place}", label=name)
    means.set(title=f"{len(rows)} settings, {len(SEEDS)} seeds: means", xlabel="share of |v| < 0.5", yscale="log")
    means.legend(fontsize=7)
    save(fig, picture)


def roughness(networks: dict[str, list[nn.Module]], shown: Tensor, labels: Tensor) -> None:
    """How smooth the loss is around images."""
    print(f"\nRoughness of the loss, 50 images, seeds {SEEDS}, square of radius {RADIUS}, 11 x 11 points")
    for name, each in networks.items():
        found = [landscape(model, shown[:50], labels[:50], RADIUS).roughness for model in each]
        print(f"  {name:12} " + "  ".join(f"{rough:.2f}" for rough in found))


def mean_of(each: list[dict[str, Tensor]], key: str) -> float:
    return torch.stack([row[key].mean() for row in each]).mean().item()


def save(fig: plt.Figure, picture: Path) -> None:
    fig.savefig(picture, dpi=110)
    plt.close(fig)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/theory"), Path("docs/images"))
