"""Kernels and feature maps as pictures: which value stands where, and how bright."""

from __future__ import annotations

import numpy as np

from cnncli.mosaics import feature_mosaic, kernel_mosaic


def test_kernels_stand_side_by_side_on_one_scale_with_zero_in_the_middle() -> None:
    kernels = np.zeros((2, 2, 1, 2), np.float32)
    kernels[0, 0, 0, 0], kernels[1, 1, 0, 1] = 2.0, -1.0
    mosaic = kernel_mosaic(kernels)  # tiles of 36 px, a square of 18 px for each weight, gaps of 2 px
    assert mosaic.shape == (40, 78, 3) and mosaic.dtype == np.uint8
    assert (mosaic[..., 0] == mosaic[..., 1]).all() and (mosaic[..., 0] == mosaic[..., 2]).all()
    assert (mosaic[2:20, 2:20] == 255).all() and (mosaic[2:20, 20:38] == 128).all()  # 2, the largest; 0
    assert (mosaic[20:38, 58:76] == 64).all()  # -1, half way to the lowest
    assert (mosaic[:2] == 255).all() and (mosaic[:, 38:40] == 255).all()


def test_kernels_of_three_inputs_are_in_colour() -> None:
    kernels = np.zeros((1, 1, 3, 1), np.float32)
    kernels[0, 0, :, 0] = 1.0, 0.0, -1.0
    assert kernel_mosaic(kernels)[10, 10].tolist() == [255, 128, 0]


def test_planes_of_a_depthwise_kernel_are_tiles_of_their_own() -> None:
    kernels = np.zeros((3, 3, 4, 1), np.float32)
    kernels[:, :, 2] = 1.0
    mosaic = kernel_mosaic(kernels)
    assert mosaic.shape == (2 + 2 * 38, 2 + 3 * 38, 3)
    assert [int(mosaic[10 + 38 * (n // 3), 10 + 38 * (n % 3), 0]) for n in range(4)] == [128, 128, 255, 128]


def test_kernels_that_are_all_zero_or_not_finite_make_a_picture() -> None:
    assert np.unique(kernel_mosaic(np.zeros((3, 3, 1, 1), np.float32))).tolist() == [128, 255]
    assert kernel_mosaic(np.full((3, 3, 1, 1), np.nan, np.float32)).shape == (40, 40, 3)


def test_hundreds_of_kernels_are_cut_to_256() -> None:
    assert kernel_mosaic(np.ones((5, 5, 1, 900), np.float32)).shape == (2 + 12 * 37, 2 + 23 * 37, 3)


def test_feature_maps_stand_in_the_row_of_their_image_each_filter_on_a_scale_of_its_own() -> None:
    images = np.zeros((2, 8, 8, 1), np.uint8)
    images[0], images[1] = 40, 200
    maps = np.zeros((2, 4, 4, 3), np.float32)
    maps[0, 0, 0, 0], maps[1, 3, 3, 0] = 10.0, 5.0
    maps[..., 1] = 7.0  # a filter that answers the same everywhere
    maps[1, :, :, 2] = -1e6
    mosaic = feature_mosaic(images, maps)
    assert mosaic.shape == (2 + 2 * 66, 2 + 4 * 66, 3)
    tiles = [[mosaic[2 + 66 * row : 66 + 66 * row, 2 + 66 * c : 66 + 66 * c, 0] for c in range(4)] for row in range(2)]
    assert (tiles[0][0] == 40).all() and (tiles[1][0] == 200).all()
    assert (tiles[0][1][:16, :16] == 255).all() and tiles[0][1].sum() == 255 * 256
    assert (tiles[1][1][48:, 48:] == 128).all() and tiles[1][1].sum() == 128 * 256
    assert (tiles[0][2] == 0).all() and (tiles[1][2] == 0).all()
    assert (tiles[0][3] == 255).all() and (tiles[1][3] == 0).all()


def test_colour_images_keep_their_colours_and_shape_and_16_maps_are_shown() -> None:
    images = np.zeros((1, 10, 20, 3), np.uint8)
    images[..., 0] = 250
    mosaic = feature_mosaic(images, np.ones((1, 5, 10, 40), np.float32))
    assert mosaic.shape == (64 + 4, 2 + 17 * 130, 3) and mosaic[30, 60].tolist() == [250, 0, 0]
