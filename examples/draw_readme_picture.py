"""Draw the picture of the README: penguins by two measurements of the bill, and those whose cluster is in doubt.

python examples/draw_readme_picture.py docs/images
"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import bayessoft as bs
from bayessoft import plots

COLUMNS = {"bill_length_mm": "bill length (mm)", "bill_depth_mm": "bill depth (mm)"}
SHOWN = 12  # penguins in the right half

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
penguins = pd.read_csv(Path(__file__).parent / "data" / "penguins.csv", index_col="id").dropna(subset=list(COLUMNS))
X = penguins[list(COLUMNS)].rename(columns=COLUMNS)
gm = bs.GaussianMixture(3, tol=1e-6, max_iter=1000, random_state=1).fit(X)

figure = Figure(figsize=(10, 4.8), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(2.5, 1))
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)

# Every penguin: coloured by cluster, faded where the cluster is in doubt, with ellipses that hold 68 % and 95 %.
plots.memberships(gm, X, columns=list(COLUMNS.values()), ax=left)
for ellipse in left.patches:
    ellipse.set(fill=True, facecolor=to_rgba(ellipse.get_edgecolor(), 0.06), zorder=1)
left.set_title("To which cluster does each penguin belong?", loc="left", fontsize="medium")

# The penguins most in doubt: their memberships, from the likeliest cluster to the others.
memberships = pd.DataFrame(gm.predict_proba(X), index=X.index)
doubtful = memberships.loc[memberships.max(axis=1).nsmallest(SHOWN).index]
doubtful = doubtful.loc[(doubtful[0] - doubtful[1]).sort_values().index]
doubtful.plot.barh(
    stacked=True, ax=right, color=plots.COLOURS[:3], width=0.75, edgecolor="white", linewidth=0.6, legend=False
)
right.set(xlim=(0, 1), xlabel="membership", ylabel="", xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
right.tick_params(axis="y", length=0, labelsize="small")
right.spines["left"].set_visible(False)
right.set_title(f"The {SHOWN} most in doubt", loc="left", fontsize="medium")

folder.mkdir(parents=True, exist_ok=True)
path = folder / "penguins.png"
figure.savefig(path, dpi=150)
print(f"{len(X)} penguins in 3 clusters, {SHOWN} shown with their memberships: {path}")
