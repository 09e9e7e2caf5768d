"""Component families and priors on proportions. The registry holds names and import paths, so reading it is light."""

from importlib import import_module
from typing import Any

__all__ = ["FAMILIES", "of_name"]

FAMILIES = {
    "gaussian": ("bayessoft.families.gaussian:Gaussian", "c"),
    "poisson": ("bayessoft.families.poisson:Poisson", "c"),
    "bernoulli": ("bayessoft.families.bernoulli:Bernoulli", "c"),
    "categorical": ("bayessoft.families.categorical:Categorical", "c"),
    "multinomial": ("bayessoft.families.multinomial:Multinomial", "c"),
    "student-t": ("bayessoft.families.student_t:StudentT", "b"),
}
"""Import path and tier of each family by name; see `families.family` for the tiers."""


def of_name(name: str) -> Any:
    """Give the family of a name of the registry, under its weak prior."""
    module, _, kind = FAMILIES[name][0].partition(":")
    return getattr(import_module(module), kind)().with_prior("weak")
