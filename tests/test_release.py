"""What is released: one version, reproducible archives that keep the contract, workflows with least rights."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import segloss
from tests.small import ROOT
from tools.licences import EXTRAS, closure, licences_page, needed
from tools.links import addresses
from tools.lock import LOCKED, wanted
from tools.release import built, materials

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
QUICK = ("range_holds", "masked_voxels_change_nothing", "gradient_is_derivative", "wrong_shapes_are_refused")


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def test_there_is_one_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", PROJECT["version"])
    assert segloss.__version__ == PROJECT["version"]
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited["version"] == PROJECT["version"]
    assert (cited["license"], cited["title"], cited["cff-version"]) == (PROJECT["license"], "segloss", "1.2.0")
    assert cited["authors"]
    assert cited["message"]


def test_every_version_of_the_changelog_tells_of_values() -> None:
    versions = re.split(r"^## ", read("CHANGELOG.md"), flags=re.MULTILINE)[1:]
    assert versions[0].startswith(("Unreleased", PROJECT["version"]))
    assert all("\n### Values\n" in version for version in versions)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    place = tmp_path_factory.mktemp("release")
    return built(place / "a" / "deeper"), built(place / "b")


def test_two_builds_are_the_same_to_the_byte(archives: tuple[list[Path], list[Path]]) -> None:
    first, second = archives
    assert [file.suffix for file in first] == [".whl", ".gz"] or [file.suffix for file in first] == [".gz", ".whl"]
    assert [file.name for file in first] == [file.name for file in second]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_the_sdist_builds_the_same_wheel(archives: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    (sdist,) = (file for file in archives[0] if file.suffix == ".gz")
    (wheel,) = (file for file in archives[0] if file.suffix == ".whl")
    subprocess.run(["tar", "xf", str(sdist), "-C", str(tmp_path)], check=True)
    (source,) = tmp_path.iterdir()
    call = f"import setuptools.build_meta as b; b.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", call], cwd=source, check=True, capture_output=True)
    assert wheel_names(tmp_path / wheel.name) == wheel_names(wheel)


def wheel_names(wheel: Path) -> list[str]:
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True, check=True
    )
    return sorted(line.split()[0] for line in listed.stdout.splitlines())


def test_the_contract_holds_with_the_minimal_dependencies(
    archives: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    """The wheel alone, where nothing can be imported but what segloss requires. `-m segloss.testing` runs it all."""
    (wheel,) = (file for file in archives[0] if file.suffix == ".whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target"]
    subprocess.run([*install, str(tmp_path / "site"), str(wheel)], check=True, capture_output=True)
    minimal = {package.name for text in PROJECT["dependencies"] for package in closure(text)}
    roots = importlib.metadata.packages_distributions()
    hidden = sorted(
        root for root, names in roots.items() if not minimal & set(names) and root not in ("pip", "segloss")
    )
    assert {"pytest", "skimage", "hypothesis"} <= set(hidden)
    script = tmp_path / "run.py"
    script.write_text(
        f"""import sys
from importlib.machinery import PathFinder
class Minimal(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden!r} else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Minimal
import segloss
from segloss.testing import CONTRACT
from segloss.testing.members import members
assert segloss.__file__.startswith({str(tmp_path)!r}), segloss.__file__
kept = 0
for member in members():
    for name in {QUICK!r}:
        if CONTRACT[name].binds(member.loss) and name not in member.exceptions:
            try:
                CONTRACT[name].test(member.loss)
                kept += 1
            except ImportError as error:
                assert "segloss-catalog[" in str(error), f"{{member.name}}: {{error}}"
print(len(members()), kept)
""",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    losses, kept = map(int, done.stdout.split())
    assert kept > 2 * losses


def test_the_bill_of_materials_names_what_is_installed() -> None:
    bill = json.loads(materials())
    names = {component["name"].lower() for component in bill["components"]}
    assert bill["bomFormat"] == "CycloneDX"
    assert {"torch", "numpy", "scipy"} <= names


def test_every_dependency_has_a_licence() -> None:
    page = licences_page(ROOT)
    for text in [
        *PROJECT["dependencies"],
        *(text for extra in EXTRAS for text in PROJECT["optional-dependencies"][extra]),
    ]:
        assert f"| [{re.split(r'[^a-z0-9-]', text)[0]}](" in page
    assert not [line for line in page.splitlines() if "not stated" in line and "| always |" in line]
    required = [found.name for found, extra in needed(ROOT).values() if not extra]
    copyleft = [line for line in page.splitlines() if re.search(r"\bL?GPL", line) and "| always |" in line]
    assert required
    assert not copyleft, "nothing that is always needed may be under a copyleft licence"


def test_the_constraints_pin_everything_once() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+]+", line) for line in lines)
    names = [line.partition("==")[0].lower() for line in lines]
    assert len(names) == len(set(names))


def test_what_is_pinned_is_locked_by_hashes() -> None:
    pinned = {normal(name): version for name, version in re.findall(r"^(\S+)==(\S+)$", read("constraints.txt"), re.M)}
    blocks = re.split(r"\n(?=\S)", read(LOCKED).partition("\n")[2].strip())
    locked = {}
    for block in blocks:
        name, version = re.match(r"([\w.-]+)(?:\[\w,]+\])?==(\S+)", block).groups()
        locked[normal(name)] = version
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), f"{name} has no hash"
    assert len(locked) == len(blocks)
    assert {name: pinned.get(name) for name in locked} == locked
    assert {normal(re.split(r"[\[<>=]", line)[0]) for line in wanted(ROOT)} <= set(locked)


def normal(name: str) -> str:
    """A name of a package in its one spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_have_least_rights(file: Path) -> None:
    assert workflow_faults(file.read_text(encoding="utf-8")) == []


def workflow_faults(text: str) -> list[str]:
    """Rights of all, jobs without rights or limit, actions by a name that can move, words of others in a shell."""
    flow: dict[Any, Any] = yaml.safe_load(text)
    found = [] if flow.get("permissions") == {} else ["rights of the whole workflow should be {}"]
    on = flow.get("on", flow.get(True))
    if "pull_request_target" in on:
        found.append("pull_request_target runs the code of strangers with rights")
    for name, job in flow["jobs"].items():
        if "permissions" not in job or "timeout-minutes" not in job:
            found.append(f"{name} should state its rights and its limit")
        if "write" in (job.get("permissions") or {}).values() and "pull_request" in on:
            found.append(f"{name} may write on behalf of a pull request")
        for step in job["steps"]:
            if (used := step.get("uses")) and not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", used):
                found.append(f"{name}: {used} should be pinned to a commit")
            if used and "checkout@" in used and step.get("with", {}).get("persist-credentials") is not False:
                found.append(f"{name} should not leave credentials behind")
            if "${{" in step.get("run", ""):
                found.append(f"{name}: values go into a shell through env")
            if "secrets." in str(step):
                found.append(f"{name}: uses a secret")
    pinned = re.findall(r"uses: \S+@[0-9a-f]{40}(.*)", text)
    return found + [
        f"a pin without its version:{note}" for note in pinned if not re.fullmatch(r" # v\d+\.\d+\.\d+", note)
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("permissions: {}\n", ""),
        ("permissions: {contents: read}", "permissions: {contents: write}"),
        ("@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4"),
        (" # v4.2.2", ""),
        ("persist-credentials: false", "persist-credentials: true"),
        ("- run: .ci/run", '- run: echo "${{ github.head_ref }}"'),
        ("- run: .ci/run", "- run: .ci/run\n        env: {KEY: '${{ secrets.KEY }}'}"),
        ("pull_request:", "pull_request_target:"),
        ("    timeout-minutes: 120\n", ""),
    ],
)
def test_the_lint_of_workflows_catches(old: str, new: str) -> None:
    text = read(".github/workflows/test.yml")
    assert old in text
    assert workflow_faults(text.replace(old, new))


def test_the_forms_are_yaml() -> None:
    for file in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(file.read_text(encoding="utf-8"))


def test_the_link_check_knows_every_paper() -> None:
    found = addresses(ROOT)
    assert all(address.startswith("https://") for address in found)
    assert all(entry.link in found for entry in segloss.catalog.entries().values())
