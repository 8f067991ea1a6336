import csv
import dataclasses
import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

import mnist_xai as mx
from mnist_xai.audit import run as audit_run
from mnist_xai.cli.app import main
from mnist_xai.io.files import OutputExistsError
from mnist_xai.quality import CONTROLS, METRICS, ExplainedBatch
from tests.audit.conftest import METHODS, SMALL, run


def test_every_method_and_control_is_scored_by_every_metric(audited):
    assert list(audited.results) == [*METHODS, "refuses", "<b>dead</b>", *CONTROLS]
    for name in METHODS:
        # This network does not recognise the cells of grids, so no metric gets masks.
        expected = {n for n, m in METRICS.items() if m.about.needs != "masks"}
        assert set(audited.results[name].scores) == expected


def test_scores_equal_those_of_the_metrics_called_directly(audited, model, small_digits):
    rows = np.random.default_rng(0).permutation(120)[:6]
    images = mx.normalise(small_digits.test_images[rows])
    batch = ExplainedBatch.of(mx.Network(model), images, mx.METHODS["gradient"])
    metrics = SMALL.metrics()
    for name in ("faithfulness_correlation", "sparseness"):
        ours = audited.results["gradient"].scores[name].values
        np.testing.assert_allclose(ours, metrics[name](batch).values, rtol=1e-5)


def test_a_method_that_cannot_explain_the_model_has_a_reason_and_no_scores(audited):
    refused = audited.results["refuses"]
    assert refused.refused == "conv: not supported by this method"
    assert refused.scores == {}
    assert audited.summary()["methods"]["refuses"]["refused"] == refused.refused


def test_maps_that_are_zero_everywhere_have_a_reason_and_no_score(audited):
    assert audited.results["<b>dead</b>"].scores.keys() == audited.results["gradient"].scores.keys()
    for scores in audited.results["<b>dead</b>"].scores.values():
        assert np.isnan(scores.mean)
        assert set(scores.refused.values()) == {"its map is zero everywhere"}


def test_residual_shares_are_the_residuals_of_the_explanation_over_the_guaranteed_sum(
    audited, model, small_digits
):
    rows = np.random.default_rng(0).permutation(120)[:6]
    images = mx.normalise(small_digits.test_images[rows])
    explanation = mx.explain(model, images, method="lrp_epsilon")
    shares = np.abs(explanation.residuals / explanation.differences)
    result = audited.results["lrp_epsilon"]
    np.testing.assert_allclose(result.residual_shares, shares, atol=1e-5)
    assert set(result.absorbed_shares) == set(explanation.absorbed)
    assert len(audited.results["gradient"].residual_shares) == 0


def test_the_best_control_has_the_best_mean_score(audited):
    for name, metric in audited.metrics.items():
        best = audited.best_control(name)
        means = {c: audited.results[c].scores[name].mean for c in CONTROLS}
        if metric.about.family in ("robustness", "complexity", "axiom"):
            assert best is None  # A map that never changes scores best: beating it proves nothing.
            assert np.isnan(audited.difference_from_control("gradient", name)).all()
        else:
            extreme = max if metric.about.higher_is_better else min
            assert means[best] == extreme(v for v in means.values() if np.isfinite(v))
            assert audited.difference_from_control(best, name)[0] == 0


def test_examples_are_right_wrong_and_uncertain_predictions(audited, small_digits):
    test = audited.evaluation
    right, wrong, uncertain = (audited.examples[kind] for kind in ("right", "wrong", "uncertain"))
    assert (test.predictions[right] == test.labels[right]).all()
    assert len(set(test.labels[right])) == 3
    assert (test.predictions[wrong] != test.labels[wrong]).all()
    top = np.sort(test.probabilities, axis=1)
    margins = top[:, -1] - top[:, -2]
    assert margins[uncertain].max() <= np.sort(margins)[len(uncertain) + len(wrong)]
    assert audited.results["gradient"].example_maps.shape == (9, 14, 14, 1)


def test_the_csv_holds_every_score_and_every_reason(audited):
    text = audited.path.with_suffix(".csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    remaining = {(r["method"], r["metric"], int(r["image"])): r for r in rows}
    for name, result in audited.results.items():
        for metric, scores in result.scores.items():
            for image, value in enumerate(scores.values):
                row = remaining.pop((name, metric, image))
                assert row["refused"] == scores.refused.get(image, "")
                assert (float(row["score"]) if row["score"] else None) == (
                    None if np.isnan(value) else value
                )
    assert not remaining


def test_the_json_file_holds_the_summary(audited):
    summary = json.loads(audited.path.with_suffix(".json").read_text())
    assert summary == json.loads(json.dumps(audited.summary()))
    assert summary["test"]["accuracy"] == audited.evaluation.accuracy
    assert summary["methods"]["random_map"]["control"]


def test_a_repeated_audit_differs_in_the_measured_time_only(audited, model, small_digits, tmp_path):
    again = run(model, small_digits, tmp_path / "again.html")
    assert again.table() == audited.table()
    summaries = [a.summary() for a in (again, audited)]
    for summary in summaries:
        for method in summary["methods"].values():
            method.pop("seconds_per_image")
    assert summaries[0] == summaries[1]


def test_another_seed_draws_other_images(audited, model, small_digits):
    other = run(model, small_digits, None, seed=1, methods=["gradient"], budget=SMALLEST)
    name = "sparseness"
    scores = (a.results["gradient"].scores[name].values for a in (audited, other))
    assert not np.array_equal(*scores)


# For tests of what is stored and what is not: few metrics, and so little to compile.
FEW = ("pixel_flipping", "faithfulness_correlation", "sparseness")
SMALLEST = dataclasses.replace(SMALL, without=tuple(name for name in METRICS if name not in FEW))


class StoppedError(Exception):
    """Interrupts an audit, as Ctrl-C does."""


def test_an_interrupted_audit_continues_and_scores_no_method_twice(
    model, small_digits, tmp_path, monkeypatch
):
    whole = run(model, small_digits, None, budget=SMALLEST)
    scored = []
    score_method = audit_run._score_method

    def score_three(name, *arguments):
        if len(scored) == 3:
            raise StoppedError
        scored.append(name)
        return score_method(name, *arguments)

    monkeypatch.setattr(audit_run, "_score_method", score_three)
    page = tmp_path / "audit.html"
    with pytest.raises(StoppedError):
        run(model, small_digits, page, budget=SMALLEST)
    assert not page.exists()
    assert {p.name for p in tmp_path.iterdir()} == {".audit.html.unfinished"}

    def score_the_rest(name, *arguments):
        scored.append(name)
        return score_method(name, *arguments)

    monkeypatch.setattr(audit_run, "_score_method", score_the_rest)
    resumed = run(model, small_digits, page, budget=SMALLEST)
    assert scored == list(resumed.results)
    assert resumed.table() == whole.table()
    assert {p.name for p in tmp_path.iterdir()} == {"audit.html", "audit.json", "audit.csv"}


def test_stored_results_of_another_model_are_not_used(model, small_digits, tmp_path, monkeypatch):
    page = tmp_path / "audit.html"
    remaining = {"methods": 2}
    score_method = audit_run._score_method

    def score_some(name, *arguments):
        if not remaining["methods"]:
            raise StoppedError
        remaining["methods"] -= 1
        return score_method(name, *arguments)

    monkeypatch.setattr(audit_run, "_score_method", score_some)
    with pytest.raises(StoppedError):
        run(model, small_digits, page, budget=SMALLEST)
    other = keras.models.clone_model(model)
    remaining["methods"] = 100
    run(other, small_digits, page, methods=["gradient"], budget=SMALLEST)
    assert remaining["methods"] == 100 - 1 - len(CONTROLS)


def test_a_method_with_a_damaged_stored_result_is_scored_again(
    model, small_digits, tmp_path, monkeypatch
):
    page = tmp_path / "audit.html"
    remove = audit_run.ResultStore.remove
    monkeypatch.setattr(audit_run.ResultStore, "remove", lambda _: None)
    options = {"methods": ["gradient"], "budget": SMALLEST}
    first = run(model, small_digits, page, **options)
    monkeypatch.setattr(audit_run.ResultStore, "remove", remove)
    stored = tmp_path / ".audit.html.unfinished" / "gradient.npz"
    stored.write_bytes(stored.read_bytes()[:1000])
    again = run(model, small_digits, page, overwrite=True, **options)
    assert again.table() == first.table()
    assert not stored.exists()


def test_an_existing_output_is_an_error_before_any_work(model, small_digits, tmp_path):
    for suffix in (".html", ".json", ".csv"):
        existing = tmp_path / f"audit{suffix}"
        existing.write_text("mine")
        with pytest.raises(OutputExistsError, match=f"audit{suffix} exists"):
            mx.audit("no such model", "no such data", save_to=tmp_path / "audit.html")
        assert existing.read_text() == "mine"
        existing.unlink()


def dense(shape, classes, activation="softmax"):
    return keras.Sequential(
        [keras.Input(shape), layers.Flatten(), layers.Dense(classes, activation=activation)],
        name="dense",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"model": dense((28, 28, 1), 10)},
            r"data: expected images \(28, 28, 1\), the input of 'dense'",
        ),
        ({"model": dense((14, 14, 3), 10)}, r"data: expected images \(14, 14, 3\)"),
        ({"model": dense((14, 14, 1), 7)}, "data: expected 7 classes, the outputs of 'dense'"),
        ({"methods": ["gradiant"]}, "method: there is no 'gradiant'; did you mean"),
        ({"methods": {"random_map": None}}, "methods: expected names other than the controls'"),
        ({"budget": "huge"}, "budget: expected one of fast, full; got 'huge'"),
        ({"images": 1}, "images: expected at least 2; got 1"),
        ({"save_to": "audit.pdf"}, "save_to: expected a name ending in .html; got audit.pdf"),
    ],
)
def test_arguments_are_validated_by_name_before_anything_is_written(
    model, small_digits, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    options = {"model": model, "data": small_digits, "progress": False, **arguments}
    with pytest.raises(ValueError, match=message):
        mx.audit(options.pop("model"), options.pop("data"), **options)
    assert not list(tmp_path.iterdir())


def test_a_model_that_ends_in_logits_scores_like_the_same_model_with_softmax(small_digits):
    logits = dense((14, 14, 1), 10, None)
    with_softmax = dense((14, 14, 1), 10)
    with_softmax.set_weights(logits.get_weights())
    options = {"methods": ["gradient"], "budget": SMALLEST}
    first, second = (run(m, small_digits, None, **options) for m in (logits, with_softmax))
    assert first.evaluation.accuracy == second.evaluation.accuracy
    a, b = (r.results["gradient"].scores["faithfulness_correlation"] for r in (first, second))
    np.testing.assert_allclose(a.values, b.values, rtol=1e-3, atol=1e-4)


def test_fewer_test_images_than_the_budget_are_all_used(model, small_digits):
    few = dataclasses.replace(
        small_digits,
        test_images=small_digits.test_images[:4],
        test_labels=small_digits.test_labels[:4],
    )
    few_images = run(model, few, None, methods=["gradient"], budget=SMALLEST)
    assert few_images.results["gradient"].scores["sparseness"].values.shape == (4,)


def test_the_command_prints_the_path_of_the_page_and_does_not_overwrite_it(
    model, small_digits, tmp_path, monkeypatch
):
    mx.save_model(model, tmp_path / "small.keras")
    np.savez(
        tmp_path / "digits.npz",
        x_train=small_digits.train_images[..., 0],
        y_train=small_digits.train_labels,
        x_test=small_digits.test_images[..., 0],
        y_test=small_digits.test_labels,
    )
    page = tmp_path / "out" / "audit.html"
    monkeypatch.setattr(audit_run, "BUDGETS", {"fast": SMALLEST})
    arguments = [
        *("audit", str(tmp_path / "small.keras"), "--data", str(tmp_path / "digits.npz")),
        *("--methods", "gradient,gradcam", "--methods", "lrp_epsilon"),
        *("--images", "3", "--save-to", str(page)),
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    assert f"Open {page}" in done.stdout
    assert page.exists()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "exists" in again.stderr
