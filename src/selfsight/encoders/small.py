"""small."""

RECIPE = (
    "resnet18",
    {"layers": (1, 1, 1, 1), "channels": (64, 96, 160, 224), "stem_type": "deep", "stem_width": 16},
)
