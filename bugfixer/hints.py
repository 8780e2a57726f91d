"""Say what can be said about a bug without asking anybody: the offline analysis. Pure.

It names the top frame and the kind of fault, and how sure it is: never more than 0.6,
since it reads words and knows nothing of the program.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from bugfixer.frames import Frame, read_frames, top_frame

SOURCE = "offline"
VERSION = "offline-1"
MAX_CONFIDENCE = 0.6
LABEL = "Offline analysis, no AI model was asked."


class Category(StrEnum):
    """What kind of fault a bug is."""

    TIMEOUT = "timeout"
    NETWORK = "network"
    DATABASE = "database"
    RATE_LIMIT = "rate_limit"
    AUTH = "auth"
    PERMISSION = "permission"
    MEMORY = "memory"
    NULL_REFERENCE = "null_reference"
    TYPE = "type"
    IMPORT = "import"
    SYNTAX = "syntax"
    NOT_FOUND = "not_found"
    VALIDATION = "validation"
    CONCURRENCY = "concurrency"
    RECURSION = "recursion"
    RESOURCE = "resource"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Clue:
    """Words that tell a category, and what usually stands behind it."""

    category: Category
    words: tuple[str, ...]
    cause: str
    fix: str


@dataclass(frozen=True, slots=True)
class Hint:
    """The offline analysis of one bug."""

    category: Category
    frame: Frame | None
    frame_index: int | None
    frames: int
    cause: str
    fix: str
    confidence: float

    @property
    def text(self) -> str:
        """Say it in sentences, labelled."""
        place = (
            f"It fails in {self.frame.where}."
            if self.frame
            else "The report carries no stack trace that can be read."
        )
        kind = (
            "The kind of fault could not be told from its words."
            if self.category is Category.UNKNOWN
            else f"Kind: {self.category.replace('_', ' ')}."
        )
        return (
            f"{LABEL} {place} {kind} {self.cause} {self.fix}"
            f" Confidence {self.confidence:.1f} of at most {MAX_CONFIDENCE}."
        )

    def result(self, severity: str) -> dict[str, object]:
        """Return the parts in the shape that every analysis has."""
        known = self.category is not Category.UNKNOWN
        return {
            "root_cause": self.cause,
            "evidence": [] if self.frame_index is None else [self.frame_index],
            "suggested_fix": self.fix,
            "patch": None,
            "prevention": [],
            "category": str(self.category),
            "severity": severity,
            "confidence": self.confidence,
            "unknowns": ["whether the named frame is the cause or only the place"],
            "depth": "cause_only" if known or self.frame else "skip",
            "frame": self.frame.where if self.frame else "",
        }


# The first row with a word in the text wins, so narrow rows stand before wide ones.
CLUES: tuple[Clue, ...] = (
    Clue(
        Category.RECURSION,
        (
            "maximum call stack",
            "recursionerror",
            "stackoverflow",
            "stack overflow",
            "recursion depth",
            "too much recursion",
        ),
        "A function calls itself without reaching its end.",
        "Find the call that repeats in the trace and give it an end.",
    ),
    Clue(
        Category.MEMORY,
        (
            "outofmemory",
            "out of memory",
            "memoryerror",
            "heap limit",
            "oomkilled",
            "cannot allocate",
            "allowed memory size",
        ),
        "The process asked for more memory than it may have.",
        "Look for what grows without limit near this frame; read it in parts.",
    ),
    Clue(
        Category.RATE_LIMIT,
        (
            "rate limit",
            "ratelimit",
            "too many requests",
            "status code 429",
            "http 429",
            "quota exceeded",
            "throttl",
        ),
        "A service refuses because it is asked too often.",
        "Slow down, honour Retry-After, and share the answers.",
    ),
    Clue(
        Category.CONCURRENCY,
        (
            "deadlock",
            "database is locked",
            "lock wait",
            "race condition",
            "concurrentmodification",
            "could not serialize",
            "concurrent map",
        ),
        "Two pieces of work want the same thing in a different order.",
        "Take locks in one order, keep transactions short, and repeat the loser.",
    ),
    Clue(
        Category.DATABASE,
        (
            "operationalerror",
            "integrityerror",
            "programmingerror",
            "sqlstate",
            "psycopg",
            "duplicate key",
            "unique constraint",
            "foreign key",
            "sqlexception",
            "queryfailed",
            "activerecord",
            "pdoexception",
            "no such table",
            'relation "',
            "connection pool",
            "too many clients",
        ),
        "The database refused a statement or did not answer.",
        "Read its message: a constraint is a fault of the data, a refused connection"
        " one of the pool or the network.",
    ),
    Clue(
        Category.TIMEOUT,
        (
            "timeout",
            "timed out",
            "etimedout",
            "deadline exceeded",
            "took too long",
            "code 504",
            "gateway time-out",
        ),
        "Something that was waited for did not answer in time.",
        "See what was asked, whether it was slow or away, and bound the wait.",
    ),
    Clue(
        Category.NETWORK,
        (
            "econnrefused",
            "econnreset",
            " enotfound",
            "eai_again",
            "connection refused",
            "connection reset",
            "networkerror",
            "network error",
            "failed to fetch",
            "load failed",
            "getaddrinfo",
            "name resolution",
            "ssl:",
            "sslerror",
            "ssl_",
            "tls handshake",
            "certificate",
            "socket hang up",
            "broken pipe",
            "no route to host",
            "err_network",
            "code 502",
            "code 503",
            "bad gateway",
            "connectionerror",
            "cors policy",
            "cors request",
        ),
        "A connection to another machine could not be made or broke.",
        "Check the address, the network and the certificate; put a circuit breaker"
        " around the call.",
    ),
    Clue(
        Category.AUTH,
        (
            "unauthorized",
            "unauthenticated",
            "invalid api key",
            "authentication",
            "invalid token",
            "token expired",
            "jwt",
            "code 401",
            "invalid credentials",
            "not logged in",
        ),
        "The caller was not known, or its credentials have run out.",
        "Renew the credentials and see when they were last changed.",
    ),
    Clue(
        Category.PERMISSION,
        (
            "permission denied",
            "permissionerror",
            "forbidden",
            "eacces",
            "eperm",
            "code 403",
            "access denied",
            "not allowed",
            "securityerror",
            "unauthorizedaccess",
        ),
        "The caller is known but may not do this.",
        "Compare the rights it has with the rights it needs.",
    ),
    Clue(
        Category.IMPORT,
        (
            "modulenotfound",
            "importerror",
            "cannot find module",
            "chunkloaderror",
            "loading chunk",
            "dynamically imported module",
            "classnotfound",
            "noclassdeffound",
            "no module named",
            "cannot load such file",
            "unresolved import",
            "failed to resolve",
        ),
        "A module is missing, or its file is gone since the last deploy.",
        "Compare what is installed or deployed with what is asked for.",
    ),
    Clue(
        Category.SYNTAX,
        (
            "syntaxerror",
            "unexpected token",
            "unexpected end of",
            "parse error",
            "jsondecodeerror",
            "expecting value",
            "unterminated",
            "invalid json",
            "json.parse",
            "is not valid json",
            "indentationerror",
        ),
        "A text could not be read as what it should be, often a page in place of JSON.",
        "Look at the text itself and at the status of the answer it came with.",
    ),
    Clue(
        Category.NULL_REFERENCE,
        (
            "of undefined",
            "of null",
            "undefined is not",
            "null is not",
            "is undefined",
            "nonetype",
            "nullpointer",
            "nullreference",
            "nil pointer",
            "undefined method `",
            "undefined method '",
            "for nil",
            "on null",
            "unwrap()` on a `none`",
            "null object",
            "is not defined",
            "object reference not set",
            "undefined variable",
        ),
        "A value was used before it was there.",
        "Find where it should have been set, and handle that it is absent.",
    ),
    Clue(
        Category.NOT_FOUND,
        (
            "filenotfound",
            "enoent",
            "no such file",
            "not found",
            "code 404",
            "keyerror",
            "doesnotexist",
            "indexerror",
            "out of range",
            "out of bounds",
            "nosuchelement",
            "recordnotfound",
            "undefined index",
            "undefined array key",
            "undefined offset",
        ),
        "What was looked up is not there.",
        "Check the key or path, and answer its absence on purpose.",
    ),
    Clue(
        Category.TYPE,
        (
            "typeerror",
            "is not a function",
            "is not iterable",
            "classcast",
            "invalidcast",
            "not callable",
            "unsupported operand",
            "must be of type",
            "cannot convert",
            "interface conversion",
            "attributeerror",
            "has no attribute",
            "is not a constructor",
            "nomethoderror",
        ),
        "A value has another type than the code expects.",
        "See what type came in and where it was made.",
    ),
    Clue(
        Category.RESOURCE,
        (
            "emfile",
            "enospc",
            "no space left",
            "too many open files",
            "quotaexceeded",
            "disk full",
            "can't start new thread",
        ),
        "A resource of the machine is used up.",
        "See what holds it and whether it is given back.",
    ),
    Clue(
        Category.VALIDATION,
        (
            "valueerror",
            "validation",
            "invalid",
            "illegalargument",
            "argumentexception",
            "numberformat",
            "rangeerror",
            "assertion",
            "bad request",
            "code 400",
            "unprocessable",
            "required",
        ),
        "A value is outside of what the code allows.",
        "See who sent it and check it where it comes in.",
    ),
)
_NOTHING = Clue(
    Category.UNKNOWN, (), "The words name no known cause.", "Read the frame it names."
)


def _clue(text: str) -> Clue:
    lowered = text.lower()
    return next(
        (clue for clue in CLUES if any(word in lowered for word in clue.words)),
        _NOTHING,
    )


def _confidence(clue: Clue, frame: Frame | None) -> float:
    known = 0.25 if clue.category is not Category.UNKNOWN else 0.0
    placed = 0.0 if frame is None else 0.25 if frame.in_app else 0.1
    return round(min(0.1 + known + placed, MAX_CONFIDENCE), 2)


def _headline(message: str, stack: str) -> str:
    """Return the words that name the fault: the message and lines that are no frame."""
    lines = stack[:4000].splitlines()
    edges = [*lines[:2], *lines[-2:]]
    return "\n".join([message[:4000], *(x for x in edges if not read_frames(x))])


def analyse(*, message: str, stack: str) -> Hint:
    """Name the top frame and the kind of fault of one error."""
    frames = read_frames(stack)
    frame = top_frame(frames)
    clue = _clue(_headline(message, stack))
    return Hint(
        category=clue.category,
        frame=frame,
        frame_index=frames.index(frame) if frame else None,
        frames=len(frames),
        cause=clue.cause,
        fix=clue.fix,
        confidence=_confidence(clue, frame),
    )


def input_hash(*, message: str, stack: str) -> str:
    """Return what an analysis was made from, so that the same is not asked twice."""
    return hashlib.sha256(f"{message}\0{stack}".encode()).hexdigest()
