"""tlfast imported before, between and after what the tests' environment has: the same bits.

coexistence.py does the same with TensorFlow, PyTorch, OpenCV and scikit-learn.
"""

import coexistence
import pytest

HERE = ("scipy", "PIL", "tlfast")
ORDERS = [("tlfast", "PIL", "scipy"), ("scipy", "tlfast", "PIL"), ("PIL", "scipy", "tlfast")]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coexistence")
    coexistence.write_images(folder)
    return folder


@pytest.fixture(scope="module")
def alone(images):
    said = {name: coexistence.child("work", (name,), images) for name in HERE}
    assert all(isinstance(answer, dict) for answer in said.values()), said
    return {name: answer["results"][name][0] for name, answer in said.items()}


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_orders_of_import(order, images, alone):
    said = coexistence.child("work", order, images)
    assert coexistence.compare(order, said, alone) == []
    assert len(said["results"]["tlfast"]) == 2


def test_the_parts_are_what_they_say():
    subsets, mixed = coexistence.orders("subsets"), coexistence.orders("random")
    assert len(subsets) == len(set(subsets)) == 1 + 6 * 2 + 15 * 6
    assert all("tlfast" in order and len(order) <= 3 for order in subsets)
    assert len(mixed) == len(set(mixed)) == 50
    assert all(sorted(order) == sorted(coexistence.PACKAGES) for order in mixed)


def test_a_difference_is_told():
    said = {"results": {"tlfast": ["a", "b"]}}
    wrong = coexistence.compare(("tlfast",), said, {"tlfast": "a"})
    assert wrong == ["tlfast computed b, alone a"]
    assert coexistence.compare(("tlfast",), "no end within 240 s", {}) == ["no end within 240 s"]
