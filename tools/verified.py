"""What the recorded cases of a paper say about our functions: the site's "verified against"."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parity.run import Outcome, verify
from tools.golden import GOLDEN, Golden
from tools.pagetext import shown

KINDS = {
    "official": "the authors' code",
    "oracle": "a naive transcription of the formula in float64",
    "third-party": "another implementation",
}


@dataclass(frozen=True)
class Source:
    """Where the numbers of some cases come from; `repository` is empty for a transcription."""

    kind: str
    repository: str
    commit: str

    @property
    def name(self) -> str:
        """Repository and commit, for the reader."""
        return f"{self.repository}@{self.commit[:7] if len(self.commit) == 40 else self.commit}"

    @property
    def url(self) -> str:
        """The repository at that commit; a release has no address of its own."""
        tree = f"/tree/{self.commit}" if len(self.commit) == 40 else ""
        return f"https://github.com/{self.repository}{tree}"


@dataclass(frozen=True)
class Case:
    """A recorded case: what was run, where the numbers come from and how ours compare."""

    outcome: Outcome
    source: Source
    callable: str


@dataclass(frozen=True)
class Summary:
    """The cases of one source that our functions offer; the errors are the worst of those that passed."""

    source: Source
    cases: int
    failed: int
    differentiable: bool
    value_error: float | None
    grad_error: float | None


def verified(golden: Golden, root: Path) -> list[Case]:
    """Run every recorded case of a paper."""
    recorded = {case.name: case.fields["source"] for case in golden.cases}
    outcomes = verify(golden.key, root / GOLDEN / golden.key)
    return [Case(o, source(recorded[o.case]), recorded[o.case]["callable"] or "") for o in outcomes]


def source(recorded: Mapping[str, str | None]) -> Source:
    """The source a case names."""
    kind = next(kind for kind in KINDS if (recorded["kind"] or "").startswith(kind))
    return Source(kind, (recorded["repo"] or "").partition(" (")[0], (recorded["commit"] or "").split(" ")[-1])


def summaries(cases: Sequence[Case]) -> Iterator[Summary]:
    """One summary a source, the authors' code first."""
    offered = [case for case in cases if case.outcome.status != "not offered"]
    order = list(KINDS)
    for each in sorted({case.source for case in offered}, key=lambda s: (order.index(s.kind), s.name)):
        mine = [case.outcome for case in offered if case.source == each]
        passed = [outcome for outcome in mine if outcome.status == "passed"]
        grads = [outcome.grad_error for outcome in passed if outcome.grad_error is not None]
        yield Summary(
            source=each,
            cases=len(mine),
            failed=len(mine) - len(passed),
            differentiable=len(grads) == len(passed),
            value_error=max((outcome.value_error or 0.0 for outcome in passed), default=None),
            grad_error=max(grads, default=None),
        )


def error(value: float | None) -> str:
    """A relative error with one digit."""
    return "–" if value is None else "0" if value == 0 else f"{value:.0e}"


def source_link(source: Source) -> str:
    """Where numbers come from, linked to the commit."""
    return f"[{source.name}]({source.url})" if source.repository else KINDS[source.kind]


def origin(case: Case) -> str:
    """What was run to record a case."""
    return f"{source_link(case.source)} `{case.callable}`" if case.callable else source_link(case.source)


def summary_line(summary: Summary) -> str:
    """What one source verifies."""
    source = summary.source
    whose = f", {KINDS[source.kind]}" if source.repository else ""
    cases = f"{summary.cases} case{'s' if summary.cases > 1 else ''}"
    what = "value and gradient" if summary.differentiable else "value"
    worst = f"worst error {error(summary.value_error)}"
    if summary.grad_error is not None:
        worst += f" and {error(summary.grad_error)}"
    failed = f"; **{summary.failed} of them disagree**" if summary.failed else ""
    return f"- {source_link(source)}{whose}: {cases}, {what}, {worst}{failed}"


def verified_section(cases: Sequence[Case]) -> list[str]:
    """All sources in short, then every case."""
    found = list(summaries(cases))
    if not found:
        return []
    lines = ["## Verified against", "", '<div class="verified" markdown>', ""]
    lines += [summary_line(summary) for summary in found]
    lines += ["", "</div>", "", "Errors are relative: of the value, and of the gradient to its largest entry.", ""]
    lines += ['??? note "Every case"', "", "    | case | value | gradient | numbers from |"]
    lines += ["    | --- | --- | --- | --- |"]
    for case in cases:
        if case.outcome.status != "not offered":
            errors = f"{error(case.outcome.value_error)} | {error(case.outcome.grad_error)}"
            lines.append(f"    | {case.outcome.case} | {errors} | {origin(case)} |")
    return [*lines, ""]


def not_offered_section(cases: Iterable[Case]) -> list[str]:
    """Recorded cases our functions do not reproduce, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for case in cases:
        if case.outcome.status == "not offered":
            reasons.setdefault(case.outcome.reason or "", []).append(origin(case))
    if not reasons:
        return []
    lines = ["## Not reproduced", "", "Recorded numbers that no call of ours gives, and why.", ""]
    for reason, origins in reasons.items():
        lines.append(f"- {', '.join(dict.fromkeys(origins))}: {shown(reason)}")
    return [*lines, ""]
