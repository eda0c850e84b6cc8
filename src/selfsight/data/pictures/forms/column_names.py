"""Column names: the usual names of a table's columns of pictures, classes and parts."""

import re
from collections.abc import Sequence

# In lower case, with _ between words, the likeliest first.
PATHS = (
    "path", "file_path", "filepath", "image_path", "img_path", "filename", "file_name", "file",
    "image_filename", "image_file", "image_name", "image", "img", "image_id", "img_id", "imageid",
    "picture", "id",
)  # fmt: skip
LABELS = (
    "label", "class", "target", "category", "class_name", "label_name", "category_name",
    "class_id", "label_id", "category_id", "classname", "labels", "fine_label",
)  # fmt: skip
SPLITS = ("split",)


def plain(name: str) -> str:
    """Write a column's name in the form used above: "File Name" -> "file_name"."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def first_of(among: Sequence[str], names: Sequence[str]) -> str | None:
    """Find the likeliest of the names `among` in a table's `names`, however they are written.

    >>> first_of(LABELS, ["id", "Category", "Class"])
    'Class'
    """
    written = {plain(name): name for name in reversed(names)}
    return next((written[name] for name in among if name in written), None)
