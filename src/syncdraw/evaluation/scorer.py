"""What the judge sees in samples while a model is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from syncdraw.datasets.bouncing_mnist import SPEED, BouncingMNISTConfig
from syncdraw.datasets.clips import Clips
from syncdraw.evaluation.distances import frechet_distance, unit
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.models import ALONE, DrawingModel, Sharing
from syncdraw.evaluation.readings import Reading, clip_features, readable_share, together
from syncdraw.evaluation.samples import sample_batches
from syncdraw.evaluation.stories import fidelity_to, search_for


class Scorer:
    """What the judge sees in samples while a model is trained: they are drawn for the captions of held-out clips.

    Args:
        clips: two or more, with captions.
        config: of the data set that they are from.
        sharing: processes of which each draws and reads a part, and gets the scores of all.
    """

    def __init__(self, clips: Clips, config: BouncingMNISTConfig, sharing: Sharing = ALONE) -> None:
        self.judge, self.config, self.sharing = Judge.load(), config, sharing
        self.fidelity, self.search = fidelity_to(clips), search_for(clips)
        self.captions = clips.captions or []
        self.part = sharing.part(len(clips))
        self.real = clip_features(self._read([unit(torch.from_numpy(clips.videos[self.part]))]))

    def scores(self, model: DrawingModel, seed: int = 0) -> dict[str, float]:
        """Their readable share, their Frechet distance to the clips, and the share that shows what the caption says.

        The distance is biased by the number of clips: compare it along a run, not with `distance_report`.
        """
        reading = self._read(list(sample_batches(model, self.captions, seed, part=self.part)))
        scores = {
            "readable_share": readable_share(reading),
            "frechet_distance": frechet_distance(self.real, clip_features(reading)),
        }
        if model.captioned:
            scores["caption_match"] = self.fidelity(reading, self.captions)["caption_match"]
        return scores

    def _read(self, videos: list[Tensor]) -> Reading:
        """What is seen in all processes' videos."""
        parts = [self.judge.read(some, self.config.digits, SPEED, self.search) for some in videos if len(some)]
        return together(self.sharing.collect(parts))
