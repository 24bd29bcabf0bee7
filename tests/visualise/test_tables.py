"""Tables say what they are given."""

from __future__ import annotations

from mpose3d.visualise.tables import print_table


def test_names_in_brackets_are_printed_as_they_are(capsys):
    names = "walk [raw].npz", "data[/mnt] of [bold]", "a:cat:[red]"
    title, note, name = names
    print_table(title, [{"sequence": name, "mpjpe": 1.0}], ["sequence", "mpjpe"], [note])
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
