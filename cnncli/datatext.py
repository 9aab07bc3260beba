"""What `cnncli data` says, for people, for pipes and as JSON objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cnncli.formats import SCHEMA, tab_lines
from cnncli.text import printable

if TYPE_CHECKING:
    from cnncli.datasets.check import Finding, Overview
    from cnncli.datasets.published import PublishedData

Row = tuple[str, ...]

LIST_HEADS = ("name", "shows", "images", "classes", "size", "MB", "here")
_CASES_ON_A_TERMINAL = 10  # of one kind; a pipe and JSON hold all


def list_rows(rows: Iterable[PublishedData]) -> list[Row]:
    """The published data sets, LIST_HEADS naming the columns."""
    return [
        (
            row.name,
            row.shows,
            f"{row.num_images:,}",
            str(row.num_classes),
            row.size,
            f"{row.size_bytes / 1e6:.0f}" if row.files else "-",
            ("yes" if row.cached else "-") if row.files else "by hand",
        )
        for row in rows
    ]


def list_object(rows: Iterable[PublishedData]) -> dict[str, Any]:
    """The published data sets as a JSON object."""
    return {
        "schema": SCHEMA,
        "data": [
            {
                "name": row.name,
                "shows": row.shows,
                "train": row.train_images,
                "test": row.test_images,
                "classes": row.num_classes,
                "size": row.size,
                "download_bytes": row.size_bytes,
                "cached": row.cached,
                "home": row.home,
                "files": [{"path": str(file.path), "url": file.url, "digest": file.digest} for file in row.files],
            }
            for row in rows
        ],
    }


def overview_facts(about: Overview, fingerprint: str) -> list[tuple[str, str]]:
    """What is to be known of a data set as a whole: name and value."""
    readable = about.num_images - about.num_unreadable
    facts = [
        ("data", f"{printable(about.name)}: {about.num_images:,} images of {len(about.classes):,} classes"),
        ("size", _sizes(about)),
        ("colour", _colours(about.num_gray, readable)),
        ("fingerprint", fingerprint),
    ]
    if about.num_unreadable:
        facts.insert(1, ("unreadable", f"{about.num_unreadable:,}, which 'cnncli data check' names"))
    return facts


def _sizes(about: Overview) -> str:
    if about.sizes is None:
        return "-"
    small, large = (f"{width}x{height}" for height, width in about.sizes)
    return f"{small} pixels, all of them" if small == large else f"{small} to {large} pixels, {about.num_sizes:,} sizes"


def _colours(num_gray: int, num_images: int) -> str:
    if num_gray in (0, num_images):
        return "gray" if num_gray else "rgb"
    return f"rgb, {num_gray:,} of {num_images:,} images gray"


def count_heads(about: Overview) -> Row:
    """The heads of `count_rows`."""
    return ("class", *about.splits, "all") if len(about.splits) > 1 else ("class", "images")


def count_rows(about: Overview) -> list[Row]:
    """Images of each class by split, and the sums."""
    counted = [*zip(about.classes, about.counts, strict=True), ("all classes", about.totals)]
    return [
        (printable(name), *(f"{count:,}" for count in counts), *([f"{sum(counts):,}"] if len(counts) > 1 else []))
        for name, counts in counted
    ]


def overview_tabs(about: Overview, fingerprint: str) -> str:
    """All of it for a pipe."""
    return tab_lines([*overview_facts(about, fingerprint), count_heads(about), *count_rows(about)])


def overview_object(about: Overview, fingerprint: str, notes: Sequence[str]) -> dict[str, Any]:
    """All of it as a JSON object; sizes are `[height, width]`."""
    return {
        "schema": SCHEMA,
        "data": about.name,
        "images": about.num_images,
        "unreadable": about.num_unreadable,
        "classes": [
            {"label": label, **dict(zip(about.splits, counts, strict=True))}
            for label, counts in zip(about.classes, about.counts, strict=True)
        ],
        "smallest": about.sizes and list(about.sizes[0]),
        "largest": about.sizes and list(about.sizes[1]),
        "gray": about.num_gray,
        "fingerprint": fingerprint,
        "notes": list(notes),
    }


def check_object(about: Overview, findings: Sequence[Finding]) -> dict[str, Any]:
    """What `data check` found as a JSON object."""
    return {
        "schema": SCHEMA,
        "data": about.name,
        "images": about.num_images,
        "unreadable": about.num_unreadable,
        "classes": len(about.classes),
        "findings": [
            {
                "kind": finding.kind,
                "level": level(finding),
                "about": finding.about,
                "count": len(finding.cases),
                "cases": list(finding.cases),
            }
            for finding in findings
        ],
    }


def level(finding: Finding) -> str:
    """`error` or `warning`."""
    return "error" if finding.is_error else "warning"


def check_tabs(findings: Sequence[Finding]) -> str:
    """A line for each case: level, kind, case."""
    return tab_lines((level(finding), finding.kind, case) for finding in findings for case in finding.cases)


def check_text(about: Overview, findings: Sequence[Finding]) -> str:
    """What `data check` found, for people: each kind with what it means and its first cases."""
    lines = [f"{printable(about.name)}: {about.num_images:,} images of {len(about.classes):,} classes"]
    for finding in findings:
        lines += ["", f"{level(finding)}: {finding.kind}, {len(finding.cases):,}", f"  {finding.about}"]
        lines += [f"    {printable(case)}" for case in finding.cases[:_CASES_ON_A_TERMINAL]]
        if (more := len(finding.cases) - _CASES_ON_A_TERMINAL) > 0:
            lines.append(f"    and {more:,} more, which a pipe and --format json show")
    if not findings:
        lines.append("no trouble found: every image can be read, none is there twice, classes are even")
    return "\n".join(lines) + "\n"
