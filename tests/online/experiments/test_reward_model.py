"""Predicted rewards: right for items and places, never from the user's own, and worth it in doubly robust estimates."""

import numpy as np
import pytest

from leanrec.online.experiments import LoggedDecisions, estimate_value, predict_rewards

N_ITEMS, N_PLACES = 8, 4
OF_PLACE = np.array([1.0, 0.8, 0.6, 0.5])
OF_ITEM = np.array([0.95, 0.2, 0.6, 0.9, 0.3, 0.85, 0.5, 0.1])


def draw_bandit(seed, n_users=60, n_each=8, *, is_item_known=True):
    """Decisions of users of two kinds, drawn uniformly from eight items; each kind is to get items of its own.

    Where the model knows nothing, a reward depends on the kind of user and not on the item or place.
    """
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n_users)
    users = np.repeat(np.arange(n_users), n_each)
    places = rng.integers(0, N_PLACES, len(users)).astype(np.int32)
    shown = rng.integers(0, N_ITEMS, len(users)).astype(np.int32)
    wanted = ((places + 4 * kind[users]) % N_ITEMS).astype(np.int32)
    chances = OF_PLACE[places] * OF_ITEM[shown] if is_item_known else np.array([0.2, 0.6])[kind[users]]
    rewards = (rng.random(len(users)) < chances).astype(float)
    return rewards, users, places, shown, wanted


def find_value(*, is_item_known):
    """Mean reward of what is wanted, over kinds and places."""
    if not is_item_known:
        return 0.4
    places = np.arange(N_PLACES)
    return float(np.mean([OF_PLACE[places] * OF_ITEM[places + 4 * kind] for kind in (0, 1)]))


def to_decisions(rewards, users, places, shown, wanted):
    predicted = predict_rewards(rewards, users, places, shown, wanted)
    return LoggedDecisions(
        rewards, np.full(len(rewards), 1 / N_ITEMS), (shown == wanted).astype(float), users, *predicted
    )


def predict_slowly(rewards, users, places, shown, wanted, at):
    """The two predictions of one decision by the definitions."""
    order = sorted(set(users.tolist()))
    rest = [i for i in range(len(rewards)) if order.index(users[i]) % 5 != order.index(users[at]) % 5]
    mean = sum(rewards[i] for i in rest) / len(rest)

    def fit(codes, expected):
        sums, means = dict.fromkeys(range(N_ITEMS), 0.0), dict.fromkeys(range(N_ITEMS), 0.0)
        for i in rest:
            sums[codes[i]] += rewards[i]
            means[codes[i]] += expected(i)
        variance = sum((sums[c] - means[c]) ** 2 - means[c] for c in sums) / sum(m**2 for m in means.values())
        return {c: (sums[c] + 1 / variance) / (means[c] + 1 / variance) if variance > 0 else 1.0 for c in sums}

    of_place = fit(places, lambda _: mean)
    of_item = fit(shown, lambda i: mean * of_place[places[i]])
    return [min(1.0, mean * of_place[places[at]] * of_item[item]) for item in (shown[at], wanted[at])]


def test_predictions_are_those_of_the_definitions():
    log = draw_bandit(3, n_users=23, n_each=5)
    predicted = predict_rewards(*log)
    for at in range(0, len(log[0]), 7):
        np.testing.assert_allclose([each[at] for each in predicted], predict_slowly(*log, at), rtol=1e-9)


def test_predictions_come_near_the_truth_and_differ_by_item_and_place():
    _, _, places, shown, wanted = log = draw_bandit(0, n_users=3000)
    predicted, target_predicted = predict_rewards(*log)
    assert np.abs(predicted - OF_PLACE[places] * OF_ITEM[shown]).max() < 0.05
    assert np.abs(target_predicted - OF_PLACE[places] * OF_ITEM[wanted]).max() < 0.05


def test_no_reward_of_a_user_is_in_the_predictions_for_the_same_user():
    rewards, users, *others = draw_bandit(1)
    before = predict_rewards(rewards, users, *others)
    own = users == 7
    after = predict_rewards(np.where(own, 1 - rewards, rewards), users, *others)
    for first, second in zip(before, after, strict=True):
        np.testing.assert_array_equal(first[own], second[own])
        assert np.any(first[~own] != second[~own])


def test_items_that_differ_only_by_chance_get_one_rate():
    rng = np.random.default_rng(0)
    n = 4000
    users, places = np.arange(n), np.zeros(n, np.int32)
    shown = rng.integers(0, 400, n).astype(np.int32)
    predicted, _ = predict_rewards((rng.random(n) < 0.1).astype(float), users, places, shown, shown)
    assert predicted.std() < 0.01  # the raw rates of items differ by 0.1


def test_an_item_that_was_never_shown_has_the_rate_of_its_place_and_no_item_earns_nothing():
    rewards, users, places, shown, wanted = draw_bandit(2)
    new = np.full_like(wanted, N_ITEMS)
    _, rates = predict_rewards(rewards, users, places, shown, new)
    in_fold = users % 5 == 0  # the users are numbered in their order
    assert len(set(rates[in_fold & (places == 1)].tolist())) == 1
    np.testing.assert_array_equal(predict_rewards(rewards, users, places, shown, np.full_like(wanted, -1))[1], 0)


@pytest.mark.parametrize("n_users", [1, 2, 4])
def test_few_users_are_enough(n_users):
    predicted = predict_rewards(*draw_bandit(0, n_users=n_users))
    for each in predicted:
        assert np.all((each >= 0) & (each <= 1))
        assert np.any(each > 0) == (n_users > 1)


@pytest.mark.parametrize("is_item_known", [True, False])
def test_intervals_hold_the_value_and_are_narrower_where_the_model_knows_something(is_item_known):
    value = find_value(is_item_known=is_item_known)
    logs = [to_decisions(*draw_bandit(seed, is_item_known=is_item_known)) for seed in range(500)]
    widths = {}
    for method in ("ips", "snips", "dr"):
        found = [estimate_value(log, method) for log in logs]
        widths[method] = np.mean([each.high - each.low for each in found])
        if method == "dr":
            assert 0.93 <= np.mean([each.low <= value <= each.high for each in found]) <= 0.97
            mean, error = np.mean([each.value for each in found]), np.std([each.value for each in found]) / 500**0.5
            assert abs(mean - value) < 4 * error
    assert widths["dr"] < (0.75 if is_item_known else 0.9) * widths["ips"]
    assert widths["dr"] < (0.95 if is_item_known else 1.05) * widths["snips"]
