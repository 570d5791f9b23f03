import numpy as np
import pytest
import tensorflow as tf
from scipy import linalg
from scipy.spatial.distance import cdist

from keras_fracture.errors import EvaluationError
from keras_fracture.evaluation import fid, kid, ms_ssim, prdc
from keras_fracture.evaluation.generative_metrics import kid_of_copies


@pytest.fixture(scope="module")
def sets():
    generator = np.random.default_rng(0)
    mix = generator.standard_normal((12, 12))
    return generator.standard_normal((90, 12)), 0.5 + generator.standard_normal((70, 12)) @ mix


def exact(count, mean, deviations, generator):
    """Samples whose mean and covariance are just those asked for."""
    rows = generator.standard_normal((count, len(mean)))
    rows -= rows.mean(0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return mean + rows * deviations


def test_fid_is_the_one_of_scipys_matrix_square_root(sets):
    real, fake = sets
    one, other = np.cov(real.T), np.cov(fake.T)
    root = linalg.sqrtm(one @ other)
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(one + other - 2 * root.real)
    assert fid(real, fake) == pytest.approx(expected, abs=1e-6)


def test_fid_of_fewer_images_than_dimensions_is_the_one_of_eigenvalues():
    generator = np.random.default_rng(1)
    real, fake = generator.standard_normal((10, 30)), generator.standard_normal((40, 30)) + 0.2
    one, other = np.cov(real.T), np.cov(fake.T)
    values, vectors = np.linalg.eigh(one)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    crossed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(one + other) - 2 * crossed
    assert fid(real, fake) == pytest.approx(expected, abs=1e-4)


def test_fid_of_known_gaussians_has_its_closed_form():
    generator = np.random.default_rng(2)
    mean, deviation = np.array([1.0, -2.0, 0.5]), np.array([1.0, 3.0, 0.2])
    real = exact(50, np.zeros(3), np.ones(3), generator)
    fake = exact(80, mean, deviation, generator)
    assert fid(real, fake) == pytest.approx((mean**2).sum() + ((deviation - 1) ** 2).sum(), abs=1e-9)
    assert fid(real, real + mean) == pytest.approx((mean**2).sum(), abs=1e-9)


def test_kid_of_whole_sets_is_the_double_loop(sets):
    real, fake = (rows[:20] for rows in sets)

    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / 12 + 1) ** 3

    def within(rows):
        return np.mean([kernel(rows[i], rows[j]) for i in range(20) for j in range(20) if i != j])

    between = np.mean([kernel(x, y) for x in real for y in fake])
    value, deviation = kid(real, fake, subsets=2, size=20)
    assert value == pytest.approx(within(real) + within(fake) - 2 * between, abs=1e-8)
    assert deviation == pytest.approx(0, abs=1e-8)  # two times the whole set


def test_kid_has_expectation_zero_for_one_distribution_and_subsets_of_any_size():
    generator = np.random.default_rng(3)
    values = [kid(*generator.standard_normal((2, 12, 4)), subsets=1, size=12)[0] for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    # A biased estimate would lie above by the mean of k(x, x) - k(x, y) over n, some standard errors.
    bias = 2 * (np.mean(((generator.standard_normal((4000, 4)) ** 2).mean(1) + 1) ** 3) - 1.75) / 12
    assert bias > 20 * np.std(values) / np.sqrt(len(values))
    real, fake = generator.standard_normal((60, 4)), generator.standard_normal((60, 4)) + 1
    whole, _ = kid(real, fake, subsets=1, size=60)
    mean, deviation = kid(real, fake, subsets=400, size=15)
    assert mean == pytest.approx(whole, abs=4 * deviation / np.sqrt(400))


def test_prdc_is_what_brute_force_finds(sets):
    real, fake, k = *sets, 3
    fake = fake * 0.3

    def radii(rows):
        return [
            np.sort(np.delete(np.linalg.norm(rows - row, axis=1), i))[k - 1] for i, row in enumerate(rows)
        ]

    of_real, of_fake = radii(real), radii(fake)
    apart = cdist(real, fake)
    counts = [sum(apart[i, j] <= of_real[i] for i in range(90)) for j in range(70)]
    expected = {
        "precision": np.mean([count > 0 for count in counts]),
        "recall": np.mean([any(apart[i, j] <= of_fake[j] for j in range(70)) for i in range(90)]),
        "density": sum(counts) / (k * 70),
        "coverage": np.mean([min(apart[i]) <= of_real[i] for i in range(90)]),
    }
    assert 0 < expected["recall"] < expected["coverage"] < 1 < expected["density"]
    assert prdc(real, fake, k) == pytest.approx(expected)


def test_prdc_of_a_collapsed_generator_is_precise_but_covers_nothing():
    generator = np.random.default_rng(4)
    real = generator.standard_normal((50, 3))
    values = prdc(real, real[:1] + 1e-4 * generator.standard_normal((50, 3)))
    assert values["precision"] == 1
    assert values["coverage"] < 0.3
    assert values["recall"] <= 0.02  # the one image that is repeated


def test_the_order_of_images_does_not_matter(sets):
    real, fake = sets
    generator = np.random.default_rng(5)
    mixed = generator.permutation(real), generator.permutation(fake)
    assert fid(*mixed) == pytest.approx(fid(real, fake))
    assert kid(real[:70], fake, 1, 70) == pytest.approx(kid(real[69::-1], mixed[1], 1, 70))
    assert prdc(*mixed) == pytest.approx(prdc(real, fake))


@pytest.mark.parametrize("metric", [fid, kid, prdc])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((1, 3)), np.zeros((9, 3)), r"real features must be \(n, d\).*Received: \(1, 3\)"),
        (np.zeros((9, 3)), np.zeros(9), r"fake features must be \(n, d\).*Received: \(9,\)"),
        (np.zeros((9, 3)), np.zeros((9, 4)), "Received: 3 and 4 dimensions"),
        (np.full((9, 3), np.nan), np.zeros((9, 3)), "real features must be finite"),
        (np.zeros((9, 3)), np.full((9, 3), np.inf), "fake features must be finite"),
    ],
)
def test_bad_features_are_refused(metric, real, fake, message):
    with pytest.raises(EvaluationError, match=message):
        metric(real, fake)


def test_sets_too_small_for_the_setting_are_refused(sets):
    with pytest.raises(
        EvaluationError, match=r"from 2 to the smaller set's 70\. Received: subsets 100, size 71"
    ):
        kid(*sets, size=71)
    with pytest.raises(EvaluationError, match="Received: k 5, 90 real and 5 generated"):
        prdc(sets[0], sets[1][:5])
    for name, odd in (("size", 10.5), ("subsets", 2.5), ("seed", -1)):
        with pytest.raises(EvaluationError, match=f"{name} must be a whole number.*Received: {odd}"):
            kid(*sets, **{name: odd})
    with pytest.raises(EvaluationError, match=r"k must be a whole number. Received: 2.5"):
        prdc(*sets, 2.5)


@pytest.mark.parametrize("side", [11, 32, 64])
def test_similarity_of_equal_images_is_one(side):
    image = np.random.default_rng(6).integers(0, 256, (1, side, side, 1), np.uint8)
    assert ms_ssim(np.repeat(image, 3, 0), pairs=5) == pytest.approx((1, 0), abs=1e-5)


def test_similarity_is_lower_the_more_images_differ():
    generator = np.random.default_rng(7)
    base = generator.integers(0, 256, (1, 32, 32, 3)).astype(float)
    values = [
        ms_ssim(np.clip(base + generator.normal(0, noise, (8, 32, 32, 3)), 0, 255).astype(np.uint8), 60)[0]
        for noise in (1, 30, 200)
    ]
    assert 1 > values[0] > values[1] > values[2] > 0


def test_similarity_of_a_pair_is_the_product_of_its_scales():
    generator = np.random.default_rng(8)
    smooth = tf.image.resize(generator.uniform(0, 255, (1, 6, 6, 1)), (32, 32)).numpy()
    noise = generator.normal(0, 20, (2, 32, 32, 1))
    images = np.clip(smooth * [[[[1.0]]], [[[0.8]]]] + noise, 0, 255).astype(np.uint8)
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2

    def parts(x, y):
        """Means over the valid region of the whole similarity and of contrast times structure."""

        def smoothed(rows):
            patches = np.lib.stride_tricks.sliding_window_view(rows, (11, 11))
            return (patches * window).sum((2, 3))

        mean_x, mean_y = smoothed(x), smoothed(y)
        spread = smoothed(x * x + y * y) - mean_x**2 - mean_y**2
        shared = smoothed(x * y) - mean_x * mean_y
        structure = (2 * shared + (0.03 * 255) ** 2) / (spread + (0.03 * 255) ** 2)
        bright = (2 * mean_x * mean_y + (0.01 * 255) ** 2) / (mean_x**2 + mean_y**2 + (0.01 * 255) ** 2)
        return (bright * structure).mean(), structure.mean()

    x, y = images[..., 0].astype(float)
    halved = [rows.reshape(16, 2, 16, 2).mean((1, 3)) for rows in (x, y)]
    first, second = 0.0448 / 0.3304, 0.2856 / 0.3304
    expected = parts(x, y)[1] ** first * parts(*halved)[0] ** second
    assert 0.05 < expected < 0.95
    assert ms_ssim(images, pairs=3)[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 32, 32, 1), (4, 10, 32, 1)])
def test_similarity_needs_pairs_and_room_for_the_window(shape):
    with pytest.raises(EvaluationError, match="sides of 11 pixels"):
        ms_ssim(np.zeros(shape, np.uint8))


def test_what_copies_add_to_the_distance_between_two_sets():
    """New images of the same kind come nearer to a set of copies than another set of copies does."""
    rng = np.random.default_rng(0)
    real, other, copies = [], [], []
    for _ in range(40):
        first, second = (np.repeat(rng.standard_normal((15, 6)), 10, axis=0) for _ in range(2))
        real.append(kid(first, second, subsets=1, size=150)[0])
        other.append(kid(first, rng.standard_normal((150, 6)), subsets=1, size=150)[0])
        copies.append(kid_of_copies(second, np.repeat(np.arange(15), 10)))
    assert np.mean(real) > 1.5 * np.mean(other)
    assert abs(np.mean(real) - np.mean(copies) - np.mean(other)) < 0.1 * np.mean(copies)
    assert kid_of_copies(first, np.arange(150)) == 0
    named = [f"x{number}" for number in np.repeat(np.arange(15), 10)]
    assert kid_of_copies(second, named) == copies[-1]
    with pytest.raises(EvaluationError, match="Received: 10 images without one"):
        kid_of_copies(second, [None if name == "x3" else name for name in named])
