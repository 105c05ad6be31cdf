"""PyTorch in the benchmark `train`: python train_torch.py [compiled] [frozen] [bf16]"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import networks
import numpy as np
import torch
from serving import memory, serve
from torch_network import Network


class Contender:
    """The network of a Keras configuration in channels_last, eager or compiled."""

    def __init__(self, compiled: bool, frozen: bool, bf16: bool) -> None:
        self.compiled, self.frozen, self.bf16 = compiled, frozen, bf16

    def versions(self) -> dict[str, str]:
        return {"framework": torch.__version__, "numpy": np.__version__}

    def predict(self, network: str, model: str, pixels: str) -> list[list[float]]:
        """Predictions of two of the images; the images are those of the steps."""
        config = json.loads(Path(model).read_text())["config"]
        net = Network(config, networks.weight).to(memory_format=torch.channels_last)
        images = torch.from_numpy(np.load(pixels)).permute(0, 3, 1, 2)
        self.x = images.contiguous(memory_format=torch.channels_last)
        self.y = torch.arange(len(self.x)) % 2
        net.eval()
        with torch.no_grad(), self.precision():
            found = torch.softmax(net(self.x[:2]).float(), 1)
        if self.frozen:
            net.requires_grad_(False)
            net.layers["head"].requires_grad_(True)
        else:
            net.train()
        self.optimizer = torch.optim.SGD(
            (p for p in net.parameters() if p.requires_grad), 1e-3, momentum=0.9
        )
        self.network = torch.compile(net) if self.compiled else net
        return found.tolist()

    def precision(self) -> Any:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16)

    def step(self) -> float:
        """Seconds of one training step."""
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            loss = torch.nn.functional.cross_entropy(self.network(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        float(loss)
        return time.perf_counter() - start

    def memory(self) -> float:
        """Peak of this process in MB."""
        return memory("VmHWM")


if __name__ == "__main__":
    options = sys.argv[1:]
    serve(Contender("compiled" in options, "frozen" in options, "bf16" in options))
