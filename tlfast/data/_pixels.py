"""Files to arrays: the one place that talks to the core's loader."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
        self._names = paths
        self._spec = spec
        self._on_bad = on_bad_image

    def read(self, batches: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, Bad]]:
        """Yield (images, rows read, (path, reason) of rows skipped) for each batch."""
        from tlfast import _core

        if not batches:
            return
        spec = self._spec
        # Only the files that are asked for: one batch of a long list must not cost the whole list.
        needed, order = np.unique(np.concatenate(batches), return_inverse=True)
        paths = [os.fsencode(self._names[i]) for i in needed.tolist()]
        sizes = np.array([len(b) for b in batches], np.int64)
        # Always "skip": a file that the core cannot read may be one that Pillow can.
        with _core.Loader(
            paths,
            height=spec.height,
            width=spec.width,
            channels=spec.channels,
            interpolation=spec.interpolation,
            pipeline=spec.pipeline,
            fit=spec.fit,
            on_bad="skip",
            depth=2,
        ) as loader:
            loader.start(order.astype(np.int64), sizes)
            for wanted in batches:
                read: Any = loader.next()  # not None: there are as many as `sizes` says
                images, places, bad = read
                ids = needed[places].astype(np.int64)
                reasons = {int(needed[place]): reason for place, reason in bad}
                yield (images, ids, []) if not bad else self._mend(wanted, images, ids, reasons)

    def _mend(
        self, wanted: np.ndarray, images: np.ndarray, ids: np.ndarray, reasons: dict[int, str]
    ) -> tuple[np.ndarray, np.ndarray, Bad]:
        """A batch in which some rows failed: read by Pillow, skipped, or the error."""
        rows, kept, bad = [], [], []
        read = iter(images)
        for i in wanted.tolist():
            row = next(read) if i not in reasons else self._other_format(i, reasons)
            if row is None:
                bad.append((self._names[i], reasons[i]))
            else:
                rows.append(row)
                kept.append(i)
        if not rows:
            return images, ids, bad
        return np.stack(rows), np.array(kept, np.int64), bad

    def _other_format(self, i: int, reasons: dict[int, str]) -> np.ndarray | None:
        """Pixels of a file that the core could not read, or None to skip it.

        Raises:
            OSError: if the file cannot be opened.
            DecodeError: if it is no readable image, unless bad images are skipped.
        """
        from tlfast import _core
        from tlfast.data import _pillow

        name = self._names[i]
        if _pillow.decodable(name):
            try:
                return _pillow.decode(name, self._spec)
            except ValueError as error:
                reasons[i] = f"{error} '{name}'"
        if self._on_bad == "skip":
            reasons[i] = reasons[i].replace(f" '{name}'", "").replace(f"'{name}' ", "")
            return None
        # Decoding alone raises the error of the right kind; it did not fail for its size only.
        try:
            _core.decode_image(name, pipeline=self._spec.pipeline)
        except _core.DecodeError as error:
            reasons[i] = str(error)
        raise _core.DecodeError(
            f"{reasons[i]}. Replace or remove the file, or leave unreadable files out with "
            'on_bad_image="skip".'
        )
