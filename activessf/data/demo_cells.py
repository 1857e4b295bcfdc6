"""Made-up stained cells: how each megakaryocyte subtype looks, and how a cell is drawn.

A picture is built as on a real smear: cells hold amounts of three dyes, and the dyes absorb light. So a drawing is an
array (H, W, 3) of the amounts of `DYES`, and colour comes in last (`activessf.data.demo.Stain`). Every outline is an
analytic field that falls from 1 to 0 within a pixel or two, which makes it smooth without oversampling.

The shapes follow the names of the eleven subtypes (paper, section I) and what textbooks say of such cells; sizes are
chosen for stage 1, which keeps regions of at least 70 pixels. No patient's picture went into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
Range: TypeAlias = tuple[float, float]
IntRange: TypeAlias = tuple[int, int]

# Absorbance (natural logarithm) of one unit of dye in red, green and blue light.
DYES: dict[str, tuple[float, float, float]] = {
    "azure": (0.98, 0.76, 0.12),  # blue: ribonucleic acid of young cytoplasm
    "purple": (0.62, 1.02, 0.19),  # the azure-eosin complex: chromatin and granules
    "eosin": (0.05, 0.33, 0.33),  # pink: haemoglobin
}
_MARGIN = 12  # pixels round a cell for its buds and its soft edge


@dataclass(frozen=True)
class Morphology:
    """What the cells of one kind look like. Ranges are those of a uniform draw for each cell.

    Attributes:
        frequency: Share of this kind among its like; the eleven subtypes sum to 1.
        diameter: Diameter of the cell in pixels.
        nucleus: Span of the nucleus (all lobes together) as a share of the diameter.
        lobes: Number of lobes, both ends included.
        crowding: Radius of a lobe in units of that at which neighbours just touch; below 1 they are separate nuclei.
        basophilia: How blue the cytoplasm is: 0 lilac, 1 blue.
        granularity: Strength of the granules in the cytoplasm, 0 none.
        cytoplasm: Amount of dye in the cytoplasm; 0 leaves a naked nucleus.
        chromatin: Coarseness of the chromatin pattern.
        density: Amount of dye in the nucleus.
        vacuoles: Number of pale vacuoles.
        buds: Number of platelets budding from the rim.
        nucleoli: Number of pale nucleoli.
        roughness: Unevenness of the outline.
    """

    frequency: float
    diameter: Range
    nucleus: Range
    lobes: IntRange
    crowding: Range = (1.25, 1.6)
    basophilia: Range = (0.1, 0.45)
    granularity: Range = (0.1, 0.3)
    cytoplasm: Range = (1.0, 1.3)
    chromatin: Range = (0.10, 0.18)
    density: Range = (1.7, 2.15)
    vacuoles: IntRange = (0, 1)
    buds: IntRange = (0, 0)
    nucleoli: IntRange = (0, 0)
    roughness: Range = (0.01, 0.03)


# The frequencies are made up after the shape of the paper's Fig. 1: G-MK predominates, CA-MK and HL-MK are rare.
SUBTYPES: dict[str, Morphology] = {
    # Primitive: a blast; one large round pale nucleus with nucleoli, a thin blue rim without granules.
    "P-MK": Morphology(
        frequency=0.055,
        diameter=(80, 108),
        nucleus=(0.74, 0.86),
        lobes=(1, 1),
        basophilia=(0.7, 1.0),
        granularity=(0.0, 0.05),
        chromatin=(0.05, 0.10),
        density=(1.25, 1.5),
        nucleoli=(1, 4),
        roughness=(0.02, 0.05),
    ),
    # Immature: indented or two- to three-lobed nucleus, plenty of blue cytoplasm, few granules.
    "IMK": Morphology(
        frequency=0.12,
        diameter=(95, 128),
        nucleus=(0.58, 0.72),
        lobes=(2, 3),
        basophilia=(0.6, 0.95),
        granularity=(0.05, 0.2),
        density=(1.45, 1.8),
    ),
    # Cytoplasmic abnormalities: many vacuoles, patchy colour.
    "CA-MK": Morphology(
        frequency=0.022,
        diameter=(98, 135),
        nucleus=(0.42, 0.56),
        lobes=(2, 5),
        basophilia=(0.2, 0.8),
        granularity=(0.1, 0.4),
        vacuoles=(5, 10),
        roughness=(0.02, 0.04),
    ),
    # Granular: abundant lilac cytoplasm full of granules, lobed nucleus.
    "G-MK": Morphology(
        frequency=0.30,
        diameter=(100, 142),
        nucleus=(0.46, 0.62),
        lobes=(3, 6),
        granularity=(0.4, 0.7),
    ),
    # Platelet-producing: like the granular one, with platelets budding all round the rim.
    "PP-MK": Morphology(
        frequency=0.12,
        diameter=(98, 132),
        nucleus=(0.40, 0.55),
        lobes=(2, 5),
        granularity=(0.4, 0.75),
        buds=(15, 24),
        roughness=(0.015, 0.035),
    ),
    # Naked nucleus: lobes without any cytoplasm.
    "NN-MK": Morphology(
        frequency=0.065,
        diameter=(92, 124),
        nucleus=(0.94, 1.0),
        lobes=(4, 7),
        crowding=(1.7, 2.2),
        cytoplasm=(0.0, 0.0),
        chromatin=(0.14, 0.24),
        density=(1.4, 1.9),
    ),
    # Normal size, nucleus without lobes or nearly so.
    "N-MK": Morphology(
        frequency=0.095,
        diameter=(100, 135),
        nucleus=(0.38, 0.52),
        lobes=(1, 2),
        crowding=(1.9, 2.4),
        granularity=(0.25, 0.6),
    ),
    # Small, nucleus without lobes or nearly so.
    "S-MK": Morphology(
        frequency=0.085,
        diameter=(78, 98),
        nucleus=(0.48, 0.62),
        lobes=(1, 2),
        crowding=(1.9, 2.4),
        granularity=(0.2, 0.55),
    ),
    # Micromegakaryocyte: the smallest; a dense nucleus, a narrow fringed rim.
    "mMK": Morphology(
        frequency=0.055,
        diameter=(74, 84),
        nucleus=(0.60, 0.74),
        lobes=(1, 2),
        crowding=(1.1, 1.4),
        granularity=(0.15, 0.5),
        chromatin=(0.16, 0.26),
        density=(1.8, 2.2),
        buds=(1, 5),
    ),
    # Multinucleated round: several small round nuclei apart from each other.
    "MR-MK": Morphology(
        frequency=0.06,
        diameter=(98, 138),
        nucleus=(0.66, 0.82),
        lobes=(2, 5),
        crowding=(0.55, 0.75),
        granularity=(0.15, 0.55),
    ),
    # Large, highly lobulated.
    "HL-MK": Morphology(
        frequency=0.023,
        diameter=(128, 156),
        nucleus=(0.62, 0.76),
        lobes=(8, 13),
        crowding=(1.15, 1.4),
        granularity=(0.25, 0.6),
    ),
}

# Purple cells that are no megakaryocytes; those above 70 pixels are stage 1's false candidates.
OTHER_CELLS: dict[str, Morphology] = {
    "lymphocyte": Morphology(
        frequency=0.40,
        diameter=(48, 74),
        nucleus=(0.82, 0.92),
        lobes=(1, 1),
        basophilia=(0.6, 0.9),
        granularity=(0.0, 0.0),
        cytoplasm=(0.5, 0.8),
        chromatin=(0.16, 0.26),
        density=(1.7, 2.1),
        vacuoles=(0, 0),
    ),
    "granulocyte": Morphology(
        frequency=0.35,
        diameter=(62, 82),
        nucleus=(0.68, 0.80),
        lobes=(3, 5),
        crowding=(0.95, 1.1),
        basophilia=(0.0, 0.1),
        granularity=(0.05, 0.15),
        cytoplasm=(0.16, 0.3),
        chromatin=(0.16, 0.26),
        vacuoles=(0, 0),
    ),
    "monocyte": Morphology(
        frequency=0.25,
        diameter=(72, 98),
        nucleus=(0.66, 0.80),
        lobes=(2, 3),
        crowding=(1.3, 1.8),
        basophilia=(0.4, 0.75),
        granularity=(0.0, 0.1),
        cytoplasm=(0.75, 1.15),
        vacuoles=(0, 3),
        roughness=(0.02, 0.04),
    ),
}


@dataclass(frozen=True)
class DrawnCell:
    """A cell on a patch that ends where the cell does.

    Attributes:
        dyes: Amounts of the three dyes, (h, w, 3), already 0 outside the cell.
        cover: How far the cell hides what lies under it, (h, w) in [0, 1]; >= 0.5 is the cell.
    """

    dyes: FloatArray
    cover: FloatArray


def smooth_noise(rng: np.random.Generator, height: int, width: int, scale: float) -> FloatArray:
    """Smooth random field (height, width) of mean 0 and standard deviation near 1 that varies over `scale` pixels."""
    rows, columns = int(height / scale) + 3, int(width / scale) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    # Cubic resizing averages neighbours; 1.35 brings the standard deviation back to about 1.
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 1.35
    return np.asarray(field, dtype=np.float32)


def inside(rho: FloatArray, radius: float, softness: float = 1.3) -> FloatArray:
    """Membership in [0, 1] of points at relative radius `rho` (1 on the outline); `softness` in pixels."""
    return np.asarray(np.clip((1 - rho) * (radius / softness) + 0.5, 0, 1), dtype=np.float32)


def outline(
    rng: np.random.Generator, x: FloatArray, y: FloatArray, radius: float, roughness: float, stretch: float
) -> FloatArray:
    """Relative radius of the points (x, y) about the origin for a wavy ellipse: 1 on its outline, 0 in its centre."""
    turn = rng.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    # One entry an angle of 0.35 degrees is finer than a pixel on the largest outline.
    angles = np.arange(1025, dtype=np.float32) * (2 * np.pi / 1024)
    wave = np.ones_like(angles)
    for order, share in ((2, 0.7), (3, 1.0), (4, 0.6), (5, 0.6), (7, 0.5), (9, 0.4)):
        wave += rng.normal(0, roughness * share) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    entry = np.arctan2(across, along) * (512 / np.pi) + 512
    distance = np.hypot(along / stretch, across * stretch)
    return np.asarray(distance / (radius * wave[entry.astype(np.int32)]), dtype=np.float32)


def lobe_centres(
    rng: np.random.Generator, span: float, lobes: int, crowding: float
) -> list[tuple[float, float, float]]:
    """Lay out the lobes of a nucleus of radius `span`: (x, y, radius) of each, in pixels, about the origin.

    Up to five lobes stand on a ring; of more, a quarter fills the middle.
    """
    if lobes == 1:
        return [(0.0, 0.0, span)]
    inner = lobes // 4 if lobes > 5 else 0
    on_ring = lobes - inner
    reach = np.sin(np.pi / on_ring) * crowding  # radius of a lobe over radius of the ring
    ring = span / (1 + reach)
    separate = crowding < 1
    start, jitter = rng.uniform(0, 2 * np.pi), 0.06 if separate else 0.15
    centres = []
    for index in range(lobes):
        if index < on_ring:
            angle = start + 2 * np.pi * (index + rng.uniform(-jitter, jitter)) / on_ring
            distance = ring * rng.uniform(0.92 if separate else 0.75, 1.02)
        else:
            angle, distance = rng.uniform(0, 2 * np.pi), ring * rng.uniform(0, 0.4)
        size = ring * reach * rng.uniform(0.85, 1.1)
        centres.append((float(distance * np.cos(angle)), float(distance * np.sin(angle)), float(size)))
    return centres


def _mix(dyes: FloatArray, cover: FloatArray, amounts: FloatArray) -> FloatArray:
    """Lay `amounts` over `dyes` where `cover` is 1."""
    return np.asarray(dyes + cover[..., None] * (amounts - dyes), dtype=np.float32)


def draw_cytoplasm(rng: np.random.Generator, morphology: Morphology, rho: FloatArray) -> FloatArray:
    """Amounts of dye (h, w, 3) of a cytoplasm with granules; `rho` is the relative radius in the cell."""
    height, width = rho.shape
    amount = rng.uniform(*morphology.cytoplasm)
    blue = rng.uniform(*morphology.basophilia) + 0.08 * smooth_noise(rng, height, width, 28)
    cloud = 1 + 0.05 * smooth_noise(rng, height, width, 12) + 0.04 * smooth_noise(rng, height, width, 4)
    rim = 0.92 + 0.14 * np.clip(rho, 0, 1) ** 4
    granules = np.clip(smooth_noise(rng, height, width, 2.6) - 0.35, 0, 2.2)
    # Granules lie in clumps, with clear lanes between them.
    clumps = np.clip(0.8 + 0.45 * smooth_noise(rng, height, width, 16), 0, 1.6)
    granules *= clumps * rng.uniform(*morphology.granularity)
    body = amount * cloud * rim
    layers = (body * np.clip(blue, 0, 1), body * np.clip(1 - blue, 0, 1) + granules, 0.25 * amount * (1 - blue))
    return np.asarray(np.stack(layers, axis=-1), dtype=np.float32)


def draw_nucleus(
    rng: np.random.Generator, morphology: Morphology, dyes: FloatArray, x: FloatArray, y: FloatArray, span: float
) -> tuple[FloatArray, FloatArray]:
    """Draw a nucleus of radius `span` pixels round the origin of (x, y) over `dyes`.

    Returns:
        The dyes (h, w, 3) with the nucleus and its cover (h, w).
    """
    height, width = x.shape
    lobes = int(rng.integers(morphology.lobes[0], morphology.lobes[1], endpoint=True))
    density = rng.uniform(*morphology.density)
    coarse = smooth_noise(rng, height, width, rng.uniform(6, 9))
    fine = smooth_noise(rng, height, width, 3)
    chromatin = 1 + rng.uniform(*morphology.chromatin) * (0.8 * coarse + 0.6 * fine)
    wobble = 1 + 0.035 * smooth_noise(rng, height, width, 14)
    cover = np.zeros_like(x)
    for centre_x, centre_y, radius in lobe_centres(rng, span, lobes, rng.uniform(*morphology.crowding)):
        stretch = float(np.exp(rng.normal(0, 0.07)))
        rho = outline(rng, x - centre_x, y - centre_y, radius, 0.025, stretch) * wobble
        lobe = inside(rho, radius, 1.8)
        # Each lobe is darker towards its own edge: that makes the creases where lobes overlap.
        shade = density * rng.uniform(0.92, 1.06) * chromatin * (0.84 + 0.32 * np.clip(rho, 0, 1) ** 5)
        dyes = _mix(dyes, lobe, np.stack([0.22 * shade, shade, 0.35 * shade], axis=-1))
        cover = np.maximum(cover, lobe)
    for _ in range(int(rng.integers(morphology.nucleoli[0], morphology.nucleoli[1], endpoint=True))):
        angle, distance = rng.uniform(0, 2 * np.pi), span * rng.uniform(0.1, 0.6)
        radius = rng.uniform(4, 7.5)
        rho = outline(rng, x - distance * np.cos(angle), y - distance * np.sin(angle), radius, 0.05, 1.1)
        nucleolus = np.asarray([0.75, 0.45, 0.1], dtype=np.float32) * np.ones_like(dyes)
        dyes = _mix(dyes, 0.8 * inside(rho, radius, 3), nucleolus)
    return dyes, cover


def _draw_vacuoles(
    rng: np.random.Generator, morphology: Morphology, dyes: FloatArray, x: FloatArray, y: FloatArray, radius: float
) -> FloatArray:
    for _ in range(int(rng.integers(morphology.vacuoles[0], morphology.vacuoles[1], endpoint=True))):
        angle, distance, size = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.4, 0.82), rng.uniform(3, 7)
        rho = outline(rng, x - distance * np.cos(angle), y - distance * np.sin(angle), size, 0.03, 1.05)
        # The hole takes most of the dye away, its wall adds a little.
        wall = 0.15 * np.exp(-(((rho - 1.1) * size / 1.5) ** 2))
        dyes = np.asarray(dyes * (1 - 0.8 * inside(rho, size, 2) + wall)[..., None], dtype=np.float32)
    return dyes


def _with_buds(
    rng: np.random.Generator, morphology: Morphology, cover: FloatArray, x: FloatArray, y: FloatArray, radius: float
) -> FloatArray:
    number = int(rng.integers(morphology.buds[0], morphology.buds[1], endpoint=True))
    start = rng.uniform(0, 2 * np.pi)
    for index in range(number):
        angle = start + 2 * np.pi * (index + rng.uniform(-0.6, 0.6)) / number
        distance, size = radius * rng.uniform(0.91, 1.0), radius * rng.uniform(0.06, 0.13)
        rho = outline(rng, x - distance * np.cos(angle), y - distance * np.sin(angle), size, 0.05, 1.1)
        cover = np.maximum(cover, inside(rho, size))
    return cover


def draw_cell(rng: np.random.Generator, morphology: Morphology) -> DrawnCell:
    """Draw one cell of a kind, turned, stretched, stained and lobed at random."""
    radius = rng.uniform(*morphology.diameter) / 2
    size = 2 * int(radius * 1.15 + _MARGIN) + 1
    axis = np.arange(size, dtype=np.float32) - size // 2
    x, y = np.meshgrid(axis, axis)
    span = radius * rng.uniform(*morphology.nucleus)
    room = 0.45 * (radius - span)
    off_x, off_y = rng.uniform(-room, room, 2)
    strength = float(np.exp(rng.normal(0, 0.09)))
    if morphology.cytoplasm[1] == 0:
        dyes, cover = draw_nucleus(rng, morphology, np.zeros((size, size, 3), dtype=np.float32), x, y, span)
    else:
        stretch = float(np.exp(rng.normal(0, 0.03)))
        rho = outline(rng, x, y, radius, rng.uniform(*morphology.roughness), stretch)
        cover = _with_buds(rng, morphology, inside(rho, radius), x, y, radius)
        dyes = draw_cytoplasm(rng, morphology, rho)
        dyes = _draw_vacuoles(rng, morphology, dyes, x, y, radius)
        dyes, _ = draw_nucleus(rng, morphology, dyes, x - np.float32(off_x), y - np.float32(off_y), span)
    dyes = np.asarray(np.clip(dyes, 0, None) * cover[..., None] * strength, dtype=np.float32)
    rows, columns = np.flatnonzero((cover > 0).any(axis=1)), np.flatnonzero((cover > 0).any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return DrawnCell(dyes=dyes[window], cover=cover[window])


def draw_red_cell(rng: np.random.Generator, radius: float) -> FloatArray:
    """Amounts of dye (h, w, 3) of a red cell: an eosin disc with a pale centre; to be added to what is there."""
    size = 2 * int(radius * 1.2 + 3) + 1
    axis = np.arange(size, dtype=np.float32) - size // 2
    x, y = np.meshgrid(axis, axis)
    rho = outline(rng, x, y, radius, 0.02, float(np.exp(rng.normal(0, 0.05))))
    pallor = rng.uniform(0.45, 0.8) * np.exp(-((rho / rng.uniform(0.4, 0.55)) ** 2))
    thickness = inside(rho, radius, 2) * (1 - pallor) * rng.uniform(0.75, 1.1)
    dyes = np.zeros((size, size, 3), dtype=np.float32)
    dyes[..., 2] = thickness * 1.25
    return dyes


def draw_platelet(rng: np.random.Generator, radius: float) -> FloatArray:
    """Amounts of dye (h, w, 3) of a platelet: a pale scrap with a purple granular middle; to be added."""
    size = 2 * int(radius * 1.5 + 3) + 1
    axis = np.arange(size, dtype=np.float32) - size // 2
    x, y = np.meshgrid(axis, axis)
    rho = outline(rng, x, y, radius, 0.08, float(np.exp(rng.normal(0, 0.15))))
    body = inside(rho, radius, 2)
    grains = np.clip(0.6 + 0.5 * smooth_noise(rng, size, size, 2.2), 0, 2) * np.exp(-(rho**2) * 1.5)
    return np.asarray(np.stack([0.25 * body, 0.25 * body + body * grains, 0.1 * body], axis=-1), dtype=np.float32)
