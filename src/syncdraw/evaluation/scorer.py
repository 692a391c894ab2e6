"""What the judge sees in samples while a model is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from syncdraw.datasets.bouncing_mnist import SPEED, BouncingMNISTConfig
from syncdraw.datasets.clips import Clips
from syncdraw.evaluation.distances import frechet_distance, unit
from syncdraw.evaluation.judge import Judge
from syncdraw.evaluation.models import DrawingModel
from syncdraw.evaluation.readings import Reading, clip_features, readable_share
from syncdraw.evaluation.samples import sample_batches
from syncdraw.evaluation.stories import fidelity_to, search_for


class Scorer:
    """What the judge sees in samples while a model is trained: they are drawn for the captions of held-out clips.

    Args:
        clips: two or more, with captions.
        config: of the data set that they are from.
    """

    def __init__(self, clips: Clips, config: BouncingMNISTConfig) -> None:
        self.judge, self.config = Judge.load(), config
        self.fidelity, self.search = fidelity_to(clips), search_for(clips)
        self.captions = clips.captions or []
        self.real = clip_features(self._read(unit(torch.from_numpy(clips.videos))))

    def scores(self, model: DrawingModel, seed: int = 0) -> dict[str, float]:
        """Their readable share, their Frechet distance to the clips, and the share that shows what the caption says.

        The distance is biased by the number of clips: compare it along a run, not with `distance_report`.
        """
        reading = self._read(torch.cat(list(sample_batches(model, self.captions, seed))))
        scores = {
            "readable_share": readable_share(reading),
            "frechet_distance": frechet_distance(self.real, clip_features(reading)),
        }
        if model.captioned:
            scores["caption_match"] = self.fidelity(reading, self.captions)["caption_match"]
        return scores

    def _read(self, videos: Tensor) -> Reading:
        return self.judge.read(videos, self.config.digits, SPEED, self.search)
