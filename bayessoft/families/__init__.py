"""Component families and priors on proportions. The registry holds names and import paths, so reading it is light."""

__all__ = ["FAMILIES"]

FAMILIES = {"gaussian": ("bayessoft.families.gaussian:Gaussian", "b")}
"""Import path and tier of each family by name; see `families.family` for the tiers."""
