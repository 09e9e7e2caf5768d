"""A path of the information bottleneck against the same updates in plain NumPy, and with SciPy's sparse products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from bayessoft import InformationBottleneck
from bayessoft.core.annealing import BETTER
from bayessoft.estimators.joint_table import betas_of, joint_of, starts_of
from tests.benchmarks.protocol import Check, Report, Spread, alternating, cost, ratios

PEERS = ("lda",)  # whose table it is
K, TOL, MAX_ITER, PAIRS = 10, 1e-6, 5_000, 3
SEED, QUICK = 0, (40, 60)  # rows and columns of the quick run
TINY = np.finfo(float).tiny


def reuters() -> np.ndarray:
    """395 news stories, 4258 words."""
    from lda.datasets import load_reuters

    return load_reuters().astype(float)


@dataclass
class Peer:
    """The plain algorithm: the table in `given` and `joint`, full or sparse, and how often it iterated."""

    given: Any
    joint: Any
    weights: np.ndarray
    count: int = 0

    def step(self, r: np.ndarray, beta: float) -> np.ndarray:
        joint = self.joint.T @ r
        q = np.maximum(joint.sum(0), TINY)
        logits = np.log(q) + beta * (self.given @ np.log(np.maximum(joint / q, TINY)))
        logits -= logits.max(1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(1, keepdims=True)
        return logits

    def solve(self, r: np.ndarray, beta: float) -> np.ndarray:
        for _ in range(MAX_ITER):
            after = self.step(r, beta)
            self.count += 1
            moved = np.abs(after - r).max()
            r = after
            if moved < TOL:
                break
        return r

    def amounts(self, r: np.ndarray) -> tuple[float, float]:
        """I(T; X) and I(T; Y)."""
        joint = self.joint.T @ r

        def entropy(p: np.ndarray) -> float:
            p = p[p > 0]
            return float(-(p * np.log(p)).sum())

        own = np.where(r > 0, r * np.log(np.maximum(r, TINY)), 0).sum(1)
        within = entropy(joint.sum(0))
        return within + float(self.weights @ own), within + entropy(joint.sum(1)) - entropy(joint)

    def path(self, starts: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Lagrangians of the path that `InformationBottleneck.path` finds, in the same way."""

        def height(found: tuple[float, float], beta: float) -> float:
            return found[0] - beta * found[1]

        first = [self.solve(start, betas[0]) for start in starts]
        r = min(first, key=lambda r: height(self.amounts(r), betas[0]))
        self.count, path = 0, []
        for beta in betas:
            r = self.solve(r, beta)
            path.append(r)
        while True:
            found = np.array([self.amounts(r) for r in path])
            table = found[:, 0] - betas[:, None] * found[:, 1]
            if not (better := np.diagonal(table) - table.min(1) > BETTER).any():
                return np.diagonal(table)
            chosen = table.argmin(1)
            path = [self.solve(path[chosen[i]], betas[i]) if better[i] else r for i, r in enumerate(path)]


def peers(joint: sparse.csr_array) -> dict[str, Peer]:
    weights = joint.sum(1)
    full = joint.toarray()
    given = full / weights[:, None]
    return {
        "NumPy": Peer(given, full, weights),
        "NumPy with SciPy's sparse products": Peer(sparse.csr_array(given), joint, weights),
    }


def run(quick: bool) -> Report:
    X = reuters()
    if quick:
        X = X[: QUICK[0], np.argsort(-X[: QUICK[0]].sum(0), kind="stable")[: QUICK[1]]]
    ours = InformationBottleneck(K, tol=TOL, max_iter=MAX_ITER, random_state=SEED)
    joint = joint_of(InformationBottleneck(K), X, None)[0]
    betas = betas_of(None, joint, K)
    starts = starts_of(joint, K, ours.n_init, check_random_state(SEED))
    compiling = cost(lambda: ours.path(X, betas=betas))[0]
    rows: list[dict[str, Any]] = []
    plain: list[Spread] = []
    found: dict[str, Any] = {}

    def mine() -> None:
        found["ours"] = ours.path(X, betas=betas)

    for name, peer in peers(joint).items():

        def theirs(name: str = name, peer: Peer = peer) -> None:
            found[name] = peer.path(starts, betas)

        pairs = alternating(partial(cost, mine), partial(cost, theirs), 2 if quick else PAIRS)
        (wall, cpu), (other, others_cpu) = ([list(part) for part in zip(*own, strict=True)] for own in pairs)
        path = found["ours"]
        rows.append(
            {
                "peer": name,
                "ours (s)": Spread.of(wall),
                "peer (s)": Spread.of(other),
                "ratio": ratios(wall, other),
                "ours (CPU s)": Spread.of(cpu),
                "peer (CPU s)": Spread.of(others_cpu),
                "CPU ratio": ratios(cpu, others_cpu),
                "iterations, ours and peer": f"{path.n_iter.sum():,}, {peer.count:,}",
                "Lagrangian, ours above the peer's at most (nats)": float((path.lagrangian - found[name]).max()),
                "on average (nats)": float((path.lagrangian - found[name]).mean()),
            }
        )
        plain.append(ratios(wall, other))
    statement = float((path.lagrangian - _table(path).min(1)).max())
    return Report(
        "A path of the information bottleneck",
        f"`InformationBottleneck({K}).path` at {len(betas)} inverse temperatures on {joint.shape[0]} news stories and "
        f"{joint.shape[1]} words (Reuters, of package `lda`), {100 * joint.nnz / np.prod(joint.shape):.1f} % of the "
        f"cells above 0. {ours.n_init} starts, from the largest inverse temperature down, and solutions handed on "
        "until none is better elsewhere. The peer does the same in NumPy, from the same starts to the same tolerance "
        f"of {TOL:g} in float64: the plain update, two products with the full table. The second peer's products are "
        "sparse. Threads as below, for all.",
        [rows],
        [
            Check.at_least("ratio to plain NumPy", plain[0], 20),
            Check.at_most(
                "Lagrangian above the peers', at most (nats)",
                max(row["Lagrangian, ours above the peer's at most (nats)"] for row in rows),
                1e-6,
            ),
            Check.at_most(
                "Lagrangian above the peers', on average (nats)", max(row["on average (nats)"] for row in rows), 1e-6
            ),
            Check.at_most("Lagrangian above that of another solution of the path, at most (nats)", statement, 1e-6),
        ],
        [
            f"The first call, which compiles, took {compiling:.1f} s. Iterations are those of the path, without those "
            "of the starts. What makes the ratio are products that look up the cells above 0 alone, and steps "
            "that two others foretell: against sparse products only the latter are left. Where there are several "
            "minima, these steps may lead to another one than plain steps, a higher or a lower one.",
        ],
    )


def _table(path: Any) -> np.ndarray:
    """Lagrangian of each solution, along the second axis, at each inverse temperature."""
    return path.information_x - path.betas[:, None] * path.information_y
