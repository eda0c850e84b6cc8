"""Data: files become batches.

`open_data` lists the pictures of a folder, table or array; `read` decodes them once; `Order` says
which ones a step sees and `batch_at` makes the batch. `split` keeps a share for testing.
"""

from selfsight.data.batches import Ahead, Order, batch_at
from selfsight.data.decode import Header, Unreadable
from selfsight.data.embedded import EMBEDDED
from selfsight.data.named import NAMED
from selfsight.data.opening import FORMS, open_data
from selfsight.data.pictures import Pictures, Skipped
from selfsight.data.reading import Survey, read, survey
from selfsight.data.source import Parts, Source
from selfsight.data.splitting import split
from selfsight.data.streaming import Streamed
from selfsight.data.tiles import Tiles

__all__ = [
    "EMBEDDED",
    "FORMS",
    "NAMED",
    "Ahead",
    "Header",
    "Order",
    "Parts",
    "Pictures",
    "Skipped",
    "Source",
    "Streamed",
    "Survey",
    "Tiles",
    "Unreadable",
    "batch_at",
    "open_data",
    "read",
    "split",
    "survey",
]
