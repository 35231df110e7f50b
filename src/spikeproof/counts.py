"""What counts of samples say: between which bounds a share lies, and whether two networks differ by chance."""

from __future__ import annotations


def wilson(correct: int, samples: int) -> tuple[float, float]:
    """The 95 % score interval (Wilson 1927) of a share, which stays in [0, 1] and does not vanish at 0 or n.

    Its bounds p solve (correct / n - p)^2 = z^2 p (1 - p) / n, with z = 1.96.

    Args:
        correct: so many, in [0, samples].
        samples: n, at least 1.

    Example:
        >>> [round(bound, 4) for bound in wilson(0, 100)]
        [0.0, 0.037]
    """
    from scipy.stats import binomtest  # half a second, which most commands need not wait for

    interval = binomtest(correct, samples).proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first: int, second: int) -> float:
    """How probable it is that so uneven a split of the images, on which two networks differ, is chance (two-sided).

    The exact test of McNemar (1947): under no difference each such image falls to either side like a coin. It is of
    these trained networks; how much others of the same recipe differ, only more seeds tell.

    Args:
        first: images that only the first network gets right; second: those that only the second does.

    Example:
        >>> mcnemar(0, 5), mcnemar(3, 3), mcnemar(0, 0)
        (0.0625, 1.0, 1.0)
    """
    from scipy.stats import binomtest

    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def at_least(successes: int, trials: int, alpha: float) -> float:
    """The one-sided lower bound of a probability that so many of n trials showed (Clopper and Pearson 1934).

    It is the p with P(Binomial(n, p) >= successes) = alpha, so it lies above the true probability in at most a share
    alpha of all experiments, whatever n is.

    Args:
        successes: in [0, trials].
        trials: n, at least 1.
        alpha: in (0, 1).

    Example:
        >>> at_least(0, 10, 0.05), round(at_least(10, 10, 0.05), 4) == round(0.05 ** (1 / 10), 4)
        (0.0, True)
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, trials, alternative="greater").proportion_ci(1 - alpha, "exact")
    return float(interval.low)
