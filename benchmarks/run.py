"""Benchmarks: python benchmarks/run.py frozen | train | predict [options]

frozen   a new head on a frozen network, beside Keras and scikit-learn     (frozen.py)
train    one step through whole networks, beside Keras and PyTorch          (train.py)
predict  images per second and milliseconds of one image, beside OpenVINO,
         ONNX Runtime and Keras                                             (predict.py)

Each contender has its own process; they run in turns, so that a slow minute of the machine meets
all of them. Outputs are compared before anything is timed. Ratios come first; the figures are kept
as JSON in benchmarks/results/.

Peers: TLFAST_PEER_KERAS=PYTHON, TLFAST_PEER_TORCH=PYTHON and TLFAST_PEER_SERVE=PYTHON name the
Pythons that have tensorflow, keras and scikit-learn; torch; openvino, onnxruntime and onnx, where
they are not installed beside tlfast.
"""

import argparse

import frozen
import networks
import predict
import train


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="name", required=True)
    command = commands.add_parser("frozen", help=frozen.__doc__.splitlines()[0])
    command.add_argument("--images", type=int, default=96)
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--network", choices=frozen.NETWORKS)
    command.set_defaults(run=frozen.run)
    command = commands.add_parser("train", help=train.__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=3, help="steps that are timed")
    command.add_argument("--network", choices=networks.NAMES, action="append")
    command.add_argument("--contender", choices=train.CONTENDERS, action="append")
    command.set_defaults(run=train.run)
    command = commands.add_parser("predict", help=predict.__doc__.splitlines()[0])
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--network", choices=networks.NAMES, action="append")
    command.add_argument("--contender", choices=predict.PEERS, action="append")
    command.set_defaults(run=predict.run)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
