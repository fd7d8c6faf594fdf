"""Augmentations: what they change, what they leave, what all frames of a stack share."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d, pad

from visagent.augment.images import (
    cutmix,
    cutout_color,
    gaussian_noise,
    impulse_noise,
    mixup,
    random_convolution,
    random_crop,
)
from visagent.augment.pools import DISTRACTED, POOLS, SINGLE, AugmentationPool
from visagent.config import secant_schemas

ORDER = ("crop", "cutout_color", "convolution", "gaussian", "impulse", "mixup", "cutmix")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def stacks(count=6, side=20):
    """Stacks of three frames that are all the same."""
    frame = torch.randint(0, 256, (count, 3, side, side), generator=rng(9)).float()
    return frame.repeat(1, 3, 1, 1)


def applied(name, pictures, seed=0):
    more = (255 * torch.rand(5, 3, *pictures.shape[2:], generator=rng(5)),) if name in DISTRACTED else ()
    return SINGLE[name](pictures, rng(seed), *more)


@pytest.mark.parametrize("name", ORDER)
def test_what_all_have_in_common(name):
    pictures = stacks()
    before = pictures.clone()
    changed = applied(name, pictures)
    assert changed.shape == pictures.shape and changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 255 and not torch.equal(changed, pictures)
    assert torch.equal(pictures, before)  # the replay's pictures stay as they are
    assert torch.equal(changed, applied(name, pictures)) and not torch.equal(changed, applied(name, pictures, 1))
    frames = changed.unflatten(1, (3, 3))
    same = torch.equal(frames[:, 0], frames[:, 1]) and torch.equal(frames[:, 0], frames[:, 2])
    assert same == (name not in ("gaussian", "impulse"))  # noise is each number's own
    assert len({tuple(picture.flatten().tolist()) for picture in changed - pictures}) == len(pictures)


def test_a_crop_is_a_window_of_the_padded_picture():
    pictures = stacks(40)
    changed, padded = random_crop(pictures, rng(), padding=4), pad(pictures, (4,) * 4, "reflect")
    places = []
    for number in range(40):
        windows = padded[number].unfold(1, 20, 1).unfold(2, 20, 1)  # [9, 9, 9, 20, 20]: every place
        equal = (windows.permute(1, 2, 0, 3, 4) == changed[number]).flatten(2).all(dim=2)
        places += equal.nonzero().tolist()
    assert len(places) == 40 and {min(row) for row in places} >= {0} and max(max(row) for row in places) == 8


@pytest.mark.parametrize("change", [cutout_color, cutmix])
def test_rectangles(change):
    pictures = torch.full((200, 9, 24, 24), 300.0)  # no colour
    more = (torch.zeros(1, 3, 24, 24),) if change is cutmix else ()
    inside = change(pictures, rng(), *more)[:, 0] != 300.0
    for mask in inside:
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        tall, wide = len(rows), len(columns)
        assert 3 <= tall <= 12 and 3 <= wide <= 12 and mask.sum() == tall * wide
        assert rows[-1] - rows[0] == tall - 1 and columns[-1] - columns[0] == wide - 1
    if change is cutout_color:
        one = cutout_color(pictures[:1], rng())[0]
        assert [len(channel[channel != 300.0].unique()) for channel in one] == [1] * 9


def test_a_convolution_is_the_same_for_all_frames():
    pictures = stacks(5)
    changed, kernels = random_convolution(pictures, rng(3)), torch.randn(5, 3, 3, 3, 3, generator=rng(3))
    for number, picture in enumerate(pictures):
        expected = conv2d(pad(picture[None, :3] / 255, (1, 1, 1, 1), "replicate"), kernels[number]).sigmoid()
        torch.testing.assert_close(changed[number, 3:6], 255 * expected[0])


def test_noise():
    grey = torch.full((4, 9, 50, 50), 127.5)
    assert (gaussian_noise(grey, rng()) - grey).std().item() == pytest.approx(25.5, rel=0.02)
    changed = impulse_noise(grey, rng())
    shares = [(changed == value).float().mean().item() for value in (0.0, 255.0)]
    assert shares == pytest.approx([0.03, 0.03], rel=0.1) and len(changed.unique()) == 3


def test_mixup_keeps_a_fifth_to_three_fifths():
    changed = mixup(torch.full((500, 9, 2, 2), 255.0), rng(), torch.zeros(1, 3, 2, 2))[:, 0, 0, 0] / 255
    assert (
        0.2 <= changed.min() < 0.21
        and 0.59 < changed.max() <= 0.6
        and changed.mean().item() == pytest.approx(0.4, abs=0.02)
    )


def test_a_pool_gives_each_picture_one_of_its_augmentations():
    assert set(POOLS["combo1"]) == {"cutout_color", "convolution", "mixup", "crop"}
    assert set(POOLS["combo2"]) - set(POOLS["combo1"]) == {"cutmix"}
    assert set(POOLS["combo1"]) - set(POOLS["combo3"]) == {"crop"}
    assert set(secant_schemas.POOLS) == set(POOLS)
    pool = AugmentationPool("combo3", 16, seed=0)
    pictures = torch.randint(0, 256, (400, 9, 16, 16), dtype=torch.uint8, generator=rng(2))
    changed = pool(pictures, rng())
    untouched = (changed == pictures).float().mean(dim=(1, 2, 3))
    cut = (untouched > 0.5).float().mean().item()  # outside its rectangle a picture with cutout stays as it is
    assert cut == pytest.approx(1 / 3, abs=0.08)
    assert torch.equal(changed, AugmentationPool("combo3", 16, seed=0)(pictures, rng()))
    assert torch.equal(AugmentationPool("none", 16, seed=0)(pictures, rng()), pictures.float())


def test_what_is_mixed_in_drifts_with_one_velocity():
    pictures, side = torch.zeros(30, 9, 20, 20), 20
    others = 255 * torch.rand(1, 3, side, side, generator=rng(5))
    changed = cutmix(pictures, rng(1), others, 0.1)
    still = cutmix(pictures, rng(1), others)
    assert torch.equal(still[:, :3], still[:, 3:6]) and not torch.equal(changed[:, :3], changed[:, 3:6])
    blended = mixup(pictures, rng(2), others, 0.1).unflatten(1, (3, 3))
    share = blended[:, 0].flatten(1).amax(dim=1) / others.max()
    assert ((share >= 0.4) & (share <= 0.8)).all()  # 1 - alpha
    for number in range(30):
        first, second = blended[number, 0], blended[number, 1]
        shifts = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.allclose(first.roll((down, right), (1, 2)), second)
        ]
        assert len(shifts) == 1, shifts  # at most a tenth of the side
