"""The model against the papers' equations written down literally, against torch.distributions, and against itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from literal import losses, lstm
from making_models import randomised
from syncdraw import SyncDraw, SyncDrawConfig, UserError, building
from syncdraw.attention import Attention, Window
from syncdraw.captions import Condition, SentenceVector, WordAlignment, clauses
from syncdraw.config import AttentionConfig, CaptionConfig, FirstLookConfig, PriorConfig
from syncdraw.extensions.layers import LayerCanvas, LayeredSyncDraw
from syncdraw.extensions.mixture import Mixture, MixturePrior
from syncdraw.gaussian import Gaussian
from syncdraw.model import Noise, targets
from syncdraw.priors import CaptionPrior, NetworkPrior, Prior
from syncdraw.reading import read_settings
from syncdraw.training.warm_start import copy_weights
from syncdraw.words import normalise

TINY = SyncDrawConfig(frames=3, channels=1, height=9, width=7, draw_steps=4, grid_size=3, hidden_size=8, latent_size=5)
WORDS = ("0", "1", "and", "digit", "down", "is", "left", "moving", "right", "up")
CAPTIONS = ["digit 0 is moving left and right", "digit 1 is moving up and down"]


def build(**changes: object) -> SyncDraw:
    torch.manual_seed(3)
    return building.build(dataclasses.replace(TINY, **changes))


def videos_for(model: SyncDraw, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, *model.config.shape, generator=torch.Generator().manual_seed(5))


def noise_for(model: SyncDraw, batch: int = 2) -> Noise:
    return model.noise(batch, seed=7)


@pytest.mark.parametrize("channels", [1, 3])
def test_losses_equal_the_literal_version(channels: int) -> None:
    model = build(channels=channels)
    videos, noise = videos_for(model), noise_for(model)
    drawing = model(videos, noise=noise)
    reconstruction, divergence = losses(model, videos, noise.latents)
    torch.testing.assert_close(drawing.reconstruction, reconstruction, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(drawing.divergence, divergence, rtol=1e-4, atol=1e-3)


def test_gradients_equal_the_literal_version() -> None:
    model = build()
    videos, noise = videos_for(model), noise_for(model)
    model(videos, noise=noise).negative_elbo.mean().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    sum(losses(model, videos, noise.latents)).mean().backward()  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-3, msg=name)


def test_gradient_against_finite_differences() -> None:
    """Of the loss, along random directions through all parameters at once, in float64."""
    model = build(frames=2, height=5, width=4, draw_steps=2, hidden_size=3, latent_size=2).double()
    videos = videos_for(model).double()
    noise = Noise(*(part.double() for part in noise_for(model)))
    parameters = list(model.parameters())
    gradient = torch.autograd.grad(model(videos, noise=noise).negative_elbo.sum(), parameters)
    step = 1e-6
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
        measured = []
        with torch.no_grad():
            for distance in (step, -2 * step):
                torch._foreach_add_(parameters, direction, alpha=distance)
                measured.append(model(videos, noise=noise).negative_elbo.sum().item())
            torch._foreach_add_(parameters, direction, alpha=step)
        slope = sum((g * d).sum().item() for g, d in zip(gradient, direction, strict=True))
        assert (measured[0] - measured[1]) / (2 * step) == pytest.approx(slope, rel=1e-5)


def condition_for(model: SyncDraw, captions: list[str] | None = None, batch: int = 2) -> Condition:
    return model.conditioner.prepare(model.tokenise(captions, batch), None, torch.zeros(batch, 0))


@pytest.mark.parametrize("kind", ["standard", "caption", "network"])
def test_divergence_is_the_exact_kl(kind: Literal["standard", "caption", "network"]) -> None:
    """Against the mean of log q - log p over many samples, for one drawing step in the middle of a video."""
    model = randomised(dataclasses.replace(TINY, prior=PriorConfig(kind)))
    video, noise, condition = (
        model.inference.look(videos_for(model, 1)),
        noise_for(model, 1),
        condition_for(model, None, 1),
    )
    latents, choice = noise.latents[:, 0], noise.prior[:, 0]
    with torch.no_grad():
        state, _ = model.step(model.start(condition), condition, latents, choice, video)
        _, step = model.step(state, condition, latents, choice, video)
        caption = model.conditioner.attend(condition, state.decoder[0])
        q = Normal(*model.inference(video, state, caption)[0])
        p = Normal(*model.generator.prior(state.decoder[0], caption.decoder, state.belief).gaussian)
        z = q.sample((200_000,))
        estimate = (q.log_prob(z) - p.log_prob(z)).sum(dim=-1).mean().item()
    assert step.divergence.item() == pytest.approx(kl_divergence(q, p).sum().item(), rel=1e-5)
    assert step.divergence.item() == pytest.approx(estimate, rel=0.02, abs=0.01)
    if kind != "standard":
        assert p.mean.abs().max() > 0.01
        assert (p.stddev - 1).abs().max() > 0.01
    torch.testing.assert_close(step.log_ratio, (p.log_prob(step.z) - q.log_prob(step.z)).sum(dim=1))


def test_the_caption_prior_is_v1s() -> None:
    prior, h_dec = CaptionPrior(8, 4, 5), torch.randn(2, 8)
    got = prior(h_dec, torch.zeros(2, 4), prior.start(h_dec, torch.zeros(2, 4))).gaussian
    torch.testing.assert_close(got.mean, torch.tanh(h_dec @ prior.mean.weight.T))
    torch.testing.assert_close(got.deviation, torch.exp(torch.tanh(h_dec @ prior.log_deviation.weight.T)))


def test_the_network_prior_begins_at_the_standard_one() -> None:
    prior, h_dec, caption = NetworkPrior(8, 4, 5), torch.randn(2, 8), torch.randn(2, 4)
    got = prior(h_dec, caption, prior.start(h_dec, caption)).gaussian
    torch.testing.assert_close(got.mean, torch.zeros(2, 5))
    torch.testing.assert_close(got.deviation, torch.ones(2, 5))


def test_word_alignment_equals_equations_12_and_13() -> None:
    model = build(captions=CaptionConfig("alignment", 6, WORDS), prior=PriorConfig("caption"))
    captions = [CAPTIONS[0], "digit 1 is moving"]  # of different lengths
    condition = condition_for(model, captions)
    h_dec = torch.randn(2, 8)
    got = model.conditioner.attend(condition, h_dec)
    alignment = model.conditioner
    assert isinstance(alignment, WordAlignment)
    for b, caption in enumerate(captions):
        count = len(caption.split())
        energies = torch.stack([
            alignment.score.weight[0]
            @ torch.tanh(
                alignment.key.weight @ condition.states[b, i] + alignment.query.weight @ h_dec[b] + alignment.key.bias
            )
            for i in range(count)
        ])  # fmt: skip
        alpha = energies.exp() / energies.exp().sum()
        torch.testing.assert_close(got.alignment[b, :count], alpha)
        assert (got.alignment[b, count:] == 0).all()
        torch.testing.assert_close(got.decoder[b], sum(alpha[i] * condition.states[b, i] for i in range(count)))


def test_sentence_vectors_enter_both_lstms() -> None:
    """Eqs 12 and 13, against an LSTM written out gate by gate."""
    model = build(captions=CaptionConfig("recurrent", 6, WORDS))
    assert isinstance(model.conditioner, SentenceVector)
    condition = condition_for(model, CAPTIONS)
    state = model.start(condition)
    caption = model.conditioner.attend(condition, state.decoder[0])
    videos, z = videos_for(model), torch.randn(2, 5)
    _, encoder, window = model.inference(model.inference.look(videos), state, caption)
    read = model.inference.attention.read(videos, window)
    error = model.inference.attention.read(videos - state.canvas.video, window)
    sentence = condition.states[:, 0]
    x = torch.cat([read, error, state.decoder[0], sentence], dim=1)
    torch.testing.assert_close(encoder[0], lstm(model.inference.lstm, x, state.encoder)[0])
    _, decoder, _ = model.generator(z, state, caption)
    expected = lstm(model.generator.lstm, torch.cat([z, sentence], dim=1), state.decoder)
    torch.testing.assert_close(decoder[0], expected[0])


ALIGNMENT, RECURRENT = CaptionConfig("alignment", 6, WORDS), CaptionConfig("recurrent", 6, WORDS)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": AttentionConfig("global")},
        {"attention": AttentionConfig("cuboid")},
        {"attention": AttentionConfig(read_from="state_and_video")},
        {"layers": 2},
        {"attention": AttentionConfig(content="shared", smooth_start=True), "canvas": "learned",
         "prior": PriorConfig("network")},
        {"channels": 3, "attention": AttentionConfig(write_grid_size=4), "canvas": "image"},
        {"channels": 3, "attention": AttentionConfig(write_grid_size=4, content="painted"), "captions": RECURRENT},
        {"grid_size": 1},
        {"frames": 1, "draw_steps": 1},
        {"captions": ALIGNMENT, "prior": PriorConfig("caption")},
        {"captions": RECURRENT},
        {"prior": PriorConfig("network", components=3)},
        {"prior": PriorConfig("network", components=3), "captions": ALIGNMENT, "layers": 2},
        {"prior": PriorConfig("network", categories=3)},
        {"prior": PriorConfig("network", components=2, categories=3)},
        {"prior": PriorConfig("network", components=2, categories=3), "layers": 2},
        {"prior": PriorConfig("network"), "layers": 2, "first_look": FirstLookConfig(2)},
        {"prior": PriorConfig("network", categories=3), "layers": 2, "first_look": FirstLookConfig(4, False, 3)},
        {"captions": ALIGNMENT, "layers": 2, "first_look": FirstLookConfig(2, captioned=True)},
    ],
)  # fmt: skip
def test_every_variant_trains_and_generates(changes: dict[str, object]) -> None:
    model = build(**changes)
    captions = None
    if model.captioned:
        captions = [" and ".join([caption] * model.config.layers) for caption in CAPTIONS]
    drawing = model(videos_for(model), captions, noise=noise_for(model), return_canvases=True)
    drawing.negative_elbo.mean().backward()
    for name, parameter in model.named_parameters():
        if model.config.draw_steps > 1 and parameter.requires_grad:  # the windows of the first step come from h_dec = 0
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    assert drawing.canvases.shape == (2, model.config.draw_steps, *model.config.shape)
    torch.testing.assert_close(drawing.canvases[:, -1], drawing.videos)
    videos = model.generate(captions or 2, seed=1)
    assert videos.shape == (2, *model.config.shape)
    assert ((videos >= 0) & (videos <= 1)).all()


def test_generation_is_the_training_step_with_z_from_the_prior() -> None:
    """Where the prior gives the z's of a reconstruction its canvas is drawn: there is no second graph."""
    model = build()
    with torch.no_grad():
        drawing = model(videos_for(model), noise=noise_for(model))
        condition = condition_for(model)
        state = model.start(condition)
        caption = model.conditioner.attend(condition, state.decoder[0])
        for step in drawing.steps:
            canvas, decoder, _ = model.generator(step.z, state, caption)
            state = state._replace(canvas=canvas, decoder=decoder)
        latents = torch.stack([step.z for step in drawing.steps], dim=1)  # of N(0, I), which leaves noise as it is
        again = model(None, noise=noise_for(model)._replace(latents=latents))
    assert torch.equal(state.canvas.logits, drawing.logits)
    assert torch.equal(again.logits, drawing.logits)


def by_layer(noise: Noise, layers: int) -> list[Noise]:
    """The noise of each of several layers of two steps."""
    return [noise.steps(slice(2 * layer, 2 * layer + 2)) for layer in range(layers)]


def test_layers_add_up_as_light_does() -> None:
    """With equal z's a layer draws what the one before it has drawn, and 1 - p = (1 - p_1)(1 - p_2)."""
    model = build(layers=2, draw_steps=4)
    with torch.no_grad():
        noise = Noise(*(part[:, [0, 1, 0, 1]] for part in noise_for(model)))
        drawing = model(None, noise=noise, return_canvases=True)
    one, both = drawing.canvases[:, 1].double(), drawing.canvases[:, 3].double()
    torch.testing.assert_close(both, 1 - (1 - one) ** 2, atol=1e-6, rtol=0)
    torch.testing.assert_close(drawing.videos.double(), both, atol=1e-6, rtol=0)


def test_the_logits_of_layers_are_exact_where_probabilities_round() -> None:
    """For every pair of logits, against NumPy in long double."""
    logits = torch.tensor([-60.0, -20.0, -3.0, 0.0, 3.0, 20.0, 60.0])
    below, canvas = torch.cartesian_prod(logits, logits).T[..., None, None, None, None]
    drawn = LayerCanvas(canvas, below, (-below).sigmoid())
    a, b = below.numpy().astype(np.longdouble), canvas.numpy().astype(np.longdouble)
    odds = (1 + np.exp(a)) * np.exp(b) + np.exp(a)
    np.testing.assert_allclose(drawn.logits.numpy(), np.log(odds), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(drawn.video.numpy(), odds / (1 + odds), rtol=1e-6, atol=1e-7)


def test_a_layer_draws_like_the_model_of_one_layer_that_it_began_from() -> None:
    """Two layers with the weights of one draw its two videos, one upon the other."""
    one, two = build(draw_steps=2), build(draw_steps=4, layers=2)
    two.load_state_dict(one.state_dict(), strict=False)
    noise = noise_for(two)
    with torch.no_grad():
        parts = [one(None, noise=half).videos for half in by_layer(noise, 2)]
        torch.testing.assert_close(two(None, noise=noise).videos, 1 - (1 - parts[0]) * (1 - parts[1]))


def test_each_layer_reads_its_own_clause() -> None:
    """A layer draws what a model of one layer draws from that clause; its alignment stands at the clause's words."""
    options = {"captions": ALIGNMENT, "prior": PriorConfig("caption")}
    one, two = build(draw_steps=2, **options), build(draw_steps=4, layers=2, **options)
    two.load_state_dict(one.state_dict(), strict=False)
    noise = noise_for(two)
    captions = ["digit 0 is moving up and down and digit 1 is moving left and right", "digit 1 and digit 0 is moving"]
    clauses = [["digit 0 is moving up and down", "digit 1"], ["digit 1 is moving left and right", "digit 0 is moving"]]
    with torch.no_grad():
        drawing = two(None, captions, noise=noise)
        parts = [one(None, text, noise=half) for text, half in zip(clauses, by_layer(noise, 2), strict=True)]
    torch.testing.assert_close(drawing.videos, 1 - (1 - parts[0].videos) * (1 - parts[1].videos))
    assert drawing.alignment.shape == (2, 4, 15)
    torch.testing.assert_close(drawing.alignment[0, :2, :7], parts[0].alignment[0, :, :7])
    torch.testing.assert_close(drawing.alignment[0, 2:, 8:], parts[1].alignment[0, :, :7])
    torch.testing.assert_close(drawing.alignment[1, 2:, 3:7], parts[1].alignment[1, :, :4])
    torch.testing.assert_close(drawing.alignment.sum(dim=2), torch.ones(2, 4))


@pytest.mark.parametrize(
    ("caption", "clauses_"),
    [
        ("digit 3 is moving up and down", ["digit 3 is moving up and down"]),
        ("The digit 3 is moving up and down, and digit 5", ["digit 3 is moving up and down", "digit 5"]),
        ("digit 3 and digit 5 and digit 7", ["digit 3", "digit 5", "digit 7"]),
        ("A man runs and an old dog sleeps.", ["a man runs", "an old dog sleeps"]),
        ("and and and", ["and", "and"]),
        ("digit 3 and", ["digit 3 and"]),
    ],
)
def test_the_clauses_of_a_caption(caption: str, clauses_: list[str]) -> None:
    found = clauses(caption)
    assert [" ".join(words) for _, words in found] == clauses_
    for start, words in found:
        assert normalise(caption)[start : start + len(words)] == words


def test_clauses_decide_how_many_layers_are_generated() -> None:
    """Each the first layer's drawing, from its clause; what has no captions draws the layers it was trained with."""
    options = {"captions": ALIGNMENT, "prior": PriorConfig("caption")}
    two = build(layers=2, draw_steps=4, **options)
    assert isinstance(two, LayeredSyncDraw)
    texts = ["digit 0 is moving up", "digit 1 is moving", "digit 0"]
    for count in (1, 2, 3):
        noise = two.with_layers(count).noise(1, seed=0)
        assert noise.latents.shape == (1, 2 * count, 5)
        dark = torch.ones(1, *two.config.shape)
        for text, part in zip(texts, by_layer(noise, count), strict=False):
            with torch.no_grad():
                dark *= 1 - two.with_layers(1)(None, [text], noise=part).videos
        torch.testing.assert_close(two.generate([" and ".join(texts[:count])]), 1 - dark)
    assert two.config.layers == 2
    assert two.with_layers(3)(videos_for(two), [" and ".join(texts)] * 2).divergence.isfinite().all()
    assert build(layers=2).generate(1).shape == (1, *TINY.shape)


def test_captions_with_other_numbers_of_clauses_are_refused() -> None:
    model = build(layers=2, draw_steps=4, captions=ALIGNMENT)
    one, two = "digit 0 is moving up", "digit 0 is moving up and digit 1 is moving up"
    with pytest.raises(UserError, match=r"'digit 0 is moving up' says 1 thing; this model draws 2, as in 'digit 3 "):
        model.generate([two, one])
    with pytest.raises(UserError, match=r"'digit 0 is moving up' says 1 thing; this model draws 2, as in 'digit 3 "):
        model(videos_for(model), [one, two])
    with pytest.raises(UserError, match=r"captions must be a list of strings, not the one string"):
        model(videos_for(model), two)
    with pytest.raises(UserError, match=r"got 1 captions for 2 videos"):
        model(videos_for(model), [two])


def mixture(batch: int = 3, components: int = 4, latent: int = 2) -> Mixture:
    generator = torch.Generator().manual_seed(9)
    weights = torch.randn(batch, components, generator=generator).log_softmax(dim=1)
    mean = 2 * torch.randn(batch, components, latent, generator=generator)
    deviation = torch.rand(batch, components, latent, generator=generator) + 0.3
    return Mixture(weights, Gaussian(mean, deviation))


def repeated(prior: Mixture, count: int) -> Mixture:
    """The one mixture of a batch, so many times."""
    components = Gaussian(*(part.expand(count, -1, -1) for part in prior.components))
    return Mixture(prior.log_weights.expand(count, -1), components)


def as_torch(prior: Mixture) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(logits=prior.log_weights), Independent(Normal(*prior.components), 1))


def test_a_mixture_has_the_density_of_torch_distributions() -> None:
    z = torch.randn(3, 2)
    torch.testing.assert_close(mixture().log_prob(z), as_torch(mixture()).log_prob(z))


def test_a_mixture_draws_what_torch_distributions_draws() -> None:
    """Each component as often as its weight says, and within it by its mean and deviation."""
    prior = mixture(batch=1)
    many, generator = repeated(prior, 100_000), torch.Generator().manual_seed(1)
    drawn = many.draw(torch.randn(100_000, 2, generator=generator), torch.randn(100_000, 1, generator=generator))
    expected = as_torch(prior)
    torch.testing.assert_close(drawn.mean(dim=0), expected.mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.var(dim=0), expected.variance[0], atol=0, rtol=0.02)
    entropy = -expected.log_prob(expected.sample((100_000,))).mean()
    torch.testing.assert_close(-many.log_prob(drawn).mean(), entropy, atol=0.02, rtol=0)


def test_a_mixtures_divergence_is_right_on_average() -> None:
    prior = mixture(batch=1)
    q = Normal(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.6, 1.1]]))
    z = q.sample((100_000,))[:, 0]
    estimate = repeated(prior, 100_000).divergence_of(Gaussian(q.loc.expand_as(z), q.scale.expand_as(z)), z)
    # By the trapezoidal rule over the plane.
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)
    density = q.log_prob(plane).sum(-1)
    exact = (density.exp() * (density - as_torch(prior).log_prob(plane))).sum() * (24 / 600) ** 2
    assert estimate.mean().item() == pytest.approx(exact.item(), abs=5 * estimate.std().item() / 100_000**0.5)


def test_a_layer_belongs_to_one_component_at_all_of_its_steps() -> None:
    """The product of the steps' densities is that of a mixture over whole layers, written out."""
    model = build(prior=PriorConfig("network", components=3))
    prior = model.generator.prior
    assert isinstance(prior, MixturePrior)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(std=0.3)
        drawing = model(videos_for(model), noise=noise_for(model))
        by_step = sum(step.prior.log_prob(step.z) for step in drawing.steps)
        whole = sum(step.prior.components.log_prob(step.z[:, None]).sum(-1) for step in drawing.steps)
        first = prior.choice.bias.log_softmax(dim=0)  # h_dec^0 is zero
    torch.testing.assert_close(by_step, (first + whole).logsumexp(dim=1))
    last = drawing.steps[-1].prior.log_weights
    assert (last.max(dim=1).values > -0.9).all(), "the steps tell the components apart"
    torch.testing.assert_close(last.logsumexp(dim=1), torch.zeros(2), atol=1e-6, rtol=0)


def test_a_mixture_learns_clusters_that_one_gaussian_cannot() -> None:
    torch.manual_seed(0)
    nats = {}
    h, caption = torch.zeros(4096, 2), torch.zeros(4096, 0)
    for components in (1, 6):
        prior = MixturePrior(2, 0, 2, components) if components > 1 else NetworkPrior(2, 0, 2)
        optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)

        def loss(count: int, prior: Prior = prior) -> torch.Tensor:
            z = torch.randn(count, 2) * 0.3 + (torch.randint(2, (count, 1)) * 4.0 - 2)
            # Its own weights: components that share two clusters unevenly need uneven ones.
            belief = prior.start(h[:count], caption[:count])
            return -prior(h[:count], caption[:count], belief).log_prob(z).mean()

        for _ in range(250):
            optimizer.zero_grad()
            loss(256).backward()
            optimizer.step()
            schedule.step()
        nats[components] = loss(4096).item()
    # Exact: the entropy of a cluster and log 2 for the choice of one.
    exact = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.3)) + math.log(2)
    assert nats[6] == pytest.approx(exact, abs=0.15)
    assert nats[1] > exact + 1


def test_seeds() -> None:
    model = build(captions=RECURRENT)
    one = model.generate(CAPTIONS[:1], seed=4)
    assert torch.equal(one, model.generate(CAPTIONS[:1], seed=4))
    assert not torch.equal(one, model.generate(CAPTIONS[:1], seed=5))
    for more, few in zip(model.noise(3, seed=4), model.noise(2, seed=4), strict=True):
        assert torch.equal(more[:2], few), "more videos must not change the first"
    torch.testing.assert_close(one[0], model.generate(CAPTIONS, seed=4)[0])
    assert not torch.equal(one, model.generate(CAPTIONS[1:], seed=4))
    torch.rand(7)
    assert torch.equal(one, model.generate(CAPTIONS[:1], seed=4)), "the global generator must not matter"


def test_canvases_of_generation_end_in_the_video() -> None:
    model = build()
    canvases = model.generate(2, seed=0, return_canvases=True)
    assert canvases.shape == (2, 4, *model.config.shape)
    assert torch.equal(canvases[:, -1], model.generate(2, seed=0))


@pytest.mark.parametrize("components", [1, 3])
def test_temperature_narrows_every_gaussian_and_leaves_the_choice_among_them(components: int) -> None:
    model = build(prior=PriorConfig("network", components=components))
    prior = model.generator.prior
    assert isinstance(prior, NetworkPrior | MixturePrior)
    with torch.no_grad():
        prior.layers[-1].bias.normal_()  # a deviation other than 1, a mean other than 0
    drawn = {}
    for temperature in (1.0, 0.5, 0.0):
        noise = model.noise(3, seed=0)
        noise = noise._replace(latents=temperature * noise.latents)
        with torch.no_grad():
            drawn[temperature] = model(None, noise=noise)
        assert torch.equal(model.generate(3, seed=0, temperature=temperature), drawn[temperature].videos)
    # At the first step, where nothing depends on earlier z's yet, z moves in a line towards a component's mean.
    first = {temperature: drawing.steps[0].z for temperature, drawing in drawn.items()}
    torch.testing.assert_close(first[0.5], (first[0.0] + first[1.0]) / 2)
    of_step = drawn[0.0].steps[0].prior
    means = of_step.components.mean if isinstance(of_step, Mixture) else of_step.gaussian.mean[:, None]
    assert torch.cdist(first[0.0][:, None], means).amin(dim=2).max() < 1e-6
    assert torch.equal(model.generate(3, seed=0), drawn[1.0].videos)


@pytest.mark.parametrize("temperature", [-0.1, math.inf, math.nan])
def test_temperatures_that_mean_nothing(temperature: float) -> None:
    with pytest.raises(UserError, match=r"^temperature is .*; it must be 0 or more$"):
        build().generate(1, temperature=temperature)


def test_autocast_bf16() -> None:
    model = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        drawing = model(videos_for(model), noise=noise_for(model))
    full = model(videos_for(model), noise=noise_for(model))
    assert drawing.reconstruction.dtype == torch.float32
    torch.testing.assert_close(drawing.reconstruction, full.reconstruction, rtol=0.02, atol=0.5)
    drawing.negative_elbo.mean().backward()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_draws_what_the_cpu_draws() -> None:
    model = build()
    expected = model.generate(2, seed=0)
    torch.testing.assert_close(model.cuda().generate(2, seed=0).cpu(), expected, rtol=1e-3, atol=1e-4)


def test_the_first_canvas_starts_at_the_mean() -> None:
    """A learned one at its colour, an image at each of its pixels; the papers' stays at zero."""
    mean = 0.1 + 0.8 * torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0))
    for kind, expected in (("learned", mean.mean(dim=(1, 2), keepdim=True)), ("image", mean)):
        model = build(canvas=kind, channels=3)
        model.set_first_canvas(mean)
        first = model.start(condition_for(model)).canvas.video
        torch.testing.assert_close(first, expected.expand(2, 3, 3, 9, 7))
        assert "generator.first_canvas" in dict(model.named_parameters())
    paper = build(canvas="zero", channels=3)
    paper.set_first_canvas(mean)
    assert (paper.start(condition_for(paper)).canvas.logits == 0).all()
    assert "generator.first_canvas" not in dict(paper.named_parameters())


def test_layers_start_where_they_show_the_mean_together() -> None:
    model, mean = build(canvas="image", layers=2), torch.full((1, 9, 7), 0.36)
    model.set_first_canvas(mean)
    torch.testing.assert_close(model.start(condition_for(model)).canvas.video, torch.full((2, 3, 1, 9, 7), 0.2))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("learned", "image", torch.full((1, 9, 7), 0.7)),
        ("image", "image", torch.linspace(-1, 3, 63).view(1, 9, 7)),
        ("image", "learned", torch.ones(1, 1, 1)),
        ("zero", "image", torch.zeros(1, 9, 7)),
        ("learned", "zero", torch.zeros(1, 1, 1)),
        ("image", "zero", torch.zeros(1, 1, 1)),
    ],
)
def test_a_first_canvas_is_taken_over(ours: str, theirs: str, expected: torch.Tensor) -> None:
    """A colour fills an image, an image gives its mean colour, and a canvas that is to be zero stays zero."""
    source, target = build(canvas=ours), build(canvas=theirs)
    if ours != "zero":
        first = source.generator.first_canvas
        start = torch.full((1, 1, 1), 0.7) if ours == "learned" else torch.linspace(-1, 3, 63).view(1, 9, 7)
        with torch.no_grad():
            first.copy_(start)
    copy_weights(source, target, "theirs")
    torch.testing.assert_close(target.generator.first_canvas.detach(), expected)


def test_an_image_of_another_size_gives_its_mean_colour() -> None:
    source, target = build(canvas="image"), build(canvas="image", height=8)
    with torch.no_grad():
        source.generator.first_canvas.copy_(torch.linspace(-1, 3, 63).view(1, 9, 7))
    copy_weights(source, target, "theirs")
    torch.testing.assert_close(target.generator.first_canvas.detach(), torch.ones(1, 8, 7))


def test_prepared_noise_belongs_to_the_clip() -> None:
    """It is the same whatever the batch, in the next batch and in the hands of another process."""
    model = build(prior=PriorConfig("network", components=3, categories=2), latent_size=4)  # 24 numbers a clip
    clips = np.random.default_rng(0).integers(0, 255, (6, *model.shape), dtype=np.uint8)

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    whole = model.prepare(clips, None, generator())
    assert [part.shape for part in whole.noise] == [(6, 4, 4), (6, 4, 1), (6, 4, 1)]
    assert torch.equal(whole.videos, torch.from_numpy(clips))
    going_on = generator()
    for batch, rows in (
        (model.prepare(clips[:2], None, going_on), slice(2)),
        (model.prepare(clips[2:], None, going_on), slice(2, None)),
        (model.prepare(clips[:5], None, generator()), slice(5)),
        (model.prepare(clips[4:], None, generator(), skip=4), slice(4, None)),
    ):
        assert torch.equal(batch.videos, whole.videos[rows])
        for part, of_whole in zip(batch.noise, whole.noise, strict=True):
            assert torch.equal(part, of_whole[rows])
    assert len(whole.noise.latents.unique()) == 6 * 4 * 4


@pytest.mark.parametrize("captions", [ALIGNMENT, RECURRENT])
def test_captions_that_are_padded_draw_the_same(captions: CaptionConfig) -> None:
    model = build(captions=captions)
    clips = np.random.default_rng(0).integers(0, 255, (2, *model.shape), dtype=np.uint8)
    texts = ["digit 0 is moving up", "digit 1"]
    plain, padded = (model.prepare(clips, texts, torch.Generator().manual_seed(1), length) for length in (0, 9))
    assert plain.tokens is not None
    assert padded.tokens is not None
    assert (plain.tokens.shape, padded.tokens.shape) == ((2, 5), (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(model.bound(padded).negative_elbo, model.bound(plain).negative_elbo)
        expected = model(model.targets(plain.videos), texts, noise=plain.noise).negative_elbo
    torch.testing.assert_close(model.bound(plain).negative_elbo, expected)


def test_a_bound_is_of_the_protocol_that_is_asked_for() -> None:
    model = build(protocol="grey")
    clips = np.random.default_rng(0).integers(0, 255, (2, *model.shape), dtype=np.uint8)
    batch = model.prepare(clips, ["passed over", "passed over"], torch.Generator().manual_seed(1))
    grey, binary = (torch.from_numpy(clips).float() / 255), (torch.from_numpy(clips) > 127).float()
    for protocol, videos in ((None, grey), ("grey", grey), ("binary", binary)):
        expected = model(videos, noise=batch.noise).negative_elbo
        torch.testing.assert_close(model.bound(batch, protocol).negative_elbo, expected)


def test_your_own_attention() -> None:
    """A new attention is one object, passed in."""

    class WholeFrame(Attention):
        parameter_size, patch_size = 1, 3 * 1 * 9 * 7
        window_start = torch.zeros(1)

        def window(self, parameters: torch.Tensor) -> Window:
            return Window(*[parameters] * 5)

        def read(self, videos: torch.Tensor, window: Window) -> torch.Tensor:
            return videos.flatten(1)

        def write(self, patch: torch.Tensor, window: Window) -> torch.Tensor:
            return patch.view(-1, 3, 1, 9, 7)

    model = building.build(TINY, read_attention=WholeFrame(), write_attention=WholeFrame())
    assert model(videos_for(model), noise=noise_for(model)).negative_elbo.isfinite().all()


def test_targets() -> None:
    pixels = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    assert targets(pixels, "binary").tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(targets(pixels, "grey"), torch.tensor([0, 127 / 255, 128 / 255, 1]))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            lambda: dataclasses.replace(TINY, grid_size=0),
            r"^model\.grid_size is 0; it must be a whole number, 1 or more",
        ),
        (lambda: dataclasses.replace(TINY, draw_steps=True), r"^model\.draw_steps is True"),
        (lambda: dataclasses.replace(TINY, channels=2), r"^model\.channels is 2"),
        (lambda: dataclasses.replace(TINY, layers=3), r"^model\.layers is 3; it must divide model\.draw_steps"),
        (lambda: AttentionConfig("cuboid", content="shared"), "not cuboid"),
        (lambda: AttentionConfig(write_grid_size=0), r"^model\.attention\.write_grid_size is 0"),
        (lambda: PriorConfig("caption", components=2), r"^model\.prior\.kind is caption; with several .* network"),
        (lambda: PriorConfig(categories=1), r"^model\.prior\.categories is 1; it must be 0 for none, or 2 or more"),
        (lambda: CaptionConfig(size=0), r"^model\.captions\.size is 0"),
        (lambda: CaptionConfig("sentence"), r"^model\.captions\.route is 'sentence'; it must be none, alignment, "),
        (lambda: CaptionConfig("skip-thoughts:"), r"or skip-thoughts:FOLDER$"),
    ],
)
def test_bad_configs(config: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config()


def test_bad_input() -> None:
    model = build()
    with pytest.raises(UserError, match=r"\[any, 3, 1, 9, 7\]"):
        model(torch.rand(2, 3, 1, 8, 7))
    with pytest.raises(UserError, match="one video or more"):
        model.generate(0)
    with pytest.raises(UserError, match="leave the captions out"):
        model.generate(["digit 0"])
    with pytest.raises(ValueError, match="forward needs videos to reconstruct, or noise"):
        model(None)
    captioned = build(captions=RECURRENT)
    with pytest.raises(UserError, match="one caption for each video"):
        captioned.generate(2)
    with pytest.raises(UserError, match="1 captions for 2 videos"):
        captioned(videos_for(captioned), CAPTIONS[:1])
    with pytest.raises(UserError, match="sideways"):
        captioned.generate(["digit 0 is moving sideways"])
    with pytest.raises(UserError, match=r"model\.captions\.vocabulary is empty"):
        build(captions=CaptionConfig("recurrent"))
    with pytest.raises(UserError, match="colour"):
        read_settings(SyncDrawConfig, {"colour": 1}, "model")
