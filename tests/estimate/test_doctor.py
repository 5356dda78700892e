"""What ``vidjacobi doctor`` prints about this machine."""

from vidjacobi.estimate.doctor import extras, facts


def test_both_columns_of_a_table_begin_at_the_left() -> None:
    found = {"eval": "not installed: scipy, torchmetrics", "FVD weights": "/a/long/path/to/i3d.npz"}
    assert facts("optional", found) == [
        "  optional",
        "  eval         not installed: scipy, torchmetrics",
        "  FVD weights  /a/long/path/to/i3d.npz",
    ]


def test_every_extra_is_answered() -> None:
    assert {"eval", "batch", "ray", "FVD weights"} == set(extras())
