"""The rules of phpdotenv for the value of a variable."""

import pytest

from reverb.dotenv import VariableError, read_variable

OTHERS = {"B": '"b c"', "EMPTY": "", "LOOP": "${LOOP2}", "LOOP2": "x${LOOP}", "BAD": '"'}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("abc", "abc"),
        ("  abc\r\n", "abc"),
        ("a b", "a b"),
        ("a\"b'c", "a\"b'c"),
        ("a\\b$c", "a\\b$c"),
        ('"abc"', "abc"),
        ("'abc'", "abc"),
        ('" a "', " a "),
        ('"a\'b"', "a'b"),
        ("'a\"b\\n'", 'a"b\\n'),
        (r'"a\"\\\$\n\t\r\f\v"', 'a"\\$\n\t\r\f\v'),
        # Comments
        ("abc # comment", "abc"),
        ("abc\t#comment # more", "abc"),
        ("# comment", ""),
        ("#", ""),
        ('"a # b" # comment', "a # b"),
        ("'a#b'#comment", "a#b"),
        # References
        ("${B}", "b c"),
        ("x${B}y${B}", "xb cyb c"),
        ('"x${B}"', "xb c"),
        ('"\\${B}"', "${B}"),
        ("'${B}'", "${B}"),
        ("a${EMPTY}", "a"),
        ("$B $(B)", "$B $(B)"),
        # Unset
        ("", ""),
        ("null", ""),
        ("(NULL)", ""),
        ("'empty'", ""),
        ('" "', ""),
        ("${EMPTY}", ""),
    ],
)
def test_values(text, value):
    assert read_variable(OTHERS | {"A": text}, "A") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"abc', 'begins with a quote ("), but does not end with one'),
        ('"', 'begins with a quote ("), but does not end with one'),
        ("'abc", "begins with a quote ('), but does not end with one"),
        ('"abc" def', 'begins with a quote ("), but does not end with one'),
        ('"abc\\"', 'begins with a quote ("), but does not end with one'),
        ("'a'b'", "begins with a quote ('), but does not end with one"),
        (r'"a\x"', "has a backslash in double quotes that does not belong to one of"),
        ("abc#def", "has a # without a space before it"),
        ("#abc", "has a # without a space before it"),
        ("${C}", "refers to ${C}, which is not set"),
        ('"${C}"', "refers to ${C}, which is not set"),
        ("${B", "contains ${ without a variable's name and }"),
        ("${B:-x}", "contains ${ without a variable's name and }"),
        ("${}", "contains ${ without a variable's name and }"),
        ("${A}", "refers to ${A}, which refers to it in turn"),
        ("${LOOP}", "refers to ${LOOP}, which refers to it in turn"),
        ("${BAD}", 'begins with a quote ("), but does not end with one'),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_errors(text, problem):
    with pytest.raises(VariableError) as caught:
        read_variable(OTHERS | {"A": text}, "A")

    message = str(caught.value)
    assert message.startswith(f"A: {problem}")
    assert "abc" not in message


def test_a_variable_that_is_not_set_is_empty():
    assert read_variable({}, "A") == ""
