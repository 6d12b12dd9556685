"""examples/demo.py, in short."""

import demo
import pytest


def test_both_cells_train_and_are_drawn(tmp_path, capsys):
    accuracies = demo.run(demo.Config(seconds=0.5, out=str(tmp_path)))
    assert set(accuracies) == {"antisymmetric", "lstm"}
    assert all(0 < accuracy < 1 for accuracy in accuracies.values())
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for name, accuracy in accuracies.items():
        assert f"{name:<15}{100 * accuracy:6.2f} %" in printed
    assert str(tmp_path / "demo.png") in printed


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_time_that_is_not_positive_is_refused(seconds, capsys):
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--seconds", seconds])
    assert "--seconds must be > 0" in capsys.readouterr().err
