"""A graph that computes in float64 NumPy what layers ask of `_core.Graph`: the reference."""

import numpy as np
from op_references import OPS


class NumpyGraph:
    """Values are computed as they are added; `ops` keeps (op, name, attributes) of each."""

    def __init__(self):
        self.values = []
        self.ops = []

    def input(self, array):
        self.values.append(np.asarray(array, np.float64))
        return len(self.values) - 1

    def shape(self, value):
        return self.values[value].shape

    def add(self, op, inputs, weights, name, **attributes):
        arrays = [None if w is None else np.asarray(w.numpy(), np.float64) for w in weights]
        self.ops.append((op, name, attributes))
        self.values.append(OPS[op](*(self.values[i] for i in inputs), *arrays, **attributes))
        return len(self.values) - 1


def run(layer, *arrays, training=False):
    """Return (output or outputs, graph) of a layer or model on arrays."""
    g = NumpyGraph()
    out = layer.lower(g, [g.input(a) for a in arrays], training)
    if isinstance(out, list):
        return [g.values[i] for i in out], g
    return g.values[out], g
