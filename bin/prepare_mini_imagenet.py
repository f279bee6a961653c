"""Makes mini-ImageNet, as bin/mini_imagenet.py reads it, of ImageNet's training images and the split's lists."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from typing import Any

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Until binary.run: a fifth of the time of the imports is the collector's.
gc.disable()

from absl import app, flags

from maml_tf.experiments import binary
from maml_tf.tasks import mini_imagenet

flags.DEFINE_string(
    "imagenet_dir", None, "ImageNet's training images: a folder with <class>/*.JPEG or <class>.tar for each class."
)
flags.DEFINE_string(
    "split_dir", None, "Folder with train.csv, val.csv and test.csv (columns filename,label) of Ravi and Larochelle."
)
flags.DEFINE_string("output_dir", None, "Where to write {train,val,test}/<class>/*.jpg. A stopped run goes on there.")
flags.DEFINE_integer("image_size", 84, "Height and width of the images written.", lower_bound=1)


def experiment(values: Mapping[str, Any]) -> str:
    """Writes the images."""
    output_dir = values["output_dir"]
    written = mini_imagenet.prepare(values["imagenet_dir"], values["split_dir"], output_dir, values["image_size"])
    return f"Wrote {written} images to {output_dir}"


if __name__ == "__main__":
    flags.mark_flags_as_required(["imagenet_dir", "split_dir", "output_dir"])
    binary.run(app, flags, experiment)
