"""An event file of TensorBoard, with the summaries that TensorFlow 2 writes.

The records are written by tensorboardX (MIT licence, maintained, 3 MB with protobuf); TensorBoard's
own writer comes with its web server, 70 MB.
"""

import io
import itertools
import os
import time
from typing import Any

import numpy as np

from tlfast._packages import needed

_BUCKETS = 30  # of a histogram, as TensorFlow has it
_IMAGES = 3  # at most in one summary, as TensorFlow has it

# Names of event files carry the second they were made in; the number keeps two of them apart and
# in order, which TensorBoard takes from the names.
_numbers = itertools.count()


def require_writer() -> None:
    """Import the writer.

    Raises:
        ImportError: it is not installed, with the command that installs it.
    """
    with needed("TensorBoard", "tensorboardX"):
        import tensorboardX.event_file_writer  # noqa: F401


class EventFile:
    """One event file.

    Args:
        folder: where it is made.

    Raises:
        ImportError: the writer is not installed.
        OSError: nothing can be written to the folder.
    """

    def __init__(self, folder: str) -> None:
        require_writer()
        from tensorboardX import event_file_writer
        from tensorboardX.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2

        self._event, self._summary = event_pb2.Event, summary_pb2
        self._tensor, self._types = tensor_pb2.TensorProto, types_pb2
        suffix = f".{os.getpid()}.{next(_numbers):06d}.v2"
        self._writer = event_file_writer.EventsWriter(os.path.join(folder, "events"), suffix)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write one number."""
        tensor = self._tensor(dtype=self._types.DT_FLOAT, float_val=[float(value)])
        self._write(tag, step, "scalars", tensor)

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """Write how values are distributed; those that are not finite are left out."""
        buckets = histogram_buckets(values)
        tensor = self._tensor(dtype=self._types.DT_DOUBLE, double_val=buckets.ravel().tolist())
        for size in buckets.shape:
            tensor.tensor_shape.dim.add(size=size)
        self._write(tag, step, "histograms", tensor)

    def images(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write the first images of (n, height, width, channels), values from 0 to 1."""
        _, height, width, _ = pixels.shape
        found = [str(width), str(height), *map(_png, pixels[:_IMAGES])]
        texts = [text.encode() if isinstance(text, str) else text for text in found]
        tensor = self._tensor(dtype=self._types.DT_STRING, string_val=texts)
        tensor.tensor_shape.dim.add(size=len(texts))
        self._write(tag, step, "images", tensor)

    def keras_model(self, tag: str, json_text: str, step: int) -> None:
        """Write a model as the JSON text that TensorBoard draws as conceptual graph."""
        tensor = self._tensor(dtype=self._types.DT_STRING, string_val=[json_text.encode()])
        self._write(tag, step, "graph_keras_model", tensor, b"1")

    def flush(self) -> None:
        """Hand everything to the system."""
        self._writer.flush()

    def close(self) -> None:
        """End the file."""
        self._writer.close()

    def _write(self, tag: str, step: int, plugin: str, tensor: Any, content: bytes = b"") -> None:
        data = self._summary.SummaryMetadata.PluginData(plugin_name=plugin, content=content)
        metadata = self._summary.SummaryMetadata(plugin_data=data)
        value = self._summary.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        summary = self._summary.Summary(value=[value])
        self._writer.write_event(self._event(wall_time=time.time(), step=step, summary=summary))


def histogram_buckets(values: np.ndarray) -> np.ndarray:
    """Return rows of (left edge, right edge, count), as TensorFlow divides them.

    Args:
        values: any array; values that are not finite are left out.
    """
    values = np.asarray(values, np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return np.zeros((_BUCKETS, 3))
    low, high = values.min(), values.max()
    last = _BUCKETS - 1
    if low == high:
        places = np.full(values.shape, last)
    else:
        places = np.floor((values - low) / ((high - low) / _BUCKETS)).astype(np.int64)
    counts = np.bincount(np.minimum(places, last), minlength=_BUCKETS)
    edges = np.linspace(low, high, _BUCKETS + 1)
    return np.stack([edges[:-1], edges[1:], counts], axis=1)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    channels = pixels.shape[-1]
    # As tf.image.convert_image_dtype makes 8 bits of floats.
    values = np.clip(np.nan_to_num(pixels) * 255.5, 0, 255).astype(np.uint8)
    image = Image.fromarray(values[..., 0] if channels == 1 else values)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
