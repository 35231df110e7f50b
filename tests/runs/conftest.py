"""Small training runs on the embedded digits."""

from small_runs import (  # noqa: F401
    all_defenses,
    few_digits,
    metrics_of,
    new_model,
    quick,
    same_weights,
    weights_of,
)
