"""Pictures: turns picture files into batches.

`open_data` lists the pictures of a folder, table or array; `read` decodes them once.
"""

from selfsight.data.pictures.collection import Pictures
from selfsight.data.pictures.files.decode import Header
from selfsight.data.pictures.forms.embedded import EMBEDDED
from selfsight.data.pictures.forms.opening import FORMS, open_data
from selfsight.data.pictures.forms.tiles import Tiles
from selfsight.data.pictures.forms.torchvision_sets import NAMED
from selfsight.data.pictures.storing import Survey, read, survey
from selfsight.data.pictures.streaming import Streamed
from selfsight.data.samples import Skipped
from selfsight.data.source import Unreadable

__all__ = [
    "EMBEDDED",
    "FORMS",
    "NAMED",
    "Header",
    "Pictures",
    "Skipped",
    "Streamed",
    "Survey",
    "Tiles",
    "Unreadable",
    "open_data",
    "read",
    "survey",
]
