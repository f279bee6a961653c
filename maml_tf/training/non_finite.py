"""Stops a training whose loss is no longer a number."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class TerminateOnNonFinite(keras.callbacks.Callback):
    """Raises at the end of an epoch whose loss, or another metric, is NaN or infinite.

    Put it before the callbacks that save, so that the last checkpoint is one from before the loss diverged.
    Metrics of validation (`val_...`) are not looked at: a task that diverges there leaves the training sound.

    Args:
        iterations_per_epoch: Iterations of an epoch, to name those at fault.
    """

    def __init__(self, iterations_per_epoch: int):
        super().__init__()
        self.iterations_per_epoch = iterations_per_epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            if not name.startswith("val_") and not np.all(np.isfinite(value)):
                first = epoch * self.iterations_per_epoch
                last = first + self.iterations_per_epoch - 1
                raise ValueError(
                    f"Expected finite training metrics; the training has diverged in one of the iterations "
                    f"{first} to {last}. A smaller learning rate, or clipped gradients, may help. "
                    f"Received: {name}={value}"
                )
