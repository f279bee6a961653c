"""Makes mini-ImageNet of ImageNet's training images and the split's lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import flags

from maml_tf.commands import command


def experiment(values: Mapping[str, Any]) -> str:
    """Writes the images."""
    from maml_tf.tasks import mini_imagenet

    output = values["output"]
    written = mini_imagenet.prepare(values["imagenet_dir"], values["split_dir"], output, values["image_size"])
    return f"Wrote {written} images to {output}"


def main() -> None:
    """Runs the command."""
    flags.DEFINE_string(
        "imagenet_dir", None, "ImageNet's training images: a folder with <class>/*.JPEG or <class>.tar for each class."
    )
    flags.DEFINE_string(
        "split_dir",
        None,
        "Folder with train.csv, val.csv and test.csv (columns filename,label) of Ravi and Larochelle.",
    )
    flags.DEFINE_string("output", None, "Where to write {train,val,test}/<class>/*.jpg. A stopped run goes on there.")
    flags.DEFINE_integer("image_size", 84, "Height and width of the images written.", lower_bound=1)
    flags.mark_flags_as_required(["imagenet_dir", "split_dir", "output"])
    command.run(__doc__, experiment)
