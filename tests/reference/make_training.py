"""Store what Keras does in training_cases.py and training_models.py, as training.json.

Run with a Python that has Keras 3.15 on TensorFlow; the tests need neither.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import logging  # noqa: E402

import keras  # noqa: E402
import training_cases  # noqa: E402
import training_models  # noqa: E402


def rounded(value):
    """Seven significant digits are what single precision has."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v) for v in value]
    return value


logging.getLogger("tensorflow").setLevel("ERROR")  # remarks on retracing
found = {"keras": keras.__version__}
for module in (training_cases, training_models):
    for name, case in module.CASES.items():
        keras.utils.clear_session()
        print(name, flush=True)
        found[name] = rounded(case(keras))
path = Path(__file__).with_name("training.json")
path.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
print(path, path.stat().st_size)
