"""Every law catches the faults planted for it."""

from importlib import import_module
from pathlib import Path

import pytest

from bayessoft.families import FAMILIES

from .faults import COVERED, FAULTS, Fault, planted
from .worlds import CASES

LAWS = sorted(path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py"))
LAWS.remove("faults")
FIRST = [next(fault for fault in FAULTS if fault.law == law) for law in LAWS]
OTHERS = [fault for fault in FAULTS if fault not in FIRST]


def _attribute(module: str, path: str) -> object:
    *inside, name = path.split(".")
    holder = import_module(f"bayessoft.{module}")
    return vars(getattr(holder, inside[0]) if inside else holder)[name]


def caught(fault: Fault) -> None:
    module, _, path = fault.target.partition(":")
    before = _attribute(module, path)
    with planted(fault):
        assert _attribute(module, path) is not before
        with pytest.raises(AssertionError):
            fault.run_law()
    assert _attribute(module, path) is before


@pytest.mark.filterwarnings("ignore")  # what a faulty fit warns of
@pytest.mark.parametrize("fault", FIRST, ids=str)
def test_a_law_catches_its_first_fault(fault):
    caught(fault)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.statistical
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_law_catches_every_fault(fault):
    caught(fault)


def test_every_law_and_every_part_has_a_fault():
    assert {fault.law for fault in FAULTS} == set(LAWS)
    for beginning in COVERED:
        assert any(fault.target.startswith(beginning) for fault in FAULTS), beginning


def test_every_registered_family_is_under_the_laws():
    assert set(CASES) == set(FAMILIES)
