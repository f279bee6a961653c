"""A data set in one file: stripes of 15 widths and directions. Try it: see docs/contributing/data_set.md."""

import numpy as np

from maml_tf.tasks import DatasetSpec, SplitClasses, datasets


def open_stripes(data_dir, cache_dir, split):
    """Makes 15 classes of stripes, each of its own width and direction, with noise."""
    from maml_tf.tasks import ClassPool

    noise, place = np.random.default_rng(0), np.indices([16, 16])
    images = {
        f"{direction}_{width}": noise.normal(place[direction % 2] * (direction > 1) // width % 2, 0.1, [8, 16, 16])
        for direction in range(3)
        for width in range(1, 6)
    }
    pool = ClassPool.from_classes({name: values[..., None].astype("float32") for name, values in images.items()})
    names = list(pool.class_names)
    return SplitClasses(pool, {"train": names[0::3], "validation": names[1::3], "test": names[2::3]})


def small(ways, **options):
    """Builds a network from images [batch, 16, 16, 1] to logits [batch, ways]."""
    from maml_tf.models import conv_net

    return conv_net(ways=ways, blocks=2, name="small", **options)


datasets.register(
    "stripes",
    DatasetSpec(
        name="stripes",
        title="stripes",
        open=open_stripes,
        image_shape=(16, 16, 1),
        networks={"small": small},
        presets={
            "3way_1shot": {
                "ways": 3,
                "filters": 4,
                "meta_batch_size": 2,
                "iterations": 4,
                "validate_every": 2,
                "validation_tasks": 4,
                "test_tasks": 6,
                "evaluation_steps": 2,
            },
            "3way_2shot": {"ways": 3, "shots": 2},
        },
        environment={"STRIPES": "read at the import of TensorFlow"},
    ),
)
