"""Insight: why a model is or is not robust, drawn from its sites."""

from spikeproof.insight.membrane import SiteStatistics, describe_sites

__all__ = ["SiteStatistics", "describe_sites"]
