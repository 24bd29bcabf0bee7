"""The command line: what it offers, and one clear line for each mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mpose3d.cli import COMMANDS, TRAINING, main, plainly

ROOT = Path(__file__).resolve().parents[1]
BASE = ["--config", str(ROOT / "experiments/base.yaml"), "--config", str(ROOT / "experiments/small/base.yaml")]


def fit(stage: str, *flags: str, tmp_path: Path) -> int:
    config = ["--config", str(ROOT / f"experiments/small/{stage}.yaml")]
    quick = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"]
    return main(["fit", *BASE, *config, f"--trainer.logger.init_args.save_dir={tmp_path}", *quick, *flags])


@pytest.mark.parametrize("command", [["-m", "mpose3d"], ["-c", "from mpose3d.cli import main; main()"]])
def test_help_names_every_command(command):
    done = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    for word in {*TRAINING, *(words.split()[0] for words in COMMANDS)}:
        assert f"\n    {word} " in done.stdout


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words.split(), "--help"])
    assert stop.value.code == 0 and "usage: mpose3d" in capsys.readouterr().out


def test_lightning_is_another_name_for_training(capsys):
    from mpose3d.cli import lightning_main

    with pytest.raises(SystemExit) as stop:
        lightning_main(["fit", "--help"])
    assert stop.value.code == 0
    assert lightning_main(["no-such-command"]) == 2
    assert "expected one of fit, validate, test, predict" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("infre photo.jpg", "no command 'infre', expected one of fit, validate, test, predict, infer, lift"),
        ("infer photo.jpg", "arguments are required: infer.out"),
        ("infer photo.jpg --out o --scales 1", "Parser key \"scales\": Expected a <class 'list'> Got value: 1"),
        ("infer photo.jpg --out o --max_people x", "Parser key \"max_people\": Expected a <class 'int'>. Got value: x"),
        ("lift k.json --out o --thresold 1", "unrecognized arguments: --thresold 1"),
    ],
)
def test_a_mistyped_command_is_one_line(command, message, capsys):
    assert main(command.split()) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and message in told[0]


def test_an_interrupt_is_one_line(capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert plainly(interrupted) == 130
    assert capsys.readouterr().err == "mpose3d: interrupted\n"


def test_what_lightning_refuses_is_one_line(tmp_path, capsys):
    assert fit("aae", "--trainer.accelerator=cpu", "--trainer.devices=0", tmp_path=tmp_path) == 1
    assert "is not a valid input using cpu accelerator" in capsys.readouterr().err.splitlines()[-1]


def test_predict_asks_for_a_writer(tmp_path, capsys):
    config = ["--config", str(ROOT / "experiments/small/aae.yaml"), f"--trainer.logger.init_args.save_dir={tmp_path}"]
    assert main(["predict", *BASE, *config]) == 1
    assert "predict would write nothing: add a callback" in capsys.readouterr().err


def test_a_misspelt_key_names_itself(tmp_path, capsys):
    assert fit("aae", "--model.init_args.learning_rat=1", tmp_path=tmp_path) == 2
    assert "learning_rat" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_misspelt_key_in_a_file_names_the_file(tmp_path, capsys):
    config = tmp_path / "mine.yaml"
    config.write_text("trainer:\n  max_epoch: 3\n")
    assert fit("aae", "--config", str(config), tmp_path=tmp_path) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "max_epoch" in told and "mine.yaml" in told


#: every config of `experiments`, behind what it is layered on
CHAINS = [
    "teacher",
    "aae wandb",
    "chooser",
    "distill network mupots",
    "phase1 network network_stage1",
    "phase2 network paired unpaired",
    *(f"aae cluster/{machine}" for machine in ("gpu1", "gpu8", "slurm")),
    "photographs/aae",
    "photographs/lifter photographs/lifter_gpu",
    "photographs/compact",
    "photographs/lift photographs/network photographs/lift_gpu",
    *(f"photographs/{stage} photographs/network" for stage in ("distill", "phase1", "phase2")),
    *(f"small/base small/{stage} small/network" for stage in ("distill", "phase1 small/paired", "phase2")),
    *(
        f"small/base small/{stage} small/{scale}/{stage}"
        for stage in ("teacher", "aae", "lifter", "chooser")
        for scale in ("long", "gpu")
    ),
]


def test_every_config_is_tried():
    tried = {"base", *" ".join(CHAINS).split()}
    folder = ROOT / "experiments"
    assert tried == {file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")}


@pytest.mark.parametrize("chain", CHAINS)
def test_configs_are_read(chain, capsys):
    configs = [ROOT / f"experiments/{name}.yaml" for name in ("base", *chain.split())]
    with pytest.raises(SystemExit) as stop:
        main(["fit", *(f"--config={config}" for config in configs), "--print_config"])
    assert stop.value.code == 0, capsys.readouterr().err


@pytest.mark.parametrize("stage", ["phase1", "phase2"])
@pytest.mark.parametrize("variant", ["network", "network_stage1", "unpaired", "paired"])
def test_the_variants_are_configurations(stage, variant, capsys):
    configs = [ROOT / f"experiments/{name}.yaml" for name in ("base", stage, "network", variant)]
    with pytest.raises(SystemExit) as stop:
        main(["fit", *(f"--config={config}" for config in configs), "--print_config"])
    assert stop.value.code == 0
    data = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
    assert (data["paired"] is not None) == (variant == "paired")
    assert (data["scenes"]["init_args"]["motion_capture"] is not None) == (variant == "unpaired")


def test_a_missing_checkpoint_is_one_line(tmp_path, capsys):
    network = ["--config", str(ROOT / "experiments/small/network.yaml")]
    absent = f"{tmp_path}/absent.ckpt"
    assert fit("distill", *network, f"--model.init_args.teacher.init_args.weights={absent}", tmp_path=tmp_path) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "absent.ckpt" in told and len(told) < 300


def test_an_inverted_joint_limit_is_one_line(tmp_path, capsys):
    table = tmp_path / "limits.yaml"
    table.write_text("r_elbow: {elevation: [120, 20]}\n")
    assert fit("aae", f"--data.init_args.limits={table}", tmp_path=tmp_path) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "limits.yaml" in told and "r_elbow" in told


def test_photographs_that_are_not_there(tmp_path, capsys):
    assert main(["infer", str(tmp_path / "nothing.jpg"), "--out", str(tmp_path / "out")]) == 1
    assert "no photograph, video or folder at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("infer folder --out out --teacher MoveNet", "MoveNet"),
        ("export --out out.onnx --teacher SmallTeacher --teacher.width 8", "SmallTeacher"),
        ("evaluate 2d --annotations folder --predictions out --photographs folder --teacher MoveNet", "MoveNet"),
        (
            "infer folder --out out --teacher CompactTeacher --teacher.weights file --teacher.teacher MobilenetThin",
            "MobilenetThin",
        ),
    ],
)
def test_a_teacher_without_weights_reads_nothing(words, name, capsys):
    assert main(words.split()) == 1
    assert f"--teacher {name} starts from random weights" in capsys.readouterr().err


def test_wandb_works_offline(tmp_path):
    pytest.importorskip("wandb")
    overlay = ["--config", str(ROOT / "experiments/wandb.yaml")]
    command = ["fit", *BASE, "--config", str(ROOT / "experiments/small/aae.yaml"), *overlay]
    command += [f"--trainer.logger.init_args.save_dir={tmp_path}", "--trainer.limit_train_batches=1"]
    environment = os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    done = subprocess.run([sys.executable, "-m", "mpose3d", *command], env=environment, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert list(tmp_path.rglob("*.wandb"))
    run = tmp_path / "aae"
    assert (run / "config.yaml").is_file() and (run / "checkpoints" / "last.ckpt").is_file()


def test_a_validation_leaves_the_config_of_the_fit(tmp_path):
    assert fit("aae", "--trainer.max_epochs=1", tmp_path=tmp_path) == 0
    config = tmp_path / "aae" / "config.yaml"
    before = config.read_text()
    words = ["validate", *BASE, "--config", str(ROOT / "experiments/small/aae.yaml"), "--trainer.limit_val_batches=1"]
    words += [f"--trainer.logger.init_args.save_dir={tmp_path}", "--trainer.enable_progress_bar=false"]
    assert main([*words, f"--ckpt_path={tmp_path / 'aae' / 'checkpoints' / 'last.ckpt'}"]) == 0
    assert config.read_text() == before
