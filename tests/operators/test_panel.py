"""The panel's events through FiftyOne's registry and context: figures, views, tags, corrections, and bad states."""

from __future__ import annotations

import json
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest
import yaml
from fiftyone.operators.executor import ExecutionContext, Executor
from fiftyone.operators.registry import OperatorRegistry

import facevlm
from facevlm import reports
from facevlm.reports import markdown
from facevlm.store import inspection, reporting
from facevlm.store import results as results_store
from facevlm.tasks import sources as sources_task
from tests.operators.test_plugin import NAME, ROOT

PANEL = f"{NAME}/face_attribute_errors"


@pytest.fixture
def faces(dataset_name: str) -> fo.Dataset:
    return sources_task.sample_faces(dataset_name)


@pytest.fixture
def evaluated(faces: fo.Dataset) -> fo.Dataset:
    facevlm.apply(faces, "demo", ["gender", "race5"], progress=False)
    facevlm.evaluate(faces, prefix="demo", draws=20)
    return faces


class Sent:
    """What an event sent to the App."""

    def __init__(self, dataset: fo.Dataset, requests: list[dict[str, Any]], state: dict[str, Any]) -> None:
        json.dumps(requests)
        self._dataset, self._requests, self.state = dataset, requests, json.loads(json.dumps(state))
        self.panel = self.params("show_panel_output")[0]["output"]["type"]["properties"]

    def params(self, name: str) -> list[dict[str, Any]]:
        return [r["params"] for r in self._requests if r["operator_uri"] == name]

    @property
    def view(self) -> fo.DatasetView:
        (sent,) = self.params("set_view")
        return fo.DatasetView._build(self._dataset, sent["view"])

    @property
    def said(self) -> str:
        return " ".join(note["message"] for note in self.params("notify"))

    @property
    def text(self) -> str:
        return json.dumps(self.panel)


def send(dataset: fo.Dataset, method: str, state: dict[str, Any] | None = None, **request: Any) -> Sent:
    """Send an event as the App does; ``params`` of the event, ``selected`` and the like are its keywords."""
    params = {"panel_id": "p", "panel_state": state or {}, "__method__": method, **request.pop("params", {})}
    context = ExecutionContext(
        {"dataset_name": dataset.name, "params": params, **request}, executor=Executor(), operator_uri=PANEL
    )
    foo.get_operator(PANEL).execute(context)
    dataset.reload()
    return Sent(dataset, [r.to_json() for r in context.executor._requests], context.panel_state)


def test_the_panel_is_registered_for_grid_and_modal() -> None:
    assert OperatorRegistry().list_errors() == []
    panel = foo.get_operator(PANEL)
    assert isinstance(panel, foo.Panel)
    assert panel.config.surfaces == "grid modal"
    assert yaml.safe_load((ROOT / "fiftyone.yml").read_text())["panels"] == ["face_attribute_errors"]


def test_the_figures_of_the_newest_evaluation_are_shown(evaluated: fo.Dataset) -> None:
    shown = send(evaluated, "on_load")
    figures = inspection.figures_of(results_store.load(evaluated, "demo_eval"), "race5")
    assert shown.panel["confusion"]["view"]["data"][0]["customdata"] == figures["confusion"]
    assert "n = 96" in shown.panel["overall"]["default"]
    assert "perceived or apparent" in shown.text
    assert [tab["label"] for tab in shown.panel["tabs_0"]["view"]["choices"]] == [
        "Errors",
        "Groups",
        "Confidence",
        "Compare",
        "Review",
    ]
    assert {"groups", "gaps"} <= set(send(evaluated, "on_load", {"tab": "groups"}).panel)
    assert {"reliability", "selective"} <= set(send(evaluated, "on_load", {"tab": "confidence"}).panel)
    gender = send(evaluated, "on_choose", params={"path": "choose.attribute", "value": "gender"})
    assert gender.panel["confusion"]["view"]["data"][0]["y"] == ["Male", "Female"]


def test_clicks_filter_the_grid(evaluated: fo.Dataset) -> None:
    figures = inspection.figures_of(results_store.load(evaluated, "demo_eval"), "race5")
    cell = send(evaluated, "on_cell", params={"x": "Indian", "y": "White"}).view
    labels = figures["labels"]
    assert len(cell) == figures["confusion"][labels.index("White")][labels.index("Indian")] > 0
    table = figures["groups"][1]
    state = {"by": {"grouping": " x ".join(table["by"])}}
    for k, row in enumerate(table["rows"]):
        assert len(send(evaluated, "on_group", state, params={"idx": k}).view) == row["cell"]["n"]
    bins = figures["confidence"]["bins"]
    assert len(send(evaluated, "on_bin", params={"idx": 0}).view) == bins[0]["n"]
    assert "bins, got number 99" in send(evaluated, "on_bin", params={"idx": 99}).said
    assert "not in the evaluation any more" in send(evaluated, "on_group", params={"idx": 99}).said


def test_buttons_show_errors_and_say_where_there_is_no_face(evaluated: fo.Dataset) -> None:
    errors = send(evaluated, "on_show", params={"which": "errors"}).view
    assert len(errors) == 14
    refused = send(evaluated, "on_show", params={"which": "no_answer"})
    assert refused.params("set_view") == []
    assert "There is no such face: Refused, unparsed, failed." in refused.said
    assert send(evaluated, "on_show_all").params("clear_view") == [{}]
    send(evaluated, "on_label_errors")
    assert evaluated.has_saved_view("demo_eval_race5_label_errors")


def test_disagreements_are_offered_where_another_run_is(evaluated: fo.Dataset) -> None:
    compare = {"tab": "compare"}
    assert "No other run has answered" in send(evaluated, "on_load", compare).text
    facevlm.apply(evaluated, "demo", ["race5"], prefix="two", prompts={"race5": "another wording"}, progress=False)
    assert "Disagreements with two" in send(evaluated, "on_load", compare).text
    sent = send(evaluated, "on_disagree", params={"rival": "two"})
    a, b = evaluated.values(["demo_race5.label", "two_race5.label"])
    differ = sum(1 for x, y in zip(a, b, strict=True) if x != y)
    assert (len(sent.view) == differ) if differ else ("no such face" in sent.said)


def test_selected_faces_are_tagged_at_once_and_a_view_after_a_question(evaluated: fo.Dataset) -> None:
    chosen = evaluated.values("id")[:2]
    assert "2 tagged" in send(evaluated, "on_tag", params={"tag": "label_error"}, selected=chosen).said
    assert evaluated.count_sample_tags() == {"label_error": 2}
    asked = send(evaluated, "on_tag", params={"tag": "ambiguous"})
    assert "Tag all 96 faces of this view" in asked.text
    assert evaluated.count_sample_tags() == {"label_error": 2}
    send(evaluated, "on_cancel", {"pending": {"tag": "ambiguous", "n": 96}})
    assert evaluated.count_sample_tags() == {"label_error": 2}
    view = evaluated.limit(3)._serialize()
    send(evaluated, "on_confirm", {"pending": {"tag": "ambiguous", "n": 3}}, view=view)
    assert evaluated.count_sample_tags() == {"label_error": 2, "ambiguous": 3}


def test_an_event_that_was_sent_before_the_last_answer_is_drawn_as_things_are_now(evaluated: fo.Dataset) -> None:
    loaded = send(evaluated, "on_load")
    asked = send(evaluated, "on_tag", loaded.state, params={"tag": "ambiguous"})
    assert "Tag all 96 faces" in asked.text
    late = send(evaluated, "on_change_view", loaded.state)
    assert "Tag all 96 faces" in late.text
    opened = send(evaluated, "on_tab", late.state, params={"path": "tabs_0", "value": "confidence"})
    assert "selective" in send(evaluated, "on_change_selected", late.state).panel
    gender = send(evaluated, "on_choose", opened.state, params={"path": "choose.attribute", "value": "gender"})
    assert "**demo_eval** · **gender**" in send(evaluated, "on_change_view", opened.state).text.replace("\\u00b7", "·")
    cancelled = send(evaluated, "on_cancel", gender.state)
    assert cancelled.state["pending"] is None
    assert "Tag all 96 faces" not in send(evaluated, "on_load").text


def test_what_is_as_it_was_is_not_told(evaluated: fo.Dataset) -> None:
    """The App loads the dataset anew for every change of a panel's state, and tells the panel of that."""
    loaded = send(evaluated, "on_load")
    assert loaded.params("patch_panel_state")
    for event in ("on_change_view", "on_change_selected", "on_change_current_sample"):
        assert send(evaluated, event, loaded.state).params("patch_panel_state") == []
    chosen = send(evaluated, "on_choose", loaded.state, params={"path": "choose.attribute", "value": "gender"})
    assert [list(p["state"]) for p in chosen.params("patch_panel_state")] == [["choose.attribute"], ["told"]]
    again = send(evaluated, "on_choose", chosen.state, params={"path": "choose.attribute", "value": "gender"})
    assert again.params("patch_panel_state") == []
    cleared = send(evaluated, "on_choose", chosen.state, params={"path": "choose.attribute", "value": "race5"})
    assert cleared.state["choose"]["attribute"] == "race5"


def test_filters_are_looked_after_and_come_back_with_the_users_view(evaluated: fo.Dataset) -> None:
    uri = f"{NAME}/keep_sidebar_filters"
    women = {"gender.label": {"values": ["Female"], "exclude": False, "isMatching": True}}
    loaded = send(evaluated, "on_load")
    opened = send(evaluated, "on_tab", loaded.state, params={"path": "tabs_0", "value": "groups"}, filters=women)
    assert [p["filters"] for p in opened.params(uri)] == [women]
    assert send(evaluated, "on_change_view", opened.state, filters=women).params(uri) == []
    cell = send(evaluated, "on_show", opened.state, params={"which": "errors"}, filters=women)
    back = send(evaluated, "on_show_all", cell.state)
    assert [p["filters"] for p in back.params(uri)] == [women]


def test_a_question_about_all_faces_stands_until_some_are_selected(evaluated: fo.Dataset) -> None:
    asked = {"pending": {"tag": "ambiguous", "n": 96}}
    assert "confirm" in send(evaluated, "on_change_selected", asked).text
    some = send(evaluated, "on_change_selected", asked, selected=evaluated.values("id")[:1])
    assert some.state["pending"] is None


def test_what_was_agreed_to_is_asked_again_where_the_view_holds_others_now(evaluated: fo.Dataset) -> None:
    told = send(evaluated, "on_confirm", {"pending": {"tag": "ambiguous", "n": 3}})
    assert told.said == "The view holds 96 faces now, not 3: agree again."
    assert told.state["pending"] == {"tag": "ambiguous", "n": 96}
    assert evaluated.count_sample_tags() == {}


def test_relabelling_writes_to_a_field_of_its_own(evaluated: fo.Dataset) -> None:
    before, chosen = evaluated.values("race.label"), evaluated.values("id")[:2]
    state = {"relabel": {"label": "Indian"}}
    assert "Select at least one face" in send(evaluated, "on_relabel", state).said
    assert "Choose a label" in send(evaluated, "on_relabel", selected=chosen).said
    assert "labelled 'Indian' in 'race_corrected'" in send(evaluated, "on_relabel", state, selected=chosen).said
    assert evaluated.values("race_corrected.label")[:2] == ["Indian"] * 2
    assert evaluated.values("race.label") == before
    assert "Evaluate again with ground truth `race_corrected`" in send(evaluated, "on_load").text


def test_the_modal_shows_all_answers_about_a_face(evaluated: fo.Dataset) -> None:
    sample = evaluated.first()
    facevlm.apply(evaluated, "demo", ["emotion7"], prefix="alone", progress=False)
    shown = send(evaluated, "on_load", current_sample=sample.id)
    assert "ground truth" not in shown.panel["title_emotion7"]["default"]
    assert sample.gender.label in shown.panel["title_gender"]["default"]
    shares = shown.panel["shares_demo_gender"]["view"]["data"][0]
    assert shares["y"] == ["Male", "Female"]
    assert sum(shares["x"]) == pytest.approx(1)
    assert sample.demo_race5.label in shown.panel["said_demo_race5"]["default"]
    assert "confusion" not in shown.panel
    send(evaluated, "on_tag", {"modal": True}, params={"tag": "model_error"}, current_sample=sample.id)
    assert evaluated.match_tags("model_error").values("id") == [sample.id]
    # A panel of the grid stays one while a face is open.
    assert "confusion" in send(evaluated, "on_change_current_sample", current_sample=sample.id).panel


def test_bad_states_are_said_in_the_panel(evaluated: fo.Dataset) -> None:
    results = results_store.load(evaluated, "demo_eval")
    evaluated.delete_sample_field("demo_race5")
    broken = send(evaluated, "on_load")
    assert "Field 'demo_race5' of the evaluation" in broken.panel["unreachable"]["view"]["label"]
    assert "confusion" in broken.panel
    assert "is not there any more" in send(evaluated, "on_cell", params={"x": "White", "y": "White"}).said
    for figures in results["evaluations"]:
        figures["confidence"] = None
    results_store.save(evaluated, results)
    without = send(evaluated, "on_load", {"tab": "confidence"})
    assert "carry no scores" in without.panel["no_scores"]["view"]["label"]
    assert "reliability" not in without.panel
    for figures in results["evaluations"]:
        del figures["confidence"]
    results_store.save(evaluated, results)
    shown = send(evaluated, "on_load").panel
    assert "another version of facevlm: it lacks confidence" in shown["broken"]["view"]["label"]
    assert "evaluation" in shown["choose"]["type"]["properties"]  # another one can still be chosen


def test_before_any_evaluation_the_panel_says_what_to_run(faces: fo.Dataset) -> None:
    shown = send(faces, "on_load")
    assert "Evaluate face attributes against ground truth" in shown.panel["nothing"]["view"]["label"]
    assert "No model was asked" in send(faces, "on_load", current_sample=faces.first().id).text
    for method, params in (
        ("on_cell", {"x": "a", "y": "b"}),
        ("on_show", {"which": "errors"}),
        ("on_label_errors", {}),
    ):
        assert "keeps no figures" in send(faces, method, params=params).said


def test_the_header_says_what_the_grid_shows_and_the_way_back_is_kept(evaluated: fo.Dataset) -> None:
    own = evaluated.limit(90)._serialize()
    clicked = send(evaluated, "on_cell", params={"x": "Indian", "y": "Others"}, view=own)
    assert "truth Others, said Indian: 5 faces, most confident first" in clicked.panel["header"]["default"]
    box = clicked.panel["confusion"]["view"]["layout"]["shapes"][0]
    assert (box["x0"], box["y0"]) == (2.5, 3.5)
    # The browser writes whole numbers without a point and gives stages marks of its own.
    (sent,) = clicked.params("set_view")
    echoed = send(evaluated, "on_change_view", clicked.state, view=json.loads(json.dumps(sent["view"])))
    assert "truth Others, said Indian" in echoed.panel["header"]["default"]
    gender = echoed.state | {"choose": {"attribute": "gender"}}
    other = send(evaluated, "on_change_selected", gender, view=sent["view"])
    assert "of race5 (demo_eval), truth Others" in other.panel["header"]["default"]
    assert "shapes" not in other.panel["confusion"]["view"]["layout"]
    again = send(evaluated, "on_show", clicked.state, params={"which": "errors"}, view=sent["view"])
    assert "Confident errors: 14 faces" in again.panel["header"]["default"]
    back = send(evaluated, "on_show_all", again.state, view=sent["view"])
    assert back.params("set_view") == [{"view": own}]
    assert "your own view" in send(evaluated, "on_change_view", again.state, view=own).panel["header"]["default"]


def test_an_empty_cell_leaves_the_grid_as_it_is(evaluated: fo.Dataset) -> None:
    clicked = send(evaluated, "on_cell", params={"x": "Others", "y": "White"})
    assert clicked.params("set_view") == clicked.params("clear_selected_samples") == []
    assert "There is no such face: truth White, said Others. The grid stays as it is." in clicked.said
    assert "all of the dataset" in clicked.panel["header"]["default"]


def test_an_evaluation_is_out_of_date_only_where_its_answers_changed(evaluated: fo.Dataset) -> None:
    facevlm.apply(evaluated, "demo", ["gender", "emotion7", "race5"], progress=False)
    assert "evaluate again" not in send(evaluated, "on_load").text
    evaluated.limit(3).set_field("demo_race5", None).save()
    facevlm.apply(evaluated, "demo", ["race5"], progress=False)
    assert "evaluate again" not in send(evaluated, "on_load").text
    facevlm.apply(evaluated, "demo", ["race5"], prompts={"race5": "another wording"}, overwrite=True, progress=False)
    assert "evaluate again" in send(evaluated, "on_load").text
    gender = {"choose": {"attribute": "gender"}}
    assert "evaluate again" not in send(evaluated, "on_load", gender).text


def test_tags_are_taken_back_from_those_that_got_them(evaluated: fo.Dataset) -> None:
    first, second = evaluated.values("id")[:2]
    evaluated.select([first]).tag_samples("ambiguous")
    sent = send(evaluated, "on_tag", params={"tag": "ambiguous"}, selected=[first, second])
    assert "2 tagged 'ambiguous'" in sent.text
    undone = send(evaluated, "on_undo", sent.state)
    assert "Undone: 2 tagged 'ambiguous'." in undone.said
    assert evaluated.count_sample_tags() == {"ambiguous": 1}
    assert evaluated[first].tags == ["ambiguous"]
    assert "done" not in undone.panel
    assert "nothing to undo" in send(evaluated, "on_undo", undone.state).said


def test_corrections_are_taken_back_and_with_the_last_one_their_field(evaluated: fo.Dataset) -> None:
    ids, before = evaluated.values("id"), evaluated.values("race.label")
    sent = send(evaluated, "on_relabel", {"relabel": {"label": "Indian"}}, selected=ids[:2])
    again = send(evaluated, "on_relabel", sent.state | {"relabel": {"label": "Asian"}}, selected=ids[1:3])
    send(evaluated, "on_undo", again.state)
    third = evaluated.values("race_as_race5.label")[2]
    assert evaluated.values("race_corrected.label")[:3] == ["Indian", "Indian", third]
    # The first action's undo is what a second panel still holds.
    later = send(evaluated, "on_relabel", {"relabel": {"label": "Black"}}, selected=ids[3:4])
    evaluated.delete_sample_field("race_corrected")
    made = send(evaluated, "on_relabel", {"relabel": {"label": "Asian"}}, selected=ids[:2])
    send(evaluated, "on_undo", made.state)
    assert evaluated.get_field("race_corrected") is None
    assert "Undone" in send(evaluated, "on_undo", later.state).said
    assert evaluated.values("race.label") == before
    kept = send(evaluated, "on_relabel", {"relabel": {"label": "Asian"}}, selected=ids[:1])
    send(evaluated, "on_relabel", {"relabel": {"label": "Black"}}, selected=ids[4:5])
    send(evaluated, "on_undo", kept.state)
    assert evaluated.values("race_corrected.label")[4] == "Black"


def test_two_runs_are_compared_and_every_count_shows_its_faces(evaluated: fo.Dataset) -> None:
    facevlm.apply(evaluated, "demo", ["race5"], prefix="two", prompts={"race5": "another wording"}, progress=False)
    state = {"tab": "compare"}
    shown = send(evaluated, "on_load", state)
    truth, a, b = evaluated.values(["race_as_race5.label", "demo_race5.label", "two_race5.label"])
    right = [(x == t, y == t) for t, x, y in zip(truth, a, b, strict=True)]
    wanted = [right.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    traces = shown.panel["sides"]["view"]["data"]
    assert [trace["customdata"][0] for trace in traces] == wanted
    assert sum(trace["x"][0] for trace in traces) == pytest.approx(1)
    differ = sum(x != y for x, y in zip(a, b, strict=True))
    assert f"Answers differ: {differ}" in shown.text
    assert "96 faces" in shown.panel["compared"]["default"]
    for part, n in enumerate(wanted):
        for k in range(len(traces[part]["y"])):
            sent = send(evaluated, "on_side", shown.state, params={"trace_idx": part, "idx": k})
            count = traces[part]["customdata"][k]
            assert (len(sent.view) == count) if count else ("no such face" in sent.said)
        named = send(evaluated, "on_side", shown.state, params={"side": ("both", "first", "second", "neither")[part]})
        assert (len(named.view) == n) if n else ("no such face" in named.said)
    flips = send(evaluated, "on_side", shown.state, params={"side": "flips"})
    assert (len(flips.view) == differ) if differ else ("no such face" in flips.said)
    assert "no other run any more" in send(evaluated, "on_side", {"choose": {"attribute": "gender"}}, params={}).said


def test_a_threshold_is_true_at_the_number_that_is_shown(evaluated: fo.Dataset) -> None:
    state = {"tab": "confidence"}
    shown = send(evaluated, "on_load", state)
    buttons = shown.panel["take"]["type"]["properties"]
    taken = buttons["take_0.9"]["view"]["params"]["value"]
    sent = send(evaluated, "on_take", shown.state, params={"value": taken})
    found = inspection.inspect(evaluated, results_store.load(evaluated, "demo_eval"), "race5")
    kept, right = inspection.kept(found, float(taken))
    assert right / kept >= 0.9
    assert f"**{kept} of 96 faces kept**" in sent.panel["kept_said"]["default"]
    assert f"{100 * kept / 96:.1f} % of 96" in shown.panel["targets"]["default"]
    assert "promised at 95 % confidence" in shown.panel["targets"]["default"]
    assert f"From {taken} on, 90 % right is promised at 95 % confidence" in sent.panel["standing"]["default"]
    assert "99 % right: none at this n: it takes 299 kept answers" in shown.panel["lacking"]["default"]
    own = send(evaluated, "on_take", shown.state, params={"value": "0.123"})
    assert "From 0.123 on, the share right is seen on these faces" in own.panel["standing"]["default"]
    assert "Wilson" in sent.panel["kept_said"]["default"]
    assert "overage" not in shown.text
    assert "best macro F1" in shown.text


def test_confidence_of_an_evaluation_of_an_earlier_version_is_shown(evaluated: fo.Dataset) -> None:
    results = results_store.load(evaluated, "demo_eval")
    for figures in results["evaluations"]:
        for late in ("nll", "floor", "floor_mass", "scaling", "promises", "groups"):
            del figures["confidence"][late]
        figures["confidence"] |= {"temperature": 1.2, "ece_before": 0.1, "ece_after": None}
    results_store.save(evaluated, results)
    shown = send(evaluated, "on_load", {"tab": "confidence"})
    assert "evaluate again to see it beside what chance" in shown.panel["calibration_said"]["default"]
    assert "take_0.9" in shown.panel["take"]["type"]["properties"]
    text = markdown.render(reports.build(reporting.read(evaluated)))
    assert "Temperature 1.20, fitted on one half of the faces." in text
    assert "From which confidence on" not in text


def test_the_faces_wear_the_labels_of_the_chosen_attribute_or_all(evaluated: fo.Dataset) -> None:
    worn = ["tags", "gender", "demo_gender", "race"]
    choice = {"path": "choose.attribute", "value": "gender"}
    (sent,) = send(evaluated, "on_choose", params=choice, active_fields=worn).params("set_active_fields")
    assert sent == {"fields": ["tags", "gender", "demo_gender"]}
    every = {"path": "choose.fields", "value": "all"}
    (sent,) = send(evaluated, "on_choose", params=every, active_fields=["tags"]).params("set_active_fields")
    assert {"tags", "race", "gender", "demo_race5", "race_as_race5"} <= set(sent["fields"])


def test_without_ground_truth_the_panel_shows_what_was_said(faces: fo.Dataset) -> None:
    facevlm.apply(faces, "demo", ["gender", "race5"], progress=False)
    facevlm.apply(faces, "demo", ["race5"], prefix="two", prompts={"race5": "another wording"}, progress=False)
    state = {"told_by": {"run": "demo", "attribute": "race5"}}
    shown = send(faces, "on_load", state)
    bars = shown.panel["labels"]["view"]["data"][0]
    assert dict(zip(bars["y"], bars["x"], strict=True)) == faces.count_values("demo_race5.label")
    assert "96 pictures asked" in shown.panel["told"]["default"]
    label = bars["y"][0]
    assert len(send(faces, "on_label_said", state, params={"y": label}).view) == bars["x"][0]
    unsure = send(faces, "on_told", state, params={"which": "unsure"})
    sure = faces.values("demo_race5.confidence")
    assert unsure.view.values("demo_race5.confidence") == sorted(v for v in sure if v < 0.6)
    assert "no such face" in send(faces, "on_told", state, params={"which": "no_answer"}).said
    differ = send(faces, "on_differ", state, params={"rival": "two"})
    a, b = faces.values(["demo_race5.label", "two_race5.label"])
    n = sum(x != y for x, y in zip(a, b, strict=True))
    assert (len(differ.view) == n) if n else ("no such face" in differ.said)
    assert "Evaluate against ground truth" in shown.text


def test_an_empty_panel_starts_the_next_step(faces: fo.Dataset) -> None:
    shown = send(faces, "on_load")
    buttons = shown.panel["next"]["type"]["properties"]
    assert {"detect_faces", "apply_vlm_face_attributes", "evaluate_face_attributes"} <= set(buttons)
    params = buttons["apply_vlm_face_attributes"]["view"]["params"]
    (asked,) = send(faces, "on_next", params=params).params("prompt_user_for_operation")
    assert asked["operator_uri"] == f"{NAME}/apply_vlm_face_attributes"
    assert send(faces, "on_next", params={"operator_name": "delete_all"}).params("prompt_user_for_operation") == []


def test_nothing_that_is_drawn_has_the_name_of_what_is_kept(evaluated: fo.Dataset) -> None:
    """The App draws what the state holds under the name of a plot or of words in their place."""
    facevlm.apply(evaluated, "demo", ["race5"], prefix="two", prompts={"race5": "another wording"}, progress=False)
    sent = send(evaluated, "on_show", params={"which": "errors"})
    sent = send(evaluated, "on_tag", sent.state, params={"tag": "ambiguous"}, selected=evaluated.values("id")[:1])
    for tab in ("errors", "groups", "confidence", "compare"):
        sent = send(evaluated, "on_load", sent.state | {"tab": tab})
        assert not set(sent.panel) & set(sent.state), tab


def test_a_strip_of_tabs_that_is_gone_opens_none(evaluated: fo.Dataset) -> None:
    """The App's strip tells what it begins with whenever it is put on the page, be it from a drawing before."""
    mounted = send(evaluated, "on_tab", params={"path": "tabs_0", "value": "errors"})
    assert "tabs_0" in mounted.panel
    opened = send(evaluated, "on_tab", mounted.state, params={"path": "tabs_0", "value": "confidence"})
    assert opened.panel["tabs_1"]["default"] == "confidence"
    assert "selective" in opened.panel
    late = send(evaluated, "on_tab", opened.state, params={"path": "tabs_0", "value": "errors"})
    assert late.panel["tabs_1"]["default"] == "confidence"
    back = send(evaluated, "on_tab", late.state, params={"path": "tabs_1", "value": "errors"})
    assert back.panel["tabs_2"]["default"] == "errors"
