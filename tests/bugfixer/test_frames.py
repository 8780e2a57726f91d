"""Frames of ten notations, innermost first, and the one that is the reporter's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bugfixer.frames import MAX_FRAMES, NOTATIONS, read_frames, top_frame
from tests.bugfixer.builders import PYTHON_STACK

# language -> (trace, number of frames, function, file, line of the top own frame)
TRACES = {
    "python": (PYTHON_STACK, 3, "pay", "/app/shop/checkout.py", 212),
    "v8": (
        (
            "TypeError: Cannot read properties of undefined\n"
            "    at Array.map (<anonymous>)\n"
            "    at Object.load (/srv/node_modules/orm/index.js:3:9)\n"
            "    at async Summary.render (http://localhost:3003/js/Summary.jsx:63:14)\n"
            "    at Module._compile (node:internal/modules/cjs/loader:1105:14)\n"
            "    at /srv/src/server.js:10:3"
        ),
        5,
        "Summary.render",
        "http://localhost:3003/js/Summary.jsx",
        63,
    ),
    "spidermonkey": (
        (
            "render@http://localhost:3003/js/a.js:63:14\n"
            "@http://localhost:3003/js/b.js:1:2\n"
            "go@webpack-internal:///./src/x.vue:3:4"
        ),
        3,
        "render",
        "http://localhost:3003/js/a.js",
        63,
    ),
    "java": (
        (
            "java.lang.NullPointerException: x\n"
            "\tat java.base/java.util.Objects.requireNonNull(Objects.java:233)\n"
            "\tat com.shop.Checkout.pay(Checkout.kt:42)\n"
            "\tat com.shop.Main.main(Main.java:3)\n"
            "\t... 12 more"
        ),
        3,
        "com.shop.Checkout.pay",
        "Checkout.kt",
        42,
    ),
    "dotnet": (
        "System.NullReferenceException: Der Objektverweis ...\n"
        "   bei System.Linq.Enumerable.First[T](IEnumerable`1 source)\n"
        "   bei Shop.Checkout.Pay(Cart cart) in C:\\src\\Checkout.cs:Zeile 42.".rstrip(
            "."
        ),
        2,
        "Shop.Checkout.Pay(Cart cart)",
        "C:\\src\\Checkout.cs",
        42,
    ),
    "go": (
        (
            "panic: runtime error: index out of range [3] with length 3\n\n"
            "goroutine 1 [running]:\n"
            "github.com/shop.(*Server).Handle(0xc000012345, {0x1, 0x2})\n"
            "\t/app/server.go:42 +0x1d\n"
            "net/http.HandlerFunc.ServeHTTP(...)\n"
            "\t/usr/local/go/src/net/http/server.go:2136 +0x29"
        ),
        2,
        "github.com/shop.(*Server).Handle",
        "/app/server.go",
        42,
    ),
    "php": (
        (
            "PHP Fatal error:  Uncaught Exception: x in /app/pay.php:3\nStack trace:\n"
            "#0 /app/vendor/pay/src/Client.php(7): Pay\\Client->send()\n"
            "#1 /app/shop/Checkout.php(42): Shop\\Checkout->pay('x')\n"
            "#2 {main}"
        ),
        2,
        "Shop\\Checkout->pay",
        "/app/shop/Checkout.php",
        42,
    ),
    "ruby": (
        (
            "/usr/lib/ruby/gems/3.0/gems/rails/x.rb:9:in `call': boom (NoMethodError)\n"
            "\tfrom /app/models/cart.rb:52:in `save'\n"
            "\tfrom /app/x.rb:3:in 'Cart#get'"
        ),
        3,
        "save",
        "/app/models/cart.rb",
        52,
    ),
    "rust": (
        (
            "thread 'main' panicked at src/checkout.rs:42:9:\nboom\nstack backtrace:\n"
            "   0: rust_begin_unwind\n"
            "             at /rustc/abc/library/std/src/panicking.rs:645:5\n"
            "   1: shop::checkout::pay\n"
            "             at ./src/checkout.rs:42:9"
        ),
        2,
        "shop::checkout::pay",
        "./src/checkout.rs",
        42,
    ),
    "plain": ("src/pay.c:42:7: error: expected ';'", 1, "", "src/pay.c", 42),
}


@pytest.mark.parametrize("language", TRACES)
def test_the_top_own_frame_is_found(language):
    trace, _, function, file, line = TRACES[language]

    top = top_frame(read_frames(trace))

    assert top is not None
    assert (top.function, top.file, top.line) == (function, file, line)
    assert top.in_app
    assert top.language == language


@pytest.mark.parametrize("language", TRACES)
def test_every_frame_is_read_and_no_other_line(language):
    trace, count = TRACES[language][:2]

    assert len(read_frames(trace)) == count


def test_the_table_speaks_ten_languages():
    assert {row.language for row in NOTATIONS} == set(TRACES)


def test_python_traces_are_turned_round():
    frames = read_frames(PYTHON_STACK)

    assert [frame.function for frame in frames] == ["getconn", "pay", "post"]
    assert [frame.in_app for frame in frames] == [False, True, True]


def test_with_no_own_frame_the_innermost_is_named():
    trace = "    at a (/x/node_modules/y/z.js:1:2)\n    at b (node:internal/timers:3:4)"

    top = top_frame(read_frames(trace))

    assert top is not None
    assert top.function == "a"
    assert not top.in_app


@pytest.mark.parametrize(
    "text", ["", "\n\n", "just words", "Error: boom", "at", "File"]
)
def test_words_have_no_frames(text):
    assert read_frames(text) == []
    assert top_frame([]) is None


def test_frames_are_capped():
    line = "    at f (http://h/a.js:1:2)\n"

    assert len(read_frames(line * 1000)) == MAX_FRAMES


@given(st.text(max_size=2000))
def test_any_text_can_be_read(text):
    for frame in read_frames(text):
        assert frame.line is None or frame.line >= 0


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "line",
    [
        "a" * 600, "at " * 200, "at ((((" * 80, ":1:1" * 150, "@http:" * 100,
        "  at a.b(" * 60, "   at " + "x" * 590, "at " + "a:1" * 190,
        "#0 " + "a(1)" * 140, "f." * 300, "  0: " + "a:" * 290,
        "a" * 200 + "." + "b" * 390, "   é a.b(" + "(1" * 280, "\t" + "a.go:" * 110,
    ],
)  # fmt: skip
def test_no_line_holds_the_reader_up(line):
    text = (line + "\n") * (65536 // len(line))

    # The slowest takes 0.04 s; a pattern that tries again and again took minutes.
    assert len(read_frames(text)) <= MAX_FRAMES
