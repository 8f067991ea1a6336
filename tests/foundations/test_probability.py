import numpy as np
import pytest
from scipy import integrate, stats

from mnist_xai.foundations import probability as pr

X = np.random.default_rng(0).normal(0, 2, (4, 5))
JOINT = np.random.default_rng(1).dirichlet(np.ones(12)).reshape(3, 4)


def test_the_densities_and_the_mass_match_scipy():
    np.testing.assert_allclose(pr.uniform_pdf(X, -1, 2), stats.uniform.pdf(X, -1, 3), rtol=1e-12)
    np.testing.assert_allclose(pr.normal_pdf(X, 0.3, 1.7), stats.norm.pdf(X, 0.3, 1.7), rtol=1e-12)
    outcomes = [[0, 1], [2, 0.5]]
    np.testing.assert_allclose(pr.bernoulli_pmf(outcomes, 0.3), [[0.7, 0.3], [0, 0]], rtol=1e-12)
    np.testing.assert_allclose(
        pr.bernoulli_pmf([0, 1, 2], 0.3), stats.bernoulli.pmf([0, 1, 2], 0.3), rtol=1e-12
    )


def test_a_uniform_interval_includes_its_ends():
    assert pr.uniform_pdf([-1.0, 2.0, 2.0001], -1, 2).tolist() == [1 / 3, 1 / 3, 0]


@pytest.mark.parametrize(("a", "b"), [(-1.0, 0.5), (0.0, 0.0), (-9.0, 11.0), (2.0, 2.001)])
def test_the_probability_of_an_interval_is_the_integral_of_the_density(a, b):
    ours = pr.probability_of_interval(lambda x: pr.normal_pdf(x, 1, 0.8), a, b)
    quadrature = integrate.quad(stats.norm(1, 0.8).pdf, a, b, points=[1.0] if a < 1 < b else None)
    distribution = stats.norm.cdf(b, 1, 0.8) - stats.norm.cdf(a, 1, 0.8)
    assert ours == pytest.approx(distribution, rel=1e-10, abs=1e-15)
    assert ours == pytest.approx(quadrature[0], rel=1e-10, abs=1e-15)


def test_a_jump_of_the_density_causes_an_error_below_one_step():
    ours = pr.probability_of_interval(lambda x: pr.uniform_pdf(x, 0, 1), -1, 0.3, n=1000)
    assert ours == pytest.approx(0.3, abs=1.3 / 1000)


def test_erratum_a_density_is_not_a_probability_and_may_exceed_one():
    # The article calls the density the probability distribution of a continuous variable.
    assert pr.uniform_pdf(0.1, 0, 0.25) == 4
    assert pr.normal_pdf(0.0, 0, 0.1) == pytest.approx(3.989422804014327)
    assert pr.probability_of_interval(lambda x: pr.uniform_pdf(x, 0, 0.25), 0, 0.25) == (
        pytest.approx(1)
    )
    assert pr.probability_of_interval(lambda x: pr.normal_pdf(x, 0, 0.1), 0.1, 0.1) == 0


def test_erratum_a_bernoulli_variable_is_binomial_only_for_a_single_trial():
    np.testing.assert_allclose(pr.bernoulli_pmf([0, 1], 0.3), stats.binom.pmf([0, 1], 1, 0.3))
    assert not np.allclose(pr.bernoulli_pmf([0, 1, 2], 0.3), stats.binom.pmf([0, 1, 2], 2, 0.3))


def test_a_conditional_probability_is_a_relative_frequency():
    a, b = np.random.default_rng(2).random((2, 1000)) < [[0.4], [0.7]]
    assert pr.conditional(np.mean(a & b), np.mean(a)) == pytest.approx(np.mean(b[a]), rel=1e-12)


def test_every_row_of_a_conditional_table_is_a_distribution():
    by_x = pr.conditional(JOINT, pr.marginal(JOINT, axis=1)[:, None])
    np.testing.assert_allclose(by_x.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(by_x[1, 2], JOINT[1, 2] / JOINT[1].sum(), rtol=1e-12)


def test_erratum_a_conditional_probability_needs_a_possible_condition():
    with np.errstate(invalid="ignore"):
        assert np.isnan(np.float64(0) / np.float64(0))  # The article's fraction.
    with pytest.raises(ValueError, match=r"p_a: expected probabilities in \(0, 1\]; got 0"):
        pr.conditional(0.0, 0.0)


def test_a_marginal_sums_over_the_other_variable():
    np.testing.assert_allclose(pr.marginal(JOINT, axis=0), JOINT.sum(0), rtol=1e-15)
    np.testing.assert_allclose(pr.marginal(JOINT, axis=1), JOINT.sum(1), rtol=1e-15)


def test_bayes_gives_the_conditional_of_the_joint_table_on_the_other_variable():
    prior = pr.marginal(JOINT, axis=1)
    likelihood = pr.conditional(JOINT, prior[:, None])  # P(y|x)
    posterior = pr.bayes(np.tile(prior, (4, 1)), likelihood.T)
    np.testing.assert_allclose(
        posterior, pr.conditional(JOINT, pr.marginal(JOINT, axis=0)).T, rtol=1e-12
    )
    np.testing.assert_allclose(
        pr.total_probability(np.tile(prior, (4, 1)), likelihood.T), JOINT.sum(0), rtol=1e-12
    )


def test_bayes_accepts_densities_and_gives_the_posterior_of_two_normals():
    x, prior = 0.7, np.array([0.2, 0.8])
    likelihood = [pr.normal_pdf(x, mu, 0.1) for mu in (0, 1)]
    odds = 0.8 / 0.2 * np.exp((0.7**2 - 0.3**2) / (2 * 0.1**2))
    assert pr.bayes(prior, likelihood)[1] == pytest.approx(odds / (1 + odds), rel=1e-12)


def test_erratum_bayes_leads_from_the_prior_to_the_posterior_and_not_back():
    # One in a hundred is ill. The test is positive for 99 % of the ill and 5 % of the healthy.
    prior, likelihood = np.array([0.01, 0.99]), np.array([0.99, 0.05])
    posterior = pr.bayes(prior, likelihood)
    ill, healthy = 10_000 * prior
    alarms = ill * 0.99, healthy * 0.05
    assert posterior[0] == pytest.approx(alarms[0] / sum(alarms), rel=1e-12)
    assert posterior[0] == pytest.approx(1 / 6, rel=1e-12)
    assert posterior[0] != pytest.approx(0.99, rel=0.5)  # P(ill | alarm) is not P(alarm | ill).
    # The article computes the prior from a known posterior; the theorem does not give that.
    assert not np.allclose(pr.bayes(posterior, likelihood), prior, atol=0.5)


def test_the_maximum_a_posteriori_is_not_the_maximum_of_the_likelihood():
    prior, likelihood = [0.01, 0.99], [0.99, 0.05]
    assert np.argmax(likelihood) == 0
    assert pr.maximum_a_posteriori(prior, likelihood) == 1
    assert pr.maximum_a_posteriori([prior, [0.5, 0.5]], [likelihood] * 2).tolist() == [1, 0]


def test_change_prior_gives_the_posterior_of_bayes_under_the_new_prior():
    rng = np.random.default_rng(3)
    old, new = rng.dirichlet(np.ones(4), 2)
    likelihood = rng.random((6, 4)) * 3
    changed = pr.change_prior(pr.bayes(np.tile(old, (6, 1)), likelihood), old, new)
    np.testing.assert_allclose(changed, pr.bayes(np.tile(new, (6, 1)), likelihood), rtol=1e-12)
    np.testing.assert_allclose(pr.change_prior(changed, new, new), changed, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pr.uniform_pdf(X, 1, 1), r"b: expected a number in \(1, inf\]; got 1"),
        (lambda: pr.normal_pdf(X, 0, 0), r"sigma: expected a number in \(0, inf\]; got 0"),
        (lambda: pr.bernoulli_pmf([1], 1.2), r"p: expected a number in \[0, 1\]; got 1.2"),
        (lambda: pr.probability_of_interval(pr.normal_pdf, 1, 0), r"b: .*\[1, inf\]; got 0"),
        (lambda: pr.probability_of_interval(pr.normal_pdf, 0, np.inf), "b: .* finite.*; got inf"),
        (lambda: pr.probability_of_interval(np.sin, -1, 1), "pdf: .* at least 0; got -0.84"),
        (lambda: pr.probability_of_interval(np.exp, 0, 1), "pdf: .* at most 1; got 1.718"),
        (lambda: pr.probability_of_interval(np.sum, 0, 1), r"pdf: .*\(100000\); got \(\)"),
        (lambda: pr.conditional([0.1, 0.2], [0.5, 0.6, 0.7]), r"p_a: .*\(2,\); got \(3,\)"),
        (lambda: pr.conditional(0.4, 0.3), r"p_a_and_b: .*P\(A\); got 0.4 with P\(A\) = 0.3"),
        (lambda: pr.conditional(0.4, 1.3), r"p_a: .*in \(0, 1\]; got 1.3"),
        (lambda: pr.marginal(JOINT * 2, 0), "joint: .*sum to 1; got a sum of 2"),
        (lambda: pr.marginal(JOINT, 2), "axis: expected one of the 2 axes of joint; got 2"),
        (lambda: pr.bayes([0.5, 0.4], [1, 1]), "prior: .*sum to 1; got a sum of 0.9"),
        (lambda: pr.bayes([0.5, 0.5], [1, 1, 1]), r"likelihood: .*\(2,\); got \(3,\)"),
        (lambda: pr.bayes([0.5, 0.5], [1, -1]), "likelihood: expected at least 0; got -1"),
        (lambda: pr.bayes([0, 1], [1, 0]), r"a possible observation; got P\(B\) = 0"),
        (lambda: pr.change_prior([[0.5, 0.5]], [0, 1], [0.5, 0.5]), "old: expected a positive"),
        (lambda: pr.change_prior([[0.5, 0.5]], [1.0], [1.0]), r"old: .*shape \(2\); got \(1,\)"),
        (lambda: pr.change_prior([0.5, 0.5], [0.5, 0.5], [1.0]), r"new: .*\(2\); got \(1,\)"),
    ],
)
def test_invalid_arguments_raise_errors_that_name_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()
