"""Shapes and types are checked in every test, by jaxtyping and beartype; users do not pay for it."""

from jaxtyping import install_import_hook

# Not spiking and gradients: the compiler cannot see through the checks, and their functions are compiled.
_CHECKED = ("attacks", "audit", "data", "defenses", "insight", "models", "recipes", "report", "threat", "train")
install_import_hook([f"spikeproof.{room}" for room in _CHECKED], "typechecker.check")
