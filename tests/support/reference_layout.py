"""The reference code's networks as lists of variables, written down from its classes.

Independent of the reader under test: layers are listed in the order its constructors
make them, each with its attribute path, its Keras name (which counts layers of a class
in that order) and its shape. ``tests/golden/resnet_variables.json.gz`` confirms names,
shapes and counts; the variable lists of two real checkpoints confirm paths.
"""

from collections import Counter
from typing import NamedTuple

import tensorflow as tf

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
PARTS = {
    "kernel": "kernel",
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}


class Row(NamedTuple):
    path: str  # below "model"
    name: str
    shape: tuple


class Layout:
    """Rows of one network; ``rows`` is in the order of construction."""

    def __init__(self, depth, *, width=1, sk=0.0, se=0.0, cifar=False):
        self.rows, self.counts = [], Counter()
        self.sk, self.se = sk, se
        self.bottleneck = depth >= 50
        self.channels = 3
        self.stem(int(64 * width), cifar)
        for group, count in enumerate(BLOCKS[depth]):
            for block in range(count):
                self.block(group, block, int(64 * 2**group * width))

    def unique(self, base):
        self.counts[base] += 1
        return base if self.counts[base] == 1 else f"{base}_{self.counts[base] - 1}"

    def add(self, path, scope, **shapes):
        for part, shape in shapes.items():
            part = PARTS[part]
            self.rows.append(Row(f"{path}/{part}", f"{scope}/{part}:0", shape))

    def conv(self, path, scope, kernel, out, *, inputs=None):
        """A convolution within the reference's padding layer; returns its width."""
        scope += f"/{self.unique('conv2d_fixed_padding')}/{self.unique('conv2d')}"
        shape = (kernel, kernel, inputs or self.channels, out)
        self.add(f"{path}/conv2d", scope, kernel=shape)

    def bare_conv(self, path, scope, inputs, out, *, bias=False):
        shapes = {"kernel": (1, 1, inputs, out)} | ({"bias": (out,)} if bias else {})
        self.add(path, f"{scope}/{self.unique('conv2d')}", **shapes)

    def bn(self, path, scope, size, *, center=True):
        scope += "/" + self.unique("batch_norm_relu")
        scope += "/" + self.unique("sync_batch_normalization")
        names = ["gamma", "beta", "mean", "variance"]
        names = names if center else [n for n in names if n != "beta"]
        self.add(f"{path}/bn", scope, **dict.fromkeys(names, (size,)))

    def stem(self, out, cifar):
        path = "resnet_model/initial_conv_relu_max_pool"
        convs = [(3 if cifar else 7, out)]
        if self.sk and not cifar:
            convs = [(3, out // 2), (3, out // 2), (3, out)]
        for number, (kernel, size) in enumerate(convs):
            last = number == len(convs) - 1  # an identity layer follows the last one
            self.conv(f"{path}/{2 * number}", "resnet", kernel, size)
            self.bn(f"{path}/{2 * number + 1 + last}", "resnet", size)
            self.channels = size

    def block(self, group, block, filters):
        path = f"resnet_model/block_groups/{group}/layers/{block}"
        kind = "bottleneck_block" if self.bottleneck else "residual_block"
        scope = f"resnet/block_group{group + 1}/{self.unique(kind)}"
        out = 4 * filters if self.bottleneck else filters
        if block == 0:
            shortcut = "projection_layers" if self.bottleneck else "shortcut_layers"
            before = (2 if group else 1) if self.sk else 0  # padding, pooling
            self.conv(f"{path}/{shortcut}/{before}", scope, 1, out)
            self.bn(f"{path}/{shortcut}/{before + 1}", scope, out)
        if self.bottleneck:
            self.bottleneck_path(f"{path}/conv_relu_dropblock_layers", scope, filters)
        else:
            self.basic_path(path, scope, filters)
        self.channels = out

    def basic_path(self, path, scope, filters):
        layers = f"{path}/conv2d_bn_layers"
        self.conv(f"{layers}/0", scope, 3, filters)
        self.bn(f"{layers}/1", scope, filters)
        self.conv(f"{layers}/2", scope, 3, filters, inputs=filters)
        self.bn(f"{layers}/3", scope, filters)
        if self.se:
            self.squeeze(f"{path}/se_layer", scope, filters, filters)

    def bottleneck_path(self, path, scope, filters):
        self.conv(f"{path}/0", scope, 1, filters)
        self.bn(f"{path}/1", scope, filters)
        if self.sk:
            self.selective_kernel(f"{path}/3", scope, filters)
        else:
            self.conv(f"{path}/3", scope, 3, filters, inputs=filters)
            self.bn(f"{path}/4", scope, filters)
        after = 5 if self.sk else 6
        self.conv(f"{path}/{after}", scope, 1, 4 * filters, inputs=filters)
        self.bn(f"{path}/{after + 1}", scope, 4 * filters)
        if self.se:
            self.squeeze(f"{path}/{after + 3}", scope, filters, 4 * filters)

    def selective_kernel(self, path, scope, filters):
        scope += "/" + self.unique("sk__conv2d")
        middle = max(int(filters * self.sk), 32)
        inner = f"{path}/conv2d_fixed_padding"
        self.conv(inner, scope, 3, 2 * filters, inputs=filters)
        self.bn(f"{path}/batch_norm_relu", scope, 2 * filters)
        self.bare_conv(f"{path}/conv2d_0", scope, filters, middle)
        self.bn(f"{path}/batch_norm_relu_1", scope, middle)
        self.bare_conv(f"{path}/conv2d_1", scope, middle, 2 * filters)

    def squeeze(self, path, scope, filters, out):
        scope += "/" + self.unique("se__layer")
        middle = max(1, int(filters * self.se))
        self.bare_conv(f"{path}/se_reduce", scope, out, middle, bias=True)
        self.bare_conv(f"{path}/se_expand", scope, middle, out, bias=True)

    def heads(self, *, layers=3, out=128, classes=None, reads=None):
        """Add the projection head and the classifier; returns self."""
        width = self.channels
        for number in range(layers):
            last = number == layers - 1
            size = out if last else width
            path = f"_projection_head/linear_layers/{number}"
            scope = f"projection_head/{'l' if layers == 1 else 'nl'}_{number}"
            dense = f"{scope}/{self.unique('dense')}"
            self.add(f"{path}/dense", dense, kernel=(width, size))
            self.bn(f"{path}/bn_relu", scope, size, center=not last)
        if classes:
            scope = f"head_supervised/linear_layer/{self.unique('dense')}"
            path = "supervised_head/linear_layer/dense"
            shape = (reads or width, classes)
            self.add(path, scope, kernel=shape, bias=(classes,))
        return self


def objects(rows, values):
    """The reference's objects around variables; ``values``: name -> array."""
    tree = {}
    for row in rows:
        *above, last = row.path.split("/")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        name = row.name.removesuffix(":0")
        place[last] = tf.Variable(values[row.name], name=name)
    tree.setdefault("_projection_head", {"linear_layers": {}})
    return _object(tree)


def _object(tree):
    if not isinstance(tree, dict):
        return tree
    if tree and all(name.isdigit() for name in tree):
        items = {int(name): _object(inner) for name, inner in tree.items()}
        # Padding, pooling and identity layers stand between, without variables.
        return [items.get(i) or tf.Module() for i in range(max(items) + 1)]
    module = tf.Module()
    for name, inner in tree.items():
        setattr(module, name, _object(inner))
    return module
