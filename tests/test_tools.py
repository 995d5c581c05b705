"""Every rule of `python -m tools check`, on a small repository broken on purpose: one mistake gives one message."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.small import LOSS, ROOT, recorded, remove, small_repository, write, write_golden
from tools import checks
from tools.__main__ import main
from tools.catalogue import load
from tools.checks import check

NEWLINE = "\n"
YAML, BIB, CODE = "catalog.yaml", "references.bib", "segloss/region/overlap.py"
GOLDEN = "tests/golden/oe2019overlap/cases.json"


@dataclass(frozen=True)
class Break:
    """Replace `old` by `new` in a file; the message is then expected where `at` stands, in that file or in `told_of`."""

    path: str
    old: str
    new: str
    expected: str
    at: str = ""
    told_of: str = ""

    def __str__(self) -> str:
        return self.expected[:50]


FIELDS = [
    Break(YAML, "  task: [binary]", "  tasks: [binary]", "doe2021recall: unknown field 'tasks'; did you mean 'task'?"),
    Break(YAML, "usage: Alone.", "colour: red", "oe2019overlap: unknown field 'colour'; known are date, title"),
    Break(YAML, "      soft_labels: true\n", "      soft_label: true\n", "unknown field 'soft_label'; did you mean 'soft_labels'?"),
    Break(YAML, "      range: [0, 1]\n", "", "doe2021recall: field 'range' is missing", "- function: segloss.measures"),
    Break(YAML, "  venue: CVPR 2020\n", "", "oe2019overlap: field 'venue' is missing", "oe2019overlap:"),
    Break(YAML, "      official: true\n", "", "oe2019overlap: field 'official' is missing", "url: https://github"),
    Break(YAML, "title: The Lovász overlap loss", "title: [a]", "oe2019overlap: title must be text, not ['a']"),
    Break(YAML, '"1912.11111"', "1912.11111", "arxiv must be text, not the number 1912.11111; put it in quotes"),
    Break(YAML, '"1912.11111"', '"arXiv:1912.11111"', "arxiv must be an arXiv id such as"),
    Break(YAML, "doi: 10.1000", "doi: https://doi.org/10.1000", "doi must be a DOI such as 10.1007"),
    Break(YAML, "2019-12-24", "2019-13-24", "date must be a date such as 2017-06-18, 2017-06 or 2017, not '2019-13-24'"),
    Break(YAML, "2019-12-24", "24.12.2019", "date must be a date such as"),
    Break(YAML, "2019-12-24", "2019-02-30", "date must be a date such as"),
    Break(YAML, "2019-12-24", "true", "date must be a date such as 2017-06-18, 2017-06 or 2017, not true"),
    Break(YAML, "task: [binary]", "task: [binay]", "measures[0].task[0] must be one of binary, multiclass, multilabel, not 'binay'; did you"),
    Break(YAML, "task: [binary]", "task: binary", "measures[0].task must be a list, not 'binary'"),
    Break(YAML, "task: [binary]", "task: []", "measures[0].task must not be empty"),
    Break(YAML, "dims: [2]", "dims: [2, 2]", "measures[0].dims names something twice"),
    Break(YAML, "dims: [2]", "dims: [4]", "measures[0].dims[0] must be one of 1, 2, 3, not 4"),
    Break(YAML, "dims: [2]", "dims: [true]", "measures[0].dims[0] must be one of 1, 2, 3, not true"),
    Break(YAML, "range: [0, null]", "range: [0]", "losses[0].range must be [least, greatest] with null for no bound, not [0]"),
    Break(YAML, "range: [0, null]", "range: [1, 0]", "losses[0].range must rise from least to greatest, not [1, 0]"),
    Break(YAML, "range: [0, null]", "range: [0, .inf]", "losses[0].range must be [least, greatest] with null"),
    Break(YAML, "soft_labels: true", "soft_labels: 1", "losses[0].soft_labels must be true or false, not 1"),
    Break(YAML, "soft_labels: true", "needs: [distances]", "must be one of distance, image, prior", "needs"),
    Break(YAML, "params: {}", "params: [1]", "measures[0].params must be a mapping, not [1]"),
    Break(YAML, "alpha: 0.3", "alpha: 1e-5", "losses[0].params.alpha is the text '1e-5'; YAML needs a dot to read a number"),
    Break(YAML, "alpha: 0.3", "alpha: .nan", "losses[0].params.alpha must be a number, a word"),
    Break(YAML, "alpha: 0.3", "alpha: {a: 1}", "losses[0].params.alpha must be a number, a word, true, false, null or a list of them, not a"),
    Break(YAML, "https://example.org/toolbox", "http://example.org/toolbox", "code[1].url must be an address that begins with https://"),
    Break(YAML, "https://example.org/toolbox", "javascript:alert(1)", "code[1].url must be an address that begins with https://"),
    Break(YAML, "https://example.org/toolbox", "https://example.org/a)[b", "code[1].url must be an address that begins with https://"),
    Break(YAML, "0123456789abcdef0123456789abcdef01234567", "abcdef0", "code[0].commit must be a commit of 40 hexadecimal digits"),
    Break(YAML, "0123456789abcdef0123456789abcdef01234567", "1.6", "code[0].commit must be text, not the number 1.6; put it"),
    Break(YAML, "      commit: 0123456789abcdef0123456789abcdef01234567\n", "", "code[0] links a repository; add the commit", "url: https://github"),
    Break(YAML, "family: region", "family: regions", "family must be one of distribution, region, boundary"),
    Break(YAML, "function: segloss.region.overlap_loss", "function: overlap_loss", "there is no function overlap_loss; did you mean 'segloss.region.overlap_loss'?"),
    Break(YAML, "  deviations: [The paper adds the classes.]", "  deviations: The paper.", "deviations must be a list, not 'The paper.'"),
    Break(YAML, "usage: Alone.", "usage: ''", "usage must be text, not ''"),
    Break(YAML, "usage: Alone.", "usage: 'FILL IN: how'", "oe2019overlap: usage is still to be filled in"),
    Break(YAML, "  measures:\n", "  losses:\n", "segloss.measures.recall belongs under measures", "- function: segloss.measures"),
    Break(YAML, "  url: https://example.org/recall.pdf\n", "", "doe2021recall: has no link; add doi, arxiv or url", "doe2021recall:"),
]  # fmt: skip

AGREEMENT = [
    Break(YAML, "2021-05", "2019-12-23", "oe2019overlap: 2019-12-24 stands below 2019-12-23 of doe2021recall", "2019-12-24"),
    Break(YAML, "The Lovász overlap loss", "The Lovasz overlay loss", "title differs from references.bib:9: 'The Lovász Overlap Loss'"),
    Break(YAML, "authors: [Jane Doe]", "authors: [Jane Roe]", "author 'Jane Roe' is 'Doe' in references.bib:1"),
    Break(YAML, "[Jane Doe]", "[Jane Doe, John Doe]", "2 authors, but 1 in references.bib:1"),
    Break(YAML, "CVPR 2020", "CVPR 2018", "year 2020 of references.bib:9 is neither that of the date nor that of the venue (2018, 2019)", "2019-12-24"),
    Break(YAML, "10.1000/overlap(2)_1", "10.1000/overlap", "doi is 10.1000/overlap, doi of references.bib:9 is 10.1000/overlap(2)_1"),
    Break(YAML, '"1912.11111"', '"1912.11112"', "arxiv is 1912.11112, eprint of references.bib:9 is 1912.11111; make them the same"),
    Break(YAML, '  arxiv: "1912.11111"\n', "", "arxiv is not given, eprint of references.bib:9 is 1912.11111", "oe2019overlap:"),
    Break(BIB, "  doi = {10.1000/overlap(2)\\_1},\n", "", "doi of references.bib:9 is not given", "doi: 10.1000", YAML),
    Break(BIB, "  author = {Doe, Jane},\n", "", "doe2021recall: has no author", "@article"),
    Break(BIB, "{Doe, Jane}", "{Doe, Jane and others}", "doe2021recall: author ends with 'and others'; name them all", "@article"),
    Break(BIB, "  title = {{Recall} as a Measure},\n", "", "doe2021recall: has no title", "@article"),
    Break(BIB, "year = {2021}", "year = {in press}", "doe2021recall: year must have four digits, not 'in press'", "@article"),
    Break(BIB, "url = {https:", "url = {http:", "doe2021recall: url must be an address that begins with https://", "@article"),
    Break(BIB, "@inproceedings", "@book{roe1999book,\n title={A Book}}\n\n@inproceedings", "roe1999book: has no entry in catalog.yaml; add one or remove"),
    Break(BIB, "{oe2019overlap,", "{oe2019overlab,", "oe2019overlap: is not a key of references.bib; did you mean 'oe2019overlab'?", "oe2019overlap:", YAML),
    Break(YAML, "doe2021recall:", "doe2021recal:", "doe2021recal: is not a key of references.bib; did you mean 'doe2021recall'?"),
]  # fmt: skip

FUNCTIONS = [
    Break(YAML, "segloss.region.overlap_loss", "segloss.region.overlab_loss", "there is no function segloss.region.overlab_loss; did you mean"),
    Break(YAML, "  losses:\n", "  losses:\n    - {function: segloss.region.new_loss, params: {}, task: [binary], dims: [1], range: [0, 1]}\n",
          "there is no function segloss.region.new_loss; write it in a file of segloss/region/", "segloss.region.new_loss"),
    Break(YAML, "family: region", "family: boundary", "family is 'boundary' but overlap_loss stands in segloss/region/; move"),
    Break(YAML, "{alpha: 0.3}", "{alhpa: 0.3}", "segloss.region.overlap_loss has no parameter 'alhpa'; did you mean 'alpha'?"),
    Break(YAML, "{alpha: 0.3}", "{target: 0.3}", "segloss.region.overlap_loss has no parameter 'target'; it has distance"),
    Break(YAML, "{alpha: 0.3}", "{alpha: high}", "alpha: the parameter is float, the value 'high' is not"),
    Break(YAML, "{best_at_truth:", "{best_at_thruth:", "'best_at_thruth' is not a promise of the contract; did you mean 'best_at_truth'?"),
    Break(CODE, "    *,\n    distance: torch.Tensor,\n", "    distance: torch.Tensor,\n    *,\n", "overlap_loss: distance must be keyword-only; put a * after target", "def overlap_loss"),
    Break(CODE, "    logits: Logits,\n    target", "    scores: Logits,\n    target", "overlap_loss: must begin with the parameters logits, target", "def overlap"),
    Break(CODE, "mask: Mask | None = None", "mask=None", "overlap_loss: no type is given for mask", "def overlap_loss"),
    Break(CODE, ") -> Value:", "):", "overlap_loss: no type is given for the value", "def overlap_loss"),
    Break(CODE, '    mask: Mask | None = None,\n    reduction: Reduction = "mean",\n', '    reduction: Reduction = "mean",\n    mask: Mask | None = None,\n',
          "overlap_loss: keywords that all losses share stand in the order ignore_index, mask, reduction", "def overlap_loss"),
    Break(CODE, "    kind: Kind | None = None,\n    ignore_index: int | None = None,\n", "    ignore_index: int | None = None,\n    kind: Kind | None = None,\n",
          "overlap_loss: kind must stand before the keywords that all losses share", "def overlap_loss"),
    Break(CODE, "def prepared(", "def recall(", "recall: another function has this name, in segloss/", "def recall", "segloss/measures/share.py"),
    Break(CODE, "def prepared(", "def overlap_loss(", "another function of the family has this name, in segloss/region/overlap.py:12"),
    Break(CODE, "def prepared(", "def prepared(:", "not valid Python: invalid syntax"),
    Break(CODE, "def prepared(", "def overlap(", "overlap: the function hides its own file as segloss.region.overlap; rename the file"),
]  # fmt: skip

DOCSTRINGS = [
    Break(CODE, '    """Helper that prepares an input."""\n', "", "prepared: has no docstring; begin it with a sentence", "def prepared"),
    Break(CODE, "Helper that prepares an input.", "Helper", "prepared: the docstring must begin with a sentence and a full stop"),
    Break(CODE, "$$L = 1", "$L = 1", "overlap_loss: the docstring has no formula; write it as $$", 'r"""One minus'),
    Break(CODE, "    Raises:\n        ValueError: If `alpha` is negative.\n\n", "", "overlap_loss: the docstring has no section Raises:; add it", 'r"""One'),
    Break(CODE, "    Returns:", "    Return:", "overlap_loss: the docstring has no section Returns:; rename Return:", 'r"""One minus'),
    Break(CODE, "        ValueError: If `alpha` is negative.\n", "", "overlap_loss: the section Raises: is empty", "Raises:"),
    Break(CODE, "        kind: A kind.\n", "", "overlap_loss: parameter 'kind' is not described under Args", 'r"""One minus'),
    Break(CODE, "        kind: A kind.", "        kin: A kind.", "overlap_loss: Args describes 'kin', which is no parameter; did you mean 'kind'?"),
    Break(CODE, "        kind: A kind.", "        kind: A kind.\n        gamma: What?", "Args describes 'gamma', which is no parameter", "gamma"),
    Break(CODE, "        kind: A kind.", "        kind:", "overlap_loss: Args says nothing about 'kind'"),
    Break(CODE, "is long to tell.", "is by default long.", "overlap_loss: Args tells a default of 'distance'; the signature does that", "distance: Dis"),
    Break(CODE, "$$L = 1 - \\alpha", "$$L = 1 - \\\\alpha", "double backslash before a TeX command in a raw docstring: \\\\alpha; write one"),
    Break(CODE, 'r"""One', '"""One', 'overlap_loss: the docstring has backslashes; begin it with r"""'),
    Break(CODE, "[oe2019overlap]", "the paper", "References must name [oe2019overlap], whose entry claims the function", "References:"),
    Break(CODE, "[oe2019overlap]", "[oe2019overlab]", "[oe2019overlab] is not a key of references.bib; did you mean 'oe2019overlap'?", "References:"),
    Break(CODE, ">>> 1 + 1\n        2", "1 + 1 = 2", "overlap_loss: Examples has none that runs; begin its lines with >>>", "Examples:"),
    Break(CODE, "A scalar.", "FILL IN: what", "overlap_loss: the docstring is still to be filled in", 'r"""One minus'),
]  # fmt: skip

VALUES = [
    Break(YAML, '"2d_other*"', '"3d*"', "not_offered '3d*' matches no recorded case; remove it"),
    Break(YAML, '"2d_other*"', '"overlap"', "not_offered leaves no recorded case that our functions reproduce", "not_offered"),
    Break(GOLDEN, '"loss": "overlap",\n  "activation"', '"activation"', "oe2019overlap: case '2d' lacks 'loss'", '"case": "2d"'),
    Break(GOLDEN, '"rtol": 1e-06', '"rtol": "small"', "case '2d' has a wrong 'rtol': expected float, found str", '"case": "2d"'),
    Break(GOLDEN, '"kind": "oracle"', '"kind": "hearsay"', "case '2d' has source.kind 'hearsay'; expected one of official", '"case": "2d"'),
    Break(GOLDEN, '   "repo": null,\n', "", "case '2d' lacks 'repo' in its source; write null where there is none", '"case": "2d"'),
    Break(GOLDEN, '"rtol": 1e-06', '"rtol": 1e-06, "rtol": 1', "not valid JSON: 'rtol' stands twice in one object", "["),
    Break(GOLDEN, '"rtol": 1e-06,', '"rtol": 1e-06', "oe2019overlap: not valid JSON: Expecting ',' delimiter", '"differentiable"'),
    Break(GOLDEN, '"extras": []', '"extras": ["map"]', "case '2d': 2d.npz lacks map", '"case": "2d"'),
]  # fmt: skip


def messages(root: Path) -> list[str]:
    return [str(problem) for problem in check(load(root))]


def test_nothing_is_wrong_with_the_small_repository(tmp_path: Path) -> None:
    assert messages(small_repository(tmp_path)) == []


@pytest.mark.parametrize("broken", [*FIELDS, *AGREEMENT, *FUNCTIONS, *DOCSTRINGS, *VALUES], ids=str)
def test_one_mistake_gives_one_message_with_its_line(tmp_path: Path, broken: Break) -> None:
    root = small_repository(tmp_path)
    before = (root / broken.path).read_text(encoding="utf-8")
    assert broken.old in before
    write(root, broken.path, before.replace(broken.old, broken.new, 1))
    (message,) = messages(root)
    where, _, told = message.partition(": ")
    assert broken.expected in told
    path = broken.told_of or broken.path
    text = (root / path).read_text(encoding="utf-8")
    assert where == f"{path}:{text[: text.index(broken.at or broken.new.strip())].count(NEWLINE) + 1}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tests/golden/oe2019overlap", "catalog.yaml:18: oe2019overlap: has no recorded values in tests/golden/oe2019overlap/; write"),
        ("tests/golden/oe2019overlap/2d.npz", f"{GOLDEN}:3: oe2019overlap: case '2d' has no 2d.npz"),
        ("tests/golden/oe2019overlap/cases.json", f"{GOLDEN}:1: there is no such file"),
        ("references.bib", "references.bib:1: there is no such file"),
        ("catalog.yaml", "catalog.yaml:1: there is no such file"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, path: str, expected: str) -> None:
    root = small_repository(tmp_path)
    remove(root, path)
    assert messages(root)[0].startswith(expected)


def test_recorded_values_without_a_place_are_told(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    write_golden(root, "roe1999nothing", recorded("2d", "nothing"))
    write(root, "tests/golden/oe2019overlap/left_over.npz", "")
    write(root, "tests/golden/oe2019overlap/2d.npz", "not arrays")
    write(root, "tests/golden/doe2021recall/cases.json", "[]")
    remove(root, "tests/golden/doe2021recall/2d.npz")
    assert messages(root) == [
        "tests/golden/doe2021recall/cases.json:1: doe2021recall: no case yet; run python -m tools record doe2021recall",
        f"{GOLDEN}:3: oe2019overlap: case '2d': 2d.npz is not a file of arrays",
        "tests/golden/oe2019overlap/left_over.npz:1: oe2019overlap: no case of cases.json has this name; remove it",
        "tests/golden/roe1999nothing/cases.json:1: roe1999nothing: values are recorded, but catalog.yaml has no entry of this key; "
        "add it or remove the folder",
    ]


def test_a_case_is_recorded_once(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    write_golden(root, "doe2021recall", recorded("2d", "recall"), recorded("2d", "recall"), recorded("../2d", "recall"))
    told = [message.split(": ", 2)[2] for message in messages(root)]
    assert told == [
        'case 3 needs a name that can be a file name, as in "case": "2d_binary"',
        "case '2d' stands here twice; rename one",
    ]


def test_a_misnamed_folder_of_values_is_one_message(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    (root / "tests/golden/oe2019overlap").rename(root / "tests/golden/oe2019overlab")
    (message,) = messages(root)
    assert message.endswith("has no recorded values in tests/golden/oe2019overlap/; did you mean 'oe2019overlab'?")


def test_an_entry_offers_something(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    text = (root / YAML).read_text(encoding="utf-8")
    write(root, YAML, text[: text.index("  losses:")] + "  losses: []\n")
    told = messages(root)
    assert told[0].endswith("oe2019overlap: offers nothing; add at least one function under losses or measures")
    assert told[1].startswith("segloss/region/overlap.py:12: overlap_loss: no entry of catalog.yaml names")


def test_a_loss_that_no_entry_claims_is_told(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    write(root, "segloss/region/other.py", LOSS.replace("overlap_loss", "other_loss").replace("prepared", "_prepared"))
    (message,) = messages(root)
    assert message.startswith("segloss/region/other.py:12: other_loss: no entry of catalog.yaml names segloss.region.other_loss; add")


def test_without_a_contract_exceptions_are_not_judged(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    remove(root, "tests/contract")
    assert messages(root) == []


def test_all_problems_are_told_at_once_and_the_status_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_repository(tmp_path)
    text = (root / YAML).read_text(encoding="utf-8")
    write(root, YAML, text.replace("dims: [2]", "dims: [4]").replace("usage:", "use:").replace("CVPR 2020", "CVPR"))
    assert main(["check"], root) == 1
    *problems, summary = capsys.readouterr().out.splitlines()
    assert summary == "3 problems" == f"{len(problems)} problems"
    write(root, YAML, text)
    assert main(["check"], root) == 0
    assert capsys.readouterr().out == "2 entries, 3 functions, 3 recorded cases: no problem\n"


def test_every_rule_is_broken_here_once(tmp_path: Path) -> None:
    """A rule that no mistake of this file triggers would be a rule without a test."""
    silent = {rule.__module__ + rule.__name__ for rule in checks.RULES}
    folders = [tmp_path / str(at) for at in range(len([*FIELDS, *AGREEMENT, *FUNCTIONS, *DOCSTRINGS, *VALUES]))]
    for folder, broken in zip(folders, [*FIELDS, *AGREEMENT, *FUNCTIONS, *DOCSTRINGS, *VALUES], strict=True):
        root = small_repository(folder)
        text = (root / broken.path).read_text(encoding="utf-8")
        write(root, broken.path, text.replace(broken.old, broken.new, 1))
        catalogue = load(root)
        silent -= {rule.__module__ + rule.__name__ for rule in checks.RULES if any(rule(catalogue))}
    assert silent <= {
        "tools.checks.entriessomething_is_offered",
        "tools.checks.functionsevery_loss_is_claimed",
        "tools.checks.valuesevery_entry_has_values",
        "tools.checks.valuesevery_folder_has_an_entry",
    }


def test_the_repository_itself_has_no_problem() -> None:
    assert messages(ROOT) == []
