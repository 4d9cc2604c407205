"""What a person reads of a run: ``report.html``, one file, readable offline."""

from simclr_tf2.report.contents import (
    Confusion,
    EncodedImages,
    ReportData,
    Results,
    Views,
)
from simclr_tf2.report.page import write_report

__all__ = [
    "Confusion",
    "EncodedImages",
    "ReportData",
    "Results",
    "Views",
    "write_report",
]
