"""Suffixes: which file names belong to pictures, and which to pictures that cannot be read."""

from pathlib import PurePosixPath

from selfsight.data.pictures.files.plugins import opener_of, plugin_of_suffix

# Suffixes of the formats that `decode` reads.
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo",
    ".png", ".apng", ".bmp", ".gif", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
# Suffixes of formats that are not read: drawings, raw photographs, scans, slides and volumes.
UNREAD = {
    ".svg", ".eps", ".ai", ".psd", ".xcf", ".kra", ".ico", ".icns", ".tga", ".dib", ".pcx", ".sgi",
    ".dds", ".jp2", ".j2k", ".jpx", ".jxr", ".pfm", ".exr", ".hdr", ".qoi", ".fits", ".fit",
    ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw",
    ".x3f", ".dcm", ".dicom", ".nii", ".mha", ".nrrd", ".mrc",
    ".svs", ".ndpi", ".scn", ".mrxs", ".czi", ".lif", ".nd2", ".vsi",
}  # fmt: skip


def suffix_of(name: str) -> str:
    """Give a file name's suffix in lower case: "Scan.nii.gz" -> ".nii"; "" for none."""
    return PurePosixPath(name.lower().removesuffix(".gz")).suffix


def is_picture_name(name: str) -> bool:
    """Tell by its suffix whether a file that is not hidden should be a readable picture."""
    return not name.startswith(".") and has_read_suffix(name)


def has_read_suffix(name: str) -> bool:
    """Tell whether a name, hidden or not, has the suffix of pictures that can be read here."""
    lower = name.lower()
    if lower.endswith(SUFFIXES):
        return True
    plugin = plugin_of_suffix(PurePosixPath(lower).suffix)
    return plugin is not None and opener_of(plugin) is not None


def unread_suffix(name: str) -> str:
    """Give the suffix of a name whose picture cannot be read here; "" for any other file."""
    suffix = suffix_of(name)
    if suffix in UNREAD:
        return suffix
    plugin = plugin_of_suffix(suffix)
    return suffix if plugin is not None and opener_of(plugin) is None else ""


def remedy_for(suffix: str) -> str:
    """Say how pictures with an unread suffix can be made readable."""
    plugin = plugin_of_suffix(suffix)
    return plugin.remedy if plugin else "save them as .png or .tif"
