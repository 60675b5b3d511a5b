"""How large things are that a label names, as far as anything is known of them. Pure.

Bounds are wide: half of the smallest and twice the largest that one meets, so that a child's chair, a stretched car or
a box around a rider with the bicycle stays within. What is at fault beyond is a unit, a factor or another thing's box.

Vehicles, people and cones: around the mean boxes of nuScenes as OpenPCDet anchors them (tools/cfgs/nuscenes_models/
cbgs_second_multihead.yaml; car 4.63 x 1.97 x 1.74 m, truck 6.93 x 2.51 x 2.84, bus 10.5 x 2.94 x 3.47, motorcycle 2.11
x 0.77 x 1.47, bicycle 1.70 x 0.60 x 1.28, pedestrian 0.73 x 0.67 x 1.77, traffic cone 0.41 x 0.41 x 1.07). Furniture
and bottles: around those of SUN RGB-D as VoteNet and its heirs carry them (sunrgbd/model_util_sunrgbd.py; bed 2.11 x
1.62 x 0.93 m, table 0.79 x 1.28 x 0.72, sofa 0.92 x 1.87 x 0.85, chair 0.59 x 0.55 x 0.83, toilet 0.70 x 0.45 x 0.76,
desk 0.70 x 1.35 x 0.74, dresser 0.53 x 1.00 x 1.17, nightstand 0.50 x 0.63 x 0.68, bookshelf 0.40 x 1.07 x 1.69,
bathtub 0.77 x 1.40 x 0.47, bottle 0.07 x 0.07 x 0.13). What neither has (trams, doors, fridges, screens, laptops,
cribs), and how far the smallest and largest lie from the means, was set by common knowledge, and wide for that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class SizeRange:
    """Least and most in metres: of the height, of the longer and of the shorter side of the ground."""

    height: tuple[float, float]
    length: tuple[float, float]
    width: tuple[float, float]

    def has(self, size_m: tuple[float, float, float]) -> bool:
        """size_m: along the own x, y, z axes of a thing, of which y is its height."""
        across, height, along = size_m
        sides = (height, max(across, along), min(across, along))
        bounds = (self.height, self.length, self.width)
        return all(least <= side <= most for side, (least, most) in zip(sides, bounds, strict=True))


_CAR = SizeRange((0.8, 2.8), (2.0, 7.5), (1.0, 3.0))
_TABLE = SizeRange((0.15, 1.7), (0.25, 10.0), (0.15, 5.0))
_CABINET = SizeRange((0.15, 4.0), (0.2, 12.0), (0.08, 2.0))
_SEAT = SizeRange((0.3, 2.2), (0.25, 2.2), (0.2, 1.8))
_SOFA = SizeRange((0.3, 2.0), (0.6, 8.0), (0.4, 5.0))
_PERSON = SizeRange((0.1, 2.7), (0.15, 2.7), (0.08, 2.2))
_TWO_WHEELS = SizeRange((0.4, 2.6), (0.6, 3.5), (0.15, 1.8))
_TRUCK = SizeRange((1.1, 5.0), (2.8, 30.0), (1.2, 4.0))
_BUS = SizeRange((1.7, 5.0), (4.0, 30.0), (1.4, 3.6))
_SIZES: tuple[tuple[tuple[str, ...], SizeRange], ...] = (
    (("car", "sedan", "suv", "taxi", "hatchback", "jeep", "汽车", "轿车", "小车", "出租车"), _CAR),
    (("van", "minivan", "面包车"), SizeRange((1.1, 4.2), (2.4, 10.0), (1.1, 3.2))),
    (("truck", "lorry", "卡车", "货车"), _TRUCK),
    (("bus", "coach", "公交车", "巴士"), _BUS),
    (("tram", "streetcar", "电车"), SizeRange((2.0, 6.0), (5.0, 90.0), (1.5, 4.0))),
    (("motorcycle", "motorbike", "scooter", "moped", "bicycle", "bike", "cyclist", "摩托车", "自行车"), _TWO_WHEELS),
    (("person", "pedestrian", "man", "woman", "child", "boy", "girl", "行人", "男人", "女人"), _PERSON),
    (("chair", "armchair", "stool", "椅", "椅子", "凳子"), _SEAT),
    (("bench",), SizeRange((0.15, 1.8), (0.4, 8.0), (0.15, 2.0))),
    (("sofa", "couch", "沙发"), _SOFA),
    (("table", "desk", "桌", "桌子", "茶几"), _TABLE),
    (("bed", "床"), SizeRange((0.15, 3.0), (0.7, 4.5), (0.4, 4.0))),
    (("crib",), SizeRange((0.3, 2.5), (0.5, 2.4), (0.25, 1.6))),
    (("cabinet", "cupboard", "wardrobe", "dresser", "nightstand", "bookshelf", "bookcase", "柜", "柜子"), _CABINET),
    (("fridge", "refrigerator", "冰箱"), SizeRange((0.3, 2.8), (0.3, 2.4), (0.3, 1.5))),
    (("toilet", "马桶"), SizeRange((0.2, 1.6), (0.25, 1.3), (0.2, 1.1))),
    (("bathtub", "浴缸"), SizeRange((0.15, 1.5), (0.6, 4.0), (0.3, 2.5))),
    (("door", "门"), SizeRange((0.9, 6.0), (0.3, 8.0), (0.005, 1.2))),
    (("monitor", "television", "tv", "显示器", "电视"), SizeRange((0.05, 2.2), (0.08, 4.0), (0.003, 1.0))),
    (("laptop", "笔记本电脑"), SizeRange((0.003, 0.6), (0.12, 0.7), (0.01, 0.6))),
    (("bottle", "cup", "mug", "瓶子", "杯子"), SizeRange((0.01, 1.2), (0.01, 1.2), (0.01, 0.6))),
    (("cone",), SizeRange((0.1, 2.2), (0.05, 1.4), (0.05, 1.4))),
)
_BY_WORD = {word: size for words, size in _SIZES for word in words}
_CHINESE = sorted((word for word in _BY_WORD if not word.isascii()), key=len, reverse=True)
_MODELS = frozenset(
    ["toy", "toys", "model", "miniature", "mini", "figurine", "poster", "picture", "painting", "drawing"]
)
"""Words of things that only show another."""
_MODELS_ZH = ("玩具", "模型", "图片", "海报")


def size_of(label: str | None) -> SizeRange | None:
    """By the end of the label ("black chair 2"); None for what we do not know, and for toys and pictures of it."""
    label = (label or "").casefold()
    words = re.findall(r"[^\W\d_]+", label)
    if not words or _MODELS & set(words) or any(word in label for word in _MODELS_ZH):
        return None
    last = words[-1]
    for word in (last, last.removesuffix("s")):
        if word in _BY_WORD:
            return _BY_WORD[word]
    return next((_BY_WORD[word] for word in _CHINESE if last.endswith(word)), None)
