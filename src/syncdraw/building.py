"""From a config to a model: the one place that knows which names stand for which parts."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from syncdraw.attention import Attention, CuboidAttention, FrameAttention, GlobalAttention
from syncdraw.captions import Conditioner, NoCaptions, SentenceVector, WordAlignment
from syncdraw.config import Content, SyncDrawConfig
from syncdraw.encoders import RecurrentEncoder, WordStates, load_encoder
from syncdraw.errors import UserError
from syncdraw.extensions.categories import Categories
from syncdraw.extensions.layers import LayeredSyncDraw
from syncdraw.extensions.looking import LookingSyncDraw, looking_first
from syncdraw.extensions.mixture import MixturePrior
from syncdraw.extensions.painter import Painter
from syncdraw.likelihoods import Bernoulli, DiscretisedLogistic, Likelihood
from syncdraw.model import Generator, Inference, SyncDraw
from syncdraw.priors import CaptionPrior, NetworkPrior, Prior, StandardPrior
from syncdraw.vocabulary import Vocabulary

ATTENTIONS = {"frame": FrameAttention, "global": GlobalAttention, "cuboid": CuboidAttention}
PRIORS = {"standard": StandardPrior, "caption": CaptionPrior, "network": NetworkPrior}


def build(
    config: SyncDrawConfig,
    *,
    read_attention: Attention | None = None,
    write_attention: Attention | None = None,
    prior: Prior | None = None,
    conditioner: Conditioner | None = None,
    likelihood: Likelihood | None = None,
) -> SyncDraw:
    """A model with fresh weights.

    Args:
        config: its shape.
        read_attention, write_attention, prior, conditioner, likelihood: yours, in place of those that the config names.

    Raises:
        UserError: a caption encoder that is not to be had, or a vocabulary that is missing.
    """
    hidden, latent = config.hidden_size, config.latent_size
    conditioner = conditioner or build_conditioner(config)
    read = read_attention or build_attention(config, config.grid_size)
    write = write_attention or build_attention(config, config.write_grid_size, config.attention.content)
    by_video = math.prod(config.shape) if config.attention.read_from == "state_and_video" else None
    inference = Inference(read, hidden, latent, conditioner.encoder_size, by_video)
    prior = prior or build_prior(config, conditioner.decoder_size)
    likelihood = likelihood or build_likelihood(config)
    generator = Generator(
        write, prior, hidden, latent, conditioner.decoder_size, first_canvas(config), likelihood, build_content(config)
    )
    if config.first_look.draw_steps:
        glance = build(looking_first(config))
        assert isinstance(glance, LayeredSyncDraw)
        return LookingSyncDraw(config, inference, generator, conditioner, glance)
    if config.layers > 1:
        return LayeredSyncDraw(config, inference, generator, conditioner)
    return SyncDraw(config, inference, generator, conditioner)


def build_attention(config: SyncDrawConfig, grid_size: int, content: Content = "per_frame") -> FrameAttention:
    """The attention that a config names."""
    options: dict[str, Any] = {} if config.attention.kind == "cuboid" else {"content": content}
    smooth = config.attention.smooth_start
    return ATTENTIONS[config.attention.kind](*config.shape, grid_size, smooth_start=smooth, **options)


def build_content(config: SyncDrawConfig) -> Painter | None:
    """What a config names in place of the papers' linear layer, if anything."""
    if config.attention.content != "painted":
        return None
    return Painter(config.hidden_size, config.frames, config.channels, config.write_grid_size)


def build_prior(config: SyncDrawConfig, caption_size: int) -> Prior:
    """The prior that a config names."""
    sizes = config.hidden_size, caption_size, config.latent_size
    if config.prior.components > 1:
        return MixturePrior(*sizes, config.prior.components)
    return PRIORS[config.prior.kind](*sizes)


def build_conditioner(config: SyncDrawConfig) -> NoCaptions | Categories | WordAlignment | SentenceVector:
    """The conditioner that a config names."""
    captions = config.captions
    if config.prior.categories:
        return Categories(config.channels, config.prior.categories, captions.size)
    if not config.captioned:
        return NoCaptions()
    if captions.pretrained:
        encoder = load_encoder(captions.route)
        if captions.encoder_version and encoder.version != captions.encoder_version:
            raise UserError(
                f"this model was trained with caption encoder {captions.encoder_version}, "
                f"but {captions.route} is {encoder.version}; install that version"
            )
        return SentenceVector(encoder)
    if not captions.vocabulary:
        raise UserError(
            "model.captions.vocabulary is empty; a caption encoder trained with the model needs the captions' words"
        )
    vocabulary = Vocabulary(captions.vocabulary)
    if captions.route == "recurrent":
        return SentenceVector(RecurrentEncoder(vocabulary, captions.size))
    return WordAlignment(WordStates(vocabulary, captions.size), config.hidden_size, captions.size)


def build_likelihood(config: SyncDrawConfig) -> Likelihood:
    """The likelihood that a config's protocol names."""
    return DiscretisedLogistic(config.channels) if config.protocol == "levels" else Bernoulli()


def first_canvas(config: SyncDrawConfig) -> torch.Tensor | nn.Parameter:
    """c^0. The papers' canvas starts at zero and stays out of the optimiser's hands."""
    if config.canvas == "image":
        return nn.Parameter(torch.zeros(config.channels, config.height, config.width))
    logits = torch.zeros(config.channels, 1, 1)
    return nn.Parameter(logits) if config.canvas == "learned" else logits
