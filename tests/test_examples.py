"""The examples and pages of the documentation run as they stand and say what they should."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bayessoft.status import Status

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TUTORIAL = ROOT / "docs" / "tutorial.md"
# Pages whose Python blocks are one script each, with what it prints.
PAGES = (
    *("tutorial", "families", "sizes", "soft_clustering", "bottleneck", "densities", "measures"),
    *("adding_a_family", "checking"),
)

# Lines (regular expressions) that each script prints, and files that it writes into the folder it is given.
EXPECTED: dict[str, tuple[list[str], list[str]]] = {
    "penguins.py": (
        [
            r"3 clusters, status: converged",
            r"^\d +0\.36 +123\.00 +47\.50",
            r"The penguins most in doubt:",
            r"3\d\d of 342 penguins have a membership above 0\.95",
            r"^Gentoo (?=.*123)( +0| +123){3}$",
        ],
        [],
    ),
    "known_sizes.py": (
        [
            r"^rows(?=.* 123\.0)(?=.* 151\.0)(?=.* 68\.0)",
            r"^rows( +114\.0+){3}",
            r"^price(?=(.* 0\.0+\b){2})(?=.* 0\.3\d)",
            r"duality gap \de-\d+; converged",
            r"the price said about 0\.3\d+ nats, the fit paid 0\.3\d+",
        ],
        [],
    ),
    "capacities.py": (
        [
            r"^0 +172\.0 +324\d\d",
            r"^care +0 +180\d\d\.\d+ +high +-0\.00[67]",
            r"^ +3 +95\.0+ +low +0\.1",
            r"^ +1 +1\d\d\.\d+ +0\.0+$",
            r"cost 7\d\.\d nats, duality gap \de-\d+; converged",
            r"^care +0 +-0\.007\d( +-0\.0\d+){2} +1\.0",
            r"^27000 +-56\d\d\.\d+ +-?0\.000\d .*CONVERGED$",
            r"^by numbers +patients \[104 118 125 +95\]",
            r"^by prices .*, care \[18\d+ 13\d+ 18\d+ 17\d+\]",
        ],
        ["care.png", "care_curve.png"],
    ),
    "wine_posterior.py": (
        [
            r"^sampled",
            r"^weight +0\.\d+ +0\.\d+ +0\.\d+",
            r"The wines most in doubt",
            r"^ArviZ: .*'weights'.*'chain': 4, 'draw': 250",
        ],
        [],
    ),
    "four_engines.py": (
        [
            r"^gibbs: sampled",
            r"^cavi +0\.36 \(0\.31 to 0\.41\) +0\.45",
            r"^gibbs +0\.36 \(0\.3\d to 0\.4\d\) +0\.4[45]",
            r"^nuts +0\.36 \(0\.3\d to 0\.4\d\) +0\.4[45]",
            r"^3: -52\d\d",
        ],
        [],
    ),
    "numpyro_model.py": (
        [
            r"everywhere( +0\.\d\d \(0\.\d\d to 0\.\d\d\)){3}",
            r"Biscoe .*\b0\.7\d \(",
            r"Torgersen .*\b0\.9\d \(",
        ],
        [],
    ),
    "counts.py": (
        [
            r"^2: -20[89]\d\.\d\n3: -199\d\.\d\n4: -199\d\.\d$",
            r"3 groups, converged:",
            r"^\d +0\.50 +0\.4\d +0\.5\d +1[45]\d\.\d+ +2\.0\d +9\.2\d",
            r"The customers most in doubt:",
            r"^0 +(?=.*\b14\d\b)",
        ],
        [],
    ),
    "mixed_columns.py": (
        [
            r"'island': \['Torgersen', 'Biscoe', 'Dream'\]",
            r"6 clusters, converged:",
            r"^mean body_mass_g (?=.* 40[34]\d\.\d+)(?=.* 548\d\.\d+)",
            r"^probability sex=1 .*0\.99",
            r"^Gentoo +female (?=.*\b58\b)( +0| +58){6}$",
        ],
        [],
    ),
    "five_methods.py": (
        [
            r"^Gaussian mixture +6\d 123 15\d +0\.02\d +0\.98\d .*0\.95\d$",
            r"^soft k-means +8\d 123 13\d ",
            r"^fuzzy c-means +9\d 117 131 +0\.54\d +0\.50\d ",
            r"^P309 +0\.6\d +0\.1\d ",
        ],
        ["fuzzy_doubt.png", "gaussian_doubt.png"],
    ),
    "draw_readme_picture.py": ([r"342 penguins in 3 clusters"], ["penguins.png"]),
}


def run(*command: object, cwd: Path) -> str:
    """Run Python in a fresh process and give what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def test_every_script_is_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(EXPECTED)


@pytest.mark.statistical
@pytest.mark.parametrize("name", EXPECTED)
def test_script(name: str, tmp_path: Path) -> None:
    lines, files = EXPECTED[name]
    printed = run(EXAMPLES / name, tmp_path, cwd=tmp_path)
    for line in lines:
        assert re.search(line, printed, re.MULTILINE), f"no line like {line!r} in:\n{printed}"
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    for file in files:
        assert (tmp_path / file).stat().st_size > 10_000
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


def page_blocks(text: str) -> list[tuple[str, str]]:
    """Pair the Python blocks of a page with the output that it shows for them."""
    fences = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    pairs = zip(fences, [*fences[1:], ("", "")], strict=True)
    return [(code, shown if after == "text" else "") for (kind, code), (after, shown) in pairs if kind == "python"]


def same(shown: str, printed: str) -> bool:
    """Compare words exactly and numbers to two in a hundred: EM stops within `tol`, not at the optimum."""
    number = r"-?\d+(?:\.\d*)?(?:e[-+]?\d+)?"
    if re.sub(number, "#", shown).split() != re.sub(number, "#", printed).split():
        return False
    pairs = zip(re.findall(number, shown), re.findall(number, printed), strict=True)
    return all(abs(float(a) - float(b)) <= 0.02 * (1 + abs(float(a))) for a, b in pairs)


@pytest.mark.statistical  # draws posteriors: a minute or two
@pytest.mark.parametrize("page", PAGES)
def test_page_prints_what_it_shows(page: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "data", tmp_path / "examples" / "data")
    blocks = page_blocks((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    script = tmp_path / f"page_{page}.py"  # bottleneck.py would be what pandas imports, where it is installed
    script.write_text("\nprint('-' * 8)\n".join(code for code, _ in blocks), encoding="utf-8")
    printed = run(script, cwd=tmp_path).split("-" * 8)
    for (code, shown), found in zip(blocks, printed, strict=True):
        assert same(shown, found), f"{code}\nshown:\n{shown}\nprinted:\n{found}"


def test_comparison_of_outputs_can_fail() -> None:
    assert same("rows 123.0", "rows 123.1")
    assert not same("rows 123.0", "rows 130.0")
    assert not same("rows 123.0", "row 123.0")


@pytest.mark.parametrize("status", Status)
def test_tutorial_says_what_to_do(status: Status) -> None:
    assert f"`{status.name}`" in TUTORIAL.read_text(encoding="utf-8")
