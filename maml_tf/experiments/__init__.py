"""The experiments of the paper, each a configuration and a function that runs it."""

from maml_tf.experiments.config import from_dict, to_dict
from maml_tf.results import Row, format_table, read_rows, write_results

__all__ = ["Row", "format_table", "from_dict", "read_rows", "to_dict", "write_results"]
