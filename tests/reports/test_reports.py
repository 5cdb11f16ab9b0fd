"""Reports from evaluations made up here: one structure, three files, the same figures, nothing of a person."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facevlm import reports
from facevlm.attributes import define
from facevlm.errors import InputError
from facevlm.evaluation.evaluate import AttributeEvaluation, Records, evaluate
from facevlm.reports import html, markdown, svg
from facevlm.reports.content import stages
from facevlm.reports.source import Mistake, Source
from facevlm.reports.structure import Bar, Bars, Curve, Heatmap, Report, Section, Spot, Table, probability, share

EVIL = "<script>alert('x')</script>"
HAIR = define("hair", ["dark", "fair"], "which hair colour does the person seem to have?")
STAGE = define("stage", ["child", "teen", "adult"], "how old does the person seem?", kind="ordinal")
TABLE = tuple[list[str], list[list[str]]]
N = 120


def hair() -> AttributeEvaluation:
    """60 faces inside, 30 right and 20 refused; 55 outside, all answered; 5 in a third place."""
    truth = ["dark", "fair"] * (N // 2)
    wrong = {"dark": "fair", "fair": "dark"}
    said: list[str | None] = [t if k < 30 else wrong[t] if k < 40 else None for k, t in enumerate(truth[:60])]
    said += [t if k < 54 else wrong[t] for k, t in enumerate(truth[60:])]
    sure = np.log(np.where(np.arange(N) % 3 == 0, 0.9, 0.7))
    first = np.array([s == "dark" for s in said])
    other = np.log1p(-np.exp(sure))
    log_probs = np.stack([np.where(first, sure, other), np.where(first, other, sure)], 1)
    log_probs[[s is None for s in said]] = np.nan
    places: list[str | None] = [*["in"] * 60, *["out"] * 55, *[EVIL] * 5]
    return evaluate(
        HAIR,
        Records(
            truth=truth,
            predicted=said,
            outcomes=["ok" if s is not None else "refused" for s in said],
            groups={"place": places, "light": ["dim", "dim", "bright"] * (N // 3), EVIL: ["a | b", "c*d"] * (N // 2)},
            not_asked=3,
            no_truth=5,
            log_probs=log_probs,
        ),
        alignment="hair9 -> hair",
        draws=100,
    )


def stage() -> AttributeEvaluation:
    truth = ["child", "teen", "adult"] * 20
    said: list[str | None] = ["child", "adult", "adult"] * 20
    records = Records(truth, said, ["ok"] * 60, years=[5, 15, 40] * 20, edges=(0, 12, 18))
    return evaluate(STAGE, records, draws=100)


RECORD = {
    "status": "done",
    "time": "2026-01-02T03:04:05+00:00",
    "backend": {
        "model": "demo",
        "decode": "score",
        "device": "cpu",
        "dtype": "float32",
        "versions": {"facevlm": "1"},
        "notes": [f"a note {EVIL}"],
        "stated": [{"checkpoint": "org/model", "data": f"faces of {EVIL}", "licence": "apache-2.0"}],
    },
    "identity": [{"checkpoint": "org/model", "revision": "abc123"}],
    "questions": {"hair": {"text": "which | hair?", "context": None, "labels": ["dark", "fair"]}},
    "outcomes": {"hair": {"ok": 100, "refused": 20}},
    "coverage": {"hair": 0.91},
    "faces": 128,
    "asked": 120,
    "seconds": 4.5,
    "model_seconds": 3.25,
    "view": json.dumps(
        [{"_cls": "fiftyone.core.stages.Match", "kwargs": [["filter", {"filepath": "faces/person.jpg"}]]}]
    ),
}


@pytest.fixture(scope="module")
def source() -> Source:
    results = (hair(), stage())
    evaluation = {
        "eval_key": "demo_eval",
        "ground_truth": {"hair": "place", "stage": "age"},
        "views": {"hair": "demo_eval_hair_errors"},
        "evaluations": [json.loads(json.dumps(e.to_dict())) for e in results],
    }
    return Source(f"faces {EVIL}", "demo", evaluation, RECORD, "Limit", "2026-01-02T03:05:00")


@pytest.fixture(scope="module")
def report(source: Source) -> Report:
    return reports.build(source)


class Tables(HTMLParser):
    """The tables of a page, every other text, and the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[TABLE] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._cell: list[str] | None = None
        self._row: list[str] = []
        self._head = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.found.append(([], []))
        elif tag == "tr":
            self._row = []
        elif tag in ("thead", "tbody"):
            self._head = tag == "thead"
        elif tag in ("th", "td"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td") and self._cell is not None:
            self._row.append("".join(self._cell))
            self._cell = None
        elif tag == "tr":
            header, rows = self.found[-1]
            if self._head:
                header.extend(self._row)
            else:
                rows.append(self._row)

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)


def plain(cell: str) -> str:
    """A Markdown cell as it reads."""
    text = re.sub(r"\\(.)", r"\1", cell.strip())
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def markdown_tables(text: str) -> list[TABLE]:
    found: list[TABLE] = []
    last = ""
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [plain(c) for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not last.startswith("|"):
                found.append((cells, []))
            elif not set(line) <= set("|-: "):
                found[-1][1].append(cells)
        last = line
    return found


def json_blocks(sections: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    found = []
    for section in sections:
        found += [b for b in section["blocks"] if b["kind"] == kind]
        found += json_blocks(section["sections"], kind)
    return found


def json_tables(data: dict[str, Any]) -> list[TABLE]:
    return [
        (list(t["header"]), [[c["shown"] for c in row["cells"]] for row in t["rows"]])
        for t in json_blocks(data["sections"], "table")
    ]


@pytest.fixture(scope="module")
def files(report: Report, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    paths = reports.write(report, tmp_path_factory.mktemp("out") / "deep" / "report")
    return {p.name: p.read_text(encoding="utf-8") for p in paths}


def test_all_three_files_hold_the_same_figures(files: dict[str, str]) -> None:
    kept = json_tables(json.loads(files["report.json"]))
    assert len(kept) > 20
    assert Tables(files["report.html"]).found == kept
    assert markdown_tables(files["report.md"]) == kept


def test_what_is_shown_is_what_is_stored(files: dict[str, str]) -> None:
    cells = [
        c
        for t in json_blocks(json.loads(files["report.json"])["sections"], "table")
        for r in t["rows"]
        for c in r["cells"]
    ]
    numbers = [c for c in cells if isinstance(c["value"], (int, float))]
    assert len(numbers) > 200
    for cell in numbers:
        if cell["shown"] == "< 0.001":
            assert cell["value"] < 0.001
            continue
        shown = float(cell["shown"].rstrip("*"))
        assert min(abs(shown - cell["value"]), abs(shown / 100 - cell["value"])) <= 0.0050001
    assert all(c["shown"] == "-" for c in cells if c["value"] is None)


def table(report: Report, *where: str) -> Table:
    """A table by the headings above it and its own."""
    sections: tuple[Section, ...] = report.sections
    section = None
    for name in where[:-1]:
        section = next(s for s in sections if s.title == name)
        sections = section.sections
    assert section is not None
    return next(b for b in section.blocks if isinstance(b, Table) and b.title == where[-1])


def shown(table: Table) -> list[list[str]]:
    return [[c.shown for c in row.cells] for row in table.rows]


def test_figures_stand_over_all_and_over_answered_faces(report: Report) -> None:
    rows = shown(table(report, "Perceived hair (hair)", "Overall"))
    result = hair()
    assert rows[0][:4] == ["all faces", "120", "70.0", f"{share(result.overall.low)} - {share(result.overall.high)}"]
    assert rows[1][:3] == ["answered faces", "100", "84.0"]
    weighted = share(result.overall.weighted_f1)
    assert rows[0][8:] == [weighted, f"{result.overall.kappa:.2f}", f"{result.overall.mcc:.2f}"]


def test_small_groups_are_marked_and_muted(report: Report) -> None:
    found = next(
        b
        for b in next(s for s in report.sections if s.title == "Perceived hair (hair)").sections[1].blocks
        if isinstance(b, Table) and b.title == "By place"
    )
    marks = {row.cells[0].shown: (row.cells[1].shown, row.muted) for row in found.rows}
    assert marks == {EVIL: ("5*", True), "in": ("60", False), "out": ("55", False)}


def test_a_refusal_rate_that_differs_is_a_finding(report: Report) -> None:
    said = json.dumps(report.to_dict()["sections"][0])
    assert "hair, place in: 33.3 % of 60 faces without an answer (Holm p < 0.001)." in said
    rows = shown(table(report, "Perceived hair (hair)", "Answers and refusals", "Outcomes by place"))
    inside = next(row for row in rows if row[0] == "in")
    assert inside[1:9] == ["60", "40", "20", "0", "0", "0", "33.3", "22.7 - 45.9"]


def test_gaps_name_both_groups_with_intervals_and_p_values(report: Report) -> None:
    rows = shown(table(report, "Perceived hair (hair)", "Gaps between groups", "Worst against best group"))
    [place] = [row for row in rows if row[:2] == ["place", "accuracy"]]
    assert place[2:7] == ["in", "50.0", "out", "98.2", "48.2"]
    assert place[9:] == ["< 0.001", "-", "2", "1"]
    low, high = map(float, place[7].split(" - "))
    assert 30 < low < 48.2 < high < 65
    standing = shown(table(report, "Perceived hair (hair)", "Gaps between groups", "Groups against all faces"))
    inside = next(row for row in standing if row[:2] == ["place", "in"])
    assert float(inside[2]) < 0
    assert float(inside[4]) > 1.5
    odds = shown(table(report, "Perceived hair (hair)", "Gaps between groups", "Differences for the label 'dark'"))
    assert odds[0][0] == "place"


def test_the_worst_groups_come_first_and_once(report: Report) -> None:
    rows = shown(table(report, "At a glance", "Worst groups"))
    assert rows[0][:4] != rows[1][:4]
    short = [float(row[6]) for row in rows]
    assert short == sorted(short, reverse=True)
    assert ["hair", "place", "in", "60", "50.0"] in [row[:5] for row in rows]
    assert next(row for row in rows if row[1:3] == ["place", "in"])[-1] == "yes"
    assert all(int(row[3]) >= 30 for row in rows)


def crossed(fields: int, faces: int) -> Report:
    """An evaluation by so many fields of two values each; the more second values a face has, the oftener wrong."""
    rows = np.arange(faces)
    values = {f"f{k}": ["b" if bit else "a" for bit in (rows >> k) & 1] for k in range(fields)}
    bad = np.array([sum(column[k] == "b" for column in values.values()) for k in range(faces)])
    wrong = (rows // 2**fields) % 10 < 2 * bad
    said: list[str | None] = ["fair" if w else "dark" for w in wrong]
    result = evaluate(HAIR, Records(["dark"] * faces, said, ["ok"] * faces, values), draws=20)
    kept = json.loads(json.dumps(result.to_dict()))
    evaluation = {"eval_key": "e", "ground_truth": {"hair": "h"}, "views": {}, "evaluations": [kept]}
    return reports.build(Source("d", "p", evaluation))


def test_the_worst_groups_by_many_fields_are_in_all_three_files(tmp_path: Path) -> None:
    made = crossed(3, 320)
    found = table(made, "Perceived hair (hair)", "Groups", "Worst groups by 3 fields together")
    rows = shown(found)
    assert rows[0][:4] == ["f0 and f1 and f2", "b / b / b", "40", "40.0"]
    short = [float(row[5]) for row in rows]
    assert short == sorted(short, reverse=True)
    assert len(rows) == 4, "those with two second values or three lie below the rest"
    assert found.note.startswith("Of 8 groups by 3 fields together, 8 have 30 faces or more; shown are those farthest")
    cell = made.evaluation["evaluations"][0]["groups"][-1]["rows"][-1]["cell"]
    assert found.rows[0].cells[3].value == cell["accuracy"] == pytest.approx(0.4)
    texts = {p.name: p.read_text(encoding="utf-8") for p in reports.write(made, tmp_path)}
    kept = (list(found.header), rows)
    assert kept in Tables(texts["report.html"]).found
    assert kept in markdown_tables(texts["report.md"])
    assert kept in json_tables(json.loads(texts["report.json"]))


def test_the_worst_are_of_the_highest_crossing_that_has_enough_faces() -> None:
    rows = shown(table(crossed(4, 320), "Perceived hair (hair)", "Groups", "Worst groups by 3 fields together"))
    assert len(rows) == 10, "of 32 groups by three of the four fields"
    assert {len(row[1].split(" / ")) for row in rows} == {3}
    assert all(int(row[2]) >= 30 for row in rows)


def test_crossings_without_enough_faces_say_so() -> None:
    three, two = (
        [b["text"] for b in json_blocks(crossed(fields, 80).to_dict()["sections"], "text")] for fields in (3, 2)
    )
    assert "No group by 3 fields or more together has 30 faces." in three
    assert not any("fields or more together" in text for text in two)


def test_ordinal_errors_are_in_groups_and_in_years(report: Report) -> None:
    along = dict(shown(table(report, "Perceived stage (stage)", "Errors along the order of the labels")))
    assert along["mean distance, groups"] == "0.33"
    assert along["said minus true, groups"] == "0.33"
    years = dict(shown(table(report, "Perceived stage (stage)", "Errors in years")))
    assert years["faces under 18"] == "40"
    assert years["of these said to be adults"] == "50.0"


def test_calibration_is_there_only_with_scores(report: Report) -> None:
    facts = dict(shown(table(report, "Perceived hair (hair)", "Confidence", "Calibration")))
    assert facts["faces with scores"] == "100"
    assert facts["expected calibration error, bins of equal width"] == share(hair().confidence.ece)  # type: ignore[union-attr]
    names = list(facts)
    assert names.index("negative log-likelihood, nats") < names.index("expected calibration error, bins of equal width")
    titles = [s.title for s in next(s for s in report.sections if "stage" in s.title).sections]
    assert "Confidence" not in titles


def test_the_run_and_the_data_are_told(report: Report) -> None:
    run = dict(shown(table(report, "The run", "Run")))
    assert run["checkpoints"] == "org/model at abc123"
    assert (run["view"], run["seconds of the last call"], run["device"]) == ("Match", "4.50", "cpu")
    data = shown(table(report, "The data", "Ground truth"))
    assert data[0] == ["hair", "place", "hair9 -> hair", "120", "3", "5"]


def test_what_the_card_says_of_the_model_is_told(report: Report, source: Source) -> None:
    assert shown(table(report, "The run", "The model's card")) == [
        ["org/model", f"faces of {EVIL}", "apache-2.0", "not stated"]
    ]
    older = {**RECORD, "backend": {"model": "demo"}}
    rows = shown(table(reports.build(replace(source, record=older)), "The run", "The model's card"))
    assert rows == [["org/model", "not stated", "not stated", "not stated"]]


def test_a_run_without_a_record_says_so(source: Source) -> None:
    text = markdown.render(reports.build(replace(source, record={})))
    assert "No record of a run with the prefix 'demo' is kept in this dataset." in text


def test_limits_say_perceived_and_what_not_to_use_it_for(files: dict[str, str]) -> None:
    for text in files.values():
        assert "perceived or apparent" in text
        assert "What not to use it for" in text
        assert "arXiv 1810.03993" in text


def test_nothing_from_the_data_is_markup(files: dict[str, str]) -> None:
    page = Tables(files["report.html"])
    assert "<script" not in files["report.html"]
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "form"}
    assert any(EVIL in words for words in page.words)
    assert "<script" not in files["report.md"]
    assert json.loads(files["report.json"])["title"].endswith(f"faces {EVIL}")


def test_the_page_needs_nothing_from_elsewhere(files: dict[str, str]) -> None:
    page = files["report.html"]
    assert "://" not in page
    assert "default-src 'none'" in page
    assert not [
        attrs for _, attrs in Tables(page).tags if any(name.startswith("on") or name == "src" for name in attrs)
    ]


def test_no_path_of_a_person_is_in_a_report(files: dict[str, str]) -> None:
    assert not [name for name, text in files.items() if "person.jpg" in text or "data:image" in text]


def test_every_plot_is_well_formed_and_has_a_title(files: dict[str, str]) -> None:
    plots = re.findall(r"<svg.*?</svg>", files["report.html"], re.DOTALL)
    assert len(plots) >= 8
    names = set()
    for plot in plots:
        root = ElementTree.fromstring(plot)
        by = root.attrib["aria-labelledby"].split()
        names.update(by)
        assert root.find("title") is not None
        assert root[0].attrib["id"] == by[0]
        assert root[0].text
        assert root[1].text
    assert len(names) == 2 * len(plots)


def test_bars_are_as_long_as_their_shares() -> None:
    plot = Bars(
        "Accuracy",
        (Bar("a", 0.5, 0.4, 0.6, 40), Bar("b", 1.0, 0.9, 1.0, 10, True), Bar("c", None, None, None, 0)),
        0.75,
    )
    root = ElementTree.fromstring(svg.bars(plot, "x"))
    rects = [(r.attrib["class"], float(r.attrib["width"])) for r in root.iter("rect")]
    assert rects == [("bar", 128.0), ("bar muted", 256.0)]
    [line] = [r for r in root.iter("line") if r.attrib["class"] == "reference"]
    assert float(line.attrib["x1"]) == svg.LABEL + 0.75 * 256


def test_cells_are_coloured_by_their_share_of_the_row() -> None:
    root = ElementTree.fromstring(
        svg.heatmap(Heatmap("m", ("a", "b"), ("a", "b", "no answer"), ((3, 1, 0), (0, 0, 0))), "x")
    )
    heat = [float(r.attrib["fill-opacity"]) for r in root.iter("rect") if r.attrib["class"] == "heat"]
    assert heat == [0.75, 0.25, 0, 0, 0, 0]


def test_points_of_a_curve_lie_where_they_should() -> None:
    root = ElementTree.fromstring(svg.curve(Curve("c", "x", "y", (Spot(0.0, 0.5), Spot(1.0, 1.0)), True, 0.5), "x"))
    spots = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter("circle")]
    assert spots == [(52.0, 260.0), (412.0, 10.0)]
    assert ElementTree.fromstring(svg.curve(Curve("c", "x", "y", ()), "x")) is not None


@pytest.fixture
def pictured(source: Source, tmp_path: Path) -> Source:
    path = tmp_path / "secret name.png"
    Image.new("RGB", (400, 200), (200, 20, 20)).save(path)
    mistakes = [Mistake(str(path), "dark", "fair", 0.9), Mistake(str(tmp_path / "gone.png"), "fair", "dark", None)]
    return replace(source, mistakes={"hair": mistakes, "stage": []})


def test_pictures_are_in_the_page_alone_and_small(pictured: Source, tmp_path: Path) -> None:
    texts = {p.name: p.read_text(encoding="utf-8") for p in reports.write(reports.build(pictured), tmp_path / "out")}
    images = [attrs for tag, attrs in Tables(texts["report.html"]).tags if tag == "img"]
    assert [i["alt"] for i in images] == ["said fair, true dark, confidence 90.0"]
    assert str(images[0]["src"]).startswith("data:image/jpeg;base64,")
    assert len(str(images[0]["src"])) < 10_000
    assert "the picture cannot be read" in texts["report.html"]
    assert "holds pictures of people&#x27;s faces" in texts["report.html"]
    assert all("secret name" not in text and "gone.png" not in text for text in texts.values())
    assert "data:image" not in texts["report.md"] + texts["report.json"]
    assert "The errors that the figures count cannot be shown any more." in texts["report.md"], "of stage"


def test_an_evaluation_without_faces_has_a_report() -> None:
    empty = evaluate(HAIR, Records([], [], [], {"place": []}), draws=10)
    evaluation = {"eval_key": "e", "ground_truth": {"hair": "h"}, "views": {}, "evaluations": [empty.to_dict()]}
    made = reports.build(Source("d", "p", evaluation))
    assert "| all faces | 0\\* | - | - |" in markdown.render(made)
    assert html.render(made)
    json.dumps(made.to_dict(), allow_nan=False)


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_bad_input(report: Report, tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="expected a folder"):
        reports.write(report, tmp_path / where)


@pytest.mark.parametrize(
    ("view", "said"), [(None, ""), ("", ""), ("no json", ""), ("[]", ""), (RECORD["view"], "Match")]
)
def test_views_are_told_by_the_names_of_their_stages(view: object, said: str) -> None:
    assert stages(view) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "< 0.001"), (0.001, "0.001"), (0.04567, "0.046"), (1.0, "1.000"), (None, "-"), (float("nan"), "-")],
)
def test_a_p_value_has_three_decimals(value: float | None, said: str) -> None:
    assert probability(value) == said


def test_markdown_from_data_stays_text() -> None:
    assert markdown.plain("a|b *c* `d` [e](f)\n<g> & h") == r"a\|b \*c\* \`d\` \[e\](f) &lt;g&gt; &amp; h"
