"""All cases of the contract; importing this fills ``harness.CASES``."""

from __future__ import annotations

from tests.contract import (
    cases_apply,
    cases_kinds,
    cases_leaving,
    cases_life,
    cases_reads,
    cases_refusals,
    cases_status,
    cases_trouble,
    cases_writes,
)

MODULES = (
    cases_writes,
    cases_status,
    cases_apply,
    cases_reads,
    cases_life,
    cases_kinds,
    cases_refusals,
    cases_trouble,
    cases_leaving,
)

# They wait for seconds on a real clock, and what they show does not depend on sockets.
FORGETS = frozenset({"a_page_token_expires_with_the_history", "an_old_version_is_gone"})
"""Cases that shorten the server's history, which other cases that page or watch must not meet."""
HANGS = frozenset({"nobody_knows_what_became_of_writes_while_the_storage_hung"})
"""Cases during which no other case gets an answer."""
SOCKETS = frozenset(cases_leaving.NAMES)
"""Cases about connections, which there are none of in memory."""
SLOW = frozenset(
    {
        "nobody_knows_what_became_of_writes_while_the_storage_hung",
        "a_watch_ends_when_its_time_is_over",
        "a_quiet_watch_gets_a_bookmark_each_minute",
        "one_candidate_leads_and_hands_over",
        "the_first_candidates_do_not_both_lead",
    }
)
