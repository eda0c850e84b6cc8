"""Data: files become batches.

`open_data` lists the pictures of a folder, table or array; `read` decodes them once; `Order` says
which ones a step sees and `batch_at` makes the batch. `split` keeps a share for testing.
"""

from selfsight.data.batches import Order, batch_at
from selfsight.data.decode import Header, Unreadable
from selfsight.data.embedded import EMBEDDED
from selfsight.data.opening import open_data
from selfsight.data.pictures import Pictures, Skipped
from selfsight.data.reading import Survey, read, survey
from selfsight.data.source import Parts, Source
from selfsight.data.splitting import split

__all__ = [
    "EMBEDDED",
    "Header",
    "Order",
    "Parts",
    "Pictures",
    "Skipped",
    "Source",
    "Survey",
    "Unreadable",
    "batch_at",
    "open_data",
    "read",
    "split",
    "survey",
]
