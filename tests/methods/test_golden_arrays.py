import hashlib

import golden_arrays
import numpy as np
import pytest

WEIGHTS = [
    ("blocks.0.attn.qkv.weight", (96, 32)), ("norm.weight", (32,)), ("norm.bias", (32,)),
    ("patch_embed.proj.weight", (8, 3, 4, 4)), ("cls_token", (1, 1, 32)), ("head.1.running_mean", (8,)),
    ("head.1.running_var", (8,)), ("momentum_encoder.patch_embed.proj.weight", (8, 3, 4, 4)),
]  # fmt: skip
# The first 16 digits of the SHA-256 of the arrays that the golden figures were made from.
DIGESTS = {"weights": "d96c04dfe27ca232", "images": "cfed58656a3511f4", "noise": "e4877c6f5d2cd0c3"}


@pytest.mark.parametrize(
    ("what", "arrays"),
    [
        ("weights", [golden_arrays.weights(f"check/{name}", shape) for name, shape in WEIGHTS]),
        ("images", [golden_arrays.images("check/images", (6, 3, 32, 32))]),
        ("noise", [golden_arrays.noise("check", (3, 36)), golden_arrays.noise("check", (1, 1, 9))]),
    ],
)
def test_the_arrays_are_those_of_the_figures(what, arrays):
    content = b"".join(np.ascontiguousarray(array, "<f8").tobytes() for array in arrays)
    assert hashlib.sha256(content).hexdigest()[:16] == DIGESTS[what]
