"""What processes that obey a line of JSON at a time have in common."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


def obey(subject: Any, commands: Mapping[str, Callable[..., Any]]) -> None:
    """Say that it is ready; then do what each line says to the subject."""
    say("ready")
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        say(commands[name](subject, *arguments))


def say(told: Any) -> None:
    """Answer with one line."""
    print(json.dumps(told), flush=True)


def in_child(work: Callable[[], Any]) -> Any:
    """Fork, say so, and return what the child's work returns."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps(work()).encode())
        os._exit(0)
    os.close(writer)
    say("forked")
    with os.fdopen(reader) as told:
        answer = json.load(told)
    os.wait()
    return answer
