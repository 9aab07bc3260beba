"""TensorBoard's event files: figures, histograms, pictures, text and graphs, each under a tag and a step.

Made from TensorBoard's own messages, since `tf.summary` takes 12 ms for a histogram and 140 ms for a picture, and is
silent when the disk is full.
"""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnncli.errors import TrainingError
from cnncli.learning import tf

_BUCKETS = 30  # as TensorBoard's own histograms
_PNG_LEVEL = 1  # pictures are small, time is dear


class EventFile:
    """A new event file in a folder, beside those of earlier runs. Methods raise TrainingError where writing fails."""

    def __init__(self, folder: Path) -> None:
        now_ns = time.time_ns()
        # readers take files in the order of their names, and later ones replace the steps of earlier ones
        self._path = folder / f"events.out.tfevents.{now_ns // 10**9}.{now_ns % 10**9:09}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = tf.io.TFRecordWriter(str(self._path))
        except (OSError, tf.errors.OpError) as problem:
            raise self._failure(problem) from problem
        self._write(file_version="brain.Event:2")

    def add(self, step: int, summary: Summary) -> None:
        """Writes what is in a summary; it is in the file when this returns."""
        self._write(step=step, summary=summary.content)

    def add_graph(self, graph: Any) -> None:
        """Writes a TensorFlow graph."""
        self._write(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())

    def close(self) -> None:
        try:
            self._writer.close()
        except tf.errors.OpError as problem:
            raise self._failure(problem) from problem

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        try:
            self._writer.write(Event(wall_time=time.time(), **content).SerializeToString())
            self._writer.flush()
        except tf.errors.OpError as problem:
            raise self._failure(problem) from problem

    def _failure(self, problem: Any) -> TrainingError:
        reason = getattr(problem, "strerror", None) or problem.message.rpartition("; ")[2]
        return TrainingError(f"{self._path.parent}: what TensorBoard shows cannot be written there ({reason})")


class Summary:
    """Values of one step, each under a tag of its own."""

    def __init__(self) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary as Content

        self.content = Content()

    def scalar(self, tag: str, value: float) -> None:
        from tensorboard.plugins.scalar.metadata import create_summary_metadata

        self._add(tag, np.float32(value), create_summary_metadata(display_name=None, description=None))

    def text(self, tag: str, markdown: str) -> None:
        from tensorboard.plugins.text.metadata import create_summary_metadata

        self._add(
            tag, np.array(markdown.encode(), object), create_summary_metadata(display_name=None, description=None)
        )

    def histogram(self, tag: str, values: npt.NDArray[np.float32]) -> None:
        from tensorboard.plugins.histogram.metadata import create_summary_metadata

        self._add(tag, histogram(values), create_summary_metadata(display_name=None, description=None))

    def image(self, tag: str, pixels: npt.NDArray[np.uint8], description: str) -> None:
        """A picture of shape `(height, width, 3)`: the message holds its width, its height and a PNG as strings."""
        from tensorboard.plugins.image.metadata import create_summary_metadata

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=_PNG_LEVEL)
        height, width, _ = pixels.shape
        strings = np.array([str(width).encode(), str(height).encode(), file.getvalue()], object)
        self._add(tag, strings, create_summary_metadata(display_name=None, description=description))

    def _add(self, tag: str, value: Any, metadata: Any) -> None:
        from tensorboard.util.tensor_util import make_tensor_proto

        self.content.value.add(tag=tag, tensor=make_tensor_proto(value), metadata=metadata)


def histogram(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Counts of the finite values between their least and largest, `(30, 3)`: left edge, right edge, count."""
    finite = values[np.isfinite(values)].astype(np.float64)  # between neighbours in float32 there are no 30 buckets
    if not finite.size:
        return np.zeros((_BUCKETS, 3))
    low, high = float(finite.min()), float(finite.max())
    if low == high:  # TensorBoard shows the last bucket of such
        return np.array([(low, high, 0)] * (_BUCKETS - 1) + [(low, high, finite.size)], dtype=np.float64)
    counts, edges = np.histogram(finite, _BUCKETS, (low, high))
    return np.stack([edges[:-1], edges[1:], counts], axis=-1).astype(np.float64)
