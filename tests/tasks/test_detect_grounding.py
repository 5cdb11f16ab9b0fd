"""A model that answers with places searches a dataset: what it said of each picture ends as its outcome."""

from __future__ import annotations

from pathlib import Path

import fiftyone as fo
from PIL import Image

import facevlm
from facevlm.detection import Search
from facevlm.detection.grounding import Grounder
from facevlm.types import Reply
from tests.detection.test_grounding import GOLDEN, Scripted


def test_answers_that_cannot_be_read_are_unparsed_with_the_reason(tmp_path: Path, dataset_name: str) -> None:
    dataset = fo.Dataset(dataset_name)
    for k in range(4):
        Image.new("RGB", (256, 128), (60 * k,) * 3).save(tmp_path / f"{k}.png")
        dataset.add_sample(fo.Sample(filepath=tmp_path / f"{k}.png"))
    replies = [Reply(text=GOLDEN["paligemma"]), Reply(text=""), Reply(text="no idea"), Reply(error="lost")]
    detector = Grounder("paligemma", Search(max_faces=1), backend=Scripted(*replies))
    result = facevlm.detect(dataset, detector=detector, quality=True, progress=False)
    assert result.outcomes == {"ok": 1, "no_face": 1, "unparsed": 1, "failed": 1}
    unreadable = "1 of the answer's parts left out; the first cannot be read: 'no idea'"
    assert result.reasons == {unreadable: 1, "lost": 1}
    dataset.reload()
    assert dataset.values("faces.outcome") == ["ok", "no_face", "unparsed", "failed"]
    assert dataset.values("faces.reason")[2:] == [unreadable, "lost"]
    (face,) = dataset.first().faces.detections
    assert (face.bounding_box, face.confidence, face.width_px) == ([0.125, 0.25, 0.25, 0.25], None, 64)
    again = facevlm.detect(
        dataset,
        detector=Grounder("paligemma", Search(max_faces=1), backend=Scripted(Reply(text=""))),
        progress=False,
        quality=True,
    )
    assert (again.skipped, again.outcomes) == (3, {"no_face": 1})
