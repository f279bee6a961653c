"""The table of calls with one wrong argument each, and the names that they use."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import maml_tf
from maml_tf import baselines, configuration, layers, models, pretrained, tasks
from maml_tf.evaluation import accuracy
from maml_tf.experiments.classification.config import ClassificationConfig
from maml_tf.experiments.meta_rl.config import MetaRLConfig
from maml_tf.experiments.sinusoid.config import SinusoidConfig


def net(*layer: Any, width: int = 3) -> keras.Model:
    return keras.Sequential([keras.Input((width,)), *(layer or (keras.layers.Dense(1),))])


def names(folder: str) -> dict[str, Any]:
    """Returns what the calls may use; `folder` is one of their own."""
    images = np.zeros([12, 4, 4, 1], np.uint8)
    labels = np.repeat(np.arange(3), 4)
    learner = maml_tf.MAML(net(), "mse", 0.1)
    learner.compile("adam", jit_compile=False)
    x, y = np.ones([2, 3, 3], np.float32), np.ones([2, 3, 1], np.float32)
    return {
        **dict(IMAGES=images, LABELS=labels, FOLDER=pathlib.Path(folder), pool=tasks.ClassPool(images, labels)),
        **dict(learner=learner, x=x, y=y, data=((x, y, x), y), params={"a/kernel": tf.ones([2])}),
        **dict(waves=tasks.Sinusoids(), net=net, accuracy=accuracy, Dense=keras.layers.Dense),
        **dict(MAML=maml_tf.MAML, SGD=maml_tf.SGD, LearnedStepSizes=maml_tf.LearnedStepSizes),
        **dict(maml_tf=maml_tf, baselines=baselines, configuration=configuration, layers=layers, models=models),
        **dict(pretrained=pretrained, tasks=tasks, dataclasses=dataclasses, math=math, keras=keras, np=np, tf=tf),
        **dict(ClassificationConfig=ClassificationConfig, MetaRLConfig=MetaRLConfig, SinusoidConfig=SinusoidConfig),
    }


CALLS = """
# learners
MAML(None, "mse") -> Model
MAML(3, "mse") -> 3
MAML(net, "mse") -> Model
MAML(keras.layers.Dense(3), "mse") -> Model
MAML(keras.Sequential([Dense(1)]), "mse") -> built
MAML(keras.Sequential([keras.Input((3,)), keras.layers.Flatten()]), "mse") -> trainable
MAML(net(Dense(1, dtype="float16")), "mse") -> float16
MAML(net(Dense(1, dtype="mixed_float16")), "mse") -> float16
MAML(net(Dense(1, trainable=False)), "mse") -> trainable
MAML(net(), "no_such_loss") -> no_such_loss
MAML(net(), 3) -> 3
MAML(net(), None) -> None
MAML(net(), ["mse", "mse"]).adapt(x[0], y[0]) -> 2
MAML(net(), {"no_output": "mse"}).adapt(x[0], y[0]) -> no_output
MAML(net(), "mse", "0.1") -> 0.1
MAML(net(), "mse", -0.1) -> -0.1
MAML(net(), "mse", math.nan) -> nan
MAML(net(), "mse", math.inf) -> inf
MAML(net(), "mse", True) -> True
MAML(net(), "mse", None) -> None
MAML(net(), "mse", []) -> \\[\\]
MAML(net(), "mse", [0.1, -1]) -> -1
MAML(net(), "mse", [0.1, "a"]) -> a
MAML(net(), "mse", 1j) -> 1j
MAML(net(), "mse", SGD) -> SGD
MAML(net(), "mse", lambda params, gradients, step: params) -> function
MAML(net(), "mse", keras.optimizers.SGD(0.1)) -> SGD
MAML(net(), "mse", 0.1, 0) -> inner_steps=0
MAML(net(), "mse", 0.1, -1) -> inner_steps=-1
MAML(net(), "mse", 0.1, 1.5) -> inner_steps=1.5
MAML(net(), "mse", 0.1, 1.0) -> inner_steps=1.0
MAML(net(), "mse", 0.1, "2") -> inner_steps='2'
MAML(net(), "mse", 0.1, True) -> inner_steps=True
MAML(net(), "mse", 0.1, None) -> inner_steps=None
MAML(net(), "mse", 0.1, np.ones(2, int)) -> inner_steps=
MAML(net(), "mse", first_order="no") -> first_order='no'
MAML(net(), "mse", first_order=1) -> first_order=1
MAML(net(), "mse", first_order=None) -> first_order=None
MAML(net(), "mse", adapted="head") -> head
MAML(net(), "mse", adapted=None) -> None
MAML(net(), "mse", adapted=maml_tf.matching("no_such")) -> no_such
MAML(net(), "mse", adapted=lambda model: []) -> adapt
MAML(net(), "mse", adapted=lambda model: ["no_such"]) -> no_such
MAML(net(), "mse", adapted=lambda model: 3) -> 3
MAML(net(), "mse", task_map="fast") -> fast
MAML(net(), "mse", task_map=None) -> None
MAML(net(), "mse", parallel_tasks=0) -> parallel_tasks=0
MAML(net(), "mse", parallel_tasks=-2) -> parallel_tasks=-2
MAML(net(), "mse", parallel_tasks=1.5) -> parallel_tasks=1.5
MAML(net(), "mse", parallel_tasks=True) -> parallel_tasks=True
MAML(net(), "mse", parallel_tasks="2") -> parallel_tasks='2'
maml_tf.MetaLearner(net(), "mse", "no_such") -> no_such
maml_tf.MetaLearner(net(), "mse", 3) -> 3
maml_tf.MetaLearner(net(), "mse", None) -> None
maml_tf.MetaLearner(net(), "mse", maml_tf.Algorithm) -> Algorithm
learner.compile("adam", loss="mse") -> mse
learner.compile("adam", loss_weights=[1.0]) -> 1.0
learner.compile("adam", jit_compile="yes") -> yes
# uses of a learner
learner.adapt(x[0], y[0], steps=1.5) -> steps=1.5
learner.adapt(x[0], y[0], steps=-1) -> steps=-1
learner.adapt(x[0], y[0], steps=True) -> steps=True
learner.adapt(x[0], y[0], steps="2") -> steps='2'
learner.adapt(None, y[0]) -> None
learner.adapt(x[0], None) -> None
learner.adapt("a", y[0]) -> string|str|axes
learner.adapt(3.0, 1.0) -> axes
learner.adapt(x[0], y[0][:2]) -> 2
learner.adapt(x[0][:0], y[0][:0]) -> at least 1
learner.adapt(x[0][:, :2], y[0]) -> 2
learner.adapt(x[0], y[0] * np.nan) -> finite
learner.adapt({"a": x[0]}, y[0]) -> a
learner.adapt([x[0], x[0]], y[0]) -> 2 arrays
learner.adapt(x[0].astype(object), y[0]) -> object|dtype
learner.adapt([["a", "b", "c"]] * 3, y[0]) -> string|str|axes
learner.adapt([[1, 2, 3], [1, 2]], y[0]) -> shape|rectangular|numbers
learner.meta_gradients(None) -> NoneType
learner.meta_gradients(3) -> int
learner.meta_gradients(x) -> shape
learner.meta_gradients(((x, y), y)) -> support_x
learner.meta_gradients(((x, y, x), y, y)) -> form
learner.meta_gradients(((x, y, x), None)) -> query_y
learner.meta_gradients(((None, y, x), y)) -> None
learner.meta_gradients(((x, y, x), "a")) -> string|str|axes
learner.meta_gradients((x, y, x, y)) -> form
learner.meta_gradients(((x[:0], y[:0], x[:0]), y[:0])) -> at least 1
learner.meta_gradients(((x, y, x), {"a": y})) -> a
learner(x) -> support_x
learner((x, y)) -> support_x
learner(None) -> support_x
learner.fit(x, y, verbose=0) -> support_x
learner.fit((x, y, x), verbose=0) -> query_y|form
learner.fit((x, y, x), y, sample_weight=np.ones(2), verbose=0) -> sample weights
learner.fit((x, y, x), y, class_weight={0: 1.0}, verbose=0) -> weight
learner.fit((x, y), y, verbose=0) -> support_x
learner.evaluate((x, y, x), verbose=0) -> query_y|form
learner.predict(x, verbose=0) -> support_x
maml_tf.evaluate(None, [data]) -> None
maml_tf.evaluate(net(), [data]) -> MetaLearner
maml_tf.evaluate(learner, []) -> at least one
maml_tf.evaluate(learner, None) -> None
maml_tf.evaluate(learner, 3) -> int
maml_tf.evaluate(learner, data) -> form
maml_tf.evaluate(learner, [x]) -> form
maml_tf.evaluate(learner, [data], 1.5) -> steps=1.5
maml_tf.evaluate(learner, [data], -1) -> steps=-1
maml_tf.evaluate(learner, [data], True) -> steps=True
maml_tf.evaluate(learner, [data], metrics=["mse"]) -> mse
maml_tf.evaluate(learner, [data], metrics={"mse": "mse"}) -> mse
maml_tf.evaluate(learner, [data], metrics={"mse": keras.metrics.MeanSquaredError()}) -> mse
maml_tf.evaluate(learner, [data], metrics={"m": lambda y, outputs: None}) -> None|scalar
maml_tf.evaluate(learner, [data], metrics={"m": lambda y, outputs: "a"}) -> a|scalar|number
maml_tf.evaluate(learner, [data], divergence="no") -> divergence='no'
maml_tf.evaluate(learner, [data], divergence=math.nan) -> divergence=nan
maml_tf.evaluate(learner, [data], jit_compile="no") -> jit_compile='no'
accuracy(tf.constant([0, 3]), tf.ones([2, 3])) -> label 3
accuracy(tf.constant([0, -1]), tf.ones([2, 3])) -> label -1
accuracy(tf.constant([0.5, 1]), tf.ones([2, 3])) -> label 0.5
accuracy(tf.eye(3), tf.eye(3)) -> shape|\\(3, 3\\)
accuracy(tf.constant([0, 1, 2]), tf.ones([2, 3])) -> \\(3,\\)
accuracy(tf.constant([0, 1]), tf.ones([2])) -> logits
accuracy(None, tf.ones([2, 3])) -> None
accuracy(["a", "b"], tf.ones([2, 3])) -> string
baselines.nearest_neighbour(net(), []) -> episode
baselines.nearest_neighbour(None, [data]) -> None
baselines.nearest_neighbour(net(), [((x, y[:, :2], x), y)]) -> 2
# update rules
SGD(-1) -> -1
SGD(math.nan) -> nan
SGD("0.1") -> 0.1
SGD([]) -> \\[\\]
SGD(None) -> None
SGD(True) -> True
SGD(1j) -> 1j
SGD([0.1, math.inf]) -> inf
SGD(np.ones(2)) -> learning_rate
SGD({0.1}) -> learning_rate
maml_tf.ClipByValue(0) -> limit=0
maml_tf.ClipByValue(-1.0) -> limit=-1
maml_tf.ClipByValue(math.inf) -> limit=inf
maml_tf.ClipByValue("a") -> limit='a'
maml_tf.ClipByGlobalNorm(0.0) -> norm=0
maml_tf.ClipByGlobalNorm(math.nan) -> norm=nan
maml_tf.ClipByGlobalNorm(True) -> norm=True
maml_tf.Chain([]) -> \\[\\]
maml_tf.Chain(None) -> None
maml_tf.Chain([0.1]) -> 0.1
maml_tf.Chain([SGD]) -> SGD
maml_tf.Chain(SGD(0.1)) -> SGD
maml_tf.Chain("ab") -> ab
LearnedStepSizes(-0.1) -> initial=-0.1
LearnedStepSizes("a") -> initial='a'
LearnedStepSizes(math.nan) -> initial=nan
LearnedStepSizes(0.1, "no_such") -> no_such
LearnedStepSizes(0.1, None) -> None
LearnedStepSizes(0.1, ["weight"]) -> weight
LearnedStepSizes(0.1, "layer", 0) -> steps=0
LearnedStepSizes(0.1, "layer", 1.5) -> steps=1.5
LearnedStepSizes(0.1)(params, params) -> build
LearnedStepSizes(0.1).build([1.0]) -> list
maml_tf.UpdateRule()(params, params) -> updates
maml_tf.adapt(lambda p, b, s: tf.ones([2]) * p["a/kernel"], params, [0], SGD(0.1)) -> scalar
maml_tf.adapt(lambda p, b, s: 3.0, params, [0], SGD(0.1)) -> 3.0
maml_tf.adapt(lambda p, b, s: tf.constant(1.0), params, [0], SGD(0.1)) -> None
maml_tf.matching("(") -> \\(
maml_tf.matching(3) -> 3
maml_tf.matching(None) -> None
maml_tf.matching("zz")(net()) -> 'zz'
maml_tf.head(net(keras.layers.ReLU())) -> trainable
maml_tf.check_second_order(None, x[0]) -> None
# tasks
tasks.ClassPool(IMAGES, LABELS[:3]) -> \\(3,\\)
tasks.ClassPool(IMAGES, None) -> None|\\(\\)
tasks.ClassPool(None, LABELS) -> None|object
tasks.ClassPool(IMAGES[:0], LABELS[:0]) -> at least one
tasks.ClassPool(IMAGES * np.nan, LABELS) -> NaN
tasks.ClassPool(IMAGES * 1j, LABELS) -> complex
tasks.ClassPool(IMAGES.astype(str), LABELS) -> <U|str
tasks.ClassPool(IMAGES.astype(object), LABELS) -> object
tasks.ClassPool(IMAGES, LABELS * 0.5) -> float
tasks.ClassPool(IMAGES, LABELS * np.nan) -> float
tasks.ClassPool(IMAGES, np.eye(3)[LABELS]) -> 3
tasks.ClassPool(IMAGES, [None] * 12) -> None
tasks.ClassPool(IMAGES, LABELS.astype("datetime64[s]")) -> datetime
tasks.ClassPool(IMAGES, LABELS, rotations="no") -> rotations='no'
tasks.ClassPool(IMAGES, LABELS, rotations=1) -> rotations=1
tasks.ClassPool(IMAGES[:, :2], LABELS, rotations=True) -> square
tasks.ClassPool(IMAGES, LABELS, transform=None) -> transform
tasks.ClassPool(IMAGES, LABELS, transform="unit_range") -> transform
tasks.ClassPool.from_classes({}) -> at least one|class
tasks.ClassPool.from_classes({"a": IMAGES[:0]}) -> a
tasks.ClassPool.from_classes({"a": IMAGES, "b": IMAGES[:, :2]}) -> b|shape
tasks.ClassPool.from_classes({"a": IMAGES, "b": IMAGES * 0.5}) -> b|dtype
tasks.ClassPool.from_classes({1: IMAGES, "1": IMAGES}) -> 1
tasks.ClassPool.from_classes([IMAGES]) -> list|dict|mapping
tasks.ClassPool.from_dataset(None) -> None
tasks.ClassPool.from_dataset(tf.data.Dataset.range(3)) -> label
tasks.ClassPool.from_dataset(tf.data.Dataset.from_tensors((IMAGES[0], 1)).repeat()) -> end|infinite|finite
tasks.ClassPool.from_dataset(tf.data.Dataset.from_tensors((IMAGES, LABELS))) -> batch|label
tasks.ClassPool.from_folder(FOLDER / "no_such") -> no_such
tasks.ClassPool.from_folder(FOLDER) -> FOLDER|folder|class
tasks.ClassPool.from_folder(FOLDER, image_size=0) -> image_size=0|0
tasks.ClassPool.from_folder(FOLDER, image_size=1.5) -> 1.5
tasks.ClassPool.from_folder(FOLDER, channels=2) -> channels=2
tasks.ClassPool.from_folder(None) -> None
pool.episode(0, 0, 4, 1, 1) -> ways=4|4
pool.episode(0, 0, 2, 3, 2) -> 5
pool.episode(0, 0, 1.5, 1, 1) -> ways=1.5
pool.episode(0, 0, True, 1, 1) -> ways=True
pool.episode(0, 0, 0, 1, 1) -> ways=0
pool.episode(0, 0, 2, 0, 1) -> shots=0
pool.episode(0, 0, 2, "1", 1) -> shots='1'
pool.episode(0, 0, 2, 1, -1) -> queries=-1
pool.episode(1.5, 0, 2, 1, 1) -> seed=1.5
pool.episode("a", 0, 2, 1, 1) -> seed='a'
pool.episode(None, 0, 2, 1, 1) -> seed=None
pool.episode(0, -1, 2, 1, 1) -> index=-1
pool.episode(0, 0.5, 2, 1, 1) -> index=0.5
pool.episode(2**80, 0, 2, 1, 1) -> seed
pool.episode(0, 2**80, 2, 1, 1) -> index
pool.episode(tf.constant(1.5), 0, 2, 1, 1) -> seed|float
pool.episodes(0, 2, 1, 1, meta_batch_size=0) -> meta_batch_size=0
pool.episodes(0, 2, 1, 1, meta_batch_size=1.5) -> meta_batch_size=1.5
pool.episodes(0, 2, 1, 1, meta_batch_size=2, first=-1) -> first=-1
pool.episodes(0, 2, 1, 1, meta_batch_size=2, tasks=0) -> tasks=0
pool.episodes(0, 2, 1, 1, meta_batch_size=2, tasks=True) -> tasks=True
pool.subset([]) -> at least one
pool.subset(["7"]) -> 7
pool.subset("9") -> 9
pool.subset(None) -> None
pool.subset(["0"], rotations="no") -> rotations='no'
pool.subset(["0"], transform=3) -> transform
pool.images_of("7") -> 7
pool.images_of(None) -> None
tasks.Sinusoids(amplitude=3) -> amplitude=3
tasks.Sinusoids(amplitude=(2.0, 1.0)) -> 2.0
tasks.Sinusoids(phase=(0.0, math.nan)) -> nan
tasks.Sinusoids(x=(0.0, math.inf)) -> inf
tasks.Sinusoids(x=("a", "b")) -> a
tasks.Sinusoids(x=(1.0, 2.0, 3.0)) -> 3.0
waves.draw(0, 0, tasks=0, shots=1, queries=1) -> tasks=0
waves.draw(0, 0, tasks=1.5, shots=1, queries=1) -> tasks=1.5
waves.draw(0, 0, tasks=1, shots=0, queries=1) -> shots=0
waves.draw(0, 0, tasks=1, shots=True, queries=1) -> shots=True
waves.draw(0, 0, tasks=1, shots=1, queries=-1) -> queries=-1
waves.draw(0.5, 0, tasks=1, shots=1, queries=1) -> seed=0.5
waves.draw(0, None, tasks=1, shots=1, queries=1) -> index=None
waves.draw(0, 0, tasks=1, shots=1, queries=1, query_grid="no") -> query_grid='no'
waves.draw(0, 0, tasks=1, shots=1, queries=1, support_half="up") -> up
waves.dataset(0, tasks=1, shots=1, queries=1, first=-1) -> first=-1
waves.dataset("a", tasks=1, shots=1, queries=1) -> seed='a'
waves.dataset(0, tasks=0, shots=1, queries=1) -> tasks=0
waves.dataset(0, tasks=1, shots=1.5, queries=1) -> shots=1.5
tasks.Omniglot(FOLDER) -> Omniglot|images_background|omniglot
tasks.Omniglot(FOLDER, image_size=0) -> image_size=0|0
tasks.MiniImagenet(FOLDER) -> FOLDER|folder|miniImagenet|tar
# models and layers
models.mlp((0,)) -> 0
models.mlp((1.5,)) -> 1.5
models.mlp(3) -> 3
models.mlp((3,), (0,)) -> 0
models.mlp((3,), (4,), 0) -> outputs=0
models.mlp((3,), (4,), 1.5) -> outputs=1.5
models.mlp((3,), (4,), 1, normalization="no") -> no
models.mlp((3,), (4,), 1, use_bias="no") -> use_bias='no'
models.mlp((3,), (4,), 1, batch_statistics="no") -> no
models.conv_net((8, 8), 5) -> 8
models.conv_net((8, 8, 1), 0) -> ways=0
models.conv_net((8, 8, 1), 5, filters=1.5) -> filters=1.5
models.conv_net((8, 8, 1), 5, blocks=0) -> blocks=0
models.conv_net((2, 2, 1), 5, downsampling="pool") -> 2
models.conv_net((8, 8, 1), 5, readout="no") -> no
models.gru_regressor((3,)) -> 3
models.gru_regressor((None, 2), units=()) -> units
layers.ContextVector(0) -> size=0
layers.ContextVector(1.5) -> size=1.5
layers.ContextVector(2, per_position="no") -> per_position='no'
layers.BatchNormalization(epsilon=-1.0) -> epsilon=-1
layers.BatchNormalization(momentum=2.0) -> momentum=2
layers.LayerNormalization(epsilon="a") -> epsilon='a'
layers.GroupNormalization(groups=0) -> groups=0
# configurations
SinusoidConfig(iterations=0) -> iterations=0
SinusoidConfig(iterations=1.5) -> iterations=1.5
SinusoidConfig(iterations=True) -> iterations=True
SinusoidConfig(seed=1.5) -> seed=1.5
SinusoidConfig(seed="1") -> seed='1'
SinusoidConfig(hidden=40) -> hidden=40
SinusoidConfig(hidden=(40, 0)) -> 0
SinusoidConfig(inner_learning_rate=-1.0) -> inner_learning_rate=-1
SinusoidConfig(inner_learning_rate=math.nan) -> inner_learning_rate=nan
SinusoidConfig(meta_learning_rate=0) -> meta_learning_rate=0
SinusoidConfig(first_order="no") -> first_order='no'
SinusoidConfig(methods=("no_such",)) -> no_such
SinusoidConfig(methods=()) -> methods
SinusoidConfig(evaluation_shots=()) -> evaluation_shots
models.mlp((3,), kernel_initializer=SinusoidConfig(initializer="no_such").initializer) -> no_such
SinusoidConfig(initializer=3) -> initializer=3
SinusoidConfig(iterations=10, iterations_per_call=3) -> iterations
SinusoidConfig(grid_points=1) -> grid_points=1
ClassificationConfig(ways=0) -> ways=0
ClassificationConfig(ways=1.5) -> ways=1.5
ClassificationConfig(shots=0) -> shots=0
ClassificationConfig(split="no_such") -> no_such
ClassificationConfig(method="no_such") -> no_such
ClassificationConfig(meta_learning_rate_decay=None) -> None
ClassificationConfig(iterations=100, validate_every=30) -> validate_every
ClassificationConfig(gradient_clip=0.0) -> gradient_clip=0
ClassificationConfig(data_dir=3) -> data_dir=3
ClassificationConfig(method="random", initial_weights="a.h5") -> initial_weights
MetaRLConfig("no_such") -> no_such
MetaRLConfig("half_cheetah_velocity", iterations=0) -> iterations=0
MetaRLConfig("half_cheetah_velocity", discount=1.5) -> discount=1.5
MetaRLConfig("half_cheetah_velocity", gae_lambda=-0.1) -> gae_lambda=-0.1
MetaRLConfig("half_cheetah_velocity", max_divergence=0) -> max_divergence=0
MetaRLConfig("half_cheetah_velocity", test_seed=-1) -> test_seed=-1
MetaRLConfig("half_cheetah_velocity", products="no") -> no
configuration.from_dict(SinusoidConfig, {"no_such": 1}) -> no_such
configuration.from_dict(SinusoidConfig, {"hidden": None}) -> hidden
configuration.from_dict(SinusoidConfig, {"hidden": "40"}) -> hidden
SinusoidConfig().for_evaluation({"seed": 2}) -> seed
dataclasses.replace(SinusoidConfig(), shots=None) -> shots=None
# pretrained weights
pretrained.load("no_such") -> no_such
pretrained.load(None) -> None
pretrained.load("../weights") -> weights
pretrained.card("no_such") -> no_such
"""
