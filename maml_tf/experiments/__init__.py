"""The experiments of the paper, each a configuration and a function that runs it."""

from maml_tf.results import Row, format_table, read_rows, write_results

__all__ = ["Row", "format_table", "read_rows", "write_results"]
