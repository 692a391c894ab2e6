"""Damages the files of a run at random, and counts what comes of it: all well, a sentence, or a fault of ours.

    PYTHONPATH=src:tests python tests/damaging.py --files 1000 --prepared 1000

Of a run, config.json, config.yaml, metrics.jsonl, the weights and the state are each damaged in three ways: a bit is
flipped, the end is cut off, or one of the values is replaced by what a stranger might write (null, 2.5, nan, 30 digits,
a list, deep nesting); weights and state are given the checksum that fits. Then the model is loaded, the metrics are
read, and the run goes on. Of a prepared folder, all three files are; then clips are read from it, and it is prepared
again, after which it must be whole. An error other than `UserError`, more than a line, more than 20 seconds or 2 GB is
a fault.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from making_clips import textures, write_clip
from syncdraw import UserError, pretrained
from syncdraw.datasets.prepared import ABOUT, FRAMES, MANIFEST, SPLITS, ClipConfig, PreparedClips
from syncdraw.datasets.preparing import prepare
from syncdraw.datasets.video_folder import list_folder
from syncdraw.training.run_folder import RunFolder
from training_runs import ALIGNED, RUN, changed, go, quick

CONFIG = changed(RUN, {"model": ALIGNED, "train.max_steps": 3, "train.optimizer.ema": 0.5})
FILES = ("config.json", "config.yaml", "metrics.jsonl", "model.safetensors", "state/training.bin")
STRANGE: list[Any] = [
    None, True, 0, -1, 2.5, 10**9, 10**30, float("nan"), float("inf"), "", "x" * 10_000, [], {}, [1], {"a": 1},
    json.loads("[" * 200 + "]" * 200), torch.zeros(2), torch.full((8,), float("nan")),
]  # fmt: skip


def replaced(values: Any, chance: random.Random) -> Any:
    """The same nested values, one of which, at any depth, is a strange one."""
    if isinstance(values, (dict, list)) and values and chance.random() < 0.9:
        key = chance.choice(list(values)) if isinstance(values, dict) else chance.randrange(len(values))
        made = dict(values) if isinstance(values, dict) else list(values)
        made[key] = replaced(values[key], chance)
        return made
    return chance.choice(STRANGE)


def without_tensors(values: Any) -> Any:
    """As text can hold it."""
    return json.loads(json.dumps(values, default=str))


def strange(path: Path, chance: random.Random) -> bytes:
    """The content of a file, with one value replaced."""
    if path.suffix == ".bin":
        buffer = io.BytesIO()
        torch.save(replaced(RunFolder(path.parents[1]).load_state(), chance), buffer)
        return hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue()
    if path.suffix == ".safetensors":
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.dumps(without_tensors(replaced(json.loads(content[8 : 8 + size]), chance))).encode()
        return len(header).to_bytes(8, "little") + header + content[8 + size :]
    if path.suffix == ".yaml":
        return yaml.safe_dump(without_tensors(replaced(yaml.safe_load(path.read_text()), chance))).encode()
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        kinds = (np.float32, np.int8, ">u2", object, "U3")
        np.save(buffer, np.zeros(chance.choice([(36, 1, 12, 16), (3,), ()]), chance.choice(kinds)), allow_pickle=True)
        header = buffer.getvalue()
        return header.replace(b"(36,", b"(99999999999,", 1) if chance.random() < 0.3 else header
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    row = chance.randrange(len(lines))
    lines[row] = json.dumps(without_tensors(replaced(json.loads(lines[row]), chance)))
    return "\n".join(lines).encode()


def damage(path: Path, chance: random.Random) -> str:
    """Damage a file, and say how."""
    content, kind = path.read_bytes(), chance.choice(["a bit", "the end", "a value", "a value"])
    if kind == "a bit":
        place = chance.randrange(128 if path.suffix == ".npy" else len(content))  # pixels have no checksum
        content = content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]
    elif kind == "the end":
        content = content[: chance.randrange(len(content))]
    else:
        content = strange(path, chance)
    path.write_bytes(content)
    if path.suffix == ".safetensors" and chance.random() < 0.7:  # the checksum of a stranger fits
        card = path.with_name("config.json")
        card.write_text(json.dumps({**json.loads(card.read_text()), "sha256": hashlib.sha256(content).hexdigest()}))
    return kind


def tried(action: Callable[[], Any]) -> str:
    """What comes of it."""

    def late(*_: Any) -> None:
        raise TimeoutError("20 seconds")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        action()
        return "well"
    except UserError as error:
        return "sentence" if "\n" not in str(error) else f"fault: {error}"
    except BaseException:
        return f"fault: {traceback.format_exc()}"
    finally:
        signal.alarm(0)


def try_all(actions: dict[str, Callable[[], Any]], counts: Counter[str], damaged: str) -> None:
    """Count what comes of each, and print faults."""
    for what, action in actions.items():
        result = tried(action)
        counts[f"{what}: {result.split(':')[0]}"] += 1
        if result.startswith("fault"):
            print(f"{damaged}, {what}: {result}", file=sys.stderr)


def of_prepared(folder: Path, files: int, chance: random.Random, counts: Counter[str]) -> None:
    """Damage a prepared folder, then read it and prepare it again."""
    config, whole, out = ClipConfig(frames=4, height=12, width=16), folder / "prepared", folder / "out"
    for number in range(6):
        write_clip(folder / "clips" / f"{number}.gif", textures(6, number))
        (folder / "clips" / f"{number}.txt").write_text("a dog\n")
    listing = list_folder(folder / "clips")
    prepare(listing, whole, config, progress=False)

    def read(out: Path = out) -> None:
        for split in SPLITS:
            clips = PreparedClips(out, split)
            clips.take(np.arange(len(clips)), seed=1, epochs=2)
            clips.wordings()

    read(whole)
    for number in range(files):
        shutil.copytree(whole, out)
        name = (ABOUT, MANIFEST, FRAMES)[number % 3]
        kind = damage(out / name, chance)
        try_all({"read": read, "prepare": lambda: prepare(listing, out, config, progress=False)}, counts,
                f"{name}, {kind}")  # fmt: skip
        assert tried(read) == "well", "it was not prepared again"
        shutil.rmtree(out)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 where there is no fault."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=200, help="of a run")
    parser.add_argument("--prepared", type=int, default=200, help="of a prepared folder")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    quick()
    torch.set_num_threads(1)
    chance, counts = random.Random(options.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder) / "whole", Path(folder) / "damaged"
        go(CONFIG, whole)
        more = changed(CONFIG, {"train.max_steps": 4})
        for number in range(options.files):
            shutil.copytree(whole, out)
            name = FILES[number % len(FILES)]
            kind = damage(out / name, chance)

            def resume(out: Path = out) -> None:
                go(
                    RunFolder(out).config({"train": {"max_steps": 4}}) if chance.random() < 0.5 else more,
                    out,
                    resume=True,
                )

            actions: dict[str, Callable[[], Any]] = {
                "load": lambda: pretrained.load(out),
                "metrics": lambda: RunFolder(out).metrics(),
                "resume": resume,
            }
            try_all(actions, counts, f"{name}, {kind}")
            shutil.rmtree(out)
        of_prepared(Path(folder), options.prepared, chance, counts)
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        json.dumps(
            {
                "files": options.files + options.prepared,
                **dict(sorted(counts.items())),
                "most memory, GB": round(gigabytes, 2),
            }
        )
    )
    return int(gigabytes > 2 or any("fault" in name for name in counts))


if __name__ == "__main__":
    sys.exit(main())
