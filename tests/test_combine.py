"""Losses out of losses."""

import pickle

import pytest
import torch

import segloss
from segloss.core import one_pass
from segloss.core.combine import resample


def batch(shape=(2, 3, 8, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)


def gradient(value, logits):
    return torch.autograd.grad(value, logits)[0]


@pytest.fixture
def passes(monkeypatch):
    """How often the logits are passed over."""
    calls = []
    forward = one_pass._Pass.forward
    monkeypatch.setattr(one_pass._Pass, "forward", staticmethod(lambda *args: calls.append(1) or forward(*args)))
    return calls


def test_compound_is_the_weighted_sum():
    logits, target = batch()
    criterion = segloss.Compound(
        [(1.0, segloss.DiceLoss()), (0.3, segloss.jaccard_loss), (2.0, segloss.SquaredDiceLoss())]
    )
    expected = (
        segloss.dice_loss(logits, target)
        + 0.3 * segloss.jaccard_loss(logits, target)
        + 2 * segloss.squared_dice_loss(logits, target)
    )
    value = criterion(logits, target)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient(value, logits), gradient(expected, logits))
    assert list(criterion.values) == ["dice_loss", "jaccard_loss", "squared_dice_loss"]
    torch.testing.assert_close(criterion.values["jaccard_loss"], segloss.jaccard_loss(logits, target).detach())


def test_terms_on_the_same_sums_share_a_pass(passes):
    logits, target = batch()
    segloss.Compound([(1, segloss.DiceLoss()), (1, segloss.TverskyLoss()), (1, segloss.JaccardLoss(batch=True))])(
        logits, target
    )
    assert len(passes) == 1


def test_a_compiler_takes_a_compound_whole():
    logits, target = batch()
    criterion = segloss.Compound([(1, segloss.DiceLoss()), (0.5, segloss.JaccardLoss()), (2, segloss.FocalLoss())])
    expected = criterion(logits, target)
    torch.compiler.reset()
    value = torch.compile(criterion, fullgraph=True, backend="aot_eager")(logits, target)
    torch.compiler.reset()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient(value, logits), gradient(expected, logits))


def test_terms_that_ignore_different_labels_share_nothing(passes):
    logits, target = batch()
    criterion = segloss.Compound([(1, segloss.DiceLoss()), (1, segloss.DiceLoss(ignore_index=2))])
    expected = segloss.dice_loss(logits, target) + segloss.dice_loss(logits, target, ignore_index=2)
    passes.clear()
    torch.testing.assert_close(criterion(logits, target), expected)
    assert len(passes) == 2
    assert list(criterion.values) == ["dice_loss_1", "dice_loss_2"]


def test_nothing_is_shared_from_call_to_call():
    criterion = segloss.Compound([(1, segloss.DiceLoss()), (1, segloss.JaccardLoss())])
    values = {criterion(*batch(seed=seed)).item() for seed in range(4)}
    assert len(values) == 4


def test_named_terms_and_further_inputs():
    logits, target = batch()
    mask = torch.rand(2, 1, 8, 6) < 0.5
    criterion = segloss.Compound({"overlap": (0.5, segloss.DiceLoss()), "edge": (0.5, segloss.BoundaryF1Loss())})
    expected = 0.5 * segloss.dice_loss(logits, target, mask=mask) + 0.5 * segloss.boundary_f1_loss(
        logits, target, mask=mask
    )
    torch.testing.assert_close(criterion(logits, target, mask=mask), expected)
    assert list(criterion.values) == ["overlap", "edge"]
    with pytest.raises(TypeError, match="no term takes distance"):
        criterion(logits, target, distance=mask)


def test_compound_moves_and_pickles():
    logits, target = batch()
    criterion = segloss.Compound(
        [(1, segloss.DiceLoss(weight=torch.tensor([1.0, 2.0, 3.0]))), (1, segloss.JaccardLoss())]
    )
    again = pickle.loads(pickle.dumps(criterion)).to(torch.float64)
    torch.testing.assert_close(again(logits, target), criterion(logits, target))
    assert "dice_loss: 1" in repr(criterion)


@pytest.mark.parametrize("terms", [[], [(1.0,)], [segloss.DiceLoss()], [("one", segloss.dice_loss)], [(1.0, "dice")]])
def test_bad_terms_are_refused(terms):
    with pytest.raises(ValueError, match="terms"):
        segloss.Compound(terms)


def levels():
    logits, target = batch((2, 3, 8, 8))
    return [logits, logits[:, :, ::2, ::2], logits[:, :, ::4, ::4]], target


def test_deep_supervision_halves_and_normalises():
    outputs, target = levels()
    losses = [segloss.dice_loss(z, resample(target, z.shape[2:])) for z in outputs]
    expected = (4 * losses[0] + 2 * losses[1] + losses[2]) / 7
    criterion = segloss.DeepSupervision(segloss.DiceLoss())
    torch.testing.assert_close(criterion(outputs, target), expected)
    torch.testing.assert_close(criterion(outputs, target[:, None]), expected)
    torch.testing.assert_close(torch.stack(criterion.values), torch.stack(losses).detach())


def test_deep_supervision_takes_weights_and_leaves_out_zeros():
    outputs, target = levels()
    value = segloss.DeepSupervision(segloss.dice_loss, [1, 0.5, 0])(outputs, target)
    expected = segloss.dice_loss(outputs[0], target) + 0.5 * segloss.dice_loss(outputs[1], resample(target, (4, 4)))
    torch.testing.assert_close(value, expected)
    with pytest.raises(ValueError, match="weights must be 3"):
        segloss.DeepSupervision(segloss.dice_loss, [1, 0.5])(outputs, target)


@pytest.mark.parametrize("channel", [False, True])
def test_deep_supervision_takes_stacked_outputs_and_a_single_one(channel):
    logits, target = batch((2, 3, 8, 8))
    target = target[:, None] if channel else target
    other = logits.flip(1)
    criterion = segloss.DeepSupervision(segloss.DiceLoss())
    expected = (2 * segloss.dice_loss(logits, target) + segloss.dice_loss(other, target)) / 3
    torch.testing.assert_close(criterion(torch.stack([logits, other], 1), target), expected)
    torch.testing.assert_close(criterion(logits, target), segloss.dice_loss(logits, target))


def test_deep_supervision_resamples_maps_and_nothing_else():
    outputs, target = levels()
    mask = torch.rand(2, 1, 8, 8) < 0.7
    annotated = torch.tensor([[True, False, True], [True, True, True]])
    seen = []

    def criterion(logits, target, *, mask, annotated):
        seen.append((mask.shape, annotated.shape))
        return segloss.dice_loss(logits, target, mask=mask)

    segloss.DeepSupervision(criterion)(outputs, target, mask=mask, annotated=annotated)
    assert seen == [((2, 1, n, n), (2, 3)) for n in (8, 4, 2)]


def test_labels_are_resampled_by_nearest_neighbour():
    labels = torch.tensor([[0, 0, 255, 255, 7, 7, 3, 3]])
    assert resample(labels, (4,)).tolist() == [[0, 255, 7, 3]]
    assert resample(labels > 3, (4,)).dtype == torch.bool
    assert resample(labels, (8,)) is labels
