"""The command line: training through LightningCLI, everything else as plain functions."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import docstring_parser
from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

#: Trainer methods, and what `--help` says of them
TRAINING = {
    "fit": "train a stage: mpose3d fit --config experiments/aae.yaml",
    "validate": "one pass over a stage's validation data",
    "test": "one pass over a stage's test data",
    "predict": "give what a stage's network finds to a writer of yours; `infer` writes files",
}

#: everything else: words of the command -> its function, and the parameters that are given without a flag
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "infer": ("mpose3d.inference:infer", ("paths",)),
    "lift": ("mpose3d.lifting:lift", ("keypoints",)),
    "export": ("mpose3d.export:export", ()),
    "evaluate mupots": ("mpose3d.evaluation.mupots:evaluate_mupots", ()),
    "evaluate 3dpw": ("mpose3d.evaluation.threedpw:evaluate_3dpw", ()),
    "evaluate coco": ("mpose3d.evaluation.in_2d:evaluate_coco", ()),
    "evaluate scenes": ("mpose3d.evaluation.scenes:evaluate_scenes", ()),
    "evaluate 2d": ("mpose3d.evaluation.in_2d:compare_2d", ()),
    "prior sample": ("mpose3d.prior.make:sample_poses", ()),
    "prior reconstruct": ("mpose3d.prior.measure:reconstruct_poses", ("file",)),
    "prior check": ("mpose3d.prior.measure:check_poses", ("file",)),
    "prior plot": ("mpose3d.prior.draw:plot_poses", ("file",)),
    "prior compare": ("mpose3d.prior.measure:compare_poses", ("file",)),
    "prior occupancy": ("mpose3d.prior.make:fit_occupancy", ()),
    "prior evaluate": ("mpose3d.prior.measure:evaluate_prior", ()),
    "data check": ("mpose3d.data.check:check_dataset", ("name",)),
    "data pack": ("mpose3d.data.shards:pack", ("folder",)),
}

GROUPS = {
    "evaluate": "score predictions by the rules of a data set",
    "prior": "sample, reconstruct, check, draw and compare single poses",
    "data": "look at the folders of a data set, or pack them",
}


def main(args: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return plainly(_main, sys.argv[1:] if args is None else args)


def plainly(function: Callable[..., int | None], *args: Any) -> int:
    """Call a function; what the user can mend is told in one line. Returns the exit status."""
    try:
        return function(*args) or 0
    except KeyboardInterrupt:
        print("mpose3d: interrupted", file=sys.stderr)
        return 130
    except ArgumentError as error:
        print(f"mpose3d: {_one_line(error)}", file=sys.stderr)
        return 2
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("MPOSE3D_TRACEBACK"):
            raise
        print(f"mpose3d: {_one_line(error)}", file=sys.stderr)
        return 1


def _main(args: list[str]) -> int:
    if args and args[0] in TRAINING:
        return _train(args)
    known = [*TRAINING, *dict.fromkeys(words.split()[0] for words in COMMANDS)]
    if args and not args[0].startswith("-") and args[0] not in known:
        print(f"mpose3d: no command {args[0]!r}, expected one of {', '.join(known)}", file=sys.stderr)
        return 2
    return _run(args)


def _one_line(error: Exception) -> str:
    """What is wrong; of the parser's account of all types that it tried in vain, the first."""
    key, tried, rest = str(error).partition("Does not validate against any of the Union subtypes")
    if tried:
        reasons = rest.partition("Errors:")[2].partition("Given value type:")[0]
        _, first, *_ = [*re.split(r"\n\s*- ", reasons), rest]
        value = rest.partition("Given value: ")[2].splitlines()[:1]
        given = [f"Got value: {text}" for text in value if "(" not in text]  # not a class with all its settings
        return " ".join([*key.split(), *first.split(), *given])
    return " ".join(str(error).split())


def lightning_main(args: list[str] | None = None) -> int:
    """`lightning fit ...` is `mpose3d fit ...`; other words go to the Lightning SDK, whose command this name is too."""
    args = sys.argv[1:] if args is None else args
    if args and args[0] in TRAINING:
        return main(args)
    try:
        sdk = import_module("lightning_sdk.cli.entrypoint")
    except ImportError:
        print(f"lightning: expected one of {', '.join(TRAINING)}; anything else needs lightning-sdk", file=sys.stderr)
        return 2
    sys.argv = ["lightning", *args]
    sdk.main_cli()
    return 0


def _run(args: list[str]) -> int:
    about = "Multi-person 3D poses without paired annotation."
    parser = ArgumentParser(prog="mpose3d", description=about, exit_on_error=False)
    commands = parser.add_subcommands(required=True, metavar="COMMAND")
    for name, text in TRAINING.items():
        commands.add_subcommand(name, ArgumentParser(), help=text)
    groups: dict[str, Any] = {}
    functions: dict[str, Callable[..., int | None]] = {}
    for words, (target, positional) in COMMANDS.items():
        group, _, name = words.rpartition(" ")
        if group and group not in groups:
            inner = ArgumentParser(description=GROUPS[group], exit_on_error=False)
            commands.add_subcommand(group, inner, help=GROUPS[group])
            groups[group] = inner.add_subcommands(required=True, metavar="COMMAND")
        if args[:1] not in ([words.split()[0]], [], ["-h"], ["--help"]):
            continue  # another command was asked for: its modules are not needed
        module, _, attribute = target.partition(":")
        functions[words] = function = getattr(import_module(module), attribute)
        command = _command(function, positional)
        (groups[group] if group else commands).add_subcommand(name, command, help=command.description)

    parsed = parser.parse_args(args)
    _needs_weights(parsed[parsed.subcommand])
    chosen = parser.instantiate_classes(parsed)
    words = chosen.subcommand
    values = chosen[words]
    if "subcommand" in values:
        words, values = f"{words} {values.subcommand}", values[values.subcommand]
    return functions[words](**vars(values)) or 0


def _needs_weights(values: Any) -> None:
    """Refuse a teacher of random weights, which trains but reads nothing."""
    teacher = values.get("teacher") or values.get(f"{values.get('subcommand')}.teacher")
    while teacher is not None:
        settings = teacher.get("init_args", {})
        if settings.get("weights", "") is None:
            name = teacher.class_path.rpartition(".")[2]
            raise ValueError(f"--teacher {name} starts from random weights: give --teacher.weights FILE")
        teacher = settings.get("teacher")


def _command(function: Callable[..., int | None], positional: tuple[str, ...]) -> ArgumentParser:
    """A parser of the function's parameters; those named in `positional` are given without a flag.

    A pair of whole numbers is given as two words, `--size 1920 1080`.
    """
    command = ArgumentParser(description=inspect.getdoc(function).splitlines()[0], exit_on_error=False)
    parameters = inspect.signature(function).parameters
    texts = {text.arg_name: text.description for text in docstring_parser.parse(inspect.getdoc(function)).params}
    kinds = get_type_hints(function)
    for name in positional:
        kind = kinds[name]
        many = kind == list[str]
        command.add_argument(name, nargs="+" if many else None, type=str if many else kind, help=texts.get(name))
    pairs = [name for name, kind in kinds.items() if tuple[int, int] in (kind, *get_args(kind))]
    for name in pairs:
        default = parameters[name].default
        pair = list(default) if isinstance(default, tuple) else default  # the parser writes into it
        command.add_argument(f"--{name}", nargs=2, type=int, default=pair, help=texts.get(name))
    command.add_function_arguments(function, skip={*positional, *pairs}, fail_untyped=True)
    return command


def _train(args: list[str]) -> int:
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.callbacks import BasePredictionWriter
    from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

    # classes that are imported can be named in YAML by their short names
    import mpose3d.callbacks
    import mpose3d.data.coco
    import mpose3d.data.cross_modal
    import mpose3d.data.images
    import mpose3d.data.mupots
    import mpose3d.data.paired
    import mpose3d.data.rendered
    import mpose3d.data.scenes
    import mpose3d.data.threedpw
    import mpose3d.networks.cross_modal
    import mpose3d.networks.peak_chooser
    import mpose3d.networks.teacher
    import mpose3d.runs
    import mpose3d.stages  # noqa: F401

    # `limit_train_batches: 1` in YAML is one batch, not the fraction 1.0
    annotations = inspect.unwrap(Trainer.__init__).__annotations__
    for split in ("train", "val", "test", "predict"):
        annotations[f"limit_{split}_batches"] = int | float | None

    class CLI(LightningCLI):
        def _parse_ckpt_path(self) -> None:
            """What the command line says stands; a checkpoint's hyperparameters do not overrule it."""

        def before_predict(self) -> None:
            if not any(isinstance(callback, BasePredictionWriter) for callback in self.trainer.callbacks):
                raise ValueError(
                    "predict would write nothing: add a callback of yours to --trainer.callbacks that is a "
                    "lightning.pytorch.callbacks.BasePredictionWriter, or take `mpose3d infer`, which writes files"
                )

    class ConfigOfFit(SaveConfigCallback):
        """A later validation or test into the run's folder leaves the config of the fit as it is."""

        def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
            if stage == "fit":
                super().setup(trainer, pl_module, stage)

    set_parsing_settings(parse_optionals_as_positionals=False)
    given = None if args == sys.argv[1:] else args  # LightningCLI warns where they are given twice
    try:
        CLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=ConfigOfFit,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"parser_mode": "omegaconf+", "exit_on_error": False},
            seed_everything_default=0,
            args=given,
        )
    except ArgumentError as error:
        print(f"mpose3d: {_one_line(error)}{_where(str(error), args)}", file=sys.stderr)
        return 2
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
    return 0


def _where(message: str, args: list[str]) -> str:
    """The configuration files that hold the key which a message of the parser quotes."""
    quoted = re.search(r"'([\w.]+)'$", message.strip())
    if quoted is None:
        return ""
    files = [value for flag, value in pairwise(args) if flag in ("--config", "-c") and Path(value).is_file()]
    last = quoted[1].rpartition(".")[2]
    holding = [file for file in files if re.search(rf"^\s*{last}\s*:", Path(file).read_text(), re.MULTILINE)]
    return f" (in {', '.join(holding)})" if holding else ""
