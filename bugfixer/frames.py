"""Read the frames of a stack trace in ten notations. Pure.

The languages are rows of one table. Patterns are possessive, lines and input are
capped, so that no text takes longer than its length.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_INPUT = 65536
MAX_LINE = 600
MAX_FRAMES = 200


class Role(StrEnum):
    """What one line of a trace tells."""

    FRAME = "frame"  # function and place
    FUNCTION = "function"  # the place follows on the next line
    PLACE = "place"  # belongs to the function of the line before


@dataclass(frozen=True, slots=True)
class Frame:
    """One call in a trace."""

    function: str
    file: str
    line: int | None
    column: int | None
    in_app: bool
    language: str

    @property
    def where(self) -> str:
        """Say the place as people write it: ``pay shop/checkout.py:212``."""
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        return f"{self.function} {place}".strip()


@dataclass(frozen=True, slots=True)
class Notation:
    """How one language writes a line of its traces."""

    language: str
    role: Role
    pattern: re.Pattern[str]
    innermost_last: bool = False


def _row(language: str, role: Role, pattern: str, *, last: bool = False) -> Notation:
    return Notation(language, role, re.compile(pattern), last)


_PLACE = r"(?P<file>[^\s()][^()]*?):(?P<line>[0-9]{1,9})(?::(?P<column>[0-9]{1,9}))?"
NOTATIONS: tuple[Notation, ...] = (
    _row(
        "python",
        Role.FRAME,
        r"\s{0,40}File \"(?P<file>[^\"]++)\", line (?P<line>[0-9]{1,9})"
        r"(?:, in (?P<function>.{1,200}))?$",
        last=True,
    ),
    # Java and Kotlin before V8: both say "at", only Java has File.java in parentheses.
    _row(
        "java",
        Role.FRAME,
        r"\s*+at (?:[\w.\-@]{1,80}/{1,2})?(?P<function>[\w.$<>\-]++)"
        r"\((?:(?P<file>[\w$\-]{1,120}\.(?:java|kt|kts|scala|groovy|clj))"
        r"(?::(?P<line>[0-9]{1,9}))?|Native Method|Unknown Source|SourceFile(?::[0-9]{1,9})?)\)",
    ),
    # The word before the method is "at" in the language of the system: à, bei, в, 場所.
    _row(
        "dotnet",
        Role.FRAME,
        # Three spaces, always: a line of Python source in its trace has four.
        r"(?: {3}\S{1,12}|\s*+at) (?=[\w+`<>]++\.)(?P<function>[\w.<>`+\[\],|&$]++\([^)]*+\))"
        r"(?: \S{1,12} (?P<file>(?:[A-Za-z]:\\|/)[^:]++):\S{1,12} (?P<line>[0-9]{1,9}))?$",
    ),
    _row(
        "v8",
        Role.FRAME,
        r"\s*+at (?:async )?(?:(?P<function>[^()]{1,200}?) )?\(?" + _PLACE + r"\)?$",
    ),
    _row(
        "v8",
        Role.FRAME,
        r"\s*+at (?:async )?(?P<function>[^()]{1,200}) \((?P<file><anonymous>|native|index \d++)\)$",
    ),
    _row(
        "spidermonkey",
        Role.FRAME,
        r"\s*+(?P<function>[^@\s]{0,200})@(?P<file>(?:https?|file|webpack|webpack-internal"
        r"|resource|chrome|moz-extension|safari-web-extension|app|capacitor|ionic|blob)"
        r":[^\s]+?):(?P<line>[0-9]{1,9})(?::(?P<column>[0-9]{1,9}))?$",
    ),
    _row(
        "php",
        Role.FRAME,
        r"\s*+#[0-9]{1,4} (?P<file>[^()]{1,400})\((?P<line>[0-9]{1,9})\)"
        r"(?:: (?P<function>[^(]{1,200}).*)?$",
    ),
    _row(
        "ruby",
        Role.FRAME,
        r"\s*+(?:from |[0-9]{1,4}: from )?(?P<file>[^\s:][^:]*+):(?P<line>[0-9]{1,9})"
        r":in [`'\"](?P<function>[^'\"`]{1,200})['\"`]",
    ),
    _row(
        "rust",
        Role.FUNCTION,
        r"\s*+[0-9]{1,4}:\s{1,8}(?:0x[0-9a-f]{1,16} - )?(?P<function>[\w<][\w:<>&*{}, #\[\]().$-]*+)$",
    ),
    _row(
        "rust",
        Role.PLACE,
        r"\s{4,40}at (?P<file>[^\s:]++):(?P<line>[0-9]{1,9})(?::(?P<column>[0-9]{1,9}))?$",
    ),
    _row(
        "go",
        Role.PLACE,
        r"[\t ]{1,8}(?P<file>[^\s:]{1,400}\.(?:go|s)):(?P<line>[0-9]{1,9})(?: \+0x[0-9a-f]{1,16})?$",
    ),
    _row(
        "go",
        Role.FUNCTION,
        r"(?:created by )?(?P<function>[\w./\-~]{1,200}(?:\.\(\*?\w{1,100}\))?[\w.\[\]*-]{0,100})"
        r"(?:\([^()]*+\)|\(\.\.\.\)| in goroutine [0-9]{1,9})$",
    ),
    # "plain": whatever else ends in file:line, such as a compiler or a shell.
    _row(
        "plain",
        Role.FRAME,
        r"\s{0,40}(?P<file>[\w./\\\-]{1,300}\.\w{1,8}):(?P<line>[0-9]{1,9})"
        r"(?::(?P<column>[0-9]{1,9}))?(?=$|[\s:,])",
    ),
)
_FOREIGN_FILE = re.compile(
    r"(?:site-packages|dist-packages|node_modules|bower_components|/vendor/|/gems/"
    r"|/pkg/mod/|\.cargo[/\\]registry|/rustc/|/usr/lib/|/usr/local/lib/|/usr/local/go/"
    r"|lib/python[0-9]|\\lib\\|^<|^native$|^index [0-9]|^node:|^internal/|\(native\)|/go/src/runtime/"
    r"|extension://|webpack/(?:runtime|bootstrap)|^\[internal|importlib|library/(?:std|core)/"
    r"|jquery|react-dom|angular(?:\.min)?\.js|vue\.runtime|zone\.js|polyfills?[.\-]"
    r"|vendors?[~.\-]|/cdn\.|/dist/.{0,40}\.min\.js)",
    re.IGNORECASE,
)
_FOREIGN_FUNCTION = re.compile(
    r"(?:java|javax|jdk|sun|com\.sun|kotlin|kotlinx|scala|groovy|android|androidx|dalvik"
    r"|jakarta|org\.(?:springframework|apache|hibernate|jboss|junit|eclipse)|io\.netty"
    r"|reactor|System|Microsoft|Newtonsoft|runtime|reflect|net/http|testing|syscall"
    r"|std|core|alloc|tokio|<?alloc|rust_begin_unwind|__rust|_start|main_start)(?:[.:]|$)"
)


def is_in_app(function: str, file: str) -> bool:
    """Tell the reporter's own code from a library's or a runtime's."""
    if _FOREIGN_FILE.search(file):
        return False
    return not _FOREIGN_FUNCTION.match(function.lstrip("<").removeprefix("async "))


def _lines(text: str) -> Iterator[str]:
    for line in text[:MAX_INPUT].splitlines():
        if line.strip():
            yield line[:MAX_LINE]


def _read_line(line: str) -> tuple[Notation, re.Match[str]] | None:
    for notation in NOTATIONS:
        found = notation.pattern.match(line)
        if found:
            return notation, found
    return None


def _frame(notation: Notation, found: re.Match[str]) -> Frame:
    parts = {"function": "", "file": "", "line": None, "column": None}
    parts.update({key: held for key, held in found.groupdict().items() if held})
    function = str(parts["function"]).strip().removeprefix("async ")
    file = str(parts["file"]).strip()
    return Frame(
        function=function.removeprefix("new "),
        file=file,
        line=int(parts["line"]) if parts["line"] else None,
        column=int(parts["column"]) if parts["column"] else None,
        in_app=is_in_app(function, file),
        language=notation.language,
    )


def _joined(function: Frame, place: Frame) -> Frame:
    return replace(
        place,
        function=function.function,
        in_app=is_in_app(function.function, place.file),
        language=function.language,
    )


def _read(text: str) -> Iterator[tuple[Notation, Frame]]:
    waiting: Frame | None = None
    for line in _lines(text):
        read = _read_line(line)
        if read is None:
            waiting = None
            continue
        notation, found = read
        frame = _frame(notation, found)
        if notation.role is Role.FUNCTION:
            waiting = frame
            continue
        if waiting is not None and (
            notation.role is Role.PLACE or waiting.language == "rust"
        ):
            frame = _joined(waiting, frame)
        waiting = None
        yield notation, frame


def read_frames(text: str) -> list[Frame]:
    """Return the frames of a trace, innermost first."""
    frames: list[Frame] = []
    innermost_last = False
    for notation, frame in _read(text):
        innermost_last = innermost_last or notation.innermost_last
        frames.append(frame)
        if len(frames) >= MAX_FRAMES:
            break
    return frames[::-1] if innermost_last else frames


def top_frame(frames: list[Frame]) -> Frame | None:
    """Return the innermost frame of the reporter's own code, else the innermost."""
    own = (frame for frame in frames if frame.in_app)
    return next(own, frames[0] if frames else None)
