"""How the figures of the data set `sprites` are drawn: bodies of limbs, posed, seen from four sides, and painted.

A figure has its own coordinates, in pixels: to its right, up from the ground, and forward. A frame is painted part by
part, from the farthest to the nearest. What is painted is no colour but a material and a shade, so that one picture
serves all characters whose clothes are cut alike.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FRAMES, SIZE = 8, 64

DIRECTIONS = ("left", "right", "forward", "away")
"""Where a figure faces: to one's left or right, towards one, or away. Elsewhere a direction is an index into this."""

ACTIONS = ("walking", "casting a spell", "swinging a sword", "thrusting a spear", "shooting a bow")
"""Elsewhere an action is an index into this tuple. All but walking are done with something in the hands."""

BUILDS = ("woman", "man")
HAIR_STYLES = ("short", "long", "tied", "spiky", "curly")
CUTS = ("shirt", "vest", "tunic", "armour")
"""Of what is worn above: with sleeves, without, with a skirt, and with plates on the shoulders."""
LEGS = ("trousers", "shorts")

WALKING, CASTING, SLASHING, THRUSTING, SHOOTING = range(len(ACTIONS))
LEFT, RIGHT, FRONT, BACK = range(len(DIRECTIONS))


class Material(IntEnum):
    """What a pixel shows; 0 is the ground."""

    GROUND = 0
    FACE = 1
    EYE = 2
    ARM = 3
    LEG = 4
    TOP = 5
    SLEEVE = 6
    BOTTOM = 7
    SHOE = 8
    HAIR = 9
    WOOD = 10
    METAL = 11
    LIGHT = 12


OUTLINE, DARK, PLAIN, BRIGHT = range(4)
"""The shades of a material. A painted pixel is 4 x material + shade."""

Vectors = NDArray[np.float64]


class Limb(NamedTuple):
    """A stretch between two points, round at its ends.

    Attributes:
        start, end: `[frame, 3]`: to the figure's right, up, and forward, in pixels.
        radius: at both ends, in pixels.
        material: that it is made of.
    """

    start: Vectors
    end: Vectors
    radius: tuple[float, float]
    material: Material


Part = list[Limb]
"""Limbs with one outline around all of them, painted at once."""


# --- Poses ------------------------------------------------------------------------------------------------------------


class Pose(NamedTuple):
    """The angles of a figure in each frame, `[frame]`, in radians; arms and legs have the right one first.

    Attributes:
        lift: of the whole figure, in pixels.
        lean: of the trunk, forward.
        arm_swing, arm_spread: of the upper arms, `[2, frame]`: forward, and away from the body.
        elbow: how far the forearms are bent forward, `[2, frame]`.
        leg_swing, knee: likewise of the legs, whose knees bend backward.
    """

    lift: Vectors
    lean: Vectors
    arm_swing: Vectors
    arm_spread: Vectors
    elbow: Vectors
    leg_swing: Vectors
    knee: Vectors


def _both(right: Vectors | float, left: Vectors | float) -> Vectors:
    return np.stack([np.broadcast_to(right, FRAMES), np.broadcast_to(left, FRAMES)]).astype(np.float64)


def pose_of(action: int) -> Pose:
    """How a figure moves; after the last frame comes the first one again."""
    turn = 2 * np.pi * np.arange(FRAMES) / FRAMES
    wave, raised = np.sin(turn), 0.5 - 0.5 * np.cos(turn)  # raised is 0 in the first frame and 1 in the middle
    still = np.zeros(FRAMES)
    stand = {"lift": still, "lean": still, "leg_swing": _both(0.12, -0.12), "knee": _both(0, 0)}
    if action == WALKING:
        bent = _both(np.maximum(0, -np.cos(turn)), np.maximum(0, np.cos(turn)))
        return Pose(
            lift=1.2 * np.abs(np.cos(turn)), lean=still + 0.05,
            arm_swing=_both(-0.75 * wave, 0.75 * wave), arm_spread=_both(0.18, 0.18), elbow=_both(0.35, 0.35),
            leg_swing=_both(0.65 * wave, -0.65 * wave) + 0.25 * bent, knee=1.0 * bent,
        )  # fmt: skip
    if action == CASTING:
        swing = 0.5 + 2.0 * raised
        spread, elbow = 0.25 + 0.25 * raised, 0.7 - 0.4 * raised
        return Pose(**stand, arm_swing=_both(swing, swing), arm_spread=_both(spread, spread), elbow=_both(elbow, elbow))
    if action == SLASHING:
        swing = np.array([2.2, 2.7, 3.0, 2.3, 1.2, 0.5, 0.9, 1.6])
        lean = np.array([0.0, -0.06, -0.1, 0.05, 0.18, 0.22, 0.12, 0.05])
        return Pose(**{**stand, "lean": lean, "leg_swing": _both(-0.25, 0.3), "knee": _both(0.1, 0.1)},
                    arm_swing=_both(swing, 0.3), arm_spread=_both(0.3, 0.35), elbow=_both(0.25, 0.6))  # fmt: skip
    if action == THRUSTING:
        push = np.array([0.0, 0.0, 0.15, 0.6, 1.0, 1.0, 0.6, 0.25])
        return Pose(**{**stand, "lean": 0.22 * push, "leg_swing": _both(-0.2 - 0.15 * push, 0.25 + 0.2 * push),
                       "knee": _both(0.1, 0.15 + 0.2 * push)},
                    arm_swing=_both(-0.5 + 1.7 * push, 0.4 + 0.9 * push), arm_spread=_both(0.2, 0.1),
                    elbow=_both(1.7 - 1.5 * push, 1.0 - 0.8 * push))  # fmt: skip
    drawn = np.array([0.0, 0.3, 0.65, 1.0, 1.0, 1.0, 0.1, 0.0])
    return Pose(**{**stand, "leg_swing": _both(-0.2, 0.25)}, arm_swing=_both(1.45 - 0.1 * drawn, 1.5),
                arm_spread=_both(0.05 + 0.75 * drawn, 0.05), elbow=_both(0.1 + 1.9 * drawn, 0.0))  # fmt: skip


def _direction(swing: Vectors, spread: Vectors, side: int) -> Vectors:
    """Unit vectors `[frame, 3]` of a limb that hangs down when both angles are 0."""
    down = -np.cos(spread) * np.cos(swing)
    return np.stack([side * np.sin(spread), down, np.cos(spread) * np.sin(swing)], axis=-1)


# --- Bodies -----------------------------------------------------------------------------------------------------------

HIP, WAIST, SHOULDER, HEAD = 17.0, 22.0, 30.5, 41.0
"""Heights above the ground, in pixels."""
THIGH, SHIN, UPPER_ARM, FOREARM, HEAD_RADIUS = 8.5, 7.5, 7.0, 6.5, 8.6


class Figure(NamedTuple):
    """The parts of a figure, and where its head is, `[frame, 3]`."""

    parts: dict[str, Part]
    head: Vectors


def figure(build: int, cut: int, legs: int, action: int) -> Figure:
    """Everything that is painted but the hair: what is where, and of which material."""
    pose = pose_of(action)
    wide = (5.2, 7.4)[build]  # from the middle to a shoulder
    rise = np.stack([0 * pose.lift, pose.lift, 0 * pose.lift], axis=-1)
    hip = rise + np.array([0.0, HIP, 0.0])

    def above(height: float, aside: float = 0.0, forward: float = 0.0) -> Vectors:
        """A point of the trunk, so far above the ground when it does not lean."""
        up = height - HIP
        leaning = np.stack([0 * pose.lean, np.cos(pose.lean) * up, np.sin(pose.lean) * up + forward], axis=-1)
        leaning[:, 0] = aside
        return hip + leaning

    skin_legs = legs == LEGS.index("shorts")
    skirt = cut == CUTS.index("tunic")
    parts: dict[str, Part] = {}
    hands, forearms = [], []
    for number, (name, side) in enumerate((("right", 1), ("left", -1))):
        start = hip + np.array([side * (3.0 if build else 2.7), 0.0, 0.0])
        knee = start + THIGH * _direction(pose.leg_swing[number], 0 * pose.lift, side)
        ankle = knee + SHIN * _direction(pose.leg_swing[number] - pose.knee[number], 0 * pose.lift, side)
        toe = ankle + np.array([0.0, -0.6, 2.6])
        below = Material.LEG if skin_legs else Material.BOTTOM
        parts[f"{name} leg"] = [
            Limb(start, knee, (3.6, 3.1), Material.BOTTOM), Limb(knee, ankle, (2.9, 2.5), below),
            Limb(ankle, toe, (2.7, 2.4), Material.SHOE),
        ]  # fmt: skip
        shoulder = above(SHOULDER, side * wide)
        upper = _direction(pose.arm_swing[number], pose.arm_spread[number], side)
        # A bent forearm points less outward; the one that draws a bow comes back to the middle.
        outward = np.cos(0.5 * pose.elbow[number]) * (-1 if action == SHOOTING and side == 1 else 1)
        swing = pose.arm_swing[number] + pose.elbow[number]
        lower = _direction(swing, pose.arm_spread[number] * outward, side)
        elbow = shoulder + UPPER_ARM * upper
        hand = elbow + FOREARM * lower
        covered = cut in (CUTS.index("shirt"), CUTS.index("armour"))
        upper_material = Material.ARM if cut == CUTS.index("vest") else Material.SLEEVE
        thick = 2.8 if build else 2.2
        parts[f"{name} arm"] = [
            Limb(shoulder, elbow, (thick + 0.3, thick), upper_material),
            Limb(elbow, hand, (thick, thick - 0.4), Material.SLEEVE if covered else Material.ARM),
            Limb(hand, hand + 0.6 * lower, (thick, thick), Material.ARM),
        ]  # fmt: skip
        if cut == CUTS.index("armour"):
            plate = shoulder + np.array([side * 0.4, 0.2, 0])
            parts[f"{name} arm"].append(Limb(plate, plate, (4.1, 4.1), Material.SLEEVE))
        hands.append(hand)
        forearms.append(lower)
    trunk = [
        Limb(above(WAIST - 3.5), above(WAIST), (4.6 if build else 4.9, 4.4), Material.BOTTOM),
        Limb(above(WAIST), above(SHOULDER - 1.0), (4.5 if build else 4.0, 5.4 if build else 4.6), Material.TOP),
        Limb(above(SHOULDER - 1.0, -(wide - 3)), above(SHOULDER - 1.0, wide - 3), (3.8, 3.8), Material.TOP),
    ]  # fmt: skip
    if skirt:
        trunk.append(Limb(above(WAIST), above(HIP - 1.5), (4.4, 6.2), Material.TOP))
    parts["trunk"] = trunk
    head = above(HEAD)
    parts["neck"] = [Limb(above(SHOULDER), head, (2.6, 2.6), Material.FACE)]
    crown, chin = head + np.array([0, 0.6, 0]), head - np.array([0, 1.2, 0])
    parts["head"] = [Limb(crown, chin, (HEAD_RADIUS, HEAD_RADIUS - 0.8), Material.FACE)]
    parts |= _held(action, hands, forearms)
    return Figure(parts, head)


def _held(action: int, hands: list[Vectors], forearms: list[Vectors]) -> dict[str, Part]:
    """What is in the hands."""
    right, left = hands
    if action == CASTING:
        middle = (right + left) / 2 + np.array([0.0, 3.0, 1.0])
        sizes = (1.2, 2.0, 2.8, 3.6, 4.4, 4.6, 3.2, 2.0)
        return {f"light {frame}": [Limb(middle, middle, (size, size), Material.LIGHT)]
                for frame, size in enumerate(sizes)}  # fmt: skip
    if action == SLASHING:
        along = forearms[0] + np.array([0.0, 0.55, 0.55])
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
        return {"sword": [_rod(right, along, -2, 2.5, 1.3, 1.3, Material.WOOD),
                          _rod(right, along, 3, 13, 1.9, 1.0, Material.METAL)]}  # fmt: skip
    if action == THRUSTING:
        along = np.array([[-0.3, 0.2, 0.93]])
        return {"spear": [_rod(right, along, -10, 12, 1.2, 1.2, Material.WOOD),
                          _rod(right, along, 12, 16, 2.2, 1.0, Material.METAL)]}  # fmt: skip
    if action == SHOOTING:
        bow: Part = []
        for up in (1.0, -1.0):
            middle, end = left + np.array([0.0, 6 * up, 0.2]), left + np.array([0.0, 11 * up, -3.5])
            bow += [Limb(left, middle, (1.4, 1.3), Material.WOOD), Limb(middle, end, (1.3, 1.0), Material.WOOD)]
        return {"bow": bow}
    return {}


def _rod(hand: Vectors, along: Vectors, start: float, end: float, wide: float, narrow: float, of: Material) -> Limb:
    return Limb(hand + start * along, hand + end * along, (wide, narrow), of)


# --- Painting ---------------------------------------------------------------------------------------------------------

_ROWS, _COLUMNS = np.mgrid[:SIZE, :SIZE] + 0.5
_GROUND_ROW, _TILT = 59.5, 0.22
"""Where the ground is, and how much lower one sees what is nearer."""


def seen(points: Vectors, direction: int) -> Vectors:
    """Column, row and nearness `[..., 3]` of points `[..., 3]` of a figure that faces so."""
    aside, up, forward = np.moveaxis(points, -1, 0)
    column, near = ((-forward, -aside), (forward, aside), (-aside, forward), (aside, -forward))[direction]
    return np.stack([SIZE / 2 + column, _GROUND_ROW - up + _TILT * near, near], axis=-1)


def _paint(canvas: NDArray[np.uint8], part: Part, frame: int, direction: int) -> None:
    """Paint a part over what is there, with an outline of one pixel around it."""
    ends = seen(np.array([[limb.start[frame], limb.end[frame]] for limb in part]), direction)[..., :2]
    # Only pixels that the part can reach.
    reach = max(max(limb.radius) for limb in part) + 2
    low = np.clip(np.floor(ends.min(axis=(0, 1)) - reach), 0, SIZE).astype(int)
    high = np.clip(np.ceil(ends.max(axis=(0, 1)) + reach), 0, SIZE).astype(int)
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    place, columns, rows = canvas[window], _COLUMNS[window], _ROWS[window]
    depth = np.full(place.shape, -np.inf)  # into the part, in pixels, from its edge
    painted = np.zeros(place.shape, np.uint8)
    for limb, (start, end) in zip(part, ends, strict=True):
        along = end - start
        length = max(float(along @ along), 1e-9)
        aside, below = columns - start[0], rows - start[1]
        share = np.clip((aside * along[0] + below * along[1]) / length, 0, 1)
        radius = limb.radius[0] + share * (limb.radius[1] - limb.radius[0])
        aside, below = aside - share * along[0], below - share * along[1]
        inside = radius - np.hypot(aside, below)
        lit = (aside + 1.4 * below) / radius  # by light from above, and from the left
        shade = np.where(lit < -0.75, BRIGHT, np.where(lit > 0.7, DARK, PLAIN))
        # A sleeve ends, and a shoe begins, at the limb's end, not where it is as deep as what it covers.
        nearer = inside > (np.minimum(depth, 0) if limb.material in (Material.SLEEVE, Material.SHOE) else depth)
        painted[nearer] = (4 * limb.material + shade)[nearer]
        depth = np.maximum(depth, inside)
    place[depth > 0] = painted[depth > 0]
    if any(max(limb.radius) > 2.2 for limb in part):  # what is thinner would be all outline
        edge = (depth > -1.0) & (depth <= 0)
        place[edge] = painted[edge] // 4 * 4 + OUTLINE


def _nearness(name: str, part: Part, frame: int, direction: int, skirt: bool) -> float:
    """By which parts are painted one after the other."""
    middle = np.mean([(limb.start[frame] + limb.end[frame]) / 2 for limb in part], axis=0)
    before = {"head": 3.0, "neck": -1.0, "trunk": 6.0 if skirt else 0.0, "right arm": 0.5, "left arm": 0.5}
    return float(seen(middle, direction)[2]) + before.get(name, 0.0)


@cache
def painted_bodies(build: int, cut: int, legs: int, action: int, direction: int) -> NDArray[np.uint8]:
    """All frames of a figure without hair, uint8 `[frame, row, column]`, 4 x material + shade."""
    parts, head = figure(build, cut, legs, action)
    skirt = cut == CUTS.index("tunic")
    canvas = np.zeros((FRAMES, SIZE, SIZE), np.uint8)
    for frame in range(FRAMES):
        order = sorted(parts, key=lambda name: _nearness(name, parts[name], frame, direction, skirt))
        for name in order:
            if not name.startswith("light") or name == f"light {frame}":
                _paint(canvas[frame], parts[name], frame, direction)
        _paint_eyes(canvas[frame], head[frame], direction)
    return canvas


def _paint_eyes(canvas: NDArray[np.uint8], head: Vectors, direction: int) -> None:
    column, row, _ = seen(head, direction)
    top, middle = round(float(row)) - 1, round(float(column))
    places = {FRONT: (-4, 2), LEFT: (-5,), RIGHT: (3,), BACK: ()}[direction]
    for place in places:
        eye = canvas[top : top + 3, middle + place : middle + place + 2]
        eye[eye // 4 == Material.FACE] = 4 * Material.EYE + PLAIN


@cache
def painted_hair(style: int, action: int, direction: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Hair behind everything else, and before the head, each uint8 `[frame, row, column]`."""
    _, head = figure(0, 0, 0, action)
    behind, before = (np.zeros((FRAMES, SIZE, SIZE), np.uint8) for _ in range(2))
    name = HAIR_STYLES[style]

    def lock(start: tuple[float, float, float], end: tuple[float, float, float], *radius: float) -> Limb:
        return Limb(head + np.array(start), head + np.array(end), (radius[0], radius[-1]), Material.HAIR)

    for frame in range(FRAMES):
        sway = 1.2 * np.sin(2 * np.pi * (frame - 1) / FRAMES) if action == WALKING else 0.0
        cap = [lock((0, 1.6, -0.8), (0, 0.2, -1.2), HEAD_RADIUS + 0.7)]
        hanging: Part = []
        if name == "long":
            hanging = [lock((0, 0, -3), (sway, -15, -4.5), 6.0, 3.0)]
            cap += [lock((6.8 * side, -2, 0.5), (6.4 * side + sway / 2, -12, 0.5), 3.0, 1.8) for side in (-1, 1)]
        elif name == "tied":
            hanging = [lock((0, 3, -9), (0, 2, -12), 2.4, 3.2), lock((0, 2, -12), (sway, -10, -12.5), 3.2, 1.6)]
            cap += [lock((0, 10, -2), (0, 11.5, -2), 3.4)]
        elif name == "spiky":
            cap += [lock((x, 6, z), (1.7 * x, 13.0 - 0.25 * abs(x), 1.2 * z - 1), 3.0, 0.5)
                    for x, z in ((-6, 0), (-2.5, 3), (2.5, 3), (6, 0), (0, -4), (-4, -5), (4, -5))]  # fmt: skip
        elif name == "curly":
            cap += [lock((x, y, z), (x, y, z), 4.4) for x, y, z in
                    ((-8, 3, -2), (8, 3, -2), (-5, 8, 0), (5, 8, 0), (0, 10, -2), (0, 6, -8), (-7, -3, -4), (7, -3, -4),
                     (0, -2, -9), (0, 8, 4))]  # fmt: skip
        if hanging:
            _paint(before[frame] if direction == BACK else behind[frame], hanging, frame, direction)
        _paint(before[frame], cap, frame, direction)
        _cut_face(before[frame], head[frame], direction)
    return behind, before


def _cut_face(canvas: NDArray[np.uint8], head: Vectors, direction: int) -> None:
    """Take hair away where the face is."""
    if direction == BACK:
        return
    column, row, _ = seen(head, direction)
    shift = {FRONT: 0.0, LEFT: -5.5, RIGHT: 5.5}[direction]
    wide = 6.4 if direction == FRONT else 7.0
    aside, below = (_COLUMNS - column - shift) / wide, (_ROWS - row - 3.2) / 6.2
    canvas[np.hypot(aside, below) < 1] = 0
    if direction != FRONT:
        forward = (_COLUMNS - column) * np.sign(shift)
        canvas[(forward > 1.5) & (row - 2.0 < _ROWS)] = 0


_UNDER_HAIR = np.isin(np.arange(256) // 4, [Material.GROUND, Material.FACE, Material.EYE, Material.TOP])


def painted(build: int, cut: int, legs: int, hair: int, action: int, direction: int) -> NDArray[np.uint8]:
    """All frames of a figure, uint8 `[frame, row, column]`, 4 x material + shade; each shared, so not to be changed."""
    body = painted_bodies(build, cut, legs, action, direction)
    behind, before = painted_hair(hair, action, direction)
    whole = np.where(body == 0, behind, body)
    return np.where((before > 0) & _UNDER_HAIR[whole], before, whole)
