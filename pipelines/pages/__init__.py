"""What people look at: escaped, without scripts, without anything from elsewhere.

In: what steps have written. Out: HTML and Markdown.
"""

from pipelines.pages.assessment import assessment_page
from pipelines.pages.markup import HEADERS, problem
from pipelines.pages.model_card import blocks, heading
from pipelines.pages.model_card_html import card_page
from pipelines.pages.model_card_markdown import card_markdown
from pipelines.pages.overview import Unreadable, overview
from pipelines.pages.reports import REPORT_HEADERS, cards, known_reports, read_report, reports_of
from pipelines.pages.run import run_page
from pipelines.pages.use_case import reports_page, use_case_page
from pipelines.pages.view import decisions_of_run, lifecycle

__all__ = [
    "HEADERS",
    "REPORT_HEADERS",
    "Unreadable",
    "assessment_page",
    "blocks",
    "card_markdown",
    "card_page",
    "cards",
    "decisions_of_run",
    "heading",
    "known_reports",
    "lifecycle",
    "overview",
    "problem",
    "read_report",
    "reports_of",
    "reports_page",
    "run_page",
    "use_case_page",
]
