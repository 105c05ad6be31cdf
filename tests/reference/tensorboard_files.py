"""Reads TensorBoard's event files: TFRecords of Event messages, checksums included."""

import glob
import os
import struct


def _messages():
    """The Event class and the tensor types of whichever writer is installed."""
    try:
        from tensorboardX.proto import event_pb2, types_pb2
    except ImportError:
        from tensorflow.core.framework import types_pb2
        from tensorflow.core.util import event_pb2
    return event_pb2.Event, types_pb2


def _remainder(byte):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_REMAINDERS = [_remainder(byte) for byte in range(256)]


def _crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _REMAINDERS[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _check(data, stored, path):
    crc = _crc32c(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    if masked != struct.unpack("<I", stored)[0]:
        raise ValueError(f"{path}: wrong checksum")


def events(path):
    """The Event messages of a file."""
    event, _ = _messages()
    with open(path, "rb") as file:
        while header := file.read(12):
            _check(header[:8], header[8:], path)
            data = file.read(struct.unpack("<Q", header[:8])[0])
            _check(data, file.read(4), path)
            yield event.FromString(data)


def _content(tensor):
    """Shape and values of a tensor; texts as their beginnings, which for images is the type."""
    _, types = _messages()
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == types.DT_STRING:
        return shape, [text[:4].decode("latin-1") for text in tensor.string_val]
    kind = {types.DT_FLOAT: "f", types.DT_DOUBLE: "d"}[tensor.dtype]
    values = tensor.float_val if kind == "f" else tensor.double_val
    raw = tensor.tensor_content
    found = struct.unpack(f"<{len(raw) // struct.calcsize(kind)}{kind}", raw) if raw else values
    return shape, list(found)


def summaries(folder):
    """{run: {tag: {plugin, content, steps, shape, values}}} of all event files in a folder."""
    found = {}
    files = glob.glob(os.path.join(folder, "*", "events*"))
    # The name ends in second, host, process and number of the file.
    files.sort(key=lambda path: [int(part) for part in path.split(".") if part.isdigit()])
    for path in files:
        run = found.setdefault(os.path.basename(os.path.dirname(path)), {})
        for event in events(path):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data
                shape, values = _content(value.tensor)
                entry = run.setdefault(
                    value.tag,
                    {"plugin": plugin.plugin_name, "content": plugin.content.decode(),
                     "steps": [], "shape": shape, "values": []},
                )  # fmt: skip
                entry["steps"].append(event.step)
                entry["values"] += values
    return found
