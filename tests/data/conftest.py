"""Files as users have them, written small."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture
def encode():
    """Pixels [H, W, C] or [H, W] -> the bytes of a PNG, which loses nothing."""

    def to_png(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        return file.getvalue()

    return to_png


@pytest.fixture
def colours():
    """n random RGB images as uint8 [n, size, size, 3]."""

    def draw(n, size=8, seed=0):
        return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)

    return draw


@pytest.fixture
def write_parquet():
    """Write encoded images beside labels as the Hugging Face hub does."""

    def write(path, contents, labels, *, columns=("img", "label"), names=None):
        image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = pa.array([{"bytes": content, "path": None} for content in contents], type=image_type)
        table = pa.table({columns[0]: images, columns[1]: pa.array(labels)})
        if names is not None:
            described = {"info": {"features": {columns[1]: {"names": names, "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=7)
        return path

    return write
