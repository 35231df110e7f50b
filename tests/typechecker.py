"""The runtime check of every annotation and shape in spikeproof, installed by conftest.py for tests only."""

from beartype import BeartypeConf, beartype

# PEP 484's tower: an int is a fine float.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
