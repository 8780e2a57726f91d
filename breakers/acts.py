"""What an operator may do to a breaker in the console: the form and its review."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from django import forms

from breakers.services import AUTO, BreakerFacts
from breakers.states import CircuitState
from ledger.acts import LONGEST_REASON, SHORTEST_REASON

SPANS = ((900, "15 min"), (3600, "1 h"), (28800, "8 h"))
ENDLESS = (0, "without end")


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do: its address, its words, the state it leads to."""

    slug: str
    name: str
    everywhere: str
    leads_to: str
    effect: str

    @property
    def ends(self) -> bool:
        """Tell whether it is an override, which ends by itself."""
        return self.slug not in {"reset", AUTO}


ACTS = {
    act.slug: act
    for act in (
        Act(
            "forced_open",
            "Force open",
            "Force open everywhere",
            CircuitState.FORCED_OPEN,
            "Every process refuses every call; callers get the fallback. No trials.",
        ),
        Act(
            "disabled",
            "Disable",
            "Disable everywhere",
            CircuitState.DISABLED,
            "Every process lets every call through and counts nothing.",
        ),
        Act(
            "metrics_only",
            "Metrics only",
            "Only count everywhere",
            CircuitState.METRICS_ONLY,
            "Every process counts calls and refuses none.",
        ),
        Act(
            "reset",
            "Reset",
            "Reset everywhere",
            CircuitState.CLOSED,
            "Every process closes the circuit; it opens again where calls go on failing.",
        ),
        Act(
            AUTO,
            "End now",
            "End it everywhere",
            "",
            "The override ends; the circuit goes on by itself.",
        ),
    )
}


class ActForm(forms.Form):
    """How long, why, and what it was meant for."""

    seconds = forms.TypedChoiceField(
        label="For", coerce=int, widget=forms.RadioSelect, initial=3600
    )
    reason = forms.CharField(
        min_length=SHORTEST_REASON,
        max_length=LONGEST_REASON,
        help_text="For whoever finds it so. 5 to 200 characters, no names.",
    )
    version = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    # The act's own id: sent twice, it is done once.
    key = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4)

    def __init__(
        self, *args: object, act: Act, endless: bool, **kwargs: object
    ) -> None:
        """Ask for an end only where there is one."""
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        if act.ends:
            choices = (*SPANS, ENDLESS) if endless else SPANS
            self.fields["seconds"].choices = choices  # type: ignore[attr-defined]
        else:
            del self.fields["seconds"]

    def until(self, now: datetime) -> datetime | None:
        """Return when the override ends."""
        seconds = self.cleaned_data.get("seconds") or 0
        return now + timedelta(seconds=seconds) if seconds else None


def acts_for(facts: BreakerFacts, *, overrides: bool, resets: bool) -> list[Act]:
    """Return what somebody may do to a breaker as it stands."""
    if facts.override.mode != AUTO:
        return [ACTS[AUTO]] if overrides else []
    allowed = [act for act in ACTS.values() if act.ends and overrides]
    return [*allowed, ACTS["reset"]] if resets else allowed


def trial_in(facts: BreakerFacts, now: datetime) -> float:
    """Return the seconds until a trial is let through, 0 when one is due."""
    if facts.open_until is None:
        return 0.0
    return max(0.0, math.ceil((facts.open_until - now).total_seconds()))
