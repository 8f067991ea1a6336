import keras
import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import mutual_info_score

from mnist_xai.foundations import information as info
from mnist_xai.foundations import losses
from mnist_xai.foundations import probability as pr

RNG = np.random.default_rng(0)
P, Q = RNG.dirichlet(np.ones(5), (2, 7))
COUNTS = RNG.integers(0, 30, (4, 6))
COUNTS[:, 2] = 0  # A y of probability 0.
JOINT = COUNTS / COUNTS.sum()
BITS = 1 / np.log(2)

X_VALUES = np.array([-1.0, 0, 1])
SQUARE = np.array([[0, 1], [1, 0], [0, 1]]) / 3  # Y = X² with X uniform on -1, 0, 1.


def test_the_entropy_matches_scipy():
    np.testing.assert_allclose(info.entropy(P), special.entr(P).sum(1) * BITS, rtol=1e-12)
    np.testing.assert_allclose(info.entropy(P), stats.entropy(P, base=2, axis=1), rtol=1e-12)
    np.testing.assert_allclose(info.entropy(P.T, axis=0), info.entropy(P), rtol=1e-12)
    np.testing.assert_allclose(info.entropy(P, base=np.e), special.entr(P).sum(1), rtol=1e-12)


def test_k_equally_probable_outcomes_have_log_k_bits_and_a_certain_one_has_none():
    assert info.entropy(np.full(8, 1 / 8)) == 3
    assert info.entropy([0, 1, 0]) == 0
    assert info.surprise([0.5, 1, 0]).tolist() == [1, 0, np.inf]


def test_erratum_zero_log_zero_is_zero():
    one_hot = np.array([0.0, 1.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.isnan(-np.sum(one_hot * np.log2(one_hot)))  # The article's formula.
    assert info.entropy(one_hot) == 0
    assert info.entropy([0.25, 0.75, 0]) == pytest.approx(info.entropy([0.25, 0.75]))
    assert info.kl_divergence([0, 1], [0, 1]) == info.cross_entropy([0, 1], [0, 1]) == 0


def test_the_joint_entropy_is_the_entropy_of_the_pairs():
    assert info.joint_entropy(JOINT) == pytest.approx(stats.entropy(JOINT.ravel(), base=2))


def test_the_chain_rule_of_entropy_holds_for_both_variables():
    h_x, h_y = (info.entropy(pr.marginal(JOINT, axis=axis)) for axis in (1, 0))
    assert info.joint_entropy(JOINT) == pytest.approx(
        h_y + info.conditional_entropy(JOINT), rel=1e-12
    )
    assert info.joint_entropy(JOINT) == pytest.approx(
        h_x + info.conditional_entropy(JOINT.T), rel=1e-12
    )


def test_erratum_joint_entropy_is_below_the_sum_unless_the_variables_are_independent():
    copy = np.eye(4) / 4
    assert info.joint_entropy(copy) == 2  # Not the sum of the parts, 2 + 2.
    independent = np.outer(P[0], Q[0])
    assert info.joint_entropy(independent) == pytest.approx(
        float(info.entropy(P[0]) + info.entropy(Q[0])), rel=1e-12
    )


def test_erratum_conditional_entropy_is_the_remaining_uncertainty_not_the_reduction():
    # The article says: "how far the uncertainty of X falls when Y is known".
    copy, independent = np.eye(4) / 4, np.full((4, 4), 1 / 16)
    h_x = 2
    for joint, remaining in ((copy, 0), (independent, 2)):
        assert info.conditional_entropy(joint) == remaining
        assert info.mutual_information(joint) == h_x - remaining
        assert info.conditional_entropy(joint) != info.mutual_information(joint)


def test_erratum_a_single_y_may_increase_the_uncertainty_about_x():
    joint = np.array([[0.1, 0.8], [0.1, 0.0]])
    h_x = info.entropy(pr.marginal(joint, axis=1))
    by_y = info.entropy(pr.conditional(joint, pr.marginal(joint, axis=0)), axis=0)
    assert by_y[0] == 1 > h_x > info.conditional_entropy(joint)


def test_erratum_a_y_of_probability_zero_does_not_make_the_entropy_undefined():
    with np.errstate(divide="ignore", invalid="ignore"):
        p_y = JOINT.sum(axis=0)
        given_y = JOINT / p_y  # The article's P(x|y), for every y.
        assert np.isnan(-np.sum(p_y * np.sum(given_y * np.log2(given_y), axis=0)))
    assert info.conditional_entropy(JOINT) == pytest.approx(
        info.conditional_entropy(np.delete(JOINT, 2, axis=1)), rel=1e-12
    )


def test_the_mutual_information_matches_scikit_learn():
    theirs = mutual_info_score(None, None, contingency=COUNTS) * BITS
    assert info.mutual_information(JOINT) == pytest.approx(theirs, rel=1e-10)
    assert info.mutual_information(JOINT.T) == pytest.approx(theirs, rel=1e-10)


def test_the_mutual_information_is_the_divergence_from_independence():
    independent = np.outer(JOINT.sum(1), JOINT.sum(0))
    divergence = info.kl_divergence(JOINT.ravel(), independent.ravel())
    assert info.mutual_information(JOINT) == pytest.approx(float(divergence), rel=1e-10)
    assert info.mutual_information(independent) == pytest.approx(0, abs=1e-14)


def test_mutual_information_measures_dependence_even_without_correlation():
    y_values = X_VALUES**2
    correlation = np.corrcoef(X_VALUES, y_values)[0, 1]
    assert correlation == pytest.approx(0, abs=1e-15)
    # X and Y are uncorrelated, but X determines Y: the mutual information has its largest value.
    h_y = float(info.entropy(pr.marginal(SQUARE, axis=0)))
    assert info.mutual_information(SQUARE) == pytest.approx(h_y, rel=1e-12)
    assert h_y == pytest.approx(np.log2(3) - 2 / 3, rel=1e-12)


@pytest.mark.parametrize("joint", [JOINT, SQUARE, np.eye(3) / 3, np.outer(P[0], Q[0])])
def test_mutual_information_is_at_most_the_smaller_entropy(joint):
    h = [float(info.entropy(pr.marginal(joint, axis=axis))) for axis in (0, 1)]
    assert -1e-12 < info.mutual_information(joint) <= min(h) + 1e-12


def test_erratum_information_between_features_does_not_measure_importance():
    # Two features are copies of one coin. A third feature is another coin, which is the label.
    noise, label = np.meshgrid([0, 1], [0, 1])
    features = {"noise": noise.ravel(), "its copy": noise.ravel(), "useful": label.ravel()}

    def shared(a, b):
        joint = np.zeros((2, 2))
        np.add.at(joint, (a, b), 1 / 4)
        return info.mutual_information(joint)

    assert shared(features["noise"], features["its copy"]) == 1  # The article's criterion.
    assert shared(features["noise"], features["useful"]) == 0
    assert [shared(f, label.ravel()) for f in features.values()] == [0, 0, 1]


def test_the_divergence_matches_scipy_and_is_cross_entropy_minus_entropy():
    np.testing.assert_allclose(
        info.kl_divergence(P, Q), special.rel_entr(P, Q).sum(1) * BITS, rtol=1e-12
    )
    np.testing.assert_allclose(
        info.kl_divergence(P, Q), info.cross_entropy(P, Q) - info.entropy(P), rtol=1e-12
    )
    np.testing.assert_allclose(info.kl_divergence(P, P), 0, atol=0)


def test_a_small_divergence_keeps_its_digits():
    p, q = np.array([0.5, 0.5]), np.array([0.5 + 1e-7, 0.5 - 1e-7])
    assert info.kl_divergence(p, q) == pytest.approx(2e-14 * BITS, rel=0.01)


def test_erratum_the_divergence_between_distributions_depends_on_their_order():
    # The article's "difference between the predicted and the actual distribution" has no order.
    p, q = [0.5, 0.5], [0.9, 0.1]
    assert info.kl_divergence(p, q) == pytest.approx(0.7369655941662062, rel=1e-12)
    assert info.kl_divergence(q, p) == pytest.approx(0.5310044064107188, rel=1e-12)
    assert info.kl_divergence([1, 0], [0.5, 0.5]) == 1
    assert info.kl_divergence([0.5, 0.5], [1, 0]) == np.inf


def test_the_loss_that_networks_minimise_is_the_cross_entropy_in_nats():
    bits = info.cross_entropy(P, Q)
    assert bits.mean() == pytest.approx(losses.cross_entropy(P, Q) * BITS, rel=1e-12)
    np.testing.assert_allclose(
        info.cross_entropy(P, Q, base=np.e), keras.losses.categorical_crossentropy(P, Q), rtol=1e-6
    )


MEMBERS = RNG.dirichlet(np.full(4, 0.3), (6, 9))


def test_the_predictive_information_is_that_of_the_joint_table_of_members_and_classes():
    by_table = [info.mutual_information(MEMBERS[:, i] / 6) for i in range(9)]
    np.testing.assert_allclose(info.predictive_mutual_information(MEMBERS), by_table, rtol=1e-10)
    total = stats.entropy(MEMBERS.mean(0), base=2, axis=1)
    np.testing.assert_allclose(info.predictive_entropy(MEMBERS), total, rtol=1e-12)
    by_member = stats.entropy(MEMBERS, base=2, axis=2).mean(0)
    np.testing.assert_allclose(info.expected_entropy(MEMBERS), by_member, rtol=1e-12)


def test_equal_uncertain_members_have_no_information_and_certain_opposite_members_one_bit():
    uncertain, opposite = np.full((2, 1, 2), 0.5), np.eye(2)[:, None]
    assert info.predictive_entropy(uncertain) == info.predictive_entropy(opposite) == 1
    assert info.predictive_mutual_information(uncertain) == 0
    assert info.predictive_mutual_information(opposite) == 1


def test_float32_probabilities_of_a_softmax_are_accepted():
    p = special.softmax(RNG.normal(0, 9, (100, 10)).astype(np.float32), axis=1)
    assert p.dtype == np.float32
    np.testing.assert_allclose(info.entropy(p), special.entr(p).sum(1) * BITS, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info.entropy([0.5, 0.6]), "p: .*sum to 1; got a sum of 1.1"),
        (lambda: info.entropy([0.5, 0.5], base=1), r"base: expected a number in \(1, inf\]; got 1"),
        (lambda: info.surprise([0.5, -0.1]), r"p: .*in \[0, 1\]; got -0.1 to 0.5"),
        (lambda: info.joint_entropy([0.5, 0.5]), r"joint: expected shape .*; got \(2,\)"),
        (lambda: info.conditional_entropy(COUNTS), "joint: .*sum to 1; got a sum of"),
        (lambda: info.mutual_information(P), "joint: .*sum to 1; got a sum of 7"),
        (lambda: info.cross_entropy(P, Q[0]), r"q: .*the shape of p, \(7, 5\); got \(5,\)"),
        (lambda: info.kl_divergence(P, 2 * Q), "q: .*sum to 1; got a sum of 2"),
        (lambda: info.kl_divergence(P, Q.T), "q: .*sum to 1"),
        (lambda: info.predictive_entropy(P), r"p: expected shape .*; got \(7, 5\)"),
        (lambda: info.predictive_mutual_information(-MEMBERS), "p: .*at least 0; got -"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
