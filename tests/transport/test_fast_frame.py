"""Where a frame ends; tests/transport/test_fast_paths.py compares the parser with Autobahn's."""

from hypothesis import given
from hypothesis import strategies as st

from reverb.testing import frame
from reverb.transport.fast_frame import frame_end


@given(
    st.sampled_from([0, 1, 5, 125, 126, 127, 65_535, 65_536, 70_000]),
    st.integers(0, 15),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 20),
)
def test_the_end_of_a_frame(length, opcode, masked, start, cut):
    data = frame(b"x" * length, opcode=opcode, masked=masked)
    end = frame_end(b"-" * start + data + b"next", start)
    assert end == start + len(data)
    # Its header is enough, and less is not.
    header = len(data) - length
    partial = data[: min(cut, len(data))]
    expected = start + len(data) if cut >= header else None
    assert frame_end(b"-" * start + partial, start) == expected
