"""The units of columns, by which distances count them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["standardised", "units_apart"]

APART = 100.0  # times that standard deviations of columns may differ without a remark


def units_apart(frame: pd.DataFrame) -> str | None:
    """Say that the units of columns differ much; None where they do not.

    Examples
    --------
    >>> import pandas as pd
    >>> units_apart(pd.DataFrame({"m": [1.0, 2.0], "mm": [1000.0, 2000.0]}))
    "standard deviations range from 0.5 ('m') to 500 ('mm'): distances see the large ones alone"
    """
    spreads = _spreads(frame)
    spreads = spreads[spreads > 0]
    if not len(spreads) or spreads.max() <= APART * spreads.min():
        return None
    least, most = spreads.idxmin(), spreads.idxmax()
    return (
        f"standard deviations range from {spreads[least]:.3g} ({least!r}) to {spreads[most]:.3g} ({most!r}): "
        "distances see the large ones alone"
    )


def standardised(frame: pd.DataFrame) -> pd.DataFrame:
    """Give columns of mean 0 and standard deviation 1, constant ones of 0."""
    spreads = _spreads(frame)
    return (frame - frame.mean()) / spreads.where(spreads > 0, 1.0) * (spreads > 0)


def _spreads(frame: pd.DataFrame) -> pd.Series:
    """Give standard deviations, of constant columns 0, whatever rounding leaves of the mean of equal cells."""
    return frame.std(ddof=0).where(frame.max() > frame.min(), 0.0)
