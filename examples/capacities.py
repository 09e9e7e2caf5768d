"""Form care groups of patients alike, none too small and none with more care than its nurse can give.

python examples/capacities.py [FOLDER for the pictures, by default the current one]
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

import bayessoft as bs
from bayessoft import plots

# 442 patients with ten measurements, and how far the disease went in the year after: the care that each will take.
patients = load_diabetes(scaled=False, as_frame=True)
X = (patients.data - patients.data.mean()) / patients.data.std()
care = patients.target.rename("care")
HIGH, LOW = 18_000, 95
BOUNDS = [bs.Between(low=LOW), bs.Capacity(care, high=HIGH)]


def fit(sizes, inference="em"):
    """Fit four groups, precisely enough to compare objectives."""
    options = {"covariance_type": "diag", "prior": "weak", "n_init": 2, "tol": 1e-8, "max_iter": 1000}
    return bs.GaussianMixture(4, sizes=sizes, inference=inference, random_state=0, **options).fit(X)


def total(gm):
    """Objective of all patients together, in nats."""
    return gm.lower_bound_ * len(X)


free = fit(None)
members = free.responsibilities_
print("Free groups:")
print(pd.DataFrame({"patients": members.sum(axis=0), "care": care.to_numpy() @ members}).round(1).to_string())

# Bounds on both: prices tell which of them cost something, and how much a little more room would gain.
groups = fit(BOUNDS)
print(f"\nAt least {LOW} patients and at most {HIGH} of care each:")
print(groups.size_bounds_.drop(columns=["low", "high"]).round(4).to_string())
print(f"cost {total(free) - total(groups):.1f} nats, duality gap {groups.duality_gap_:.0e}; {groups.status_.text}\n")

# How sure are the prices? They differ from draw to draw of a posterior.
prices = fit(BOUNDS, "cavi").price_interval(X)
print("Prices with their uncertainty:")
print(prices.loc[prices["active"] > 0].round(4).to_string())

# What would more care by one nurse gain? Fits again, with other values of that bound alone.
dearest = int(groups.size_bounds_.loc["care", "price"].argmin())
curve = groups.size_curve(X, dearest, np.arange(HIGH, 28_000, 1500), side="high", resource="care")
print(f"\nMore care for group {dearest}:")
print(curve.round(4).to_string())

# Patients are not shared. Labels meet bounds on numbers exactly, but know nothing of care; those under the prices of
# the fit come near to all bounds, up to a patient or so.
counted = groups.assign(X, sizes=bs.Between(low=LOW))
priced = groups.predict_proba(X, prices="keep", resources=care).argmax(axis=1)
print("\nEach patient in one group:")
for title, labels in (("by numbers", counted), ("by prices", priced)):
    print(f"{title:<11}patients {np.bincount(labels)}, care {np.bincount(labels, care).astype(int)}")

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
plots.save(plots.sizes(groups, resource="care"), folder / "care.png")
plots.save(plots.size_curve(curve), folder / "care_curve.png")
