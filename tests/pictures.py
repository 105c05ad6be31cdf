"""Pictures by formula with the statistics of real ones: photographs, cells, night, paper."""

import numpy as np


def _cloud(rng: np.random.Generator, size: int, power: float = 1.0) -> np.ndarray:
    """A random field (size, size) whose amplitudes fall with frequency, mean 0, deviation 1.

    Natural pictures have amplitudes near 1/f (Field 1987).
    """
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    f[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.normal(size=(size, size))) / f**power
    field = np.fft.ifft2(spectrum).real
    return (field - field.mean()) / field.std()


def photographs(rng: np.random.Generator, count: int, size: int = 96) -> np.ndarray:
    """Common light in all channels, some colour, exposure and contrast that vary, clipped ends."""
    pictures = []
    for _ in range(count):
        light = _cloud(rng, size, 1.2)
        colour = np.stack([_cloud(rng, size, 1.5) for _ in range(3)], -1)
        tint = rng.normal(0, 12, 3)
        mean, contrast = rng.uniform(85, 150), rng.uniform(38, 70)
        pictures.append(mean + contrast * light[..., None] + 14 * colour + tint)
    return _pixels(pictures)


def grey_cells(rng: np.random.Generator, count: int, size: int = 96) -> np.ndarray:
    """Electroluminescence of solar cells: one grey level with dark bars, grain, cracks, corners."""
    pictures = []
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    for _ in range(count):
        level = rng.uniform(75, 165)
        cell = level * (1 - 0.12 * (x**2 + y**2)) + 12 * _cloud(rng, size, 1.0)
        for bar in (-0.5, 0.5):
            cell[np.abs(y - bar) < 0.03] *= 0.35
        if rng.random() < 0.4:
            cell[_cloud(rng, size, 2.0) > 1.6] *= rng.uniform(0.1, 0.6)
        cell[np.abs(x) + np.abs(y) > 1.85] = rng.uniform(2, 25)
        pictures.append(np.repeat(cell[..., None], 3, -1))
    return _pixels(pictures)


def dark(rng: np.random.Generator, count: int, size: int = 96) -> np.ndarray:
    """Night: most pixels near black, grain, a few dim lights."""
    pictures = []
    for _ in range(count):
        glow = np.exp(0.9 * _cloud(rng, size, 1.4))[..., None] * rng.uniform(2, 7)
        tint = np.array([1.1, 1.0, 0.85]) * rng.uniform(0.9, 1.1, 3)
        pictures.append(glow * tint + rng.normal(0, 2, (size, size, 3)))
    return _pixels(pictures)


def scans(rng: np.random.Generator, count: int, size: int = 96) -> np.ndarray:
    """White paper with lines of print, smoothed a little as a scaled-down page is."""
    pictures = []
    for _ in range(count):
        paper = rng.uniform(235, 252) + 1.5 * _cloud(rng, size, 1.5)
        ink = np.zeros((size, size))
        for row in range(6, size - 6, 5):
            words = rng.random(size) < 0.55
            ink[row : row + 2, 6:-6] = words[6:-6] * rng.uniform(0.4, 1.0, size - 12)
        ink = (ink + np.roll(ink, 1, 1)) / 2
        page = paper * (1 - ink) + rng.uniform(10, 40) * ink
        pictures.append(np.repeat(page[..., None], 3, -1))
    return _pixels(pictures)


def _pixels(pictures: list[np.ndarray]) -> np.ndarray:
    return np.clip(np.round(np.stack(pictures)), 0, 255).astype(np.uint8)


KINDS = {"photographs": photographs, "grey cells": grey_cells, "dark": dark, "scans": scans}
