"""The processor's instructions for sums of 8-bit products, on which results of some int8 files depend."""

from llvmlite import binding  # type: ignore[import-untyped]

_INSTRUCTIONS = {
    "avx512vnni": "avx512_vnni",
    "avxvnni": "avx_vnni",
    "avx512bw": "avx512",
    "avx2": "avx2",
    "i8mm": "i8mm",
    "dotprod": "dotprod",
}
"""LLVM's name of a feature -> the usual one. The first that is there is the one that ONNX Runtime would take."""


def instructions() -> str:
    """The instruction set for 8-bit integers, "other" if it is none that is known here.

    "avx512_vnni" and "avx_vnni" add products in 32 bits; "avx512" and "avx2" add pairs of them in 16 bits, cut off at
    the ends (``saturation``). "i8mm" and "dotprod" are those of ARM, in 32 bits.
    """
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know how to ask this processor
        return "other"
    return next((name for feature, name in _INSTRUCTIONS.items() if features.get(feature)), "other")
