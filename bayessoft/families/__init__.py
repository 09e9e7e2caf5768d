"""Component families and priors on proportions. The registry holds names and import paths, so reading it is light."""

__all__ = ["FAMILIES"]

FAMILIES = {
    "gaussian": ("bayessoft.families.gaussian:Gaussian", "c"),
    "poisson": ("bayessoft.families.poisson:Poisson", "c"),
    "bernoulli": ("bayessoft.families.bernoulli:Bernoulli", "c"),
    "categorical": ("bayessoft.families.categorical:Categorical", "c"),
    "multinomial": ("bayessoft.families.multinomial:Multinomial", "c"),
    "student-t": ("bayessoft.families.student_t:StudentT", "b"),
}
"""Import path and tier of each family by name; see `families.family` for the tiers."""
