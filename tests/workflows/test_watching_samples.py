"""What the online kNN compares, where images are stored one class after the other."""

import numpy as np

from simclr_tf2 import models
from simclr_tf2.data import array_files
from simclr_tf2.evaluation import monitoring
from tests.support.subjects import conditions_of
from tests.support.tiny_runs import tiny_config


def test_bank_and_queries_share_classes_and_no_image(monkeypatch):
    numbers = np.arange(400)
    images = np.zeros([400, 32, 32, 3], np.uint8)
    images[..., 0], images[..., 1] = (x[:, None, None] for x in np.divmod(numbers, 256))
    split = array_files.from_arrays(images, numbers // 20)  # 20 classes in order
    parts, measured = {}, []

    def monitor(encode, bank, queries, **settings):
        parts.update(bank=list(bank), queries=list(queries))
        measured.append(settings["knn"])
        return dict

    monkeypatch.setattr(monitoring, "make_monitor", monitor)
    config = tiny_config(monitor_epochs=1.0)
    model = models.build_simclr(config.model, image_size=32)
    labelled = conditions_of(config, train=split, probe=split)
    monitoring.make_run_monitor(labelled, model, labelled.strategy)
    elements = dict(parts)
    bare = conditions_of(config, train=split)
    monitoring.make_run_monitor(bare, model, bare.strategy)
    assert measured == [True, False]  # no labels: no kNN
    labels, places = {}, {}
    for name, batches in elements.items():
        assert all(np.all(batch["mask"]) for batch in batches)  # whole batches
        labels[name] = np.concatenate([batch["label"] for batch in batches])
        pixels = np.concatenate([batch["image"] for batch in batches])[:, 9, 9]
        places[name] = {int(p) for p in np.rint(255 * pixels) @ [256, 1, 0]}
    assert (len(labels["bank"]), len(labels["queries"])) == (320, 80)
    assert not places["bank"] & places["queries"]
    assert set(labels["queries"]) <= set(labels["bank"])
    assert len(set(labels["queries"])) > 15
