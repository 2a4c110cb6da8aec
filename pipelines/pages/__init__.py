"""What people look at: escaped, without scripts, without anything from elsewhere.

In: what steps have written, and the ledger of now. Out: HTML and Markdown, by the templates of `templates/`.
"""

from pipelines.pages.experiment import experiment_page, experiment_view
from pipelines.pages.model_card import Card, card_address, read_card
from pipelines.pages.rendering import HEADERS
from pipelines.pages.reports import REPORT_HEADERS, cards, known_reports, read_report, reports_of, reports_page
from pipelines.pages.site import Unreadable, overview, problem, run_page, use_case_page
from pipelines.pages.view import Lifecycle, decisions_of_run, lifecycle
