"""The suite runs as its commands mean it to."""

import pytest
import xdist


@pytest.mark.xdist_group("suite")
def test_tests_of_a_group_stay_on_one_worker(request):
    parallel = xdist.is_xdist_worker(request)

    # pytest 9.2 made pytest-xdist 3.8 forget every group without a word.
    assert request.node.nodeid.endswith("@suite") is parallel
