import numpy as np
import pytest
import tensorflow as tf

from mnist_xai.foundations import linear_algebra as la

RNG = np.random.default_rng(0)
A, DA = RNG.normal(size=(2, 3, 4))  # m = 3, n = 4
B, DB = RNG.normal(size=(2, 4, 5))  # n = 4, p = 5
SQUARE, OTHER = RNG.normal(size=(2, 4, 4))
V3, V4 = RNG.normal(size=3), RNG.normal(size=4)


def close(ours, theirs, rtol=1e-10):
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-14)


def entry_slope(i, j, of, k, q):
    """Return ∂c_ij by one entry of a factor; central differences are exact for a linear c."""
    factors = {"A": A, "B": B}
    step = np.zeros_like(factors[of])
    step[k, q] = 0.5
    up, down = ({**factors, of: factors[of] + s} for s in (step, -step))
    return (up["A"] @ up["B"] - down["A"] @ down["B"])[i, j]


def test_vectors_obey_the_laws_that_the_article_names():
    u, v, w = RNG.normal(size=(3, 4))
    close(la.add(u, v), la.add(v, u))
    close(la.add(la.add(u, v), w), la.add(u, la.add(v, w)))
    close(la.scale(3, la.add(u, v)), la.add(la.scale(3, u), la.scale(3, v)))
    close(la.scale(2, la.scale(3, v)), la.scale(6, v))
    assert la.add([[1, 2]], [[3, 4]]).tolist() == [[4, 6]]


def test_products_and_transposes_match_tensorflow():
    close(la.matrix_product(A, B), tf.linalg.matmul(A, B))
    close(la.matrix_vector(A, V4), tf.linalg.matvec(A, V4))
    close(la.vector_matrix(V3, A), tf.linalg.matvec(A, V3, transpose_a=True))
    close(la.transpose(A), tf.transpose(A))
    close(la.transpose(la.matrix_product(A, B)), la.matrix_product(B.T, A.T))


def test_matrices_do_not_commute_and_an_empty_sum_is_zero():
    assert np.abs(la.matrix_product(SQUARE, OTHER) - la.matrix_product(OTHER, SQUARE)).max() > 1
    assert la.matrix_product(np.zeros((2, 0)), np.zeros((0, 3))).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    "matrix",
    [
        SQUARE,
        np.array([[0.0, 1], [1, 0]]),  # The first row has no pivot.
        np.diag([1, 1e-20, 1e20]),  # A small entry does not make a matrix singular.
        np.array([[1, 1], [1e-20, 2e-20]]),
        np.array([[1, 1e-20], [1, 2e-20]]),
        np.array([[1e-17, 1], [1, 1]]),  # The pivot 1e-17 would lose every digit.
    ],
    ids=["random", "swap", "diagonal", "small row", "small column", "small pivot"],
)
def test_the_inverse_matches_tensorflow_and_inverts_from_both_sides(matrix):
    inverse = la.inverse(matrix)
    np.testing.assert_allclose(inverse, tf.linalg.inv(matrix), rtol=1e-10)
    for product in (la.matrix_product(matrix, inverse), la.matrix_product(inverse, matrix)):
        np.testing.assert_allclose(product, np.eye(len(matrix)), atol=1e-13)


@pytest.mark.parametrize(
    "matrix", [np.arange(9.0).reshape(3, 3), np.zeros((2, 2)), [[1e-9, 1]] * 2]
)
def test_a_singular_matrix_is_refused_even_where_rounding_would_give_an_inverse(matrix):
    with pytest.raises(
        ValueError, match=r"A: expected an invertible matrix; got no pivot in column"
    ):
        la.inverse(matrix)


def test_erratum_the_articles_row_times_matrix_is_matrix_times_column():
    sums_along_rows = [sum(V4[k] * SQUARE[i, k] for k in range(4)) for i in range(4)]
    close(la.matrix_vector(SQUARE, V4), sums_along_rows)
    assert np.abs(sums_along_rows - V4 @ SQUARE).max() > 0.1
    close(la.vector_matrix(V4, SQUARE), V4 @ SQUARE)
    # For 3 rows and 4 columns the article needs a v of 4 entries; vᵀ A needs 3.
    with pytest.raises(ValueError, match=r"A: expected shape \(4, any\); got \(3, 4\)"):
        la.vector_matrix(V4, A)


def test_erratum_matrix_times_column_has_one_entry_per_row():
    assert A.shape == (3, 4)
    assert la.matrix_vector(A, V4).shape == (3,)  # The length is m; the article says n.


def test_the_differential_of_a_product_lacks_only_the_second_order_term():
    for t in (1, 1e-2, 1e-4):
        change = (A + t * DA) @ (B + t * DB) - A @ B
        close(change - la.product_differential(A, t * DA, B, t * DB), t**2 * DA @ DB, rtol=1e-6)


def test_erratum_the_articles_order_of_factors_is_wrong_even_where_the_shapes_fit():
    with pytest.raises(ValueError, match=r"B: expected shape \(5, any\); got \(3, 4\)"):
        la.matrix_product(DB, A)
    t = 1e-6
    dA, dB = t * OTHER, t * SQUARE.T
    change = (SQUARE + dA) @ (OTHER + dB) - SQUARE @ OTHER
    close(la.product_differential(SQUARE, dA, OTHER, dB) / t, change / t, rtol=1e-4)
    articles = la.add(la.matrix_product(dA, OTHER), la.matrix_product(dB, SQUARE))
    assert np.abs(articles - change).max() / t > 1


@pytest.mark.parametrize(("i", "j"), [(0, 0), (1, 4), (2, 3)])
def test_the_derivatives_of_an_entry_match_tensorflow_and_central_differences(i, j):
    factors = [tf.constant(A), tf.constant(B)]
    with tf.GradientTape() as tape:
        tape.watch(factors)
        entry = tf.linalg.matmul(*factors)[i, j]
    theirs = tape.gradient(entry, factors)
    by_A, by_B = la.product_element_derivatives(A, B, i, j)
    close(by_A, theirs[0])
    close(by_B, theirs[1])
    for (k, q), slope in np.ndenumerate(by_A):
        assert slope == pytest.approx(entry_slope(i, j, "A", k, q), abs=1e-12)
    for (k, q), slope in np.ndenumerate(by_B):
        assert slope == pytest.approx(entry_slope(i, j, "B", k, q), abs=1e-12)


def test_erratum_the_articles_derivatives_of_an_entry_are_those_of_wrong_entries():
    i, j = 0, 2
    _, by_B = la.product_element_derivatives(A, B, i, j)
    # The article has ∂c_ij/∂b_ji = a_ij. But c_02 depends on column 2 of B only, not on b_20.
    assert entry_slope(i, j, "B", j, i) == by_B[j, i] == 0
    assert abs(A[i, j]) > 0.1
    # The article has ∂c_ij/∂a_ij = b_j, one of n derivatives. Here is another, with another value.
    assert entry_slope(i, j, "A", i, 1) == pytest.approx(B[1, j])
    assert abs(B[1, j] - B[j, j]) > 0.1
    # c_04 has derivatives, although A has no entry a_04.
    assert la.product_element_derivatives(A, B, 0, 4)[0].shape == A.shape == (3, 4)


def test_the_gradients_of_a_product_match_tensorflow_and_central_differences():
    weights = RNG.normal(size=(3, 5))
    factors = [tf.constant(A), tf.constant(B)]
    with tf.GradientTape() as tape:
        tape.watch(factors)
        C = tf.linalg.matmul(*factors)
        loss = tf.reduce_sum(weights * tf.sin(C))
    for ours, theirs in zip(
        la.product_gradients(weights * np.cos(A @ B), A, B),
        tape.gradient(loss, factors),
        strict=True,
    ):
        close(ours, theirs)
    step = np.zeros_like(A)
    step[1, 2] = 1e-6
    up, down = (np.sum(weights * np.sin((A + s) @ B)) for s in (step, -step))
    by_A, _ = la.product_gradients(weights * np.cos(A @ B), A, B)
    assert by_A[1, 2] == pytest.approx((up - down) / 2e-6, rel=1e-7)


def test_erratum_the_gradient_of_a_product_is_not_a_sum_of_gradients_of_its_factors():
    # L = Σ c_ij, so ∇_C is all ones for every A and B.
    ones = np.ones((4, 4))
    by_A, by_B = la.product_gradients(ones, SQUARE, OTHER)
    assert np.abs(by_A @ OTHER + by_B @ SQUARE - ones).max() > 1


def test_the_jacobian_of_a_chain_matches_tensorflow():
    inner, outer = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4))
    x = tf.constant(V3)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        g = tf.tanh(tf.linalg.matvec(inner, x))
        f = tf.sin(tf.linalg.matvec(outer, g))
    J_f, J_g = tape.jacobian(f, g), tape.jacobian(g, x)
    close(la.chain_jacobians(J_f, J_g), tape.jacobian(f, x))
    by_f = np.array([2.0, -1])
    theirs = tape.gradient(f, x, output_gradients=tf.constant(by_f))
    close(la.chain_gradient(la.chain_gradient(by_f, J_f), J_g), theirs)


def test_erratum_for_gradients_the_chain_is_reversed_and_transposed():
    # Here y = P x, z = Q y. The article uses ∇ for Jacobians in the chain and then for gradients.
    P, Q = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 4))
    by_z = np.array([1.0, -2])
    close(la.chain_gradient(la.chain_gradient(by_z, Q), P), (Q @ P).T @ by_z)
    with pytest.raises(ValueError, match=r"B: expected shape \(2, any\); got \(3, 4\)"):
        la.matrix_product(Q.T, P.T)  # Gradients in the article's order.
    articles = la.matrix_product(SQUARE.T, OTHER.T)
    assert np.abs(articles - la.chain_jacobians(SQUARE, OTHER).T).max() > 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: la.add([1.0, 2], [1.0]), r"v: expected the shape of u, \(2,\); got \(1,\)"),
        (lambda: la.scale([1, 2], [1.0]), r"k: expected shape \(\); got \(2,\)"),
        (lambda: la.matrix_product(A, A), r"B: expected shape \(4, any\); got \(3, 4\)"),
        (lambda: la.matrix_product(V4, B), r"A: expected shape \(any, any\); got \(4,\)"),
        (lambda: la.inverse(A), r"A: expected shape \(3, 3\); got \(3, 4\)"),
        (lambda: la.inverse([[1, np.inf], [0, 1]]), "A: expected finite numbers; got inf"),
        (lambda: la.matrix_vector(A, V3), r"v: expected shape \(4\); got \(3,\)"),
        (lambda: la.product_differential(A, B, B, B), r"dA: expected the shape of A, \(3, 4\)"),
        (lambda: la.product_element_derivatives(A, B, 3, 0), "entry of C, 3 x 5; got 3, 0"),
        (lambda: la.product_gradients(A, A, B), r"gradient_C: expected shape \(3, 5\)"),
        (lambda: la.chain_jacobians(B, A), r"inner: expected shape \(5, any\); got \(3, 4\)"),
        (lambda: la.chain_gradient(V3, B), r"gradient: expected shape \(4\); got \(3,\)"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
