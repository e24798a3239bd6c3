"""What int8 weights of 7 and of 8 bits cost and give, and whether results are equal without VNNI.

    OMP_NUM_THREADS=1 python benchmarks/int8.py runs/export-... FOLDER [--source uoft-cs/cifar10]

The float file of an exported student is quantized in three ways, on 256 images that it was not tested on, into a
folder; existing files are used again. All are run on the same test images. On another machine, or one that is
emulated (qemu-x86_64 -cpu Haswell python benchmarks/int8.py ...), the results of the same files can be compared: the
last column is a digest of all logits. Milliseconds are processor time of 64 images, the median of several.
"""

import argparse
import functools
import hashlib
import statistics
import time
from pathlib import Path
from unittest import mock

import torch
from onnxruntime.quantization import QuantType, quantize_static

from persistill.config import Data
from persistill.data import load
from persistill.exporters import int8_file, onnx_file
from persistill.exporters.formats import OutputsFunction, run_batches
from persistill.exporters.processor import instructions
from persistill.exporters.saturation import saturating_layers

CALIBRATION = 256
BATCH = 64
UNSIGNED = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8, "reduce_range": False}
WAYS = {"7 bits": {}, "8 bits": {"reduce_range": False}, "8 bits, unsigned": UNSIGNED}


def main() -> None:
    """Write what is missing, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="folder with model.onnx")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", default="uoft-cs/cifar10")
    parser.add_argument("--test", type=int, default=10_000, help="number of test images")
    given = parser.parse_args()
    torch.set_num_threads(1)
    splits = load(Data(source=given.source, train=10_000, validation=2_000))
    count = min(given.test, len(splits.test))
    images = splits.test.fetch(torch.arange(count)).float() / 255
    target = splits.test.targets[:count]
    calibration = splits.train.fetch(torch.arange(CALIBRATION))

    paths = {"float32": given.export / "model.onnx"}
    for name, options in WAYS.items():
        paths[name] = given.folder / f"{name.replace(', ', '-').replace(' ', '-')}.onnx"
        if not paths[name].exists():
            given.folder.mkdir(parents=True, exist_ok=True)
            with mock.patch.object(int8_file, "quantize_static", functools.partial(quantized, options)):
                int8_file.write(paths["float32"].read_bytes(), {}, calibration, paths[name])
    print(f"{count} images, instructions {instructions()}")
    print(f"{'weights':18} {'accuracy':>9} {'same class':>11} {'ms':>8} {'saturating':>11}  logits")
    expected = None
    for name, path in paths.items():
        model = onnx_file.open_session(path)
        logits = torch.cat([outputs[0] for outputs in run_batches(model, images.split(BATCH))])
        expected = logits if expected is None else expected
        accuracy = (logits.argmax(1) == target).double().mean()
        agreement = (logits.argmax(1) == expected.argmax(1)).double().mean()
        digest = hashlib.sha256(logits.numpy().tobytes()).hexdigest()[:8]
        milliseconds = 1000 * seconds(model, images[:BATCH])
        layers = len(saturating_layers(path))
        print(f"{name:18} {accuracy:9.2%} {agreement:11.2%} {milliseconds:8.1f} {layers:11}  {digest}", flush=True)


def quantized(options: dict[str, object], *args: object, extra_options: dict[str, object], **given: object) -> None:
    """ONNX Runtime's ``quantize_static`` with some options in place of those of the package."""
    symmetric = {"WeightSymmetric": True} if options.get("weight_type") == QuantType.QUInt8 else {}
    quantize_static(*args, **{**given, **options}, extra_options={**extra_options, **symmetric})


def seconds(model: OutputsFunction, images: torch.Tensor, turns: int = 9) -> float:
    """Processor time of a call, the median of some turns."""
    times = []
    for _ in range(turns):
        began = time.process_time()
        model(images)
        times.append(time.process_time() - began)
    return statistics.median(times[2:])


if __name__ == "__main__":
    main()
