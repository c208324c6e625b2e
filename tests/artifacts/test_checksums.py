"""Checksums: no bit of a file, and no other name, goes unnoticed, in every format that carries one."""

import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load, save

from flowerti.artifacts.checksums import BLANK, FIELD, contradiction_in, problem_of, stated, with_checksum


def parquet() -> bytes:
    stream = io.BytesIO()
    table = pa.table({"x": [1, 2, 3]})
    with pq.ParquetWriter(stream, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({FIELD: BLANK})
    return stream.getvalue()


CONTENTS = {
    "a/b.json": b'{"key": "k", "x": [1.5, 2], "checksum": "%s"}\n' % BLANK.encode(),
    "a/b.safetensors": save({"x": np.arange(4, dtype=np.float32)}, {FIELD: BLANK}),
    "a/b.parquet": parquet(),
}
NAMES = list(CONTENTS)


@pytest.mark.parametrize("name", NAMES)
def test_no_flipped_bit_goes_unnoticed(name: str):
    content = with_checksum(name, CONTENTS[name])
    assert problem_of(name, content) == ""
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            assert problem_of(name, bytes(changed)), (place, bit)


@pytest.mark.parametrize("name", NAMES)
def test_no_length_but_its_own_and_no_other_name_passes(name: str):
    content = with_checksum(name, CONTENTS[name])
    assert all(problem_of(name, content[:length]) for length in range(len(content)))
    assert problem_of(name, content + b"\n")
    assert problem_of(name.replace("b", "c"), content) == "its content was changed, or is that of another file"


def test_it_is_the_hash_of_name_and_of_the_content_without_it():
    name, content = NAMES[0], CONTENTS[NAMES[0]]
    assert stated(with_checksum(name, content)) == hashlib.sha256(b"8:a/b.json:" + content).hexdigest()


def test_other_programs_read_the_files_as_before():
    tensors = load(with_checksum(NAMES[1], CONTENTS[NAMES[1]]))
    np.testing.assert_array_equal(tensors["x"], np.arange(4))
    assert pq.read_table(io.BytesIO(with_checksum(NAMES[2], CONTENTS[NAMES[2]])))["x"].to_pylist() == [1, 2, 3]


def test_a_text_that_looks_like_a_blank_is_content():
    name, content = "x.json", b'{"prompt": "%s", "checksum": "%s"}' % (BLANK.encode(), BLANK.encode())
    written = with_checksum(name, content)
    assert written.startswith(b'{"prompt": "%s"' % BLANK.encode())
    assert problem_of(name, written) == ""
    assert problem_of(name, written.replace(b"prompt", b"Prompt"))


def test_what_states_none_is_a_problem_only_to_who_builds_upon_it():
    assert problem_of("x", b"{}") == "it is cut off, or has no checksum, as files of earlier versions"
    assert contradiction_in("x", b"{}") == ""
    assert contradiction_in("x", with_checksum("y", BLANK.encode())) != ""
    with pytest.raises(ValueError, match="x has no place for a checksum"):
        with_checksum("x", b"{}")
