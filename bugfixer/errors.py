"""What can go wrong with bugs and reports.

BugfixerError
├── UnknownReportError      no report of this number
└── ClashingReportError     no free report number was found
"""


class BugfixerError(Exception):
    """Anything of this package."""


class UnknownReportError(BugfixerError):
    """No report carries this number."""

    def __init__(self, report_id: str) -> None:
        """Keep the number that was asked for."""
        super().__init__(f"no report {report_id!r}")
        self.report_id = report_id


class ClashingReportError(BugfixerError):
    """Several report numbers in a row were taken; something draws them twice."""
