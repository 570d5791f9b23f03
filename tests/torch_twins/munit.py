"""A generator of one domain as UNIT's and MUNIT's authors name its parts; built from their description."""

from torch import nn

from tests.torch_twins.unit import SampleNorm


class Named(SampleNorm):
    """`SampleNorm` under their names for the gain and the shift."""

    def __init__(self, width):
        super().__init__(width)
        self.gamma, self.beta = self.weight, self.bias
        del self.weight, self.bias

    @property
    def weight(self):
        return self.gamma

    @property
    def bias(self):
        return self.beta


class Block(nn.Module):
    """Mirrored border, convolution, normalisation, activation; registered in another order."""

    def __init__(self, inner, outer, size, stride, padding, norm="in", activation="relu", tracked=False):
        super().__init__()
        self.pad = nn.ReflectionPad2d(padding)
        self.norm = {"in": nn.InstanceNorm2d(outer, track_running_stats=tracked), "none": None}.get(norm)
        if norm == "ln":
            self.norm = Named(outer)
        self.activation = {"relu": nn.ReLU(), "tanh": nn.Tanh(), "none": None}[activation]
        self.conv = nn.Conv2d(inner, outer, size, stride)

    def forward(self, x):
        x = self.conv(self.pad(x))
        for part in (self.norm, self.activation):
            x = x if part is None else part(x)
        return x


class Listed(nn.Module):
    """A Sequential called `model`."""

    def __init__(self, *parts):
        super().__init__()
        self.model = nn.Sequential(*parts)

    def forward(self, x):
        return self.model(x)


class Residual(Listed):
    def forward(self, x):
        return x + self.model(x)


def _residuals(width, tracked):
    def convolution(activation):
        return Block(width, width, 3, 1, 1, "in", activation, tracked)

    return Listed(*(Residual(convolution("relu"), convolution("none")) for _ in range(4)))


class Generator(nn.Module):
    def __init__(self, channels=3, width=64, tracked=False):
        super().__init__()
        self.enc = Listed(
            Block(channels, width, 7, 1, 3, tracked=tracked),
            Block(width, 2 * width, 4, 2, 1, tracked=tracked),
            Block(2 * width, 4 * width, 4, 2, 1, tracked=tracked),
            _residuals(4 * width, tracked),
        )
        self.dec = Listed(
            _residuals(4 * width, tracked),
            nn.Upsample(scale_factor=2),
            Block(4 * width, 2 * width, 5, 1, 2, "ln"),
            nn.Upsample(scale_factor=2),
            Block(2 * width, width, 5, 1, 2, "ln"),
            Block(width, channels, 7, 1, 3, "none", "tanh"),
        )
