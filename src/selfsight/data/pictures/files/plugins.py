"""Plugins: formats that Pillow reads only with a further package installed.

They are chosen by the file's first bytes, like the formats of `decode`, and called by name.
"""

from functools import cache
from importlib import import_module
from typing import NamedTuple, cast

from PIL import ImageFile


class Plugin(NamedTuple):
    """A format that needs a package.

    Attributes:
        suffixes: Suffixes of its files.
        module: The module with Pillow's class for it.
        opener: Name of that class.
        remedy: What to do if the package is missing.
    """

    suffixes: tuple[str, ...]
    module: str
    opener: str
    remedy: str


AVIF = Plugin(
    (".avif", ".avifs"),
    "PIL.AvifImagePlugin",
    "AvifImageFile",
    "pip install --upgrade pillow",
)
HEIF = Plugin((".heic", ".heif", ".hif"), "pillow_heif", "HeifImageFile", "pip install pillow-heif")
JXL = Plugin(
    (".jxl",), "pillow_jxl.JpegXLImagePlugin", "JXLImageFile", "pip install pillow-jxl-plugin"
)
PLUGINS = (AVIF, HEIF, JXL)
BRANDS = {  # in the `ftyp` box at the start of AVIF and HEIF files; the first match decides
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), HEIF),
}
JXL_STARTS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
START_BYTES = 40  # of a file, which hold the brands


@cache
def opener_of(plugin: Plugin) -> type[ImageFile.ImageFile] | None:
    """Load Pillow's class for a format; None if it is not installed."""
    try:
        module = import_module(plugin.module)
    except ImportError:
        return None
    if not getattr(module, "SUPPORTED", True):  # Pillow was built without the library
        return None
    return cast("type[ImageFile.ImageFile] | None", getattr(module, plugin.opener, None))


def plugin_of_suffix(suffix: str) -> Plugin | None:
    """Find the format of files with this suffix, in lower case."""
    return next((plugin for plugin in PLUGINS if suffix in plugin.suffixes), None)


def plugin_of_start(start: bytes) -> Plugin | None:
    """Find the format of a file by its first `START_BYTES` bytes."""
    if start.startswith(JXL_STARTS):
        return JXL
    if start[4:8] != b"ftyp":
        return None
    length = int.from_bytes(start[:4], "big")
    brands = {start[k : k + 4] for k in range(8, min(length, len(start)), 4)}
    return next((plugin for brand, plugin in BRANDS.items() if brand in brands), None)
