"""FiftyOne datasets: the one place of the core that knows them.

``database`` reaches MongoDB, ``targets`` reads faces, ``predictions`` writes answers and resumes, ``runs`` keeps the
record of a run, ``evaluations`` reads ground truth and leaves results where the App shows them, ``records``
builds datasets, ``zoo`` is a model of FiftyOne's own kind.
"""
