"""Group rows of counts: how many groups there are, what each is like, and how sure both are.

python examples/counts.py
"""

import numpy as np
import pandas as pd

import bayessoft as bs

# Customers of three kinds, and how often each called, visited and complained in a month.
rng = np.random.default_rng(0)
kind = rng.permutation(np.repeat([0, 1, 2], [150, 100, 50]))
rates = np.array([[2.0, 9.0, 1.0], [6.0, 3.0, 1.0], [6.0, 9.0, 5.0]])
X = pd.DataFrame(rng.poisson(rates[kind]), columns=["calls", "visits", "complaints"])

# How many groups? CAVI's bound is below the log evidence; log k! is for the names of groups that are apart.
engine = bs.CAVI(tol=1e-6, max_iter=1000, n_init=3)
fits = {k: bs.MixtureModel(k, "poisson", inference=engine, random_state=0) for k in (2, 3, 4)}
print("evidence lower bound, log k! added, by number of groups:")
for k, fit in fits.items():
    fit.fit(X)
    print(f"{k}: {fit.elbo_ + fit.log_relabellings_:.1f}")
model = max(fits.values(), key=lambda fit: fit.elbo_ + fit.log_relabellings_)

# What is each group like? Weights with their intervals, then the rates.
print(f"\n{model.n_components} groups, {model.status_.text}:")
print(model.summary().drop(columns="weight_sd").round(2).to_string())

# How sure are the memberships?
memberships = model.predict_proba(X)
doubtful = memberships.max(axis=1).argsort()[:3]
print("\nThe customers most in doubt:")
print(pd.concat([X, pd.DataFrame(memberships.round(2))], axis=1).iloc[doubtful].to_string())

# Here the truth is known, so it can be compared.
print("\nTrue kinds against groups:")
print(pd.crosstab(kind, model.predict(X), rownames=["kind"], colnames=["group"]).to_string())
