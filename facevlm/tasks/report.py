"""Write a stored evaluation as a report."""

from __future__ import annotations

from pathlib import Path

from facevlm import reports
from facevlm.folders import file_name
from facevlm.store import reporting, targets
from facevlm.tasks._verb import verb


@verb
def report(
    target: targets.Collection,
    folder: str | Path | None = None,
    *,
    prefix: str = "demo",
    eval_key: str | None = None,
    pictures: bool = False,
) -> list[Path]:
    """Write report.html, report.md and report.json of an evaluation that is stored with a dataset.

    Args:
        target: the FiftyOne dataset that was evaluated, or a view of it.
        folder: where to write, by default ``<dataset>-report`` here; an earlier report in it is overwritten,
            other files of these names are not.
        prefix: the field prefix of the predictions.
        eval_key: which evaluation, by default ``<prefix>_eval``.
        pictures: embed small pictures of the most confident errors: report.html then holds faces of people.

    Returns:
        The files that were written.

    Raises:
        FacevlmError: before anything is written, where the dataset was deleted, no evaluation is stored, or the folder
            cannot be written to.
    """
    dataset = targets.opened(target)
    out = Path(folder) if folder is not None else Path(f"{file_name(dataset.name)}-report")
    reports.check_folder(out)
    source = reporting.read(target, prefix, eval_key, pictures=pictures)
    return reports.write(reports.build(source), out)
