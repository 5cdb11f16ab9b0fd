"""Tag the UTKFace pictures that the demo model was not trained on, and save a view of them.

    python -m tools.demo_model.held_out DATASET

Tags ``demo_held_out`` on every picture whose pixels fall into the held-out tenth, less second copies and pictures whose
copies are labelled otherwise, as in training; the saved view has the same name. Run again, it sets the tags anew.
"""

from __future__ import annotations

import argparse

import fiftyone as fo

from facevlm.checks import faults as hygiene
from facevlm.checks import fingerprints
from facevlm.store import database
from facevlm.store import faults as store
from tools.demo_model.faces import held_out

TAG = "demo_held_out"


def tag(dataset: fo.Dataset, *, progress: bool = True) -> fo.DatasetView:
    """The view of held-out pictures, each once and with labels that no copy contradicts."""
    fields = store.choose_fields(dataset, None, None, (), ())
    material = store.read(dataset, fields)
    prints = fingerprints.gather(material.paths)
    same = hygiene.members(fingerprints.same(prints))
    faults = [*hygiene.copies(prints, same), *hygiene.conflicts(same, material.labels), *hygiene.unreadable(prints)]
    unfit = {at for fault in faults for at in fault.flagged}
    rows = enumerate(zip(material.ids, prints.pixels, strict=True))
    kept = [one for at, (one, pixels) in rows if at not in unfit and held_out(pixels.tobytes().hex())]
    dataset.match_tags(TAG).untag_samples(TAG)
    dataset.select(kept).tag_samples(TAG)
    dataset.save_view(TAG, dataset.match_tags(TAG), overwrite=True)
    return dataset.load_saved_view(TAG)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="FiftyOne dataset of UTKFace pictures")
    view = tag(database.load_dataset(parser.parse_args().dataset))
    print(f"{len(view):,} held-out pictures: --view {TAG}")


if __name__ == "__main__":
    main()
