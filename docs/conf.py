"""Settings of the documentation site: `python3 bin/bootstrap.py docs` builds it."""

import hashlib
import os
import pathlib
import sys
import warnings

DOCS = pathlib.Path(__file__).resolve().parent
PROJECT = DOCS.parent
sys.path[:0] = [str(PROJECT), str(DOCS)]
# Tutorials run in processes of their own, which inherit these.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])

import maml_tf.rl  # noqa: E402  It prepares for tf-agents, whatever is documented first.

warnings.filterwarnings("ignore", category=DeprecationWarning)


def digest_of_package() -> str:
    """Returns what the tutorials' cached outputs depend on beside their own text."""
    digest = hashlib.sha256()
    for path in sorted((PROJECT / "maml_tf").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


project = "maml_tf"
author = "The maml_tf Authors"
copyright = "The maml_tf Authors, Apache-2.0"
version = release = maml_tf.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",
    "mathml",
]
exclude_patterns = ["_*"]

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(PROJECT / "build" / "tutorials" / digest_of_package())
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_output_stderr = "remove"

default_role = "py:obj"  # A name in backticks is a link where there is such a name, and code anyway.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # Keras' own are in Markdown, and in Keras' documentation.
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "maml_tf"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
