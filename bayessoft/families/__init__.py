"""Component families and priors on proportions. The registry holds names and import paths, so reading it is light."""

from bayessoft.families.family import Entry

__all__ = ["FAMILIES"]

FAMILIES = {"gaussian": Entry("bayessoft.families.gaussian:Gaussian", tier="b")}
"""The families by name."""
