"""A model on the Hugging Face hub, with a card: what it draws, from what data, how well, and who may use it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData

from syncdraw import pretrained
from syncdraw.datasets import BUILT_IN
from syncdraw.errors import UserError
from syncdraw.reading import TEXT_BYTES, read_regular
from syncdraw.training.run_folder import METRICS_FILE, RunFolder

_TEMPLATE = """---
{{ card_data }}
---

# {{ name }}

{{ about }} ({{ frames }} frames of {{ width }} x {{ height }} pixels, {{ colour }}), drawn by
[Sync-DRAW](https://arxiv.org/abs/1611.10314), a recurrent attentive variational autoencoder.

{{ picture }}

```python
import syncdraw

model = syncdraw.load("hub:{{ name }}")
videos = model.generate({{ what }}, seed=0)
syncdraw.save_video(videos[0], "drawn.gif")
```

- data: {{ data }}
- training: {{ trained }}
- licence: {{ license }}

{{ measured }}
"""


def push(
    model: str | Path, name: str, *, license: str, measured: Sequence[Path] = (), private: bool = False,
    api: Any = None,
) -> str:  # fmt: skip
    """Put a model on the hub, as `hub:OWNER/NAME` loads it.

    The name of the data goes with it, without the folder that it lies in.

    Args:
        model: a run folder, or any other model that `load` knows.
        name: OWNER/NAME.
        license: under which others may use the weights, by the hub's word for it: `apache-2.0`, `cc-by-4.0`, ...
        measured: files that `syncdraw evaluate ... --json_file` wrote, whose numbers stand in the card.
        private: nobody else sees it.
        api: to ask instead of the hub's own.

    Returns:
        Its address.

    Raises:
        UserError: the model or a file is not there, the name is none, or the hub refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"{name!r} is no name on the hub; give OWNER/NAME")
    network = pretrained.load(model)
    folder, card = pretrained.find(str(model)), pretrained.load_card(model)
    api = api or HfApi()
    with tempfile.TemporaryDirectory() as made:
        page = model_card(folder, card, name, license, measured)
        page.save(Path(made) / "README.md")
        data = str(card.get("data", "unknown"))
        pretrained.save(network, made, **{key: value for key, value in card.items() if key not in ("model", "sha256")}
                        | {"data": data if data in BUILT_IN else Path(data).name})  # fmt: skip
        if picture := _samples(folder):
            shutil.copyfile(picture, Path(made) / "samples.gif")
        try:
            api.create_repo(name, private=private, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=made, commit_message="A model of Sync-DRAW")
        except Exception as error:  # of the hub, or of the network library beneath it
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"the hub did not take {name} ({reason}); hf auth login says who you are") from error
    return f"https://huggingface.co/{name}"


def model_card(
    folder: Path, card: dict[str, Any], name: str, license: str, measured: Sequence[Path] = ()
) -> ModelCard:  # fmt: skip
    """README.md of a model: text for people, and metrics, licence and data for programs.

    Raises:
        UserError: a file of measurements cannot be read.
    """
    config, trained = card["model"], card.get("trained", {})
    data = str(card.get("data", "unknown"))
    data = data if data in BUILT_IN else Path(data).name
    captioned = config["captions"]["route"] != "none"
    numbers = [*_validation(folder, trained.get("steps")), *(one for path in measured for one in _numbers_of(path))]
    results = [
        EvalResult(task_type="text-to-video" if captioned else "unconditional-video-generation", dataset_type=data,
                   dataset_name=data, dataset_split=split, metric_type=metric.rpartition(".")[2], metric_name=metric,
                   metric_value=value)
        for split, metric, value in numbers
    ]  # fmt: skip
    about = ModelCardData(
        license=license, library_name="syncdraw", tags=["sync-draw", "video-generation", "arxiv:1611.10314"],
        datasets=None, model_name=name.partition("/")[2], eval_results=results or None,
        pipeline_tag="text-to-video" if captioned else None,
    )  # fmt: skip
    rows = [f"| {split} | {metric} | {value:.6g} |" for split, metric, value in numbers]
    table = ["| split | measured | value |", "|---|---|---|", *rows] if rows else []
    said = [f"- {key}: {value}" for key, value in card.get("metrics", {}).items()]
    return ModelCard.from_template(
        about, template_str=_TEMPLATE, name=name, license=license, data=data,
        about=str(card.get("about", "short videos, from a caption" if captioned else "short videos, from nothing")),
        frames=config["frames"], width=config["width"], height=config["height"],
        colour="grey" if config["channels"] == 1 else "colour",
        picture="![what it draws](samples.gif)" if _samples(folder) else "",
        what='["a caption"]' if captioned else "1",
        trained=f"{trained.get('steps', '?')} steps, {trained.get('clips_seen', '?')} clips",
        measured="\n".join([*table, *said]) or "Nothing has been measured yet.",
    )  # fmt: skip


def _validation(folder: Path, steps: Any) -> Iterator[tuple[str, str, float]]:
    """The last validation of a run, if it is of the model that was saved: split, name and value."""
    if not (folder / METRICS_FILE).is_file():
        return
    for line in reversed(RunFolder(folder).metrics()):
        if line["step"] == steps and any(name.startswith("validation_") for name in line):
            for name, value in line.items():
                if name not in ("step", "seconds"):
                    yield "validation", name.removeprefix("validation_"), value
            return


def _numbers_of(path: Path) -> Iterator[tuple[str, str, float]]:
    """What a report measured. Whole numbers are its settings."""
    try:
        values = json.loads(read_regular(path, TEXT_BYTES))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no report; give what syncdraw evaluate --json_file wrote")
    split = str(values.get("split", "test"))
    for name, value in _flat(values, ""):
        yield split, name, value


def _flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield prefix + name, value


def _samples(folder: Path) -> Path | None:
    return max(folder.glob("samples/step_*.gif"), default=None)
