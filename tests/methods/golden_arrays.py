"""Weights, images and noise for the golden figures, made from names by integers and exact arithmetic alone."""

import zlib

import numpy as np

_MEAN = np.array([0.485, 0.456, 0.406])
_STD = np.array([0.229, 0.224, 0.225])


def is_made(key):
    """Whether a state-dict entry is made here; the others are tables and counters that a method defines itself."""
    return not key.endswith(("pos_embed", "relative_position_index", "num_batches_tracked"))


def weights(name, shape):
    """One parameter or running statistic, float64; `name` is the configuration's prefix and the published key."""
    # The published MoCo v3 freezes this layer, so both of its networks have the same one.
    name = name.replace("momentum_encoder.patch_embed.", "base_encoder.patch_embed.")
    z = _bell(name, shape)
    ending = name.rsplit(".", 1)[-1]
    if ending in ("bias", "running_mean"):
        return 0.05 * z
    if ending == "running_var" or ending == "weight" and len(shape) == 1:
        return 1 + 0.1 * z
    if ending == "weight":
        return z / np.sqrt(float(np.prod(shape[1:])))
    assert name.endswith(("cls_token", "mask_token", "relative_position_bias_table")), name
    return 0.1 * z


def images(name, shape):
    """Dark blobs on a bright noisy ground, normalised, with one flat rectangle each: (B, 3, H, W), float64."""
    B, C, H, W = shape
    blobs, texture = _uniform(f"{name}/blob", (B, C, 3)), _uniform(f"{name}/texture", shape)
    y, x = (np.arange(H) + 0.5) / H, (np.arange(W) + 0.5) / W
    result = np.empty(shape)
    for i in range(B):
        top, left = (H // 2) * (i // 2 % 2), (W // 2) * (i % 2)
        for k in range(C):
            u = blobs[i, k]
            dy, dx = y - (0.25 + 0.5 * u[0]), x - (0.25 + 0.5 * u[1])
            squares = (dy * dy)[:, None] + (dx * dx)[None, :]
            value = 0.85 - 0.6 / (1 + squares / (0.02 + 0.08 * u[2])) + 0.1 * (texture[i, k] - 0.5)
            result[i, k] = (value - _MEAN[k]) / _STD[k]
            result[i, k, top : top + H // 2, left : left + W // 2] = (i % 5 - 2) / 4 + (k - 1) / 64
    return result


def noise(name, shape):
    """Evenly spaced values in (0, 1) along the last axis, in an order that depends on the name, float64."""
    ranks = _words(f"{name}/noise", shape).argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    return (ranks + 0.5) / shape[-1]


def deviation(entry, array):
    """Largest difference between an array and what is stored of it; that of an L2 norm above 1 is relative to it."""
    array = np.asarray(array, np.float64)
    if "shape" in entry:
        assert list(array.shape) == list(entry["shape"])
    differences = [abs(getattr(array, name)() - entry[name]) for name in ("mean", "std") if name in entry]
    if "l2" in entry:
        differences.append(abs(np.sqrt((array * array).sum()) - entry["l2"]) / max(1.0, entry["l2"]))
    for place, value in zip(entry.get("at", ()), entry.get("value", ()), strict=True):
        found = array[tuple(place)] if isinstance(place, list) else array.reshape(-1)[place]
        differences.append(abs(found - value))
    return max(differences)


def _words(name, shape):
    stream = np.random.Philox(key=zlib.crc32(name.encode()))
    return stream.random_raw(int(np.prod(shape))).reshape(shape)


def _uniform(name, shape):
    return (_words(name, shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _bell(name, shape):
    parts = np.ascontiguousarray(_words(name, shape)).view(np.uint16).reshape(*shape, 4)
    return (parts.sum(axis=-1, dtype=np.int64) - 131070).astype(np.float64) * (np.sqrt(3.0) / 65536)
