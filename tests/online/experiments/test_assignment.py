"""Assignment of users to arms: sticky, of the right sizes, and independent between experiments."""

import collections
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from leanrec.errors import SettingError
from leanrec.online.experiments import Experiment

USERS = [f"user-{number}" for number in range(10_000)]


def test_the_arm_of_a_user_is_the_same_in_every_process():
    code = (
        "from leanrec.online.experiments import Experiment\n"
        "print([Experiment('colors', 0.5).assign(f'user-{n}') for n in range(40)])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str([Experiment("colors", 0.5).assign(user) for user in USERS[:40]])


def test_the_key_of_a_user_is_the_same_in_every_process_and_of_no_other_user():
    code = "from leanrec.online.experiments import Experiment\nprint(Experiment('colors', 0.5).find_key('user-7'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    experiment = Experiment("colors", 0.1)
    assert int(printed) == experiment.find_key("user-7")
    keys = {experiment.find_key(user) for user in USERS}
    assert len(keys) == len(USERS)
    assert -(2**63) <= min(keys) < 0 < max(keys) < 2**63


def test_a_number_and_its_text_are_one_user():
    experiment = Experiment("colors")
    assert experiment.find_key(7) == experiment.find_key("7")
    assert [experiment.assign(number) for number in range(50)] == [experiment.assign(str(n)) for n in range(50)]


def test_more_users_take_part_and_none_changes_the_arm_as_the_share_grows():
    before = {user: Experiment("ramp", 0.0).assign(user) for user in USERS}
    assert set(before.values()) == {None}
    for share in (0.01, 0.05, 0.5, 1.0):
        now = {user: Experiment("ramp", share).assign(user) for user in USERS}
        assert all(arm in {None, now[user]} for user, arm in before.items())
        n_members = sum(arm is not None for arm in now.values())
        assert stats.binomtest(n_members, len(USERS), share).pvalue > 1e-3
        before = now


@pytest.mark.parametrize("ratio", [(1, 1), (9, 1), (2, 1, 1)])
def test_arms_have_the_sizes_of_the_ratio(ratio):
    experiment = Experiment("sizes", 0.4, tuple("abcd")[: len(ratio)], ratio)
    counts = collections.Counter(arm for user in USERS if (arm := experiment.assign(user)))
    expected = np.array(experiment.arm_shares) * counts.total()
    assert stats.chisquare([counts[arm] for arm in experiment.arms], expected).pvalue > 1e-3


def test_two_experiments_divide_the_users_independently():
    first, second = Experiment("first", 0.5), Experiment("second", 0.5)
    table = collections.Counter((str(first.assign(user)), str(second.assign(user))) for user in USERS)
    rows = [[table[a, b] for b in ("None", "control", "treatment")] for a in ("None", "control", "treatment")]
    assert stats.chi2_contingency(rows).pvalue > 1e-3


def test_membership_says_nothing_about_the_arm():
    experiment = Experiment("bits", 1.0)
    small = Experiment("bits", 0.1)
    table = collections.Counter((small.assign(user) is None, experiment.assign(user)) for user in USERS)
    rows = [[table[out, arm] for arm in experiment.arms] for out in (True, False)]
    assert stats.chi2_contingency(rows).pvalue > 1e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": ""}, "name must be a text"),
        ({"share": 1.5}, "share must be a number from 0 to 1"),
        ({"arms": ("a", "a")}, "arms must be two or more different names"),
        ({"ratio": (1.0,)}, "ratio must have 2 numbers"),
        ({"ratio": (1.0, 0.0)}, "ratio must be"),
    ],
)
def test_settings_that_divide_no_users_are_refused(wrong, message):
    with pytest.raises(SettingError, match=message):
        Experiment(**{"name": "colors", **wrong})
