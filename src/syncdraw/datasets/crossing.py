"""When somebody crosses the picture of a camera that stands still, and which way: measured from the pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from syncdraw.datasets.decode import read_frames
from syncdraw.datasets.prepared import ClipConfig


def small_frames(path: Path, config: ClipConfig) -> NDArray[np.uint8]:
    """All frames of a video for `find_person`, as far as they decode: grey, uint8 `[frame, 60, width]`.

    They show the scene as a clip will, so that a crop counts as the edge of the picture.

    Raises:
        Unreadable: the file cannot be opened, or a picture of a folder cannot be read.
    """
    width = max(1, round(60 * config.width / config.height))
    look = replace(config, channels=1, height=60, width=width, ground="white", shift=0, travel=0)
    images = [image[0] for _, image in read_frames(path, look) if image is not None]
    return np.array(images, np.uint8).reshape(-1, 60, width)


def find_person(images: NDArray[np.uint8], start: int, stop: int) -> tuple[int, int, str]:
    """When somebody who crosses the picture is visible, and which way they go.

    Args:
        images: all frames of the video, grey, uint8 `[frame, height, width]`.
        start: the first frame to look at.
        stop: the frame after the last.

    Returns:
        the first visible frame, the one after the last, and `right to left`, `left to right`, or nothing if the person
        moves by less than a fifth of the width or not steadily. Nobody visible: `start`, `start`.
    """
    if stop <= start:
        return start, start, ""
    # Two seconds more on each side show the place without the person; over a whole video the light changes.
    around = images[max(0, start - 50) : stop + 50]
    background = np.median(around, axis=0)
    difference = images[start:stop] - background
    difference -= np.median(difference, axis=(1, 2), keepdims=True)  # the camera's exposure follows the scene
    np.abs(difference, out=difference)
    person = difference > max(15.0, 5.0 * float(np.median(difference)))
    area = person.sum(axis=(1, 2))
    usual = float(np.percentile(area, 90))
    height, width = images.shape[1:]
    if not 0.005 < usual / (height * width) < 0.6:
        return start, start, ""

    # A walker with legs closed has three quarters of the usual area; one with less is not wholly in the picture.
    visible = np.concatenate([[False], area >= 0.6 * usual, [False]])
    edges = np.flatnonzero(visible[1:] != visible[:-1]).reshape(-1, 2)
    begin, end = edges[np.argmax(edges[:, 1] - edges[:, 0])].tolist()
    columns = person[begin:end].sum(axis=1)
    centre = columns @ np.arange(width) / columns.sum(axis=1)
    direction = ""
    if end - begin > 2 and np.ptp(centre) > 0:
        times = np.arange(end - begin)
        moved = np.polyfit(times, centre, 1)[0] * (end - begin)
        steady = abs(np.corrcoef(times, centre)[0, 1])
        if abs(moved) > width / 5 and steady > 0.8:
            direction = "right to left" if moved < 0 else "left to right"
    return start + begin, start + end, direction
