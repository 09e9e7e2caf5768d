"""Draw from the posterior of a mixture of wines: how sure the clusters are, and how sure each wine's membership.

python examples/wine_posterior.py
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_wine

import bayessoft as bs

wine = load_wine(as_frame=True)
X = wine.data[["alcohol", "flavanoids", "color_intensity", "proline"]]

# Few draws, to be quick: 4 chains of 250. For work of your own leave the defaults.
nuts = bs.NUTS(draws=250, warmup=250, chains=4)
gm = bs.GaussianMixture(3, covariance_type="diag", inference=nuts, random_state=0).fit(X)
print(f"{gm.status_.text}\n")

# The clusters: proportions and means with their uncertainty, effective sample size (ESS) and R-hat.
print(gm.summary().T.round(3).to_string(), "\n")

# The rows: a membership is a probability, and that probability has an interval of its own.
memberships, intervals = gm.predict_proba(X), gm.membership_interval(X)
own = memberships.argmax(axis=1)
rows = np.arange(len(X))
table = pd.DataFrame(
    {
        "cluster": own,
        "membership": memberships[rows, own],
        "low": intervals[rows, own, 0],
        "high": intervals[rows, own, 1],
    },
    index=X.index.rename("wine"),
)
print("The wines most in doubt, with 95 % intervals of their memberships:")
print(table.sort_values("membership").head(6).round(2).to_string(), "\n")

# The cultivars took no part in the fit; here is how the clusters meet them.
print(pd.crosstab(wine.target.rename("cultivar"), pd.Series(own, name="cluster")).to_string(), "\n")

# Everything in ArviZ's form, for its diagnostics and plots.
posterior = gm.to_arviz()["posterior"]
print("ArviZ:", {name: dict(posterior[name].sizes) for name in posterior.data_vars})
