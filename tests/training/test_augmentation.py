from __future__ import annotations

import torch

from onnxprune.training.augmentation import augmented


def generator():
    return torch.Generator().manual_seed(0)


def test_flip_mirrors_about_half():
    x = torch.arange(64.0 * 3 * 8 * 8).reshape(64, 3, 8, 8)
    (changed,) = augmented([x], ["flip"], generator())
    flipped = [i for i in range(64) if torch.equal(changed[i], x[i].flip(2))]
    assert all(torch.equal(changed[i], x[i]) for i in range(64) if i not in flipped)
    assert 20 < len(flipped) < 44


def test_shift_moves_the_whole_picture():
    x = torch.zeros(32, 16, 16, 3)
    x[:, 8, 8] = 1.0
    (changed,) = augmented([x], ["shift"], generator())
    places = changed[..., 0].reshape(32, -1).argmax(1)
    rows, columns = places // 16, places % 16
    assert changed.sum() == x.sum()
    assert int(rows.min()) == int(columns.min()) == 6
    assert int(rows.max()) == int(columns.max()) == 10


def test_others_stay_as_they_are():
    tokens, features = torch.arange(6).reshape(2, 3), torch.rand(2, 3)
    changed = augmented([tokens, features], ["flip", "shift"], generator())
    assert torch.equal(changed[0], tokens)
    assert torch.equal(changed[1], features)


def test_channels_that_no_picture_has_are_where_the_layout_says():
    x = torch.arange(2.0 * 4 * 4 * 6).reshape(2, 4, 4, 6)
    seen = set()
    for seed in range(8):
        (changed,) = augmented([x], ["flip"], torch.Generator().manual_seed(seed), "nhwc")
        for one, as_it_was in zip(changed, x, strict=True):
            flipped = torch.equal(one, as_it_was.flip(1))
            assert flipped or torch.equal(one, as_it_was)
            seen.add(flipped)
    assert seen == {True, False}
