"""The command line. Each command is one function; its arguments, types and docstring are the options and their help."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import io
import json
import re
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from syncdraw.errors import UserError
from syncdraw.files import atomic_path, named

RECIPES = Path(__file__).parent / "recipes"


def main(arguments: Sequence[str] | None = None) -> None:
    """The `syncdraw` command. Exit status: 0, 2 after bad input, 130 after Ctrl-C."""
    # Denormal numbers are 100 times slower than others; this reaches only threads that start later, so it comes first.
    torch.set_flush_denormal(True)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # file names and captions, on a terminal that knows ASCII alone
    try:
        command = arguments[0] if arguments else "--help"
        if command in ("-h", "--help", "help"):
            print(_overview())
        elif command == "--version":
            from importlib.metadata import version

            print(f"syncdraw {version('syncdraw')}, torch {torch.__version__}")
        elif command in COMMANDS:
            COMMANDS[command](arguments[1:])
        else:
            near = difflib.get_close_matches(command, COMMANDS, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"unknown command {command!r}: {hint}Commands are {', '.join(COMMANDS)}")
    except UserError as error:
        sys.exit(_complain(str(error)))
    except OSError as error:
        # A full disk or a read-only folder, outside of what atomic_path reports.
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_complain(f"{where}{error.strerror or error}"))
    except KeyboardInterrupt as interruption:
        print(f"syncdraw: {str(interruption) or 'interrupted'}", file=sys.stderr)
        sys.exit(130)


def _complain(message: str) -> int:
    print(f"syncdraw: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _overview() -> str:
    lines = [f"  {name:<10} {(inspect.getdoc(function) or '').splitlines()[0]}" for name, function in COMMANDS.items()]
    return "\n".join(
        [
            "usage: syncdraw COMMAND ... ",
            "",
            "Sync-DRAW: generate short videos, from nothing or from a caption.",
            "",
            *lines,
            "",
            'Try: syncdraw generate "digit 3 is moving left and right" -o three.gif',
            "syncdraw COMMAND --help tells more.",
        ]
    )


def _call(command: str, function: Callable[..., Any], arguments: list[str], short: dict[str, str] | None = None) -> Any:
    """Parse arguments by a function's signature and docstring, and call it."""
    parser = _parser(command, function)
    _add_function(parser, function, short or {})
    return function(**_parsed(parser, arguments))


def _parser(command: str, function: Callable[..., Any]) -> Any:
    from jsonargparse import ArgumentParser

    about = (inspect.getdoc(function) or "").split("\nArgs:")[0].split("\nRaises:")[0]
    return ArgumentParser(prog=f"syncdraw {command}", description=about, exit_on_error=False, allow_abbrev=False)


def _add_function(parser: Any, function: Callable[..., Any], short: dict[str, str], **options: Any) -> None:
    parser.add_function_arguments(function, as_group=False, as_positional=True, **options)
    for action in parser._actions:  # jsonargparse gives long names only
        if action.dest in short:
            action.option_strings.insert(0, short[action.dest])
            parser._option_string_actions[short[action.dest]] = action


def _parsed(parser: Any, arguments: list[str]) -> dict[str, Any]:
    from argparse import ArgumentError

    switches = {name for action in parser._actions if getattr(action, "_typehint", None) is bool
                for name in action.option_strings}  # fmt: skip
    arguments = [_underscored(argument, parser._option_string_actions) for argument in arguments]
    # A bare --switch is on; jsonargparse wants --switch=true.
    following = [*arguments, ""][1:]
    arguments = [
        f"{argument}=true" if argument in switches and after not in ("true", "false") else argument
        for argument, after in zip(arguments, following, strict=False)
    ]
    try:
        values = parser.instantiate(parser.parse_args(arguments))
    except ArgumentError as error:
        hint = _nearest_option(parser, error.message)
        raise UserError(f"{_plain(error.message)}{hint} ({parser.prog} --help lists the options)") from None
    except UnicodeDecodeError as error:
        raise UserError(f"a settings file is not a text in UTF-8 ({error})") from None
    result = dict(values.as_dict() if hasattr(values, "as_dict") else vars(values))
    if not 0 <= (result.get("seed") or 0) < 2**63:
        raise UserError(f"--seed is {result['seed']}; it must be at least 0 and below 2**63")
    return result


def _underscored(argument: str, known: Collection[str]) -> str:
    """--captions-file as --captions_file."""
    name, equals, value = argument.partition("=")
    other = "--" + name[2:].replace("-", "_")
    return other + equals + value if name.startswith("--") and name not in known and other in known else argument


def _plain(message: str) -> str:
    """jsonargparse's message, without the words that only a programmer knows."""
    message = re.sub(r'Parser key "([^"]*)"', r"\1", " ".join(message.split()))
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message).replace("typing.Literal", "one of ")
    message = re.sub(r"Expected a (.*?)\. Got value: ", r"expected \1, not ", message)
    return re.sub(
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*)\] Errors: .* Given value: ",
        lambda found: f"expected {found[1].removesuffix(', NoneType').replace(', one of', ' or one of')}, not ",
        message,
    )


def _nearest_option(parser: Any, message: str) -> str:
    """`; did you mean --num?` where the message is about an option that does not exist."""
    known = [name for name in parser._option_string_actions if name.startswith("--")]
    if found := re.match(r"unrecognized arguments: (--[^\s=]+)", message):
        wrong, prefix = found[1], ""
    elif found := re.match(r"(?:Group '([^']+)' does not accept option|Option) '([^']+)'", message):
        wrong, prefix = ".".join(filter(None, found.groups())), "--"
    else:
        return ""
    near = difflib.get_close_matches(f"{prefix}{wrong}", known, n=1)
    return f"; did you mean {near[0].removeprefix(prefix)}?" if near else ""


# --- generate --------------------------------------------------------------------------------------------------------


def draw(
    captions: list[str],
    model: str | None = None,
    num: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    out: Path = Path("syncdraw.gif"),
    captions_file: Path | None = None,
    scale: int = 4,
    fps: float = 5.0,
    device: str = "auto",
) -> list[Path]:
    """Generate videos, from captions or from nothing.

    With captions the model is mnist1-captions or mnist2-captions unless --model says otherwise; without, mnist1.

    Args:
        captions: one or more, each in quotes.
        model: a shipped model (see `syncdraw models`), a run folder, or a hub id.
        num: videos for each caption, or in all where there are none.
        seed: of the noise; the same seed with another caption keeps it.
        temperature: how far from the middle the noise goes. 1 samples the model; 0.7, say, gives clearer and less
            varied videos.
        out: .gif, .mp4 or .webp for one animation of all videos side by side; .png for a contact sheet; a folder
            (no suffix) for a GIF of each video.
        captions_file: a text file with a caption on each line.
        scale: each pixel becomes so many pixels wide and high.
        fps: frames a second.
        device: cpu, cuda, mps, or auto for the best there is.
    """
    from syncdraw import media, pretrained

    if num < 1:
        raise UserError(f"--num is {num}; it must be 1 or more")
    captions = captions + (_read_captions(captions_file) if captions_file is not None else [])
    model = model or _suited(captions)
    network = pretrained.load(model, device=best_device(device))
    if captions and network.config.captions == "none":
        raise UserError(f"model {model} draws without captions; leave the captions out, or choose a model with them")
    if not captions and network.config.captions != "none":
        raise UserError(f"model {model} draws from captions: give one, such as {_example(network.config.vocabulary)}")
    wanted = [caption for caption in captions for _ in range(num)]
    started = time.perf_counter()
    videos = network.generate(wanted or num, seed=seed, temperature=temperature).cpu()
    seconds = time.perf_counter() - started
    if out.suffix:
        targets, pieces = [out], [videos if len(videos) > 1 else videos[0]]
    else:
        targets, pieces = [out / f"{name}.gif" for name in _names(wanted or [""] * num)], list(videos)
    for path, piece in zip(targets, pieces, strict=True):
        media.save_video(piece, path, frames_per_second=fps, scale=scale)
    shown = str(targets[0]) if len(targets) == 1 else f"{len(targets)} files in {out}"
    print(f"wrote {shown} ({len(videos)} video{'s' * (len(videos) > 1)}, drawn in {seconds:.1f} s)")
    return targets


def _suited(captions: list[str]) -> str:
    """The shipped model that a caption asks for."""
    from syncdraw.datasets.bouncing_mnist import parse_caption

    if not captions:
        return "mnist1"
    counts = {len(parse_caption(caption)) for caption in captions}
    if len(counts) != 1:
        raise UserError("captions must all name as many digits as the first; for others choose a --model")
    return "mnist1-captions" if counts == {1} else "mnist2-captions"


def _example(words: Sequence[str]) -> str:
    return "'digit 3 is moving left and right'" if "digit" in words else f"of the words {', '.join(words[:20])}"


def _read_captions(path: Path) -> list[str]:
    try:
        captions = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--captions_file {path} cannot be read ({error}); give a text file, one caption a line"
        ) from None
    if not captions:
        raise UserError(f"--captions_file {path} holds no caption; give a text file, one caption a line")
    return captions


def _names(captions: list[str]) -> list[str]:
    """A file name for each video, from its caption; equal captions are numbered."""
    stems = [re.sub(r"\W+", "-", caption.lower()).strip("-")[:80] or "video" for caption in captions]
    seen: dict[str, int] = {}
    names = []
    for stem in stems:
        seen[stem] = seen.get(stem, 0) + 1
        names.append(f"{stem}-{seen[stem]}" if stems.count(stem) > 1 else stem)
    return names


def best_device(name: str) -> str:
    """`auto` as the fastest device here."""
    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"--device {name} cannot be used here ({reason}); cpu always can") from None
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def generate(arguments: list[str]) -> None:
    """Generate videos, from captions or from nothing."""
    parser = _parser("generate", draw)
    parser.add_argument("captions", nargs="*", type=str, help="one or more captions, each in quotes")
    _add_function(parser, draw, {"out": "-o"}, skip={"captions"})
    draw(**_parsed(parser, arguments))


# --- train -----------------------------------------------------------------------------------------------------------


def train(arguments: list[str]) -> None:
    """Train a model: syncdraw train RECIPE [--data FOLDER] [--train.max_steps N] --out RUN."""
    from jsonargparse import ArgumentParser

    from syncdraw import train as training

    parser = ArgumentParser(
        prog="syncdraw train",
        description="Train a model by a recipe, given by its name or as a YAML file. Every setting can be changed on "
        f"the command line. Recipes: {', '.join(recipes())}. `syncdraw train judge` trains the reader of digits that "
        "evaluates captions.",
        exit_on_error=False,
        allow_abbrev=False,  # an --out that is cut short would be missed below
    )
    parser.add_argument("recipe", nargs="?", help="a name from the list above, or a YAML file")
    parser.add_argument("--out", type=Path, help="the run folder; runs/RECIPE unless given")
    parser.add_argument("--prepared", type=Path, help="a folder for prepared clips; beside the clips unless given")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--config", action="config", help="more settings from a YAML file")
    parser.add_class_arguments(training.RunConfig)
    recipe = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    if recipe == "judge":
        from syncdraw.judge import train_judge

        print(json.dumps(_call("train judge", train_judge, arguments, {}), indent=1))
        return
    if recipe is None and _option(arguments, "--data") and not {"--resume", "--config"} & set(arguments):
        recipe = "folder"
    out = _option(arguments, "--out") or (f"runs/{Path(recipe).stem}" if recipe else None)
    if out is None:
        if not {"-h", "--help"} & set(arguments):
            raise UserError("say which run: a recipe, or --out with the run folder")
        out = "."
    resume = "--resume" in arguments
    if recipe is not None and resume:
        raise UserError("--resume goes on with the settings of the run in --out; leave the recipe out")
    source = Path(out) / training.CONFIG_FILE if resume else find_recipe(recipe) if recipe else None
    if resume and source is not None and not source.is_file():
        raise UserError(f"{out} holds no run to resume; name the run folder with --out")
    settings = [f"--config={source}"] if source else []
    if source is not None:
        _check_sections(source)
        try:
            _parsed(parser, settings)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
    if (more := _option(arguments, "--config")) is not None:
        _check_sections(Path(more))
    values = _parsed(parser, [*settings, *arguments])
    if values["recipe"] is not None:
        raise UserError(
            f"{values['recipe']!r} is one argument too many: there is one recipe, and it comes first, "
            "as in syncdraw train RECIPE --out RUN"
        )
    config = training.RunConfig(**{f.name: values[f.name] for f in dataclasses.fields(training.RunConfig)})
    folder = training.train(_with_clips(config, values["prepared"]), out, resume=resume)
    print(f"wrote {folder}: syncdraw generate --model {folder} draws with it; syncdraw evaluate {folder} measures it")


def _check_sections(source: Path) -> None:
    """Refuse what jsonargparse passes over: an unknown section that is empty, and a section that is no mapping."""
    import yaml

    from syncdraw.train import RunConfig

    try:
        values = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{source} cannot be read as YAML ({error})") from None
    known = [field.name for field in dataclasses.fields(RunConfig)]
    if not isinstance(values, dict):
        raise UserError(f"{source} must hold the sections {', '.join(known)}")
    for name, section in values.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"{source}: unknown section {name!r}: {hint}Sections are {', '.join(known)}")
        if name != "data" and not isinstance(section, dict):
            raise UserError(f"{source}: {name} is {section!r}; it must be a section of settings")


def _option(arguments: list[str], name: str) -> str | None:
    for index, argument in enumerate(arguments):
        if argument == name and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
    return None


def recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))


def find_recipe(name: str) -> Path:
    """The file of a recipe: `best/mnist1`, or its last part where that is no other's, or a path.

    Raises:
        UserError: there is none; it suggests the nearest.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise UserError(f"recipe {name} does not exist")
        return Path(name)
    known = recipes()
    # A bare name means our best recipe where the paper has one of the same name.
    for candidate in (name, f"best/{name}", f"paper/{name}"):
        if candidate in known:
            return RECIPES / f"{candidate}.yaml"
    near = difflib.get_close_matches(name, [*known, *(k.split("/")[-1] for k in known)], n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"unknown recipe {name!r}: {hint}Recipes are {', '.join(known)}; a YAML file works too")


def _with_clips(
    config: Any, prepared: Path | None = None
) -> Any:  # a RunConfig; jsonargparse imports what annotations of this file name
    """A folder of videos as `data` is prepared first, beside itself, in the model's shape."""
    from syncdraw.datasets import BUILT_IN
    from syncdraw.datasets.own_clips import prepare_clips
    from syncdraw.datasets.prepared import ABOUT, ClipConfig

    folder = Path(config.data)
    if config.data in BUILT_IN:
        return config
    if (folder / ABOUT).is_file():
        return dataclasses.replace(config, data=str(folder.absolute()))  # the run may be used from elsewhere
    if not folder.is_dir():
        raise UserError(f"--data {config.data} is not a folder; give a folder of clips, or {', or '.join(BUILT_IN)}")
    frames, channels, height, width = config.model.shape
    clips = ClipConfig(frames=frames, channels=channels, height=height, width=width, clips_per_file=0)
    place, report = prepare_clips(folder, clips, prepared=prepared)
    print(report)
    return dataclasses.replace(config, data=str(place))


# --- prepare ---------------------------------------------------------------------------------------------------------


def prepare(arguments: list[str]) -> None:
    """Prepare a data set for training: syncdraw prepare folder|kth|ucf101|tgif|vgan SOURCE [-o FOLDER] [--check]."""
    from syncdraw.datasets.prepared import ClipConfig
    from syncdraw.datasets.preparing import prepare as prepare_listing
    from syncdraw.datasets.public import DATA_SETS

    usage = f"syncdraw prepare {'|'.join(DATA_SETS)} SOURCE [-o FOLDER] [--check]"
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: {usage}\n")
        for name, (function, _) in DATA_SETS.items():
            print(f"  {name:<8} {(inspect.getdoc(function) or '').splitlines()[0]}")
        print("\nsyncdraw prepare NAME --help tells more.")
        return
    if arguments[0] not in DATA_SETS:
        near = difflib.get_close_matches(arguments[0], DATA_SETS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"unknown data set {arguments[0]!r}: {hint}{usage}")
    name, (function, config) = arguments[0], DATA_SETS[arguments[0]]
    parser = _parser(f"prepare {name}", function)
    _add_function(parser, function, {})
    own = set(inspect.signature(function).parameters)
    _add_function(parser, prepare_listing, {"destination": "-o"}, skip={"listing", "config"})
    parser.add_class_arguments(ClipConfig, "config")
    parser.set_defaults({f"config.{setting}": value for setting, value in dataclasses.asdict(config).items()})
    values = _parsed(parser, arguments[1:])
    if values["destination"] is None and not values["check"]:
        values["destination"] = Path("data") / (values["source"].resolve().name if name == "folder" else name)
    listing = function(**{key: value for key, value in values.items() if key in own})
    report = prepare_listing(listing, **{key: value for key, value in values.items() if key not in own})
    print(report)
    if values["check"]:
        report.require_clips()
    else:
        print(f"wrote {values['destination']}: train on it with --data {values['destination']}")


# --- models, evaluate ------------------------------------------------------------------------------------------------


def list_models() -> None:
    """List the models that come with the package, and what was measured of them."""
    from syncdraw import pretrained

    for name, folder in pretrained.shipped_models().items():
        card = pretrained.load_card(name)
        size = (folder / pretrained.WEIGHTS_FILE).stat().st_size / 1e6
        print(f"{name}: {card.get('about', '')} ({size:.1f} MB)")
        for metric, value in card.get("metrics", {}).items():
            if "dealt anew" not in metric:  # a floor, to be found in docs/measured
                print(f"    {metric}: {value}")


def models(arguments: list[str]) -> None:
    """List the models that come with the package, and what was measured of them."""
    _call("models", list_models, arguments)


def measure(
    model: str,
    data: str | None = None,
    split: Literal["train", "validation", "test"] = "test",
    clips: int | None = None,
    seed: int = 0,
    captions: bool = False,
    distances: bool = False,
    samples: int | None = None,
    temperature: float = 1.0,
    i3d: Path | None = None,
    refine_steps: int = 0,
    importance_samples: int = 0,
    json_file: Path | None = None,
) -> dict[str, Any]:
    """Measure a model on held-out clips: bounds in nats per video, under both protocols.

    Args:
        model: a shipped model (see `syncdraw models`), a run folder, or a hub id.
        data: the data set, where it is not the one that the model was trained on.
        split: of the data set.
        clips: only the first so many of the split; all unless given.
        seed: of the latents and of the samples.
        captions: measure samples instead, by the judge: do they show what their captions say?
        distances: measure samples instead, against real test clips: Frechet and kernel distance, precision and recall,
            and the nearest training clips.
        samples: how many, for seen and for unseen captions each; 1,000 for captions and 2,000 for distances unless
            given.
        temperature: of the samples, as in syncdraw generate.
        i3d: with distances: the network I3D as a TorchScript file, for FVD.
        refine_steps: add the bound with the encoder's Q refined for each clip by so many gradient steps, say 50 (a step
            takes three times as long as the plain bound): what is lost in the encoder, not in what draws.
        importance_samples: tighten the bound on binary clips with so many samples of the latents for each, say 100
            (with that many a clip takes 100 times as long).
        json_file: write the numbers there, too.
    """
    from syncdraw import evaluate as evaluation
    from syncdraw import pretrained

    if captions and distances:
        raise UserError("--captions and --distances are two measurements; ask for one at a time")
    if i3d is not None and not distances:
        raise UserError("--i3d is for --distances; give both, or neither")
    for option, value in (("--refine_steps", refine_steps), ("--importance_samples", importance_samples)):
        if value < 0:
            raise UserError(f"{option} is {value}; it must be 1 or more, or 0 for none")
        if value and (captions or distances):
            raise UserError(f"{option} is for bounds; leave out --captions and --distances")
    if temperature != 1 and not (captions or distances):
        raise UserError("--temperature is for samples; give --captions or --distances with it")
    if json_file is not None:
        named(json_file)  # before hours of measuring
    network = pretrained.load(model, device=best_device("auto"))
    card = pretrained.load_card(model)
    if captions:
        count = 1000 if samples is None else samples
        result = evaluation.caption_report(network, card, samples=count, seed=seed, temperature=temperature)
    elif distances:
        from syncdraw.distances import distance_report

        result = distance_report(network, card, data=data, samples=samples, seed=seed, temperature=temperature, i3d=i3d)
    else:
        result = evaluation.bound_report(
            network,
            card,
            data=data,
            split=split,
            clips=clips,
            seed=seed,
            refine_steps=refine_steps,
            importance_samples=importance_samples,
        )
    print(result.text)
    if json_file is not None:
        with atomic_path(json_file) as path:
            path.write_text(json.dumps(result.values, indent=1) + "\n")
        print(f"wrote {json_file}")
    return result.values


def evaluate(arguments: list[str]) -> None:
    """Measure a model on held-out clips, or its samples by the judge."""
    _call("evaluate", measure, arguments)


# --- picture ---------------------------------------------------------------------------------------------------------


def picture(arguments: list[str]) -> None:
    """Draw a figure: canvases over time, attention windows, KL by step, alignment, samples, curves."""
    from syncdraw import figures

    _call("picture", figures.picture, arguments, {"out": "-o"})


# --- reproduce -------------------------------------------------------------------------------------------------------


def reproduce(arguments: list[str]) -> None:
    """Train and measure a table of the papers again: syncdraw reproduce table1 [--budget smoke|full|CLIPS]."""
    from syncdraw.reproduce import table1

    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: syncdraw reproduce table1 [--budget smoke|full|CLIPS] [--out FOLDER]\n")
        print(f"  table1   {(inspect.getdoc(table1) or '').splitlines()[0]}")
        print("\nsyncdraw reproduce table1 --help tells more.")
        return
    if arguments[0] != "table1":
        raise UserError(f"unknown table {arguments[0]!r}; there is table1: syncdraw reproduce table1")
    _call("reproduce table1", table1, arguments[1:], {"out": "-o"})


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "generate": generate,
    "train": train,
    "evaluate": evaluate,
    "prepare": prepare,
    "models": models,
    "picture": picture,
    "reproduce": reproduce,
}

if __name__ == "__main__":
    main()
