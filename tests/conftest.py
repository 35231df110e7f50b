"""Shapes and types are checked in every test, by jaxtyping and beartype; users do not pay for it."""

from jaxtyping import install_import_hook

# Not spiking and gradients: the compiler cannot see through the checks, and their functions are compiled. Not report: it
# reads files that may be wrong in any way and says so itself.
_CHECKED = ("attacks", "audit", "data", "defenses", "insight", "models", "recipes", "threat", "train")
install_import_hook([f"spikeproof.{room}" for room in _CHECKED], "typechecker.check")
