"""Use the mixture inside NumPyro: as a model by itself, and as a distribution in a model of your own.

python examples/numpyro_model.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from numpyro.infer import MCMC, NUTS, init_to_value

import bayessoft as bs

numpyro.enable_x64()  # the dtype is the program's here, not bayessoft's

MEASURES = ["bill_length_mm", "bill_depth_mm"]
penguins = pd.read_csv(Path(__file__).parent / "data" / "penguins.csv", index_col="id").dropna(subset=MEASURES)
X = penguins[MEASURES].to_numpy()
X = (X - X.mean(axis=0)) / X.std(axis=0)

# Three clusters, and priors in numbers: the columns have mean 0 and variance 1.
prior = bs.NormalInverseWishart(mean=np.zeros(2), mean_precision=0.01, degrees_of_freedom=3.0, scale=np.full(2, 0.3))
mixture = bs.Mixture(3, bs.Gaussian("diag", prior=prior), bs.Dirichlet(1.0))


def draws(model, start, data):
    """Run one short chain from a good start."""
    kernel = NUTS(model, init_strategy=init_to_value(values=start))
    mcmc = MCMC(kernel, num_warmup=150, num_samples=150, progress_bar=False)
    mcmc.run(jax.random.key(0), data)
    return mcmc.get_samples()


def report(name, samples):
    """Print proportions with their 95 % intervals."""
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    parts = [f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in zip(samples.mean(axis=0), low, high, strict=True)]
    print(f"  {name:<10}", "   ".join(parts))


# The mixture by itself: prior and likelihood as one model, for MCMC, Predictive and handlers.
em = bs.GaussianMixture(3, covariance_type="diag", random_state=0).fit(X)
start = {"means": em.means_, "precisions": em.precisions_}
print("Proportions of three clusters of penguins:")
report("everywhere", np.asarray(draws(mixture.numpyro_model, start | {"weights": em.weights_}, X)["weights"]))

# A model of your own: the same clusters on every island, in proportions that differ. Each table costs one pass.
islands = sorted(penguins["island"].unique())
tables = [X[penguins["island"] == island] for island in islands]


def by_island(tables):
    """Share the components between tables, not the proportions."""
    parameters = mixture.family.draw(numpyro.sample, mixture.k)
    with numpyro.plate("islands", len(tables)):
        shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(mixture.k)))
    for island, table, share in zip(islands, tables, shares, strict=True):
        numpyro.sample(island, mixture.table_distribution(share, parameters, len(table)), obs=table)


shares = np.asarray(draws(by_island, start, tables)["shares"])
print("and island by island, with the same clusters:")
for j, island in enumerate(islands):
    report(island, shares[:, j])
