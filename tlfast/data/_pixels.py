"""Files to arrays: the one place that talks to the core's loader."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Bad = list[tuple[str, str]]


@dataclass(frozen=True)
class PixelSpec:
    """How an image file becomes an array; equal specs give equal pixels.

    Args:
        height, width: size in pixels.
        channels: 1, 3 or 4.
        interpolation: name as the public function takes it.
        pipeline: "keras" (as tf.image: what image_dataset_from_directory uses) or "pil" (as Pillow:
            what load_img uses).
        fit: "stretch", "crop" (keep the aspect ratio, cut the sides) or "pad".
    """

    height: int
    width: int
    channels: int
    interpolation: str
    pipeline: str
    fit: str = "stretch"

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def dtype(self) -> np.dtype:
        # Only the nearest method returns pixels as they stand in the file.
        return np.dtype(np.uint8 if self.interpolation == "nearest" else np.float32)


class PixelReader:
    """Reads batches of files in the given order, decoding ahead in threads.

    Args:
        paths: image files.
        spec: how to decode them.
        on_bad_image: "error" raises at the batch that needs the file; "skip" drops the row.
    """

    def __init__(self, paths: list[str], spec: PixelSpec, on_bad_image: str) -> None:
        self._paths = [os.fsencode(path) for path in paths]
        self._names = paths
        self._spec = spec
        self._on_bad = on_bad_image

    def read(self, batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, Bad]]:
        """Yield (images, rows read, (path, reason) of rows skipped) for each batch."""
        from tlfast import _core

        if not batches:
            return
        spec = self._spec
        order = np.concatenate(batches).astype(np.int64)
        sizes = np.array([len(b) for b in batches], np.int64)
        with _core.Loader(
            self._paths, height=spec.height, width=spec.width, channels=spec.channels,
            interpolation=spec.interpolation, pipeline=spec.pipeline, fit=spec.fit,
            on_bad=self._on_bad,
        ) as loader:
            loader.start(order, sizes)
            while (item := loader.next()) is not None:
                images, ids, bad = item
                yield images, ids, [(self._names[i], message) for i, message in bad]
