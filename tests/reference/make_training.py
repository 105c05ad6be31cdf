"""Store what Keras does in training_cases.py, training_models.py, callback_cases.py: training.json.

Run with a Python that has Keras 3.15 on TensorFlow, and TensorBoard; the tests need none of them.
Names of cases as arguments: only these are made again.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import logging  # noqa: E402

import callback_cases  # noqa: E402
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
path = Path(__file__).with_name("training.json")
wanted = sys.argv[1:]
found = json.loads(path.read_text()) if wanted else {}
found["keras"] = keras.__version__
for module in (training_cases, training_models, callback_cases):
    for name, case in module.CASES.items():
        if wanted and name not in wanted:
            continue
        keras.utils.clear_session()
        print(name, flush=True)
        found[name] = rounded(case(keras))
path.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
print(path, path.stat().st_size)
