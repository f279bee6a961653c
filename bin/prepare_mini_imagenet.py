"""Makes mini-ImageNet, as bin/mini_imagenet.py reads it, of ImageNet's training images and the split's lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import app, flags

from maml_tf.experiments.common import binary

flags.DEFINE_string(
    "imagenet_dir", None, "ImageNet's training images: a folder with <class>/*.JPEG or <class>.tar for each class."
)
flags.DEFINE_string(
    "split_dir", None, "Folder with train.csv, val.csv and test.csv (columns filename,label) of Ravi and Larochelle."
)
flags.DEFINE_string("output", None, "Where to write {train,val,test}/<class>/*.jpg. A stopped run goes on there.")
flags.DEFINE_integer("image_size", 84, "Height and width of the images written.", lower_bound=1)


def experiment(values: Mapping[str, Any]) -> str:
    """Writes the images."""
    from maml_tf.tasks import mini_imagenet

    output = values["output"]
    written = mini_imagenet.prepare(values["imagenet_dir"], values["split_dir"], output, values["image_size"])
    return f"Wrote {written} images to {output}"


if __name__ == "__main__":
    flags.mark_flags_as_required(["imagenet_dir", "split_dir", "output"])
    binary.run(app, flags, experiment)
