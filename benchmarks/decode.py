"""Decode throughput: clips a second with 1 and 2 workers, threads against processes, and reading the cache back.

    python benchmarks/decode.py                  # on clips that it makes: like UCF-101's, 180 frames of 320 x 240
    python benchmarks/decode.py --source CLIPS   # on a folder of your own

Two cores that other work shares, PyAV 18, 48 clips made here, 32 RGB frames of 64 x 64: prepare 16 clips/s with one
thread and 23 with two, decoding alone in processes 16 and 30; 65 to 70 ms of processor time a clip, 27 of them to count
its frames, which nothing but decoding them can. Processes gain too little to pay for sending the clips between them.
Preparing again without a change: 2 ms. Reading batches of 100 clips: 15,700 clips/s.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np

from syncdraw.datasets.decode import DecodedSequence, content_hash, read_sequence
from syncdraw.datasets.prepared import ClipConfig, PreparedClips
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.sources import Source
from syncdraw.datasets.video_folder import list_folder


def make_clips(folder: Path, count: int) -> None:
    """Moving textures: 180 frames of 320 x 240 at 25 frames a second, about 300 kB each as in UCF-101."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        with av.open(str(folder / f"clip {number:03d}.avi"), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 350_000
            for step in range(180):
                frame = av.VideoFrame.from_ndarray(np.roll(coarse, (step, 2 * step), (0, 1)), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def decode_whole(source: Source, config: ClipConfig) -> int:
    """What a worker does with one file; the number of bytes that a process would have to send back."""
    content_hash(source.path)
    found = [one for one in read_sequence(source, config) if isinstance(one, DecodedSequence)]
    return sum(frame.nbytes for one in found for frame in one.frames)


def best(function: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """The shortest wall time of several, and the shortest processor time (of this process, all threads), in seconds.

    Where other work shares the processors, the processor time is the steadier one.
    """
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return min(walls), min(processors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="a folder of clips; made if not given")
    parser.add_argument("--count", type=int, default=48, help="how many to make")
    arguments = parser.parse_args()
    config = ClipConfig(frames=32, channels=3, height=64, width=64, fit="crop")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder: Path = arguments.source or work / "clips"
        if arguments.source is None:
            folder.mkdir()
            make_clips(folder, arguments.count)
        listing = list_folder(folder)
        sources = listing.sources
        destination = work / "prepared"

        def run(workers: int) -> None:
            shutil.rmtree(destination, ignore_errors=True)
            prepare(listing, destination, config, workers=workers, progress=False)

        def run_processes(pool: ProcessPoolExecutor) -> None:
            list(pool.map(partial(decode_whole, config=config), sources))

        print(f"{len(sources)} clips, {config.frames} frames of {config.height} x {config.width} x {config.channels}")
        for workers in (1, 2):
            wall, processor = best(lambda n=workers: run(n))
            print(
                f"prepare, {workers} thread(s):        {len(sources) / wall:7.1f} clips/s, "
                f"{1000 * processor / len(sources):.1f} ms of processor time a clip"
            )
        for workers in (1, 2):
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                run_processes(pool)  # start-up is not counted
                wall, _ = best(lambda p=pool: run_processes(p))
            print(f"decode only, {workers} process(es):  {len(sources) / wall:7.1f} clips/s")
        wall, _ = best(lambda: prepare(listing, destination, config, workers=2, progress=False))
        print(f"prepare again, unchanged:     {1000 * wall:7.1f} ms")
        clips = PreparedClips(destination)
        indices = np.random.default_rng(0).integers(len(clips), size=100)
        wall, _ = best(lambda: clips.take(indices))
        print(f"take, batches of 100:         {100 / wall:7.0f} clips/s")


if __name__ == "__main__":
    main()
