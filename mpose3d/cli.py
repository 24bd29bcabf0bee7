"""The command line: training through LightningCLI, everything else as plain functions."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentParser, set_parsing_settings

#: Trainer methods, and what `--help` says of them
TRAINING = {
    "fit": "train a stage: mpose3d fit --config experiments/aae.yaml",
    "validate": "one pass over a stage's validation data",
    "test": "one pass over a stage's test data",
    "predict": "run a stage's network over its prediction data",
}

#: everything else: words of the command -> where its function lives. Modules are imported when their command is run.
COMMANDS: dict[str, str | dict[str, str]] = {
    "infer": "mpose3d.inference:infer",
}

_GROUPS: dict[str, str] = {}


def main(args: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = sys.argv[1:] if args is None else args
    try:
        if args and args[0] in TRAINING:
            return _train(args)
        return _run(args)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("MPOSE3D_TRACEBACK"):
            raise
        print(f"mpose3d: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


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
    parser = ArgumentParser(prog="mpose3d", description="Multi-person 3D poses without paired annotation.")
    commands = parser.add_subcommands(required=True)
    for name, text in TRAINING.items():
        commands.add_subcommand(name, ArgumentParser(), help=text)
    functions: dict[str, Callable[..., int | None]] = {}

    def add(commands: Any, name: str, target: str | dict[str, str], path: str) -> None:
        if isinstance(target, dict):
            group = ArgumentParser(description=_GROUPS[name])
            inner = group.add_subcommands(required=True)
            for word, function in target.items():
                add(inner, word, function, f"{path}.{word}")
            commands.add_subcommand(name, group, help=_GROUPS[name])
            return
        # of the other commands, only their names and first lines are needed
        wanted = len(args) == 0 or args[0] in (path.split(".")[0], "-h", "--help")
        if not wanted:
            commands.add_subcommand(name, ArgumentParser())
            return
        module, _, attribute = target.partition(":")
        function = getattr(import_module(module), attribute)
        summary = inspect.getdoc(function).splitlines()[0]
        command = ArgumentParser(description=summary)
        command.add_function_arguments(function, as_positional=True, fail_untyped=True)
        commands.add_subcommand(name, command, help=summary)
        functions[path] = function

    for name, target in COMMANDS.items():
        add(commands, name, target, name)
    config = parser.parse_args(args)
    words = [config.subcommand]
    chosen = config[config.subcommand]
    while "subcommand" in chosen:
        words.append(chosen.subcommand)
        chosen = chosen[chosen.subcommand]
    path = ".".join(words)
    return functions[path](**parser.instantiate_classes(config)[path].as_dict()) or 0


def _train(args: list[str]) -> int:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.cli import LightningCLI

    # classes that are imported can be named in YAML by their short names
    import mpose3d.callbacks
    import mpose3d.data.coco
    import mpose3d.data.cross_modal
    import mpose3d.data.images
    import mpose3d.data.rendered
    import mpose3d.data.scenes
    import mpose3d.networks.cross_modal
    import mpose3d.networks.teacher
    import mpose3d.stages  # noqa: F401

    # `limit_train_batches: 1` in YAML is one batch, not the fraction 1.0
    annotations = inspect.unwrap(Trainer.__init__).__annotations__
    for split in ("train", "val", "test", "predict"):
        annotations[f"limit_{split}_batches"] = int | float | None

    class CLI(LightningCLI):
        def _parse_ckpt_path(self) -> None:
            """What the command line says stands; a checkpoint's hyperparameters do not overrule it."""

    set_parsing_settings(parse_optionals_as_positionals=False)
    given = None if args == sys.argv[1:] else args  # LightningCLI warns where they are given twice
    CLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"parser_mode": "omegaconf+"},
        seed_everything_default=0,
        args=given,
    )
    return 0
