"""Dataset chains on arrays, shuffle against tf.data, sources of arrays and Python data."""

import json
from pathlib import Path

import numpy as np
import pytest

import tlfast.data
from tlfast._warnings import DataWarning
from tlfast.data import Dataset, TensorSpec, experimental
from tlfast.data._random import Philox, _GlobalSeed
from tlfast.data._source import IndexedSource, StreamSource, adapt
from tlfast.data.batch import BatchArray
from tlfast.utils import PyDataset, Sequence, set_random_seed, to_categorical

ORDER = json.loads((Path(__file__).parent / "reference" / "directory_order.json").read_text())


@pytest.fixture(autouse=True)
def no_global_seed(monkeypatch):
    monkeypatch.setattr(_GlobalSeed, "seed", None)
    monkeypatch.setattr(_GlobalSeed, "stream", None)


def listed(dataset):
    return [np.asarray(element).tolist() for element in dataset]


def test_philox_gives_the_published_numbers():
    # Random123's known answers: counter and key all zero, and all ones.
    zeros = Philox(0, 0)
    assert [zeros() for _ in range(4)] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    from tlfast.data._random import _blocks

    ones = 0xFFFFFFFF
    assert _blocks((ones, ones), (ones, ones), 2**64 - 1, 1) == [
        0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


# From tf.data (TensorFlow 2.21): range(n), then the chain, over several passes.
TF_ORDERS = [
    (10, lambda d: d.shuffle(4, seed=7).batch(3),
     [[[0, 4, 2], [3, 5, 6], [1, 8, 7], [9]], [[1, 3, 0], [4, 6, 5], [7, 8, 9], [2]],
      [[3, 2, 4], [6, 1, 8], [5, 7, 0], [9]]]),
    (6, lambda d: d.shuffle(6, seed=7),
     [[4, 0, 2, 3, 5, 1], [1, 4, 3, 2, 0, 5], [1, 0, 4, 3, 2, 5], [4, 1, 3, 5, 2, 0]]),
    (6, lambda d: d.shuffle(6, seed=7).repeat(2),
     [[4, 0, 2, 3, 5, 1, 1, 4, 3, 2, 0, 5], [1, 0, 4, 3, 2, 5, 4, 1, 3, 5, 2, 0]]),
    (6, lambda d: d.repeat(2).shuffle(6, seed=7), [[4, 2, 1, 3, 3, 0, 2, 4, 5, 1, 0, 5]]),
    (6, lambda d: d.shuffle(6, seed=7, reshuffle_each_iteration=False),
     [[3, 0, 1, 4, 2, 5], [3, 0, 1, 4, 2, 5]]),
    (6, lambda d: d.shuffle(6, seed=7).cache(), [[4, 0, 2, 3, 5, 1]] * 3),
    (14, lambda d: d.shuffle(3, seed=3).repeat(2),
     [None, [2, 1, 3, 0, 5, 4, 7, 9, 6, 11, 8, 13, 12, 10,
             2, 3, 4, 0, 6, 7, 8, 1, 10, 9, 5, 12, 13, 11]]),
]


@pytest.mark.parametrize(("n", "chain", "passes"), TF_ORDERS)
def test_order_is_that_of_tf_data(n, chain, passes):
    dataset = chain(Dataset.range(n))
    for expected in passes:
        got = listed(dataset)
        assert expected is None or got == expected


def test_an_iterator_that_is_never_read_moves_the_order_on():
    dataset = Dataset.range(6).shuffle(6, seed=7)
    iter(dataset)
    assert listed(dataset) == [1, 4, 3, 2, 0, 5]


def test_looking_at_the_spec_does_not_move_the_order_on():
    dataset = Dataset.range(6).shuffle(6, seed=7).map(lambda x: x * 2)
    assert dataset.element_spec == TensorSpec((), np.int64)
    assert listed(dataset) == [8, 0, 4, 6, 10, 2]


def test_unseeded_shuffle_follows_set_random_seed():
    set_random_seed(5)
    made = [Dataset.range(9).shuffle(5) for _ in range(2)]
    assert [[listed(d) for _ in range(2)] for d in made] == ORDER["arrays"]["unseeded_shuffle"]


def test_chain_on_values():
    dataset = Dataset.from_tensor_slices((np.arange(10.0), np.arange(10)))
    dataset = dataset.map(lambda x, y: (x / 2, y), num_parallel_calls=tlfast.data.AUTOTUNE)
    dataset = dataset.filter(lambda x, y: y % 2 == 0).batch(2).prefetch(tlfast.data.AUTOTUNE)
    got = [(x.tolist(), y.tolist()) for x, y in dataset]
    assert got == [([0.0, 1.0], [0, 2]), ([2.0, 3.0], [4, 6]), ([4.0], [8])]
    assert int(experimental.cardinality(dataset)) == tlfast.data.UNKNOWN_CARDINALITY
    with pytest.raises(TypeError, match="length is unknown"):
        len(dataset)


def test_other_steps():
    ds = Dataset.range(5)
    assert listed(ds.skip(1).take(2)) == [1, 2]
    assert listed(ds.batch(2, drop_remainder=True)) == [[0, 1], [2, 3]]
    assert listed(ds.batch(2).unbatch()) == [0, 1, 2, 3, 4]
    assert listed(ds.concatenate(Dataset.range(2))) == [0, 1, 2, 3, 4, 0, 1]
    assert [(int(i), int(v)) for i, v in ds.enumerate(3).take(2)] == [(3, 0), (4, 1)]
    assert [(int(a), int(b)) for a, b in Dataset.zip(ds, ds.skip(3))] == [(0, 3), (1, 4)]
    assert listed(ds.batch(2, True).batch(2)) == [[[0, 1], [2, 3]]]
    assert listed(ds.apply(lambda d: d.take(1))) == [0]
    assert listed(Dataset.from_tensors([1, 2])) == [[1, 2]]
    assert listed(ds.repeat().take(7)) == [0, 1, 2, 3, 4, 0, 1]
    assert len(ds.repeat(3)) == 15
    with pytest.raises(TypeError, match="infinite"):
        len(ds.repeat())


def test_cache_calls_the_function_once_per_element():
    calls = []

    def count(x):
        calls.append(int(x))
        return x

    dataset = Dataset.range(3).map(count).cache()
    assert listed(dataset) == listed(dataset) == [0, 1, 2]
    assert calls == [0, 1, 2]


def test_elements_answer_numpy():
    dataset = Dataset.from_tensor_slices((np.ones((4, 2)), np.arange(4))).batch(4)
    images, labels = next(iter(dataset))
    assert type(images.numpy()) is np.ndarray
    assert labels[2].numpy() == 2
    assert ["a", "b", "c", "d"][labels[3]] == "d"
    assert [int(label.numpy()) for label in labels] == [0, 1, 2, 3]
    assert isinstance(images[0], BatchArray) and images.shape == (4, 2)
    assert (labels == np.arange(4)).all()
    assert set(labels) == {0, 1, 2, 3} and {2: "c"}[labels[2]] == "c"
    with pytest.raises(TypeError, match="not hashable"):
        hash(images)
    plain, _ = next(dataset.as_numpy_iterator())
    assert type(plain) is np.ndarray


def test_element_spec():
    dataset = Dataset.from_tensor_slices((np.zeros((5, 2)), {"a": np.zeros(5, np.int32)}))
    assert dataset.element_spec == (TensorSpec((2,), "float64"), {"a": TensorSpec((), "int32")})
    batched = dataset.map(lambda x, y: (x, y["a"])).batch(2)
    assert batched.element_spec == (TensorSpec((None, 2), "float64"), TensorSpec((None,), "int32"))
    assert batched.batch(1, True).element_spec[0].shape == (1, 2, 2)


def test_from_generator():
    dataset = Dataset.from_generator(
        lambda: ((i, i * 2) for i in range(3)),
        output_signature=(TensorSpec((), np.float32), TensorSpec((), np.int64)))
    assert [(a.dtype, b.dtype) for a, b in dataset] == [(np.float32, np.int64)] * 3
    with pytest.raises(TypeError, match="without calling it"):
        Dataset.from_generator(iter([]))


@pytest.mark.parametrize(("call", "kind", "text"), [
    (lambda d: d.shuffle(0), ValueError, "buffer_size must be at least 1"),
    (lambda d: d.batch(2.5), TypeError, "batch_size must be a whole number"),
    (lambda d: d.cache("file"), NotImplementedError, "call cache()"),
    (lambda d: d.interleave, AttributeError, "no attribute 'interleave'"),
    (lambda d: d.prefech, AttributeError, "Did you mean 'prefetch'"),
    (lambda d: d.class_names, AttributeError, "class_names"),
    (lambda d: list(d.map(lambda x: np.zeros(int(x))).batch(2)), ValueError, "one shape"),
    (lambda d: Dataset.from_tensor_slices((np.zeros(2), np.zeros(3))), ValueError, "same number"),
])
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call(Dataset.range(4))


# Sources

def rows(source, epochs=1):
    return [ids.tolist() for epoch in range(epochs) for ids in source.order(epoch, True)]


@pytest.mark.parametrize("shuffle", [True, "batch", False])
def test_arrays_are_shuffled_as_in_keras(shuffle):
    set_random_seed(5)
    x = np.arange(11.0)[:, None]
    source = adapt(x, x, batch_size=4, shuffle=shuffle)
    assert isinstance(source, IndexedSource)
    assert rows(source, 2) == ORDER["arrays"][str(shuffle)]


def test_arrays_without_seed_get_a_new_order_each_epoch():
    source = adapt(np.zeros((50, 1)), batch_size=50)
    (first,), (second,) = source.order(0, True), source.order(1, True)
    assert sorted(first.tolist()) == list(range(50))
    assert first.tolist() != second.tolist()


def test_array_source_gives_rows_targets_and_weights():
    x, y, w = np.arange(6.0)[:, None], np.arange(6), np.linspace(0, 1, 6)
    source = adapt([x, x * 2], y, w, batch_size=4, shuffle=False)
    assert (source.num_batches, source.num_samples, source.batch_size) == (2, 6, 4)
    assert source.element_shapes == [(1,), (1,)]
    order = source.order(0, True)
    ((inputs, ids, bad), _) = source.pixels(order)
    assert [a[:, 0].tolist() for a in inputs] == [[0, 1, 2, 3], [0, 2, 4, 6]] and bad == []
    assert source.targets(ids)[0].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(source.weights(ids), w[:4])
    assert source.identity == adapt([x, x * 2], y[::-1]).identity
    assert source.identity != adapt([x, x * 3], y).identity


def test_class_weight_becomes_sample_weight():
    y = to_categorical([0, 2, 1, 2])
    source = adapt(np.zeros((4, 1)), y, class_weight={0: 0.5, 2: 3.0}, shuffle=False)
    assert source.weights(np.arange(4)).tolist() == [0.5, 3.0, 1.0, 3.0]
    with pytest.raises(ValueError, match="at the same time"):
        adapt(np.zeros((4, 1)), y, np.ones(4), class_weight={0: 1.0})


def test_dicts_follow_the_names_of_the_model():
    x = {"b": np.ones((3, 1)), "a": np.zeros((3, 1))}
    source = adapt(x, np.zeros(3), input_names=["a", "b"], shuffle=False)
    (((a, b), _, _),) = source.pixels(source.order(0, True))
    assert a.max() == 0 and b.min() == 1
    dataset = Dataset.from_tensor_slices((x, np.zeros(3))).batch(2)
    stream = adapt(dataset, input_names=["a", "b"])
    (a, b), (y,), _ = next(stream.batches(0, True))
    assert a.max() == 0 and b.min() == 1 and y.shape == (2,)
    with pytest.raises(ValueError, match=r"\['a', 'c'\]"):
        adapt(x, input_names=["a", "c"])


@pytest.mark.parametrize(("call", "text"), [
    (lambda: adapt(np.zeros((3, 1)), np.zeros(4)), r"cardinality is ambiguous.*x: 3; y: 4"),
    (lambda: adapt(Dataset.range(3).batch(2), y=np.zeros(3)), "`y` should not be passed"),
    (lambda: adapt(iter([]), sample_weight=[1]), "Python generator, `sample_weight` should not"),
    (lambda: adapt(Dataset.range(3)), r"add .batch\(32\)"),
    (lambda: adapt(Dataset.range(3).batch(2).repeat()), "infinite"),
    (lambda: adapt(np.zeros((0, 2))), "no rows"),
    (lambda: adapt(np.zeros((3, 2)), shuffle="batches"), "shuffle must be"),
    (lambda: adapt(np.zeros((3, 2)), steps=0), "at least 1"),
])
def test_adapt_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_adapt_refuses_what_is_no_data():
    with pytest.raises(TypeError, match="got str"):
        adapt("folder/of/images")


def test_steps_continue_the_pass():
    source = adapt(Dataset.range(10).batch(2).repeat(), steps=3)
    assert rows(source, 2) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [0, 1]]
    assert source.num_batches == 3


def test_mapped_dataset_streams():
    dataset = Dataset.from_tensor_slices((np.arange(4.0)[:, None], np.arange(4)))
    source = adapt(dataset.batch(3).map(lambda x, y: (x + 1, y)))
    assert isinstance(source, StreamSource) and not isinstance(source, IndexedSource)
    assert (source.num_batches, source.element_shapes) == (2, [(1,)])
    got = [(x[0, 0], y.tolist()) for (x,), (y,), _ in source.batches(0, True)]
    assert got == [(1.0, [0, 1, 2]), (4.0, [3])]


class Numbers(PyDataset):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.ends = 0

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return np.full((2, 1), index), np.full(2, index)

    def on_epoch_end(self):
        self.ends += 1


@pytest.mark.parametrize("workers", [1, 3])
def test_py_dataset_order_and_workers(workers):
    import random

    data = Numbers(workers=workers)
    random.seed(2)
    expected = list(range(5))
    random.shuffle(expected)
    random.seed(2)
    source = adapt(data)
    assert [int(x[0, 0]) for (x,), _, _ in source.batches(0, True)] == expected
    assert data.ends == 2  # before the first epoch and after it, as in Keras
    source = adapt(data, purpose="evaluate")
    assert [int(x[0, 0]) for (x,), _, _ in source.batches(0, False)] == [0, 1, 2, 3, 4]


def test_py_dataset_surface():
    assert Sequence is PyDataset
    with pytest.raises(NotImplementedError, match="workers=N"):
        PyDataset(use_multiprocessing=True)
    with pytest.raises(NotImplementedError, match="__getitem__"):
        PyDataset()[0]
    assert len(list(Numbers())) == 5


def test_generators_run_once_and_say_when_they_run_out():
    source = adapt((np.zeros((2, 1)), np.zeros(2)) for _ in range(5))
    assert sum(1 for _ in source.batches(0, True)) == 5
    with pytest.warns(DataWarning, match="ran out of data"):
        assert not list(source.batches(1, True))
    source = adapt(((np.zeros((2, 1)),) for _ in range(5)), steps=3)
    assert sum(1 for _ in source.batches(0, True)) == 3
    with pytest.warns(DataWarning, match="ran out of data"):
        assert sum(1 for _ in source.batches(1, True)) == 2
    with pytest.raises(ValueError, match="got 4 parts"):
        next(adapt(iter([(1, 2, 3, 4)])).batches(0, True))


def test_layers_called_in_a_map_or_by_hand_give_arrays_that_answer_numpy():
    from tlfast.layers import Rescaling

    scale = Rescaling(0.5)
    dataset = Dataset.from_tensor_slices(np.arange(4.0)[:, None]).batch(2).map(scale)
    assert listed(dataset) == [[[0.0], [0.5]], [[1.0], [1.5]]]
    assert scale(np.ones((1, 2)))[0].numpy().tolist() == [0.5, 0.5]
