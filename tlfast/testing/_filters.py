"""The fixed weights of `TinyBackbone`: filters that everybody draws by hand.

Channels of the first convolution: edges in 8 directions (each turned by 45 degrees from the one
before), 6 colours, bright, dark. Of the second: lines in 4 ways, lines without others across them
in 4 ways, 8 corners, patches of each colour and brightness, and spots of these that stand out
from what surrounds them. Lines and corners are the same for bright figures and dark ones.
"""

import numpy as np

DIRECTIONS = 8
# Each is positive for its colour and zero or negative for grey, white and black.
COLOURS = (
    (1, -0.5, -0.5), (-0.5, 1, -0.5), (-0.5, -0.5, 1),  # red, green, blue
    (0.5, 0.5, -1), (-1, 0.5, 0.5), (0.5, -1, 0.5),  # yellow, cyan, magenta
)  # fmt: skip
PATCHES = len(COLOURS) + 2  # and bright, dark
FILTERS = DIRECTIONS + PATCHES
FEATURES = 2 * FILTERS
# The cells around the middle of a 3x3 window, by angle: right, up and right, up, ...
_RING = ((1, 2), (0, 2), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2))
_SPOT = np.where(np.arange(9).reshape(3, 3) == 4, 1.0, -0.125)


def fixed_weights() -> dict[str, list[np.ndarray]]:
    """The weights by layer, as `set_weights` takes them."""
    return {"edges": _edges(), "parts": [_parts()], "parts_bn": _statistics()}


def _edges() -> list[np.ndarray]:
    kernel = np.zeros((3, 3, 3, FILTERS), np.float32)
    bias = np.zeros(FILTERS, np.float32)
    for k in range(DIRECTIONS):
        # Sobel's filter, turned: bright on the side of ring cell k, dark on the other.
        for turn, value in ((-1, 1), (0, 2), (1, 1), (3, -1), (4, -2), (5, -1)):
            kernel[(*_RING[(k + turn) % 8], slice(None), k)] = value / 3
    for k, colour in enumerate(COLOURS, start=DIRECTIONS):
        kernel[..., k] = np.array(colour) / 9
    kernel[..., -2] = 1 / 27
    kernel[..., -1] = -1 / 27
    bias[:DIRECTIONS], bias[-1] = -0.1, 1
    return [kernel, bias]


def _parts() -> np.ndarray:
    kernel = np.zeros((3, 3, FILTERS, FEATURES), np.float32)
    for k in range(DIRECTIONS):
        way, corner = k % 4, DIRECTIONS + k
        # An edge runs at a right angle to its direction.
        along = np.transpose([(1, 1), _RING[(k + 2) % 8], _RING[(k - 2) % 8]])
        for edge in (k, (k + 4) % 8):  # bright on this side, or dark
            across = (edge + 2) % 8
            kernel[(*along, edge, way)] = 1 / 3
            kernel[1, 1, edge, 4 + way] = 1
            kernel[1, 1, across, 4 + way] = -1
            kernel[(*_RING[k], edge, corner)] = 1 / 2
            kernel[(*_RING[(k + 2) % 8], across, corner)] = 1 / 2
    for k in range(PATCHES):
        kernel[..., DIRECTIONS + k, 2 * DIRECTIONS + k] = 1 / 9
        kernel[..., DIRECTIONS + k, 2 * DIRECTIONS + PATCHES + k] = _SPOT
    return kernel


def _statistics() -> list[np.ndarray]:
    """Scale, shift, mean and variance of the batch normalization."""
    # Rounded from pictures of `image_folder`: channels, mean, standard deviation.
    lines = [(4, 0.3, 0.5), (4, 0.0, 0.6)]
    corners = [(DIRECTIONS, 0.2, 0.4)]
    patches = [(len(COLOURS), 0.06, 0.13), (2, 0.48, 0.13)]
    spots = [(len(COLOURS), 0.0, 0.03), (2, 0.05, 0.12)]
    channels, means, deviations = zip(*lines, *corners, *patches, *spots, strict=True)
    mean = np.repeat(np.array(means, np.float32), channels)
    deviation = np.repeat(np.array(deviations, np.float32), channels)
    # Averages of maps that are zero in most places are small; a head learns faster from large ones.
    scale = np.full_like(mean, 4)
    return [scale, np.zeros_like(mean), mean, deviation**2]
