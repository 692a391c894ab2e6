"""The models of the demo, each loaded once, and the one thread that computes with them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from syncdraw import plots, pretrained
from syncdraw.errors import UserError
from syncdraw.model import SyncDraw
from syncdraw.training.run_folder import CONFIG_FILE
from syncdraw.wordings import suited_model

T = TypeVar("T")

_MODELS_KEPT = 12  # of 5 to 10 MB each, where they ship


class Chosen(NamedTuple):
    """A model that somebody chose.

    Attributes:
        name: as `--model` takes it.
        card: its config.json.
    """

    name: str
    network: SyncDraw
    card: dict[str, Any]


class Studio:
    """Models by their names.

    Everything is computed by one thread, in the order in which it was asked for: two drawings at once would need the
    same time together, and twice the memory.

    Args:
        named: models beside the shipped ones: run folders, or names that `pretrained.find` takes.
        any_folder: whether visitors may name further folders of this machine.

    Raises:
        UserError: one of the names is neither a folder nor a model.
    """

    def __init__(self, named: Sequence[str] = (), *, any_folder: bool = True) -> None:
        for name in named:
            if not (Path(name) / CONFIG_FILE).is_file():  # a run that has only begun has no model yet
                pretrained.find(name)
        self.named = list(dict.fromkeys(named))
        self.any_folder = any_folder
        self._loaded: OrderedDict[str, tuple[object, Chosen]] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, "studio", _begin)

    def compute(self, work: Callable[[], T]) -> T:
        """What `work` returns, or raises, when its turn has come."""
        return self._worker.submit(torch.no_grad()(work)).result()

    def warm_up(self) -> None:
        """Have the model that the page begins with ready, and what draws figures; nobody waits for it."""

        def work() -> None:
            self.choose("", ["digit 3"]).network.generate("digit 3")
            with suppress(UserError):
                plots.divergence_by_step(torch.zeros(1))

        self._worker.submit(torch.no_grad()(work))

    def choices(self) -> list[tuple[str, str]]:
        """What to show of each model, and its name."""
        shipped = pretrained.shipped_models()
        about = [(f"{name}: {pretrained.load_card(folder).get('about', '')}", name) for name, folder in shipped.items()]
        return [*((name, name) for name in self.named if name not in shipped), *about]

    def examples(self) -> list[str]:
        """A caption for each shipped model of other clips than digits."""
        cards = map(pretrained.load_card, pretrained.shipped_models().values())
        return [card["example"] for card in cards if card.get("example")]

    def folder(self, name: str) -> Path:
        """The folder of a run.

        Raises:
            UserError: there is none of that name, or visitors may not name it.
        """
        self._check(name)
        path = Path(name).expanduser()
        if not name or not path.is_dir():
            raise UserError(f"there is no folder {name}; give the folder of a run, such as runs/mine")
        return path

    def choose(self, name: str, captions: Sequence[str] = ()) -> Chosen:
        """A model, loaded again where its files have changed; without a name the shipped one that suits the captions.

        Call it within `compute`.

        Raises:
            UserError: it cannot be loaded, or visitors may not name it, or no model suits the captions.
        """
        name = name or suited_model(captions)
        self._check(name)
        try:
            folder = pretrained.find(name)
            times = [(folder / file).stat().st_mtime_ns for file in (pretrained.CARD_FILE, pretrained.WEIGHTS_FILE)]
        except (OSError, UserError):
            if name in self._loaded or name in self.named:
                raise UserError(f"{name} holds no model, or not any more; choose another one") from None
            raise
        before, chosen = self._loaded.pop(name, (None, None))
        if chosen is None or before != times:
            chosen = Chosen(name, pretrained.load(folder), pretrained.load_card(folder))
        self._loaded[name] = times, chosen
        if len(self._loaded) > _MODELS_KEPT:
            self._loaded.popitem(last=False)
        return chosen

    def _check(self, name: str) -> None:
        if name in self.named or name in pretrained.shipped_models():
            return
        if name.startswith("hub:"):
            raise UserError(f"this page fetches nothing; start it with the model's name: syncdraw demo {name}")
        if not self.any_folder:
            raise UserError(f"{name[:100]!r} is not among the models of this page; choose one of the list")


def _begin() -> None:
    torch.set_flush_denormal(True)
    # A few clips of these small models are drawn no faster by more, and where other programs are at work, too, much
    # slower: three times on two cores.
    torch.set_num_threads(1)
