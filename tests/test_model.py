"""The model against the papers' equations written down literally, against torch.distributions, and against itself."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from literal import losses, lstm
from syncdraw import SyncDraw, SyncDrawConfig, UserError
from syncdraw.attention import Window
from syncdraw.captions import SentenceVector, WordAlignment, clauses
from syncdraw.model import State, config_from_dict, targets
from syncdraw.priors import CaptionPrior, Mixture, NetworkPrior
from syncdraw.vocabulary import normalise

TINY = SyncDrawConfig(frames=3, channels=1, height=9, width=7, draw_steps=4, grid_size=3, hidden_size=8, latent_size=5)
WORDS = ("0", "1", "and", "digit", "down", "is", "left", "moving", "right", "up")
CAPTIONS = ["digit 0 is moving left and right", "digit 1 is moving up and down"]


def build(**changes: object) -> SyncDraw:
    torch.manual_seed(3)
    return SyncDraw(dataclasses.replace(TINY, **changes))


def videos_for(model: SyncDraw, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, *model.config.shape, generator=torch.Generator().manual_seed(5))


def noise_for(model: SyncDraw, batch: int = 2) -> torch.Tensor:
    return model.noise(batch, seed=7)


@pytest.mark.parametrize("channels", [1, 3])
def test_losses_equal_the_literal_version(channels: int) -> None:
    model = build(channels=channels)
    videos, noise = videos_for(model), noise_for(model)
    drawing = model(videos, noise=noise)
    reconstruction, divergence = losses(model, videos, noise)
    torch.testing.assert_close(drawing.reconstruction, reconstruction, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(drawing.divergence, divergence, rtol=1e-4, atol=1e-3)


def test_gradients_equal_the_literal_version() -> None:
    model = build()
    videos, noise = videos_for(model), noise_for(model)
    model(videos, noise=noise).negative_elbo.mean().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    sum(losses(model, videos, noise)).mean().backward()  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-3, msg=name)


def test_gradient_against_finite_differences() -> None:
    """Of the loss, along random directions through all parameters at once, in float64."""
    model = build(frames=2, height=5, width=4, draw_steps=2, hidden_size=3, latent_size=2).double()
    videos, noise = videos_for(model).double(), noise_for(model).double()
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


@pytest.mark.parametrize("prior", ["standard", "caption", "network"])
def test_divergence_is_the_exact_kl(prior: str) -> None:
    """Against the mean of log q - log p over many samples, for one drawing step."""
    model = build(prior=prior, draw_steps=1)
    videos = videos_for(model, 1)
    with torch.no_grad():
        state, words = model.start(1), model.conditioner.prepare(None, 1)
        caption = model.conditioner.attend(words, state.decoder[0])
        q, _, _ = model.encode(state, caption, videos, 0.0)
        (p,) = (Normal(p.loc[:, 0], p.scale[:, 0]) for p in [model.prior(state.decoder[0], caption.decoder)])
        z = Normal(q.loc, q.scale).sample((200_000,))
        estimate = (q.log_prob(z) - p.log_prob(z)).sum(dim=-1).mean().item()
        drawing = model(videos, noise=noise_for(model, 1)[:, :1])
    assert drawing.divergence.item() == pytest.approx(kl_divergence(q, p).sum().item(), rel=1e-5)
    assert drawing.divergence.item() == pytest.approx(estimate, rel=0.02, abs=0.01)


def test_the_caption_prior_is_v1s() -> None:
    prior, h_dec = CaptionPrior(8, 4, 5), torch.randn(2, 8)
    got = prior(h_dec, torch.zeros(2, 4))
    torch.testing.assert_close(got.loc[:, 0], torch.tanh(h_dec @ prior.mean.weight.T))
    torch.testing.assert_close(got.scale[:, 0], torch.exp(torch.tanh(h_dec @ prior.log_deviation.weight.T)))


def test_the_network_prior_begins_at_the_standard_one() -> None:
    got = NetworkPrior(8, 4, 5)(torch.randn(2, 8), torch.randn(2, 4))
    torch.testing.assert_close(got.loc, torch.zeros(2, 1, 5))
    torch.testing.assert_close(got.scale, torch.ones(2, 1, 5))


def test_word_alignment_equals_equations_12_and_13() -> None:
    model = build(captions="alignment", vocabulary=WORDS, caption_size=6, prior="caption")
    captions = [CAPTIONS[0], "digit 1 is moving"]  # of different lengths
    words = model.conditioner.prepare(captions, 2)
    h_dec = torch.randn(2, 8)
    got = model.conditioner.attend(words, h_dec)
    alignment = model.conditioner
    assert isinstance(alignment, WordAlignment)
    for b, caption in enumerate(captions):
        count = len(caption.split())
        energies = torch.stack([
            alignment.score.weight[0]
            @ torch.tanh(
                alignment.key.weight @ words.states[b, i] + alignment.query.weight @ h_dec[b] + alignment.key.bias
            )
            for i in range(count)
        ])  # fmt: skip
        alpha = energies.exp() / energies.exp().sum()
        torch.testing.assert_close(got.alignment[b, :count], alpha)
        assert (got.alignment[b, count:] == 0).all()
        torch.testing.assert_close(got.decoder[b], sum(alpha[i] * words.states[b, i] for i in range(count)))


def test_sentence_vectors_enter_both_lstms() -> None:
    """Eqs 12 and 13, against an LSTM written out gate by gate."""
    model = build(captions="sentence", vocabulary=WORDS, caption_size=6)
    assert isinstance(model.conditioner, SentenceVector)
    state, words = model.start(2), model.conditioner.prepare(CAPTIONS, 2)
    caption = model.conditioner.attend(words, state.decoder[0])
    videos, z = videos_for(model), torch.randn(2, 5)
    _, window, encoder = model.encode(state, caption, videos, 0.0)
    read = model.read_attention.read(videos, window)
    error = model.read_attention.read(videos - state.canvas.sigmoid(), window)
    sentence = words.states[:, 0]
    x = torch.cat([read, error, state.decoder[0], sentence], dim=1)
    torch.testing.assert_close(encoder[0], lstm(model.encoder, x, state.encoder)[0])
    drawn, _ = model.draw(state, z, caption)
    torch.testing.assert_close(drawn.decoder[0], lstm(model.decoder, torch.cat([z, sentence], 1), state.decoder)[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "global"},
        {"attention": "cuboid"},
        {"read_from": "state_and_video"},
        {"layers": 2},
        {"content": "shared", "canvas": "learned", "window_start": "smooth", "prior": "network"},
        {"channels": 3, "write_grid_size": 4},
        {"grid_size": 1},
        {"frames": 1, "draw_steps": 1},
        {"captions": "alignment", "vocabulary": WORDS, "prior": "caption", "caption_size": 6, "word_dropout": 0.5},
        {"captions": "sentence", "vocabulary": WORDS, "caption_size": 6},
        {"prior": "network", "prior_components": 3},
        {"prior": "network", "prior_components": 3, "captions": "alignment", "vocabulary": WORDS, "layers": 2},
        {"prior": "network", "categories": 3, "caption_size": 6},
        {"prior": "network", "categories": 3, "caption_size": 6, "prior_components": 2},
    ],
)
def test_every_variant_trains_and_generates(changes: dict[str, object]) -> None:
    model = build(**changes)
    captions = None
    if model.config.captions != "none":
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
    """Feeding the z's of a reconstruction to `draw` gives its canvas: there is no second graph."""
    model = build()
    with torch.no_grad():
        drawing = model(videos_for(model), noise=noise_for(model))
        state = model.start(2)
        caption = model.conditioner.attend(model.conditioner.prepare(None, 2), state.decoder[0])
        for step in drawing.steps:
            state, _ = model.draw(state, step.z, caption)
    assert torch.equal(state.canvas, drawing.logits)


def test_layers_add_up_as_light_does() -> None:
    """With equal z's a layer draws what the one before it has drawn, and 1 - p = (1 - p_1)(1 - p_2)."""
    model = build(layers=2, draw_steps=4)
    with torch.no_grad():
        drawing = model(None, noise=noise_for(model)[:, [0, 1, 0, 1]], return_canvases=True)
    one, both = drawing.canvases[:, 1].double(), drawing.canvases[:, 3].double()
    torch.testing.assert_close(both, 1 - (1 - one) ** 2, atol=1e-6, rtol=0)
    torch.testing.assert_close(drawing.videos.double(), both, atol=1e-6, rtol=0)


def test_the_logits_of_layers_are_exact_where_probabilities_round() -> None:
    """For every pair of logits, against NumPy in long double."""
    logits = torch.tensor([-60.0, -20.0, -3.0, 0.0, 3.0, 20.0, 60.0])
    below, canvas = torch.cartesian_prod(logits, logits).T[..., None, None, None, None]
    state = State(canvas, (canvas, canvas), (canvas, canvas), canvas, below, (-below).sigmoid())
    a, b = below.numpy().astype(np.longdouble), canvas.numpy().astype(np.longdouble)
    odds = (1 + np.exp(a)) * np.exp(b) + np.exp(a)
    np.testing.assert_allclose(state.logits.numpy(), np.log(odds), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(state.video.numpy(), odds / (1 + odds), rtol=1e-6, atol=1e-7)


def test_a_layer_draws_like_the_model_of_one_layer_that_it_began_from() -> None:
    """Two layers with the weights of one draw its two videos, one upon the other."""
    one, two = build(draw_steps=2), build(draw_steps=4, layers=2)
    two.load_state_dict(one.state_dict(), strict=False)
    noise = noise_for(two)
    with torch.no_grad():
        parts = [one(None, noise=half).videos for half in noise.chunk(2, dim=1)]
        torch.testing.assert_close(two(None, noise=noise).videos, 1 - (1 - parts[0]) * (1 - parts[1]))


def test_each_layer_reads_its_own_clause() -> None:
    """A layer draws what a model of one layer draws from that clause; its alignment stands at the clause's words."""
    options = {"captions": "alignment", "vocabulary": WORDS, "caption_size": 6, "prior": "caption"}
    one, two = build(draw_steps=2, **options), build(draw_steps=4, layers=2, **options)
    two.load_state_dict(one.state_dict(), strict=False)
    noise = noise_for(two)
    captions = ["digit 0 is moving up and down and digit 1 is moving left and right", "digit 1 and digit 0 is moving"]
    clauses = [["digit 0 is moving up and down", "digit 1"], ["digit 1 is moving left and right", "digit 0 is moving"]]
    with torch.no_grad():
        drawing = two(None, captions, noise=noise)
        parts = [one(None, text, noise=half) for text, half in zip(clauses, noise.chunk(2, dim=1), strict=True)]
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
    options = {"captions": "alignment", "vocabulary": WORDS, "caption_size": 6, "prior": "caption"}
    two = build(layers=2, draw_steps=4, **options)
    texts = ["digit 0 is moving up", "digit 1 is moving", "digit 0"]
    for count in (1, 2, 3):
        noise = two.with_layers(count).noise(1, seed=0)
        assert noise.shape == (1, 2 * count, 5)
        dark = torch.ones(1, *two.config.shape)
        for text, part in zip(texts, noise.split(2, dim=1), strict=False):
            with torch.no_grad():
                dark *= 1 - two.with_layers(1)(None, [text], noise=part).videos
        torch.testing.assert_close(two.generate([" and ".join(texts[:count])]), 1 - dark)
    assert two.config.layers == 2
    assert two.with_layers(3)(videos_for(two), [" and ".join(texts)] * 2).divergence.isfinite().all()
    assert build(layers=2).generate(1).shape == (1, *TINY.shape)


def test_captions_with_other_numbers_of_clauses_are_refused() -> None:
    model = build(layers=2, draw_steps=4, captions="alignment", vocabulary=WORDS, caption_size=6)
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
    loc = 2 * torch.randn(batch, components, latent, generator=generator)
    scale = torch.rand(batch, components, latent, generator=generator) + 0.3
    return Mixture(weights, Normal(loc, scale))


def as_torch(prior: Mixture) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(logits=prior.log_weights), Independent(prior.components, 1))


def test_a_mixture_has_the_density_of_torch_distributions() -> None:
    z = torch.randn(3, 2)
    torch.testing.assert_close(mixture().log_prob(z), as_torch(mixture()).log_prob(z))


def test_a_mixture_draws_what_torch_distributions_draws() -> None:
    """Each component as often as its weight says, and within it by its mean and deviation."""
    prior = mixture(batch=1)
    many = Mixture(prior.log_weights.expand(100_000, -1), Normal(*(
        part.expand(100_000, -1, -1) for part in (prior.components.loc, prior.components.scale)
    )))  # fmt: skip
    drawn = many.draw(torch.randn(100_000, 3, generator=torch.Generator().manual_seed(1)))
    expected = as_torch(prior)
    torch.testing.assert_close(drawn.mean(dim=0), expected.mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.var(dim=0), expected.variance[0], atol=0, rtol=0.02)
    entropy = -expected.log_prob(expected.sample((100_000,))).mean()
    torch.testing.assert_close(-many.log_prob(drawn).mean(), entropy, atol=0.02, rtol=0)


def test_a_mixtures_divergence_is_right_on_average_and_exact_for_one_component() -> None:
    prior = mixture(batch=1)
    q = Normal(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.6, 1.1]]))
    z = q.sample((100_000,))[:, 0]
    many = Mixture(prior.log_weights.expand(100_000, -1), prior.components.expand((100_000, 4, 2)))
    estimate = many.divergence_from(Normal(q.loc.expand_as(z), q.scale.expand_as(z)), z)
    # By the trapezoidal rule over the plane.
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)
    density = q.log_prob(plane).sum(-1)
    exact = (density.exp() * (density - as_torch(prior).log_prob(plane))).sum() * (24 / 600) ** 2
    assert estimate.mean().item() == pytest.approx(exact.item(), abs=5 * estimate.std().item() / 100_000**0.5)
    single = Mixture(torch.zeros(3, 1), Normal(torch.zeros(3, 1, 2), torch.ones(3, 1, 2)))
    q = Normal(torch.randn(3, 2), torch.rand(3, 2) + 0.2)
    standard = kl_divergence(q, Normal(torch.zeros(2), torch.ones(2)))
    torch.testing.assert_close(single.divergence_from(q, q.sample()), standard.sum(dim=1))


def test_a_layer_belongs_to_one_component_at_all_of_its_steps() -> None:
    """The product of the steps' densities is that of a mixture over whole layers, written out."""
    model = build(prior="network", prior_components=3)
    with torch.no_grad():
        for parameter in model.prior.parameters():
            parameter.normal_(std=0.3)
        drawing = model(videos_for(model), noise=noise_for(model))
        by_step = sum(step.prior.log_prob(step.z) for step in drawing.steps)
        whole = sum(step.prior.components.log_prob(step.z[:, None]).sum(-1) for step in drawing.steps)
        first = model.prior.choice.bias.log_softmax(dim=0)  # h_dec^0 is zero
    torch.testing.assert_close(by_step, (first + whole).logsumexp(dim=1))
    last = drawing.steps[-1].prior.log_weights
    assert (last.max(dim=1).values > -0.9).all(), "the steps tell the components apart"
    torch.testing.assert_close(last.logsumexp(dim=1), torch.zeros(2), atol=1e-6, rtol=0)


def test_a_mixture_learns_clusters_that_one_gaussian_cannot() -> None:
    torch.manual_seed(0)
    nats = {}
    h, caption = torch.zeros(4096, 2), torch.zeros(4096, 0)
    for components in (1, 6):
        prior = NetworkPrior(2, 0, 2, components)
        optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)

        def loss(count: int, prior: NetworkPrior = prior) -> torch.Tensor:
            z = torch.randn(count, 2) * 0.3 + (torch.randint(2, (count, 1)) * 4.0 - 2)
            # Its own weights: components that share two clusters unevenly need uneven ones.
            weights = prior.log_weights(h[:count], caption[:count])
            return -Mixture(weights, prior(h[:count], caption[:count])).log_prob(z).mean()

        for _ in range(400):
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
    model = build(captions="sentence", vocabulary=WORDS, caption_size=6)
    one = model.generate(CAPTIONS[:1], seed=4)
    assert torch.equal(one, model.generate(CAPTIONS[:1], seed=4))
    assert not torch.equal(one, model.generate(CAPTIONS[:1], seed=5))
    assert torch.equal(model.noise(3, seed=4)[:2], model.noise(2, seed=4)), "more videos must not change the first"
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
    model = build(prior="network", prior_components=components)
    with torch.no_grad():
        model.prior.layers[-1].bias.normal_()  # a deviation other than 1, a mean other than 0
    drawn = {}
    for temperature in (1.0, 0.5, 0.0):
        noise = model.noise(3, seed=0)
        noise[:, :, :5] *= temperature
        with torch.no_grad():
            drawn[temperature] = model(None, noise=noise)
        assert torch.equal(model.generate(3, seed=0, temperature=temperature), drawn[temperature].videos)
    # At the first step, where nothing depends on earlier z's yet, z moves in a line towards a component's mean.
    first = {temperature: drawing.steps[0].z for temperature, drawing in drawn.items()}
    torch.testing.assert_close(first[0.5], (first[0.0] + first[1.0]) / 2)
    means = drawn[0.0].steps[0].prior.components.loc
    assert torch.cdist(first[0.0][:, None], means).amin(dim=2).max() < 1e-6
    assert torch.equal(model.generate(3, seed=0), drawn[1.0].videos)


@pytest.mark.parametrize("temperature", [-0.1, math.inf, math.nan])
def test_temperatures_that_mean_nothing(temperature: float) -> None:
    with pytest.raises(UserError, match=r"^temperature is .*; it must be 0 or more$"):
        build().generate(1, temperature=temperature)


def test_checkpointing_changes_nothing_but_memory() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = build(word_dropout=0.0)
        model(videos_for(model), noise=noise_for(model), checkpointing=checkpointing).negative_elbo.mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, again in itertools.zip_longest(*gradients):
        assert torch.equal(plain, again)


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


def test_the_learned_canvas_starts_at_the_mean() -> None:
    model = build(canvas="learned")
    model.set_first_canvas(torch.tensor([0.025]))
    torch.testing.assert_close(model.start(1).canvas.sigmoid(), torch.full((1, 3, 1, 9, 7), 0.025))
    paper = build(canvas="zero")
    paper.set_first_canvas(torch.tensor([0.025]))
    assert (paper.start(1).canvas == 0).all()
    assert "first_canvas" not in dict(paper.named_parameters())


def test_your_own_attention() -> None:
    """A new attention is one object, passed in."""

    class WholeFrame(torch.nn.Module):
        parameter_size, patch_size = 1, 3 * 1 * 9 * 7
        window_start = torch.zeros(1)

        def window(self, parameters: torch.Tensor) -> Window:
            return Window(*[parameters] * 7)

        def read(self, videos: torch.Tensor, window: Window) -> torch.Tensor:
            return videos.flatten(1)

        def write(self, patch: torch.Tensor, window: Window) -> torch.Tensor:
            return patch.view(-1, 3, 1, 9, 7)

    model = SyncDraw(TINY, read_attention=WholeFrame(), write_attention=WholeFrame())  # type: ignore[arg-type]
    assert model(videos_for(model), noise=noise_for(model)).negative_elbo.isfinite().all()


def test_targets() -> None:
    pixels = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    assert targets(pixels, "binary").tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(targets(pixels, "grey"), torch.tensor([0, 127 / 255, 128 / 255, 1]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid_size": 0}, "model.grid_size is 0"),
        ({"channels": 2}, "model.channels is 2"),
        ({"layers": 3}, "must divide model.draw_steps"),
        ({"word_dropout": 1.0}, "model.word_dropout is 1.0"),
        ({"content": "shared", "attention": "cuboid"}, "not cuboid"),
    ],
)
def test_bad_configs(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **changes)


def test_bad_input() -> None:
    model = build()
    with pytest.raises(UserError, match=r"\[any, 3, 1, 9, 7\]"):
        model(torch.rand(2, 3, 1, 8, 7))
    with pytest.raises(UserError, match="one video or more"):
        model.generate(0)
    captioned = build(captions="sentence", vocabulary=WORDS, caption_size=6)
    with pytest.raises(UserError, match="one caption for each video"):
        captioned.generate(2)
    with pytest.raises(UserError, match="1 captions for 2 videos"):
        captioned(videos_for(captioned), CAPTIONS[:1])
    with pytest.raises(UserError, match="sideways"):
        captioned.generate(["digit 0 is moving sideways"])
    with pytest.raises(UserError, match="vocabulary is empty"):
        build(captions="sentence")
    with pytest.raises(UserError, match="unknown fields colour"):
        config_from_dict({"colour": 1})
