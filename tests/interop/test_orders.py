"""Dense layers on flattened maps, whose features PyTorch holds channels first: outputs agree with PyTorch's."""

import keras
import numpy as np
import pytest
from keras import layers as L

from keras_fracture.errors import WeightsError
from keras_fracture.interop.torch import load_torch_weights, to_torch_state_dict

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class Twin(nn.Module):
    """PyTorch modules by name, and what is done with them."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.act = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs):
        return self.act(self, *inputs)


def lively(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in model.weights])
    return model


def channels_first(array):
    return np.moveaxis(array, -1, 1).copy() if array.ndim == 4 else array


def agree(model, twin, twice=True):
    """Whether both give the same, with the model's weights in the twin, and with the twin's in the model."""
    rng, twin = np.random.default_rng(1), twin.eval()
    inputs = [rng.random((3, *tensor.shape[1:]), dtype="float32") for tensor in model.inputs]

    def outputs():
        ours = model(inputs if len(inputs) > 1 else inputs[0])
        theirs = twin(*[torch.from_numpy(channels_first(array)) for array in inputs])
        return [
            (channels_first(one.numpy()), other.detach().numpy())
            for one, other in zip(
                *(each if isinstance(each, (list, tuple)) else [each] for each in (ours, theirs)), strict=True
            )
        ]

    own = to_torch_state_dict(lively(model))
    twin.load_state_dict(dict(zip(twin.state_dict(), own.values(), strict=True)))
    for one, other in outputs():
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.uniform_(-1, 1)
    names = dict(zip(own, twin.state_dict(), strict=True))
    load_torch_weights(model, twin.state_dict(), names)
    for one, other in outputs():
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def image(channels=3):
    """Of 4 x 4 maps of a convolution, flattened to 48 features."""
    inputs = keras.Input((6, 6, 2))
    return inputs, L.Conv2D(channels, 3)(inputs)


def conv():
    return nn.Conv2d(2, 3, 3)


def test_every_head_behind_one_flatten_is_permuted():
    inputs, maps = image()
    flat = L.Dropout(0.5)(L.Flatten()(maps))
    model = keras.Model(inputs, [L.Dense(1)(flat), L.Dense(4)(flat)])

    def forward(self, x):
        flat = self.c(x).flatten(1)
        return self.a(flat), self.b(flat)

    agree(model, Twin(forward, c=conv(), a=nn.Linear(48, 1), b=nn.Linear(48, 4)))


@pytest.mark.parametrize("shape", [(-1,), (48,)])
def test_a_reshape_to_one_dimension_is_a_flatten(shape):
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), L.Conv2D(3, 3), L.Reshape(shape), L.Dense(2), L.Dense(2)]
    )
    agree(model, nn.Sequential(conv(), nn.Flatten(), nn.Linear(48, 2), nn.Linear(2, 2)))


@pytest.mark.parametrize("norm", [L.LayerNormalization, L.BatchNormalization])
def test_a_normalisation_of_a_flattened_map_is_permuted(norm):
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), L.Conv2D(3, 3), L.Flatten(), norm(epsilon=1e-5), L.Dense(2)]
    )
    other = nn.LayerNorm(48) if norm is L.LayerNormalization else nn.BatchNorm1d(48)
    agree(model, nn.Sequential(conv(), nn.Flatten(), other, nn.Linear(48, 2)))


def test_a_normalisation_before_a_map_is_permuted_and_so_is_what_else_takes_it():
    inputs = keras.Input((5,))
    features = L.LayerNormalization(epsilon=1e-5)(L.Dense(12)(inputs))
    maps = L.Conv2DTranspose(2, 2, strides=2)(L.Reshape((2, 2, 3))(features))
    model = keras.Model(inputs, [maps, L.Dense(4)(features)])

    def forward(self, x):
        features = self.n(self.d(x))
        return self.t(features.reshape(-1, 3, 2, 2)), self.h(features)

    parts = {"d": nn.Linear(5, 12), "n": nn.LayerNorm(12), "t": nn.ConvTranspose2d(3, 2, 2, 2)}
    agree(model, Twin(forward, **parts, h=nn.Linear(12, 4)))


@pytest.mark.parametrize("first", ["image", "age"])
def test_a_flattened_map_beside_other_features_is_permuted_in_its_place(first):
    inputs, maps = image()
    age = keras.Input((2,))
    flat, extra = L.Flatten()(maps), L.Dense(2)(age)
    order = [flat, extra] if first == "image" else [extra, flat]
    model = keras.Model([inputs, age], L.Dense(4)(L.Concatenate()(order)))

    def forward(self, x, age):
        both = self.c(x).flatten(1), self.e(age)
        return self.d(torch.cat(both if first == "image" else both[::-1], 1))

    parts = {"c": conv(), "e": nn.Linear(2, 2), "d": nn.Linear(50, 4)}
    order = [layer.name[0] for layer in model.layers if layer.weights]  # by depth
    names = {"c": "c", "d": "e"} if order[0] == "c" else {"d": "e", "c": "c"}
    agree(model, Twin(forward, **{key: parts[key] for key in [*names.values(), "d"]}))


def test_nested_models_are_followed():
    body = keras.Sequential([keras.Input((6, 6, 2)), L.Conv2D(3, 3), L.Flatten()])
    head = keras.Sequential([keras.Input((48,)), L.ReLU(), L.Dense(2)])
    inputs = keras.Input((6, 6, 2))
    model = keras.Model(inputs, head(body(inputs)))
    agree(model, nn.Sequential(conv(), nn.Flatten(), nn.ReLU(), nn.Linear(48, 2)))


class Plain(keras.Model):
    """Layers by attribute, in an order of definition, called as `act` says."""

    def __init__(self, act, **parts):
        super().__init__()
        self._act = act
        for name, layer in parts.items():
            setattr(self, name, layer)

    def call(self, x):
        return self._act(self, x)


@pytest.mark.parametrize(
    ("act", "parts"),
    [
        (lambda self, x: self.d(self.flat(self.c(x))), {"d": L.Dense, "flat": L.Flatten}),
        (lambda self, x: self.d(keras.ops.reshape(self.c(x), (-1, 48))), {"d": L.Dense}),
    ],
)
def test_other_models_are_followed_as_far_as_shapes_tell(act, parts):
    made = {name: part(4) if part is L.Dense else part() for name, part in parts.items()}
    model = Plain(act, c=L.Conv2D(3, 3), **made)
    inputs = keras.Input((6, 6, 2))
    model(inputs)
    twin = Twin(lambda self, x: self.d(self.c(x).flatten(1)), c=conv(), d=nn.Linear(48, 4))
    agree(keras.Model(inputs, model(inputs)), twin)
    assert list(to_torch_state_dict(model)) == ["c.weight", "c.bias", "d.weight", "d.bias"]


def test_heads_of_another_model_are_permuted():
    def act(self, x):
        flat = self.flat(self.c(x))
        return self.a(flat), self.b(flat)

    model = Plain(act, c=L.Conv2D(3, 3), flat=L.Flatten(), a=L.Dense(1), b=L.Dense(4))
    inputs = keras.Input((6, 6, 2))
    parts = {"c": conv(), "a": nn.Linear(48, 1), "b": nn.Linear(48, 4)}
    twin = Twin(lambda self, x: (self.a(self.c(x).flatten(1)), self.b(self.c(x).flatten(1))), **parts)
    agree(keras.Model(inputs, model(inputs)), twin)


def test_a_layer_that_another_attribute_names_too_is_permuted_once():
    body = keras.Sequential([keras.Input((6, 6, 2)), L.Conv2D(3, 3), L.Flatten(), L.Dense(4)])
    model = Plain(lambda self, x: self.body(x), body=body, head=body.layers[-1])
    inputs = keras.Input((6, 6, 2))
    twin = nn.Sequential(conv(), nn.Flatten(), nn.Linear(48, 4))
    agree(keras.Model(inputs, model(inputs)), twin)


def test_a_pooled_map_of_another_model_is_permuted():
    def act(self, x):
        return self.d(self.flat(self.pool(self.c(x))))

    model = Plain(act, c=L.Conv2D(3, 3), pool=L.MaxPooling2D(), d=L.Dense(4), flat=L.Flatten())
    inputs = keras.Input((6, 6, 2))
    twin = Twin(
        lambda self, x: self.d(self.p(self.c(x)).flatten(1)), c=conv(), p=nn.MaxPool2d(2), d=nn.Linear(12, 4)
    )
    agree(keras.Model(inputs, model(inputs)), twin)


def test_pooled_features_of_a_flattened_maps_width_are_not_permuted():
    def act(self, x):
        return self.d(self.flat(self.c(x))) + self.e(self.pool(self.wide(x)))

    parts = {"c": L.Conv2D(3, 3), "flat": L.Flatten(), "d": L.Dense(4), "wide": L.Conv2D(48, 3)}
    model = Plain(act, **parts, pool=L.GlobalAveragePooling2D(), e=L.Dense(4))
    inputs = keras.Input((6, 6, 2))

    def forward(self, x):
        return self.d(self.c(x).flatten(1)) + self.e(self.wide(x).mean((2, 3)))

    twins = {"c": conv(), "d": nn.Linear(48, 4), "wide": nn.Conv2d(2, 48, 3), "e": nn.Linear(48, 4)}
    agree(keras.Model(inputs, model(inputs)), Twin(forward, **twins))


@pytest.mark.parametrize("before", [True, False])
def test_places_of_pixels_before_or_after_a_convolution_change_no_order(before):
    """Channels stay the last of a map, which all that is behind goes by."""
    moves = [L.Permute((2, 1, 3)), L.Conv2D(3, 3)] if before else [L.Conv2D(3, 3), L.Reshape((16, 1, 3))]
    model = keras.Sequential([keras.Input((6, 6, 2)), *moves, L.Flatten(), L.Dense(4)])

    def forward(self, x):
        return self.d(self.c(x.transpose(2, 3) if before else x).flatten(1))

    agree(model, Twin(forward, c=conv(), d=nn.Linear(48, 4)))


def unknown_concatenation():
    def act(self, x):
        return self.d(self.join([self.flat(self.c(x)), x[:, 0, 0]]))

    return Plain(act, c=L.Conv2D(3, 3), flat=L.Flatten(), join=L.Concatenate(), d=L.Dense(4))


def moved():
    return keras.Sequential([L.Conv2D(3, 3), L.Permute((3, 1, 2)), L.Flatten(), L.Dense(4)])


def moved_by_an_operation():
    inputs, maps = image()
    return keras.Model(inputs, L.Dense(4)(L.Flatten()(keras.ops.moveaxis(maps, -1, 1))))


def several_views():
    return keras.Sequential(
        [keras.Input((2, 6, 6, 2)), L.TimeDistributed(L.Conv2D(3, 3)), L.Flatten(), L.Dense(4)]
    )


def half():
    return keras.Sequential([L.Flatten(), L.Reshape((2, 36)), L.GlobalAveragePooling1D(), L.Dense(4)])


def groups():
    return keras.Sequential([L.Flatten(), L.GroupNormalization(3)])


@pytest.mark.parametrize(
    "make", [unknown_concatenation, moved, moved_by_an_operation, several_views, half, groups]
)
def test_what_cannot_be_known_is_refused(make):
    model = make()
    if not model.built:
        model(np.zeros((1, 6, 6, 2), "float32"))
    with pytest.raises(WeightsError, match=r"cannot be known: build a functional .* Received: \w+") as caught:
        to_torch_state_dict(model)
    assert "\n" not in str(caught.value)


def test_towers_alike_are_not_loaded_by_order():
    views = keras.Input((6, 6, 1)), keras.Input((6, 6, 1))
    towers = [L.Conv2D(3, 3, name=name)(view) for name, view in zip(("ap", "lat"), views, strict=True)]
    first, second = (L.GlobalAveragePooling2D()(tower) for tower in towers)
    model = keras.Model(views, L.Dense(1, name="fc")(L.Concatenate()([second, first])))
    before = model.get_weights()

    def forward(self, ap, lat):
        return self.fc(torch.cat([self.lat(lat).mean((2, 3)), self.ap(ap).mean((2, 3))], 1))

    twin = Twin(forward, ap=nn.Conv2d(1, 3, 3), lat=nn.Conv2d(1, 3, 3), fc=nn.Linear(6, 1))
    with pytest.raises(
        WeightsError, match=r"(ap and lat|lat and ap), which .* pass names. Received: ap.weight"
    ):
        load_torch_weights(model, twin.state_dict())
    np.testing.assert_array_equal(
        np.concatenate([w.ravel() for w in model.get_weights()]), np.concatenate([w.ravel() for w in before])
    )
    own = {str(number): layer.name for number, layer in enumerate(model.layers) if layer.weights}
    load_torch_weights(model, twin.state_dict(), own)
    x = np.random.default_rng(0).random((2, 3, 6, 6, 1), dtype="float32")
    theirs = twin(*(torch.from_numpy(channels_first(view)) for view in x)).detach().numpy()
    np.testing.assert_allclose(model(list(x)), theirs, atol=1e-5)


def test_layers_alike_of_a_chain_and_of_another_shape_beside_it_are_loaded_by_order():
    inputs = keras.Input((6, 6, 3))
    maps = L.Conv2D(3, 1)(L.Conv2D(3, 1)(inputs))
    features = L.GlobalAveragePooling2D()(L.Add()([maps, inputs]))
    model = keras.Model(inputs, [L.Dense(1)(features), L.Dense(4)(features)])
    parts = {"a": nn.Conv2d(3, 3, 1), "b": nn.Conv2d(3, 3, 1), "c": nn.Linear(3, 1), "d": nn.Linear(3, 4)}
    twin = Twin(None, **parts)
    load_torch_weights(model, twin.state_dict())
    kernels = [layer.kernel.numpy()[0, 0].T for layer in model.layers if isinstance(layer, L.Conv2D)]
    np.testing.assert_array_equal(
        kernels, [twin.a.weight.detach()[..., 0, 0], twin.b.weight.detach()[..., 0, 0]]
    )
