"""The package's definition. The tools' settings (ruff, pytest) are in pyproject.toml."""

import pathlib

from setuptools import find_packages, setup

setup(
    name="maml_tf",
    version="0.2.0",
    description="Model-agnostic meta-learning (MAML) for TensorFlow 2 and Keras 3",
    long_description=(pathlib.Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The maml_tf Authors",
    license="Apache-2.0",
    project_urls={"Paper": "https://arxiv.org/abs/1703.03400"},
    keywords="maml meta-learning few-shot-learning meta-reinforcement-learning keras tensorflow",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["maml_tf", "maml_tf.*"]),
    # Said although it is the default: an editable install then puts the whole project folder on the path,
    # so that `python tests/x_test.py` finds tests.support.
    package_data={
        "maml_tf": ["py.typed"],
        "maml_tf.demo": ["*.html"],
        "maml_tf.pretrained": ["weights/*"],
        "maml_tf.tasks": ["splits/*.txt"],
    },
    package_dir={"": "."},
    entry_points={"console_scripts": ["maml-tf = maml_tf.commands.launcher:main"]},
    python_requires=">=3.10,<3.14",
    install_requires=[
        "absl-py>=2.1",
        "h5py>=3.11",
        "keras>=3.8,<3.16",  # Its private interface, which core/keras_interface.py uses, changes between versions.
        "matplotlib>=3.8",
        "numpy>=1.26",
        "pillow>=10.1",
        "tensorboard>=2.18",  # tf.summary needs it, and TensorFlow 2.21 no longer brings it.
        "tensorflow>=2.18,<2.22",  # The first that runs with Keras 3.8.
        "tqdm>=4.66",
    ],
    extras_require={
        # tf-agents 0.19 asks for pygame 2.1.3, which has no wheel for Python 3.12 or later, and runs without it: there
        # requirements_tf_agents.txt brings it, and the extra what it imports.
        "agents": [
            "cloudpickle>=3.0; python_version >= '3.12'",
            "gin-config>=0.5; python_version >= '3.12'",
            "gym-notices>=0.0.8; python_version >= '3.12'",
            "imageio[ffmpeg]>=2.34",
            "pygame>=2.6; python_version >= '3.12'",
            "tensorflow-probability>=0.23",
            "tf-agents>=0.19; python_version < '3.12'",
            "tf_keras>=2.18",
        ],
        "rl": [
            "maml_tf[agents]",
            "gymnasium[mujoco]>=1.1",
            "mujoco>=3.17",  # The first with mujoco.batch.
        ],
        # Not beside rl: it asks for MuJoCo 3.3.0.
        "metaworld": [
            "maml_tf[agents]",
            "metaworld>=3.1.1",
            "packaging>=23.0",  # metaworld imports it and does not ask for it.
        ],
        "browser": ["playwright>=1.49"],
        "docs": [
            "furo>=2024.8",
            "myst-nb>=1.2",
            "sphinx>=7.4",
            "sphinx-copybutton>=0.5.2",
            "sphinx-design>=0.6",
        ],
        "demo": [
            "bokeh>=3.6",
        ],
        "hub": [
            "huggingface_hub>=0.24",
            "kagglehub>=0.3",
        ],
        "ray": ["ray>=2.40,<3"],
        "serve": [
            "tornado>=6.4",
        ],
        "sweep": ["optuna>=4.0"],
        "tfds": ["tensorflow-datasets>=4.9"],
        "test": [
            "hypothesis>=6.100",
            "pytest>=8.2",
            "pytest-xdist>=3.6",
            "ruff>=0.9",
        ],
    },
)
