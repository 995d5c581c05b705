"""Which exceptions of an entry hold for which loss."""

import pytest

from segloss.boundary import hausdorff_dt_loss
from segloss.testing import Loss
from segloss.testing.members import means


@pytest.mark.parametrize(
    ("of", "params", "expected"),
    [
        ("hausdorff_dt_loss", {}, True),
        ("boundary_loss", {}, False),
        ("hausdorff_dt_loss(one_sided=False)", {"alpha": 2.0}, True),
        ("hausdorff_dt_loss(one_sided=False)", {"one_sided": True}, False),
        ("hausdorff_dt_loss(one_sided=True, alpha=2.0)", {"one_sided": True}, True),
        ("hausdorff_dt_loss(one_sided=True, alpha=1.0)", {"one_sided": True}, False),
        ("hausdorff_dt_loss(sides=2)", {}, False),
    ],
)
def test_a_loss_is_meant_by_its_name_and_parameters(of, params, expected):
    assert means(of, Loss(hausdorff_dt_loss, params)) == expected
