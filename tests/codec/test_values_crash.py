"""What is kept of a crash, whatever it is that was raised."""

from __future__ import annotations

import pytest

from m25._crash import describe_crash, type_name


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")


class Recursing(Exception):
    def __str__(self):
        return str(self)


class Outer:
    class Inner(Exception):
        pass


def crash_of(error):
    with pytest.raises(type(error)) as caught:
        raise error
    return describe_crash(caught.value)


def test_a_crash_is_its_type_message_and_traceback():
    crash = crash_of(ValueError("bad"))
    assert crash.type == "ValueError"
    assert crash.message == "bad"
    assert crash.traceback is not None
    assert crash.traceback.endswith("ValueError: bad\n")


def test_a_type_is_named_with_its_module_unless_it_is_a_builtin():
    assert type_name(Outer.Inner) == f"{__name__}.Outer.Inner"
    assert type_name(KeyError) == "KeyError"


@pytest.mark.parametrize("error", [Unprintable(), Recursing()], ids=["raises", "recurses"])
def test_what_cannot_be_printed_is_described_all_the_same(error):
    crash = crash_of(error)
    assert crash.message.startswith("<str() of it raised")
    assert crash.traceback


def test_a_cause_and_a_group_are_in_the_traceback():
    group = ExceptionGroup("two", [ValueError("first"), KeyError("second")])
    group.__cause__ = OSError("the cause")
    trace = crash_of(group).traceback
    assert trace is not None
    for part in ("first", "second", "the cause"):
        assert part in trace


def test_what_postgresql_cannot_hold_is_escaped():
    crash = crash_of(ValueError("a\0b\ud800"))
    assert crash.message == "a\\x00b\\ud800"
    for text in crash:
        assert text is not None
        assert "\0" not in text
        text.encode()


def test_a_long_message_and_a_long_traceback_are_cut_where_they_say_least():
    crash = crash_of(ValueError("begin" + "x" * 100_000 + "end"))
    assert len(crash.message) <= 10_100
    assert crash.message.startswith("begin")
    assert crash.traceback is not None
    assert len(crash.traceback) <= 50_100
    assert crash.traceback.endswith("end\n")


def test_what_is_cut_is_within_its_limit_after_it_is_escaped():
    crash = crash_of(ValueError("\0" * 100_000))
    assert len(crash.message) <= 10_100


def test_an_error_that_was_never_raised_has_no_frames():
    assert describe_crash(ValueError("bad")).traceback == "ValueError: bad\n"


def test_an_exception_that_is_no_exception_class_is_described():
    assert describe_crash(SystemExit(3)).type == "SystemExit"
    assert describe_crash(GeneratorExit()).message == ""
