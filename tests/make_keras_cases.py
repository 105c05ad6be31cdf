"""Write tests/keras_cases.json with Keras: run with an interpreter that has TensorFlow."""

import json
from pathlib import Path

import keras
from keras_cases import CASES, describe, digest, set_numbers

if __name__ == "__main__":
    expected = {}
    for case, build in CASES.items():
        expected[case] = describe(keras, case)
        keras.backend.clear_session()
        model = build(keras)
        images = set_numbers(model)
        expected[case]["outputs"] = digest(model.predict(images, verbose=0))
    path = Path(__file__).with_name("keras_cases.json")
    path.write_text(json.dumps(expected, indent=None, ensure_ascii=False) + "\n", "utf-8")
    print(f"wrote {path} with Keras {keras.__version__}")
